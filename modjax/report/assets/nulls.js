"use strict";
// How far Q stands out from what chance gives: graphs without structure, such as rotated similarities, and untrained networks.

M.nulls = (sweep) => M.section("nulls", "Against nulls",
  "z = (Q - mean of the null) / its standard deviation, Q found by the null's own search. Left of 0 is less modular than the null. On the diagonals Q equals the null's mean.",
  (section) => {
    const kinds = [["z", "null_mean", "the graph's own null", "null_q"], ["untrained_z", "untrained_mean", "untrained networks", "q"]]
      .filter(([z]) => sweep.modules.some((row) => M.isNumber(row[z])));
    const state = { kind: kinds[0], normalized: 1, layer: M.firstLayer(sweep) };
    if (!kinds.some(([z]) => z === "z")) {
      M.note(section.body, "No null of the graphs was drawn in this sweep ([modules] nulls = 0)" + (kinds.length ? ": z is that against the sweep's untrained networks." : ", and it has no untrained networks to compare with."));
    }
    const row = M.controls(section);
    const set = (name, read) => (value) => { state[name] = read(value); section.refresh(); };
    M.select(row, "Null", kinds.map(([z, , title]) => [z, title]), set("kind", (value) => kinds.find(([z]) => z === value)));
    M.select(row, "Similarity", [["1", "normalized"], ["0", "raw"]], set("normalized", Number));
    M.select(row, "Layer", M.layerOptions(sweep), set("layer", Number), state.layer);
    M.legend(section, M.armsOf(sweep));
    const grid = M.grid(section);
    const panels = sweep.facts.measures.map((measure) => [M.panel(grid, `z, ${M.measureTitle(measure)}`), measure]);
    const scatters = sweep.facts.measures.map((measure) => M.panel(grid, `Q against its null, ${M.measureTitle(measure)}`));
    M.on("arms", section.refresh);
    return () => {
      const [z, mean, , q] = state.kind ?? ["z", "null_mean", "", "null_q"];
      const here = sweep.modules.filter((one) => one.layer === state.layer && one.normalized === state.normalized && one.trial.counts && !M.isHidden(one.trial));
      return Promise.all(panels.flatMap(([panel], place) => {
        const rows = here.filter((one) => one.measure === place);
        return [M.drawZ(sweep, panel, rows, z, sweep.facts.measures[place].colour), M.drawAgainstNull(sweep, scatters[place], rows, mean, q)];
      }));
    };
  });

M.drawZ = (sweep, panel, rows, z, own) => {
  const known = rows.filter((row) => M.isNumber(row[z]));
  const groups = [["trained", known.filter((row) => !row.trial.isUntrained), own], ["untrained", known.filter((row) => row.trial.isUntrained), sweep.facts.untrained_colour]];
  return M.drawZGroups((traces, layout) => M.draw(sweep, panel.plot, traces, layout), panel, groups, z);
};

// groups: [name, rows, colour, meta]; every row has a z.
M.drawZGroups = (draw, panel, groups, z) => {
  const values = groups.flatMap(([, some]) => some.map((row) => row[z]));
  const low = Math.min(...values, 0), high = Math.max(...values, 0), size = (high - low || 1) / 30;
  const traces = groups.filter(([, some]) => some.length).map(([name, some, colour]) => ({
    type: "histogram", name, x: some.map((row) => row[z]), marker: { color: colour }, opacity: 0.6, histnorm: "probability",
    xbins: { start: low, end: high + size, size }, hovertemplate: `${name}: z %{x}<br>share %{y:.3f}<extra></extra>`,
  }));
  // A point for each trial under the bars, so that each can be opened.
  groups.filter(([, some]) => some.length).forEach(([name, some, colour, meta], place) => traces.push({
    type: "scatter", mode: "markers", name, meta, x: some.map((row) => row[z]), y: some.map(() => -place), yaxis: "y2", marker: { color: colour, symbol: "line-ns-open", size: 9, opacity: 0.6 },
    customdata: some.map((row) => row.trial.index), text: some.map((row) => `${M.plain(name)}: ${M.plain(M.describe(row.trial))}<br>z ${M.format(row[z])}<br>trial ${row.trial.id}`), hovertemplate: "%{text}<extra></extra>",
  }));
  const median = (some) => { const sorted = some.map((row) => row[z]).sort((a, b) => a - b); return sorted[Math.floor(sorted.length / 2)]; };
  const told = groups.filter(([, some]) => some.length).map(([name, some]) => `${name}: median ${M.short(median(some))}, ${some.filter((row) => row[z] > 1.645).length} of ${some.length} above 1.645`);
  panel.tell(told.length ? `${told.join("; ")}.` : "No z to show.");
  return draw(traces, {
    barmode: "overlay", xaxis: { title: "z", anchor: "y2" }, yaxis: { title: "share of networks", domain: [0.18, 1] },
    yaxis2: { domain: [0, 0.14], range: [-1.6, 0.6], showgrid: false, zeroline: false, showticklabels: false, fixedrange: true },
    shapes: [{ type: "line", yref: "paper", y0: 0, y1: 1, x0: 0, x1: 0, line: { color: M.colour("soft"), width: 1, dash: "dot" } }],
  });
};

M.drawAgainstNull = (sweep, panel, rows, mean, q) => {
  const known = rows.filter((row) => M.isNumber(row[mean]) && M.isNumber(row[q]));
  const groups = [...M.groupBy(known, (row) => (row.trial.isUntrained ? "untrained" : row.trial.arm))];
  const traces = groups.map(([key, some]) => {
    const arm = key === "untrained" ? { name: "untrained", colour: sweep.facts.untrained_colour, symbol: "circle" } : sweep.facts.arms[key];
    return {
      type: "scatter", mode: "markers", name: arm.name, x: some.map((row) => row[mean]), y: some.map((row) => row[q]), marker: { color: M.visible(arm.colour), symbol: arm.symbol, size: 6, opacity: 0.6 },
      customdata: some.map((row) => row.trial.index), text: some.map((row) => `${M.plain(M.describe(row.trial))}<br>Q ${M.format(row[q])}, null ${M.format(row[mean])}<br>trial ${row.trial.id}`), hovertemplate: "%{text}<extra></extra>",
    };
  });
  const all = known.flatMap((row) => [row[mean], row[q]]);
  const low = Math.min(...all), high = Math.max(...all);
  panel.tell(known.length ? `${known.filter((row) => row[q] > row[mean]).length} of ${known.length} networks are above the diagonal.` : "No null to show.");
  return M.draw(sweep, panel.plot, traces, { xaxis: { title: "mean Q of the null" }, yaxis: { title: q === "q" ? "modularity Q" : "modularity Q, by the null's search" },
    shapes: known.length ? [{ type: "line", x0: low, y0: low, x1: high, y1: high, line: { color: M.colour("soft"), width: 1, dash: "dot" } }] : [] });
};
