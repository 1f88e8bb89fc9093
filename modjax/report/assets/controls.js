"use strict";
// Elements, sections that draw themselves when they come into view, and labelled controls.

M.element = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, listener] of Object.entries(value)) made.addEventListener(event, listener);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
};

M.sections = [];

// A section is drawn once it is near the view, and again when something it depends on has changed.
M.section = (id, title, lead, build) => {
  const body = M.element("div", { class: "body" });
  const node = M.element("section", { id, tabindex: "-1", "aria-labelledby": `${id}-title` },
    M.element("h2", { id: `${id}-title` }, title), lead ? M.element("p", { class: "lead" }, lead) : null, body);
  document.getElementById("main").append(node);
  document.getElementById("nav").append(M.element("a", { href: `#${id}` }, title));
  const section = { id, node, body, isNear: false, isStale: true, draw: null };
  section.refresh = () => {
    section.isStale = true;
    if (section.isNear) M.drawSection(section);
  };
  section.draw = build(section);
  M.sections.push(section);
  return section;
};

M.drawSection = (section) => {
  if (!section.isStale) return;
  section.isStale = false;
  delete section.node.dataset.drawn;
  const turn = (section.turn = (section.turn ?? 0) + 1);
  Promise.resolve(section.draw?.()).then(() => { if (turn === section.turn) section.node.dataset.drawn = "true"; });
};

M.watchSections = () => {
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const section = M.sections.find((one) => one.node === entry.target);
      section.isNear = entry.isIntersecting;
      if (section.isNear) M.drawSection(section);
    }
  }, { rootMargin: "300px 0px" });
  M.sections.forEach((section) => watcher.observe(section.node));
};

M.controls = (section) => {
  const row = M.element("div", { class: "controls" });
  section.body.append(row);
  return row;
};

// A labelled selector; options are [value, title] or groups {label, options}. A control with one choice is not shown.
M.select = (row, label, options, onChange, value) => {
  const select = M.element("select", { "aria-label": label });
  M.setOptions(select, options, value);
  select.addEventListener("change", () => onChange(select.value));
  row.append(M.element("label", { class: "field" }, label, select));
  return select;
};

M.setOptions = (select, options, value) => {
  const option = ([key, title]) => M.element("option", { value: key }, title);
  select.replaceChildren(...options.map((one) =>
    Array.isArray(one) ? option(one) : M.element("optgroup", { label: one.label }, ...one.options.map(option))));
  const keys = Array.from(select.options, (one) => one.value);
  if (value !== undefined && keys.includes(String(value))) select.value = String(value);
};

M.check = (row, label, isOn, onChange) => {
  const box = M.element("input", { type: "checkbox", checked: isOn });
  box.addEventListener("change", () => onChange(box.checked));
  row.append(M.element("label", { class: "field check" }, box, label));
  return box;
};

M.panel = (parent, title, isTall = false) => {
  const plot = M.element("div", { class: isTall ? "plot tall" : "plot", role: "img", "aria-label": title });
  const heading = M.element("h3", {}, title);
  const caption = M.element("figcaption", { class: "summary" });
  const figure = M.element("figure", { class: "panel" }, heading, plot, caption);
  parent.append(figure);
  return {
    plot,
    show: (isShown) => { figure.hidden = !isShown; },
    title: (text) => { heading.textContent = text; },
    // What the figure says, for those who do not see it and for those who do.
    tell: (text) => { caption.textContent = text; plot.setAttribute("aria-label", `${heading.textContent}. ${text}`); },
  };
};

M.grid = (section, kind = "") => {
  const grid = M.element("div", { class: `grid ${kind}` });
  section.body.append(grid);
  return grid;
};

M.warn = (parent, sentences) => {
  if (sentences.length) parent.append(M.element("div", { class: "note warning", role: "alert" }, ...sentences.map((one) => M.element("p", {}, one))));
};

M.note = (parent, text) => {
  const note = M.element("p", { class: "note" }, text);
  parent.append(note);
  return note;
};

// ---- the arms: one legend for all figures, each arm can be hidden

M.SHAPES = {
  circle: "M6 1a5 5 0 1 1 0 10a5 5 0 1 1 0-10z", square: "M1.5 1.5h9v9h-9z", "triangle-up": "M6 1l5.5 10h-11z",
  diamond: "M6 0l6 6-6 6-6-6z", "triangle-down": "M6 11L.5 1h11z", cross: "M4 0h4v4h4v4h-4v4h-4v-4h-4v-4h4z",
  x: "M2.5 0L6 3.5 9.5 0 12 2.5 8.5 6 12 9.5 9.5 12 6 8.5 2.5 12 0 9.5 3.5 6 0 2.5z",
};

M.glyph = (colour, symbol) => {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  for (const [name, value] of [["width", 12], ["height", 12], ["viewBox", "0 0 12 12"], ["aria-hidden", "true"]]) svg.setAttribute(name, value);
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", M.SHAPES[symbol] ?? M.SHAPES.circle);
  path.setAttribute("fill", M.visible(colour));
  svg.append(path);
  return svg;
};

M.legend = (section, arms) => {
  const box = M.element("div", { class: "legend", role: "group", "aria-label": "Arms shown" });
  section.body.append(box);
  const draw = () => {
    const held = document.activeElement?.closest?.(".legend") === box ? [...box.children].indexOf(document.activeElement) : -1;
    box.replaceChildren(...arms.map((arm) => M.element("button", {
      type: "button", "aria-pressed": String(!M.state.hidden.has(arm.key)),
      on: { click: () => { M.state.hidden.has(arm.key) ? M.state.hidden.delete(arm.key) : M.state.hidden.add(arm.key); M.tell("arms"); } },
    }, M.glyph(arm.colour, arm.symbol), arm.title)));
    if (held >= 0) box.children[held].focus();
  };
  draw();
  M.on("arms", draw);
  M.on("theme", draw);
};

M.armsOf = (sweep) => {
  const arms = sweep.facts.trained_arms.map((index) => {
    const arm = sweep.facts.arms[index];
    const rows = sweep.trials.filter((trial) => trial.arm === index && M.isNumber(trial.strength)).sort((a, b) => a.strength - b.strength);
    const first = rows[0]?.setting ?? "", last = rows.at(-1)?.setting ?? "";
    const name = (text) => text.slice(0, text.lastIndexOf(" "));
    const span = first === last ? first : `${first} to ${name(first) === name(last) ? last.slice(name(last).length + 1) : last}`;
    return { key: index, colour: arm.colour, symbol: arm.symbol, title: `${arm.name}: ${span}` };
  });
  if (sweep.trials.some((trial) => trial.isUntrained)) {
    arms.push({ key: "untrained", colour: sweep.facts.untrained_colour, symbol: "circle", title: "untrained (band: mean, 2 sd)" });
  }
  return arms;
};

M.isHidden = (trial) => M.state.hidden.has(trial.isUntrained ? "untrained" : trial.arm);

// ---- names

M.layerOptions = (sweep) => sweep.facts.layers.map((one) => [one.layer, one.title]);
M.firstLayer = (sweep) => (sweep.facts.layers.find((one) => one.layer >= 0) ?? sweep.facts.layers[0])?.layer;

M.measureTitle = (measure) => (measure.family === "parameters" ? measure.title : `${measure.title} (${measure.family})`);

// ---- light and dark

M.theme = () => document.documentElement.dataset.theme;
M.colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
M.visible = (colour) => (M.theme() === "dark" && colour === "#000000" ? "#ffffff" : colour);

M.setUpTheme = () => {
  const button = document.getElementById("theme");
  const asked = matchMedia("(prefers-color-scheme: dark)");
  const use = (theme) => {
    document.documentElement.dataset.theme = theme;
    button.textContent = theme === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-label", `Switch to ${theme === "dark" ? "light" : "dark"} colours`);
    M.tell("theme");
  };
  use(asked.matches ? "dark" : "light");
  asked.addEventListener("change", () => use(asked.matches ? "dark" : "light"));
  button.addEventListener("click", () => use(M.theme() === "dark" ? "light" : "dark"));
};
