"use strict";
// Two sweeps over each other: A solid with filled markers, B dashed with open ones; arms of one name share a colour.

M.STYLES = { A: { dash: "solid", open: "", colour: "#0072B2" }, B: { dash: "dash", open: "-open", colour: "#D55E00" } };

// ---- what both sweeps have

M.union = (sweeps, read) => [...new Map(sweeps.flatMap(read).map((one) => [String(one[0]), one])).values()];
M.layersOf = (sweeps) => M.union(sweeps, M.layerOptions).sort((a, b) => a[0] - b[0]);
M.startLayer = (layers) => (layers.find(([layer]) => layer >= 0) ?? layers[0])?.[0];
M.measuresOf = (sweeps) => M.union(sweeps, (sweep) => sweep.facts.measures.map((one) => [one.name, M.measureTitle(one)]));
M.measurePanels = (sweeps, grid, before = "") => M.measuresOf(sweeps).map(([name, title]) => [name, M.panel(grid, before + title)]);
M.rowsOfMeasure = (sweep, name) => sweep.modules.filter((one) => sweep.facts.measures[one.measure].name === name);
M.quantitiesOf = (sweeps) => {
  const found = M.union(sweeps, M.quantities);
  return found.length ? found : M.QUANTITIES.slice(0, 1);
};
M.setter = (section, state) => (name, read = (value) => value) => (value) => { state[name] = read(value); section.refresh(); };
M.xOfBoth = (sweeps) => ["strength", ...M.HYPERPARAMETERS.filter((name) => sweeps.some((sweep) => sweep.varying.includes(name)))].map((name) => [name, M.AXES[name]]);

M.compareOverview = (sweeps) => M.section("overview", "Overview", "", (section) => {
  section.body.append(M.element("h1", {}, `${sweeps.map((sweep) => sweep.facts.name || "sweep").join(" and ")} compared`));
  M.warn(section.body, sweeps.flatMap(({ facts }) => facts.warnings.map((one) => `${facts.side}: ${one}`)));
  section.body.append(M.element("div", { class: "columns" }, ...sweeps.map(({ facts }) => M.element("div", {},
    M.element("h3", {}, `${facts.side}: ${facts.name}`),
    facts.question ? M.element("p", { class: "question" }, facts.question) : null,
    M.element("dl", { class: "counts" }, ...["all", "done", "stopped", "untrained", "diverged", "excluded", "pending", "failed"].map((name) =>
      M.element("div", {}, M.element("dt", {}, name === "all" ? "trials" : name), M.element("dd", {}, String(facts.counts[name]))))),
    facts.report ? M.element("p", {}, M.element("a", { href: facts.report }, `Report of ${facts.side}`)) : null,
    facts.verdicts.length ? M.element("ul", { class: "verdicts" }, ...facts.verdicts.map((one) => M.element("li", {}, one))) : null))));
  const { pairs } = M.facts;
  M.note(section.body, pairs.rows.length
    ? `${pairs.rows.length} pairs of trials have the same hyperparameters and seed in both sweeps. Solid lines and filled markers: A; dashed and open: B. A click on a point names its trial below, and picks it and its partner for the matrix viewer.`
    : "No trial of A has the hyperparameters and seed of one of B: means over seeds are compared where a setting is shared.");
  return null;
});

// Where a clicked point comes from, with links to its matrices and to its own report.
M.nameTrial = (sweep, trial) => {
  M.pickOf(sweep, trial);
  const bar = document.getElementById("picked") ?? M.element("p", { id: "picked", class: "note picked", role: "status" });
  const id = M.element("span", { class: "mono" }, trial.id);
  bar.replaceChildren(`${sweep.facts.side}, ${M.describe(trial)}: `, sweep.facts.report ? M.element("a", { href: `${sweep.facts.report}#trial=${trial.id}` }, id) : id, " ",
    M.element("button", { type: "button", on: { click: () => M.goTo("viewer") } }, "its matrices"));
  document.getElementById("main").append(bar);
};

M.compareArms = (sweeps) => {
  const arms = new Map();
  for (const { facts } of sweeps) for (const index of facts.trained_arms) arms.set(facts.arms[index].name, facts.arms[index]);
  const list = [...arms.values()].sort((a, b) => (a.name < b.name ? -1 : 1)).map((arm) => ({ key: arm.name, title: arm.name, colour: arm.colour, symbol: arm.symbol }));
  if (sweeps.some((sweep) => sweep.trials.some((trial) => trial.isUntrained))) list.push({ key: "untrained", title: "untrained (line: mean)", colour: sweeps[0].facts.untrained_colour, symbol: "circle" });
  return list;
};

// rowsOf(sweep) gives {trial, y}.
M.drawOverlay = (sweeps, panel, rowsOf, { x, ytitle }) => {
  const traces = [], shapes = [], told = [];
  for (const sweep of sweeps) {
    const style = M.STYLES[sweep.facts.side], side = sweep.facts.side;
    const place = (trial) => trial[x];
    const rows = rowsOf(sweep).filter((row) => M.isNumber(row.y) && row.trial.counts);
    const isLog = M.xAxis(x, rows.map((row) => place(row.trial))).type === "log";
    for (const index of sweep.facts.trained_arms) {
      const arm = sweep.facts.arms[index], colour = M.visible(arm.colour);
      const own = rows.filter((row) => row.trial.arm === index && !row.trial.isUntrained && M.isNumber(place(row.trial)) && !(isLog && place(row.trial) <= 0));
      if (!own.length || M.state.hidden.has(arm.name)) continue;
      traces.push({ type: "scatter", mode: "markers", name: `${side} ${arm.name}`, x: own.map((row) => place(row.trial)), y: own.map((row) => row.y), marker: { color: colour, symbol: arm.symbol + style.open, size: 5, opacity: 0.45 },
        customdata: own.map((row) => row.trial.index), meta: side, text: own.map((row) => `${side}, ${M.plain(M.describe(row.trial))}<br>${M.format(row.y)}<br>trial ${row.trial.id}`), hovertemplate: "%{text}<extra></extra>" });
      const line = M.meanLine(own, place, { ...arm, name: `${side} ${arm.name}` }, colour, told);
      traces.push({ ...line, meta: side, line: { ...line.line, dash: style.dash }, marker: { ...line.marker, symbol: arm.symbol + style.open } });
    }
    const untrained = M.state.hidden.has("untrained") ? [] : rows.filter((row) => row.trial.isUntrained).map((row) => row.y);
    if (untrained.length) {
      const mean = M.mean(untrained);
      shapes.push({ type: "line", xref: "paper", x0: 0, x1: 1, y0: mean, y1: mean, line: { color: sweep.facts.untrained_colour, width: 1.5, dash: side === "A" ? "dot" : "dashdot" } });
      told.push(`${side} untrained ${M.short(mean)}`);
    }
  }
  panel.tell(told.length ? `${told.join("; ")}.` : "No trial to show.");
  const places = sweeps.flatMap((sweep) => sweep.trials.map((trial) => trial[x]));
  return M.drawCompared(sweeps, panel.plot, traces, { shapes, xaxis: M.xAxis(x, places), yaxis: { title: ytitle } });
};

M.drawCompared = async (sweeps, plot, traces, layout) => {
  const isNew = !plot.classList.contains("js-plotly-plot");
  await Plotly.react(plot, traces, M.layout(layout), M.CONFIG);
  if (isNew) {
    plot.on("plotly_click", (event) => {
      const point = event.points.find((one) => M.isNumber(one.customdata));
      const sweep = point && sweeps.find((one) => one.facts.side === point.data.meta);
      if (sweep) M.nameTrial(sweep, sweep.trials[point.customdata]);
    });
  }
};

M.comparePerformance = (sweeps) => M.section("performance", "Performance and norms", "Means over seeds with standard errors, and the trials.", (section) => {
  const state = { x: "strength" };
  const row = M.controls(section);
  M.select(row, "Horizontal axis", M.xOfBoth(sweeps), (value) => { state.x = value; section.refresh(); });
  M.legend(section, M.compareArms(sweeps));
  const grid = M.grid(section);
  const names = ["test_accuracy", "test_loss", "l1_norm", "l2_norm", "nuclear_norm", "sparsity"];
  const panels = names.map((name) => M.panel(grid, name.replace(/_/g, " ")));
  M.on("arms", section.refresh);
  return () => Promise.all(panels.map((panel, i) =>
    M.drawOverlay(sweeps, panel, (sweep) => sweep.trials.map((trial) => ({ trial, y: trial[names[i]] })), { x: state.x, ytitle: names[i].replace(/_/g, " ") })));
});

M.compareModularity = (sweeps) => M.section("modularity", "Modularity against regularization", "A panel a measure; both sweeps in each.", (section) => {
  const layers = M.layersOf(sweeps);
  const state = { quantity: "q", normalized: 1, layer: M.startLayer(layers), x: "strength" };
  const set = M.setter(section, state), row = M.controls(section);
  M.select(row, "Quantity", M.quantitiesOf(sweeps), set("quantity"));
  M.select(row, "Similarity", [["1", "normalized"], ["0", "raw"]], set("normalized", Number));
  M.select(row, "Layer", layers, set("layer", Number), state.layer);
  M.select(row, "Horizontal axis", M.xOfBoth(sweeps), set("x"));
  M.legend(section, M.compareArms(sweeps));
  const panels = M.measurePanels(sweeps, M.grid(section));
  if (!panels.length) M.note(section.body, "Neither sweep has measures of similarity in its tables.");
  M.on("arms", section.refresh);
  const ytitle = () => M.QUANTITIES.find(([key]) => key === state.quantity)[1];
  return () => Promise.all(panels.map(([name, panel]) => M.drawOverlay(sweeps, panel, (sweep) => M.rowsOfMeasure(sweep, name)
    .filter((one) => one.layer === state.layer && one.normalized === state.normalized)
    .map((one) => ({ trial: one.trial, y: one[state.quantity] })), { x: state.x, ytitle: ytitle() })));
});
