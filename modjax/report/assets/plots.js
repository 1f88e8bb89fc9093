"use strict";
// How every figure looks, and the one that is drawn most: values against regularization.

M.MAGMA = [[0, "#000004"], [0.125, "#1c1044"], [0.25, "#4f127b"], [0.375, "#812581"], [0.5, "#b5367a"], [0.625, "#e55064"], [0.75, "#fb8761"], [0.875, "#fec287"], [1, "#fcfdbf"]];
M.DIVERGING = [[0, "#0072B2"], [0.5, "#f7f7f7"], [1, "#D55E00"]];

M.layout = (more = {}) => {
  const ink = M.colour("ink"), grid = M.colour("grid"), line = M.colour("line");
  const axis = (own = {}) => ({
    gridcolor: grid, linecolor: line, zerolinecolor: grid, tickfont: { size: 11 }, automargin: true, ...own,
    title: own.title ? { text: own.title, font: { size: 12 }, standoff: 6 } : undefined,
  });
  const { xaxis, yaxis, ...rest } = more;
  return {
    font: { family: "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", size: 12, color: ink },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 52, r: 14, t: 12, b: 44 },
    hoverlabel: { align: "left", bgcolor: M.colour("card"), bordercolor: line, font: { color: ink, size: 12 } },
    showlegend: false, hovermode: "closest", dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    ...rest, xaxis: axis(xaxis), yaxis: axis(yaxis),
  };
};

// The buttons are named one by one: plotly.js by itself offers to upload a chart, and nothing leaves this page.
M.CONFIG = {
  responsive: true, displaylogo: false, plotlyServerURL: "",
  displayModeBar: matchMedia("(pointer: coarse)").matches ? false : "hover",
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
};

// customdata of a point is its trial's index; a click picks the trial.
M.draw = (sweep, plot, traces, layout) => {
  const isNew = !plot.classList.contains("js-plotly-plot");
  const done = Plotly.react(plot, traces, M.layout(layout), M.CONFIG);
  if (isNew) {
    plot.on("plotly_click", (event) => {
      const point = event.points.find((one) => M.isNumber(one.customdata));
      if (point) M.pick(sweep.trials[point.customdata]);
    });
  }
  return done;
};

M.AXES = { strength: "strength within its arm",
  test_accuracy: "test accuracy", l1_norm: "sum of |W|", l2_norm: "sum of W²", nuclear_norm: "nuclear norm", sparsity: "sparsity" };

M.xOptions = (sweep) => [
  ["strength", M.AXES.strength],
  { label: "setting", options: sweep.varying.map((name) => [name, M.AXES[name]]) },
  { label: "network", options: ["test_accuracy", "l1_norm", "l2_norm", "nuclear_norm", "sparsity"].map((name) => [name, M.AXES[name]]) },
].filter((one) => Array.isArray(one) || one.options.length);

M.xAxis = (x, places) => {
  if (x === "strength") return { title: "regularization within its arm", range: [-0.16, 1.08], tickvals: [0, 0.5, 1], ticktext: ["weakest", "", "strongest"] };
  const isLog = M.LOG_AXES.has(x) && places.some((value) => value > 0);
  return isLog ? { title: M.AXES[x], type: "log", exponentformat: "power", dtick: 1 } : { title: M.AXES[x] };
};

// Untrained networks have no strength: their points stand at the left, spread a little so that all can be seen.
M.untrainedPlace = (index) => -0.1 + 0.035 * (((index * 0.618034) % 1) - 0.5);

// Points a trial (rows: {trial, y}), mean and standard error over seeds, untrained networks as a band.
M.drawStrength = (sweep, panel, rows, { x = "strength", ytitle = "", isLog = false, showExcluded = true, fitTrained = false } = {}) => {
  const place = (trial) => (x === "strength" ? trial.strength : trial[x]);
  const known = rows.filter((row) => M.isNumber(row.y) && row.trial.isShown && !M.isHidden(row.trial) && !(isLog && row.y <= 0));
  const trained = known.filter((row) => !row.trial.isUntrained && M.isNumber(place(row.trial)));
  const untrained = known.filter((row) => row.trial.isUntrained);
  const xaxis = M.xAxis(x, trained.map((row) => place(row.trial)));
  const onAxis = trained.filter((row) => xaxis.type !== "log" || place(row.trial) > 0);
  const hover = (row) => `${M.plain(M.describe(row.trial))}<br>${M.plain(ytitle)} ${M.format(row.y)}${row.trial.excluded && row.trial.status !== "failed" ? `<br>excluded: ${M.plain(sweep.facts.exclusion_rule)}` : ""}<br>trial ${row.trial.id}`;
  const points = (some, look) => ({
    type: "scatter", mode: "markers", x: some.map((row) => look.x?.(row) ?? place(row.trial)), y: some.map((row) => row.y),
    customdata: some.map((row) => row.trial.index), text: some.map(hover), hovertemplate: "%{text}<extra></extra>", marker: look.marker, name: look.name,
  });
  const traces = [];
  const told = [];
  for (const index of sweep.facts.trained_arms) {
    const arm = sweep.facts.arms[index], colour = M.visible(arm.colour);
    const all = onAxis.filter((row) => row.trial.arm === index);
    const counted = all.filter((row) => row.trial.counts), rest = all.filter((row) => !row.trial.counts);
    if (counted.length) traces.push(points(counted, { name: arm.name, marker: { color: colour, symbol: arm.symbol, size: 6, opacity: 0.45 } }));
    if (rest.length && showExcluded) traces.push(points(rest, { name: `${arm.name}, excluded`, marker: { color: colour, symbol: `${arm.symbol}-open`, size: 6, opacity: 0.8 } }));
    if ((x === "strength" || M.HYPERPARAMETERS.includes(x)) && counted.length) traces.push(M.meanLine(counted, place, arm, colour, told));
  }
  const shapes = [];
  if (untrained.length) {
    const values = untrained.map((row) => row.y), mean = M.mean(values), spread = 2 * M.deviation(values);
    const grey = sweep.facts.untrained_colour;
    const onY = isLog ? (value) => Math.max(value, mean / 100) : (value) => value;
    shapes.push({ type: "rect", xref: "paper", x0: 0, x1: 1, y0: onY(mean - spread), y1: mean + spread, fillcolor: grey, opacity: 0.18, line: { width: 0 }, layer: "below" });
    shapes.push({ type: "line", xref: "paper", x0: 0, x1: 1, y0: mean, y1: mean, line: { color: grey, width: 1.5, dash: "dot" }, layer: "below" });
    const atLeft = x === "strength" ? (row) => M.untrainedPlace(row.trial.index) : x in sweep.trials[0] && !M.HYPERPARAMETERS.includes(x) ? undefined : null;
    if (atLeft !== null) traces.push(points(untrained, { name: "untrained", x: atLeft, marker: { color: grey, symbol: "circle", size: 5, opacity: 0.5 } }));
    told.push(`untrained ${M.short(mean)} ± ${M.short(spread)} (2 sd, n = ${untrained.length})`);
  }
  const gone = trained.length - onAxis.length;
  if (gone) told.push(`${gone} trials at 0 have no place on a log axis`);
  panel.tell(told.length ? `${told.join("; ")}.` : "No trial to show.");
  const range = fitTrained ? M.rangeOf(onAxis.filter((row) => row.trial.counts || showExcluded).map((row) => (isLog ? Math.log10(row.y) : row.y))) : undefined;
  return M.draw(sweep, panel.plot, traces, { shapes, xaxis, yaxis: { title: ytitle, type: isLog ? "log" : "linear", range, autorange: range === undefined } });
};

// A little more than from the least to the largest; undefined where there is none.
M.rangeOf = (values) => {
  const known = values.filter(M.isNumber);
  if (!known.length) return undefined;
  const low = Math.min(...known), high = Math.max(...known), gap = 0.06 * (high - low || Math.abs(high) || 1);
  return [low - gap, high + gap];
};

M.meanLine = (rows, place, arm, colour, told) => {
  const groups = [...M.groupBy(rows, (row) => place(row.trial))].sort((a, b) => a[0] - b[0]);
  const means = groups.map(([, some]) => M.mean(some.map((row) => row.y)));
  const errors = groups.map(([, some]) => M.deviation(some.map((row) => row.y)) / Math.sqrt(some.length));
  told.push(groups.length > 1 ? `${arm.name} from ${M.short(means[0])} (weakest) to ${M.short(means.at(-1))} (strongest)` : `${arm.name} ${M.short(means[0])}`);
  // A click on a mean opens the trial nearest to it.
  const nearest = groups.map(([, some], i) => some.reduce((best, row) => (Math.abs(row.y - means[i]) < Math.abs(best.y - means[i]) ? row : best)));
  return {
    type: "scatter", mode: "lines+markers", name: `${arm.name}, mean`, customdata: nearest.map((row) => row.trial.index), x: groups.map(([x]) => x), y: means,
    error_y: { type: "data", array: errors, color: colour, thickness: 1.2, width: 3 },
    line: { color: colour, width: 2 }, marker: { color: colour, symbol: arm.symbol, size: 8 },
    text: groups.map(([, some], i) => `${M.plain(arm.name)}: ${M.plain(some[0].trial.setting)}<br>mean ${M.format(means[i])}, s.e. ${M.format(errors[i])}, n = ${some.length}<br>nearest trial ${nearest[i].trial.id}`),
    hovertemplate: "%{text}<extra></extra>",
  };
};
