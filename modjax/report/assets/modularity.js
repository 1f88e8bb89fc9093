"use strict";
// Modularity and numbers of modules: against regularization, and against depth.

M.QUANTITIES = [
  ["q", "modularity Q"], ["excess_q", "excess Q (Q minus its null's mean)"], ["effective_modules", "effective modules"], ["effective_modules_strength", "effective modules, by strength"], ["num_modules", "number of modules"], ["num_dead", "dead units"],
  ["z", "z against its null"], ["untrained_z", "z against untrained"], ["joint_q", "Q under the joint modules"],
];

M.quantities = (sweep) => M.QUANTITIES.filter(([name]) => sweep.modules.some((row) => M.isNumber(row[name])));

M.moduleControls = (sweep, section, state, { withLayer = true } = {}) => {
  const row = M.controls(section);
  const quantities = M.quantities(sweep);
  const set = (name, read = (value) => value) => (value) => { state[name] = read(value); section.refresh(); };
  M.select(row, "Quantity", quantities.length ? quantities : M.QUANTITIES.slice(0, 1), set("quantity"));
  M.select(row, "Similarity", [["1", "normalized"], ["0", "raw"]], set("normalized", Number));
  if (withLayer) M.select(row, "Layer", M.layerOptions(sweep), set("layer", Number), state.layer);
  return row;
};

M.modularity = (sweep) => M.section("modularity", "Modularity against regularization",
  "How modular the hidden units are, a panel a measure. Upstream: units that respond alike; downstream: units that act alike on outputs. Grey: untrained networks.",
  (section) => {
    const state = { quantity: "q", normalized: 1, layer: M.firstLayer(sweep), x: "strength", sameScale: true };
    const row = M.moduleControls(sweep, section, state);
    M.select(row, "Horizontal axis", M.xOptions(sweep), (value) => { state.x = value; section.refresh(); });
    M.check(row, "same vertical scale", true, (isOn) => { state.sameScale = isOn; section.refresh(); });
    M.legend(section, M.armsOf(sweep));
    const grid = M.grid(section);
    const panels = sweep.facts.measures.map((measure) => M.panel(grid, M.measureTitle(measure)));
    if (!panels.length) M.note(section.body, "No measure of similarity in this sweep's tables yet.");
    M.on("arms", section.refresh);
    return async () => {
      const here = sweep.modules.filter((one) => one.layer === state.layer && one.normalized === state.normalized);
      const ytitle = M.QUANTITIES.find(([name]) => name === state.quantity)[1];
      await Promise.all(panels.map((panel, place) => M.drawStrength(sweep, panel,
        here.filter((one) => one.measure === place).map((one) => ({ trial: one.trial, y: one[state.quantity] })), { x: state.x, ytitle })));
      M.shareScale(panels, state.sameScale ? here.filter((one) => one.trial.isShown && !M.isHidden(one.trial)).map((one) => one[state.quantity]) : []);
    };
  });

M.shareScale = (panels, values) => {
  const range = M.rangeOf(values);
  if (range) panels.forEach((panel) => Plotly.relayout(panel.plot, { "yaxis.range": range }));
};

M.depth = (sweep) => M.section("depth", "Modularity against depth",
  "From the first hidden layer to the last. A line is the mean over the trials of one setting; its colour is the strength of regularization (dark: weak, bright: strong). Grey: untrained, mean and 2 sd.",
  (section) => {
    const layers = sweep.facts.layers.map((one) => one.layer).filter((layer) => layer >= 0);
    const arms = sweep.facts.trained_arms;
    const state = { quantity: "q", normalized: 1, arm: arms[0] };
    const row = M.moduleControls(sweep, section, state, { withLayer: false });
    M.select(row, "Arm", arms.map((index) => [index, sweep.facts.arms[index].name]), (value) => { state.arm = Number(value); section.refresh(); });
    if (layers.length < 2) M.note(section.body, layers.length ? "These networks have one hidden layer: there is no depth to follow." : "No layer was measured.");
    const grid = M.grid(section);
    const panels = sweep.facts.measures.map((measure) => M.panel(grid, M.measureTitle(measure)));
    const together = panels.length ? M.panel(M.grid(section, "two"), "all measures, mean of the arm") : null;
    return () => {
      const rows = sweep.modules.filter((one) => one.normalized === state.normalized && one.layer >= 0 && one.trial.counts && M.isNumber(one[state.quantity]));
      const drawn = panels.map((panel, place) => M.drawDepth(sweep, panel, rows.filter((one) => one.measure === place), state, layers));
      return Promise.all([...drawn, together && M.drawMeasures(sweep, together, rows, state, layers)]);
    };
  });

M.drawDepth = (sweep, panel, rows, state, layers) => {
  const traces = [], told = [];
  const byLayer = (some) => layers.map((layer) => some.filter((row) => row.layer === layer).map((row) => row[state.quantity]));
  const untrained = byLayer(rows.filter((row) => row.trial.isUntrained));
  const grey = sweep.facts.untrained_colour;
  if (untrained.some((values) => values.length)) {
    const means = untrained.map((values) => (values.length ? M.mean(values) : null));
    traces.push({
      type: "scatter", mode: "lines+markers", x: layers, y: means, line: { color: grey, dash: "dot", width: 2 }, marker: { color: grey, size: 6 },
      error_y: { type: "data", array: untrained.map((values) => 2 * M.deviation(values)), color: grey, thickness: 1.2 },
      text: means.map((mean, i) => `untrained<br>mean ${M.format(mean)}, n = ${untrained[i].length}`), hovertemplate: "%{text}<extra></extra>",
    });
    told.push(`untrained from ${M.short(means[0])} to ${M.short(means.at(-1))}`);
  }
  const own = rows.filter((row) => !row.trial.isUntrained && row.trial.arm === state.arm);
  const settings = [...M.groupBy(own, (row) => row.trial.strength)].sort((a, b) => a[0] - b[0]);
  settings.forEach(([strength, some]) => {
    const colour = M.strengthColour(strength), values = byLayer(some);
    const means = values.map((one) => (one.length ? M.mean(one) : null));
    const name = some[0].trial.setting;
    traces.push({
      type: "scatter", mode: "markers", x: some.map((row) => row.layer), y: some.map((row) => row[state.quantity]), marker: { color: colour, size: 5, opacity: 0.4 },
      customdata: some.map((row) => row.trial.index), text: some.map((row) => `${M.plain(M.describe(row.trial))}<br>${M.format(row[state.quantity])}<br>trial ${row.trial.id}`), hovertemplate: "%{text}<extra></extra>",
    }, {
      type: "scatter", mode: "lines+markers", x: layers, y: means, line: { color: colour, width: 2 }, marker: { color: colour, size: 7 },
      text: means.map((mean, i) => `${M.plain(name)}<br>mean ${M.format(mean)}, n = ${values[i].length}`), hovertemplate: "%{text}<extra></extra>",
    });
    if (strength === settings[0][0] || strength === settings.at(-1)[0]) told.push(`${name} from ${M.short(means[0])} to ${M.short(means.at(-1))}`);
  });
  panel.tell(told.length ? `First to last layer: ${told.join("; ")}.` : "No trial to show.");
  return M.draw(sweep, panel.plot, traces, {
    xaxis: { title: "hidden layer", tickvals: layers, range: [(layers[0] ?? 0) - 0.3, (layers.at(-1) ?? 0) + 0.3] },
    yaxis: { title: M.QUANTITIES.find(([name]) => name === state.quantity)[1] },
  });
};

// All measures on one axis: blues and solid lines upstream, oranges and dashes downstream.
M.drawMeasures = (sweep, panel, rows, state, layers) => {
  const told = [];
  const traces = sweep.facts.measures.map((measure, place) => {
    const own = rows.filter((row) => row.measure === place && !row.trial.isUntrained && row.trial.arm === state.arm);
    const values = layers.map((layer) => own.filter((row) => row.layer === layer).map((row) => row[state.quantity]));
    const means = values.map((some) => (some.length ? M.mean(some) : null));
    if (own.length) told.push(`${measure.title} from ${M.short(means[0])} to ${M.short(means.at(-1))}`);
    return {
      type: "scatter", mode: "lines+markers", name: measure.title, x: layers, y: means, line: { color: measure.colour, dash: measure.dash, width: 2 }, marker: { color: measure.colour, size: 7 },
      error_y: { type: "data", array: values.map((some) => M.deviation(some) / Math.sqrt(some.length || 1)), color: measure.colour, thickness: 1.2, width: 3 },
      text: means.map((mean, i) => `${measure.title} (${measure.family})<br>mean ${M.format(mean)}, n = ${values[i].length}`), hovertemplate: "%{text}<extra></extra>",
    };
  });
  panel.tell(told.length ? `Solid upstream, dashed downstream. First to last layer: ${told.join("; ")}.` : "No trained network in this arm.");
  return M.draw(sweep, panel.plot, traces, {
    showlegend: true, legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, font: { size: 10 } }, margin: { l: 52, r: 14, t: 44, b: 44 },
    xaxis: { title: "hidden layer", tickvals: layers, range: [(layers[0] ?? 0) - 0.3, (layers.at(-1) ?? 0) + 0.3] },
    yaxis: { title: M.QUANTITIES.find(([name]) => name === state.quantity)[1] },
  });
};

// Along cividis, without the ends that vanish on paper or on black.
M.strengthColour = (strength) => {
  const stops = M.theme() === "dark" ? ["#5a7bc4", "#8f9299", "#c9b35e", "#fee838"] : ["#00224e", "#4a5a7a", "#8f8a5e", "#d0a800"];
  const place = Math.min(Math.max(strength, 0), 1) * (stops.length - 1), low = Math.min(Math.floor(place), stops.length - 2);
  const parts = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  const a = parts(stops[low]), b = parts(stops[low + 1]);
  return `rgb(${a.map((value, i) => Math.round(value + (b[i] - value) * (place - low))).join(",")})`;
};
