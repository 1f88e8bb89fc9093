"use strict";
// A table that can be sorted by its headers, filtered and paged.

// columns: {key, title, value(row), text?(row), cell?(row)}; filters narrow the rows before they are shown.
M.table = (parent, label, columns, { pageSize = 25, sort = null, markOf = () => false } = {}) => {
  const state = { rows: [], shown: [], sort, page: 0 };
  const count = M.element("p", { class: "summary", role: "status" });
  const head = M.element("tr");
  const body = M.element("tbody");
  const box = M.element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
    M.element("table", {}, M.element("thead", {}, head), body));
  const previous = M.element("button", { type: "button", on: { click: () => turn(-1) } }, "Previous");
  const next = M.element("button", { type: "button", on: { click: () => turn(1) } }, "Next");
  parent.append(count, box, M.element("div", { class: "controls" }, previous, next));

  const isNumeric = (column) => state.rows.some((row) => typeof column.value(row) === "number");

  const compare = (column, up) => (a, b) => {
    const x = column.value(a), y = column.value(b);
    const noX = x === null || x === undefined || Number.isNaN(x), noY = y === null || y === undefined || Number.isNaN(y);
    if (noX || noY) return noX - noY; // what is missing comes last either way
    const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
    return up ? order : -order;
  };

  const drawHead = () => {
    const held = head.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    head.replaceChildren(...columns.map((column) => {
      const isSorted = state.sort?.key === column.key;
      const direction = isSorted ? (state.sort.up ? "ascending" : "descending") : "none";
      const sortBy = () => { state.sort = { key: column.key, up: isSorted ? !state.sort.up : true }; state.page = 0; draw(); };
      return M.element("th", { scope: "col", "aria-sort": direction, class: isNumeric(column) ? "number" : "" },
        M.element("button", { type: "button", "data-key": column.key, on: { click: sortBy } },
          column.title + (isSorted ? (state.sort.up ? " ▲" : " ▼") : "")));
    }));
    if (held) head.querySelector(`[data-key="${CSS.escape(held)}"]`)?.focus();
  };

  const draw = () => {
    const column = columns.find((one) => one.key === state.sort?.key);
    state.shown = column ? [...state.rows].sort(compare(column, state.sort.up)) : [...state.rows];
    drawHead();
    drawPage();
  };

  const drawPage = () => {
    const numPages = Math.max(1, Math.ceil(state.shown.length / pageSize));
    state.page = Math.min(Math.max(state.page, 0), numPages - 1);
    const from = state.page * pageSize;
    const rows = state.shown.slice(from, from + pageSize);
    body.replaceChildren(...rows.map((row) => M.element("tr", { class: markOf(row) ? "picked" : null },
      ...columns.map((column) => M.element("td", { class: typeof column.value(row) === "number" ? "number" : null },
        column.cell ? column.cell(row) : (column.text ?? ((one) => M.format(column.value(one))))(row))))));
    count.textContent = state.rows.length ? `Rows ${from + 1} to ${from + rows.length} of ${state.rows.length}.` : "No rows.";
    previous.disabled = state.page === 0;
    next.disabled = state.page >= numPages - 1;
    previous.hidden = next.hidden = numPages === 1;
  };

  const turn = (step) => { state.page += step; drawPage(); };

  return {
    set: (rows) => { state.rows = rows; state.page = 0; draw(); },
    refresh: drawPage,
    // Turn to the page of a row, if the filters let it through.
    show: (row) => {
      const place = state.shown.indexOf(row);
      if (place >= 0) state.page = Math.floor(place / pageSize);
      drawPage();
    },
  };
};

// A small table that stays as it is: {columns, rows}.
M.plainTable = (content, label) => {
  const isNumber = content.columns.map((_, i) => content.rows.some((row) => typeof row[i] === "number"));
  return M.element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, M.element("table", {},
    M.element("thead", {}, M.element("tr", {}, ...content.columns.map((name, i) => M.element("th", { scope: "col", class: isNumber[i] ? "number" : null }, name)))),
    M.element("tbody", {}, ...content.rows.map((row) => M.element("tr", {}, ...row.map((value, i) => M.element("td", { class: isNumber[i] ? "number" : null }, M.format(value))))))));
};
