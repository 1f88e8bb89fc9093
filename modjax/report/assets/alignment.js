"use strict";
// Agreement of the modules that different measures find in the same layer of the same network.

M.alignmentRows = (sweep) => sweep.tables.alignment;

M.graphTitle = (sweep, graph) => `${sweep.facts.measures[graph >> 1].title}${graph & 1 ? ", norm." : ""}`;

// Mean of a score over the chosen trials: values[a][b] and the number of trials.
M.meanAlignment = (sweep, score, layer, isChosen) => {
  const columns = sweep.tables.alignment;
  const size = 2 * sweep.facts.measures.length;
  const chosen = sweep.trials.map((trial) => trial.counts && isChosen(trial));
  const sums = new Float64Array(size * size), counts = new Int32Array(size * size);
  const isTransfer = score.startsWith("transfer");
  const forth = columns[isTransfer ? `${score}_ab` : score], back = columns[isTransfer ? `${score}_ba` : score];
  const seen = new Set();
  for (let i = 0; i < columns.trial.length; i++) {
    if (columns.layer[i] !== layer || !chosen[columns.trial[i]]) continue;
    const a = columns.a[i], b = columns.b[i];
    const put = (place, value) => { if (Number.isFinite(value)) { sums[place] += value; counts[place]++; } };
    put(a * size + b, forth[i]);
    if (a !== b) put(b * size + a, back[i]);
    seen.add(columns.trial[i]);
  }
  const values = Array.from({ length: size }, (_, a) => Array.from({ length: size }, (_, b) => (counts[a * size + b] ? sums[a * size + b] / counts[a * size + b] : null)));
  return { values, n: seen.size };
};

M.alignment = (sweep) => M.section("alignment", "Alignment of measures",
  "Do different measures find the same modules? Each cell compares the modules of two graphs of the same layer and network, mean over networks; raw and normalized graphs of every measure.",
  (section) => {
    const { facts } = sweep;
    const state = { score: "element_centric", layer: M.firstLayer(sweep), arm: "all", setting: "all" };
    const row = M.controls(section);
    const set = (name, read = (value) => value) => (value) => { state[name] = read(value); section.refresh(); };
    M.select(row, "Score", facts.scores.map((one) => [one.name, one.title]), set("score"));
    M.select(row, "Layer", M.layerOptions(sweep), set("layer", Number), state.layer);
    const settingsOf = (arm) => [...new Map(sweep.trials.filter((trial) => arm !== "all" && trial.arm === Number(arm) && M.isNumber(trial.strength))
      .sort((a, b) => a.strength - b.strength).map((trial) => [trial.strength, trial.setting]))];
    M.select(row, "Trained networks of arm", [["all", "all arms"], ...facts.trained_arms.map((index) => [index, facts.arms[index].name])], (value) => {
      state.arm = value;
      state.setting = "all";
      M.setOptions(settings, [["all", "all settings"], ...settingsOf(value)]);
      section.refresh();
    });
    const settings = M.select(row, "Strength", [["all", "all settings"]], set("setting"));
    if (facts.left_out.alignment_trials < facts.left_out.alignment_total) {
      M.note(section.body, `The page holds the alignment of ${facts.left_out.alignment_trials} of ${facts.left_out.alignment_total} trials; the rest is in alignment.parquet.`);
    }
    const grid = M.grid(section, "two");
    const panels = ["trained", "untrained", "trained minus untrained", "agreement of the scores"].map((title) => M.panel(grid, title, true));
    return () => {
      const isTrained = (trial) => !trial.isUntrained && (state.arm === "all" || trial.arm === Number(state.arm))
        && (state.setting === "all" || trial.strength === Number(state.setting));
      const trained = M.meanAlignment(sweep, state.score, state.layer, isTrained);
      const untrained = M.meanAlignment(sweep, state.score, state.layer, (trial) => trial.isUntrained);
      const difference = trained.values.map((line, a) => line.map((value, b) => (value === null || untrained.values[a][b] === null ? null : value - untrained.values[a][b])));
      const names = trained.values.map((_, graph) => M.graphTitle(sweep, graph));
      const all = [...trained.values, ...untrained.values].flat().filter(M.isNumber);
      const range = { zmin: Math.min(0, ...all), zmax: state.score === "vi" ? Math.max(...all, 0.1) : 1, colorscale: "Viridis", reversescale: state.score === "vi" };
      panels[0].title(`trained (n = ${trained.n})`);
      panels[1].title(`untrained (n = ${untrained.n})`);
      const most = Math.max(0.05, ...difference.flat().filter(M.isNumber).map(Math.abs));
      return Promise.all([
        M.drawGraphs(sweep, panels[0], names, trained.values, range),
        M.drawGraphs(sweep, panels[1], names, untrained.values, range),
        M.drawGraphs(sweep, panels[2], names, difference, { zmin: -most, zmax: most, colorscale: M.DIVERGING }),
        M.drawAgreement(sweep, panels[3], state.layer),
      ]);
    };
  });

M.drawGraphs = (sweep, panel, names, values, look) => {
  const size = names.length, cells = [];
  values.forEach((line, a) => line.forEach((value, b) => { if (a !== b && value !== null) cells.push([value, a, b]); }));
  cells.sort((x, y) => y[0] - x[0]);
  const say = ([value, a, b]) => `${names[a]} with ${names[b]} (${M.short(value)})`;
  panel.tell(cells.length ? `Highest between different graphs: ${say(cells[0])}; lowest: ${say(cells.at(-1))}.` : "No trial to show.");
  return M.drawCells(sweep, panel, names, values, look, size);
};

M.drawCells = (sweep, panel, names, values, look) => {
  const low = look.zmin, high = look.zmax;
  // Ink that can be read on the cell: dark on the bright end of the scale, on the pale middle of a diverging one.
  const ink = (value) => {
    const place = (value - low) / (high - low || 1);
    return look.colorscale === "Viridis" ? ((look.reversescale ? 1 - place : place) < 0.6 ? "#ffffff" : "#000000") : Math.abs(place - 0.5) > 0.42 ? "#ffffff" : "#000000";
  };
  const isNarrow = panel.plot.clientWidth < 460; // no room for numbers in the cells; they are on hover, and said below
  const annotations = isNarrow ? [] : values.flatMap((line, a) => line.map((value, b) => (value === null ? null : { x: names[b], y: names[a], text: value.toFixed(2), showarrow: false, font: { size: 9, color: ink(value) } }))).filter(Boolean);
  const trace = {
    type: "heatmap", x: names, y: names, z: values, ...look, showscale: true, colorbar: { thickness: 8, len: 0.8, outlinewidth: 0, tickfont: { size: 10 } }, xgap: 1, ygap: 1, hovertemplate: "%{y}<br>with %{x}<br>%{z:.3f}<extra></extra>",
  };
  return M.draw(sweep, panel.plot, [trace], {
    annotations, margin: { l: isNarrow ? 60 : 110, r: 10, t: 8, b: 90 }, xaxis: { tickangle: -60, showgrid: false, tickfont: { size: 10 } }, yaxis: { autorange: "reversed", showgrid: false, tickfont: { size: 10 } },
  });
};

// Spearman correlation between scores, over all pairs of different graphs of one layer.
M.drawAgreement = (sweep, panel, layer) => {
  const columns = sweep.tables.alignment, rows = [];
  const names = sweep.facts.scores.map((one) => (one.name.startsWith("transfer") ? `${one.name}_ab` : one.name));
  for (let i = 0; i < columns.trial.length; i++) {
    if (columns.layer[i] === layer && columns.a[i] !== columns.b[i] && sweep.trials[columns.trial[i]].counts && names.every((name) => Number.isFinite(columns[name][i]))) rows.push(i);
  }
  const ranks = names.map((name) => M.ranks(rows.map((i) => columns[name][i])));
  const values = ranks.map((a) => ranks.map((b) => { const r = rows.length > 2 ? M.correlation(a, b) : NaN; return Number.isFinite(r) ? r : null; }));
  const titles = sweep.facts.scores.map((one) => one.name.replace(/_/g, " "));
  panel.title(`agreement of the scores (${rows.length} pairs)`);
  panel.tell("Rank correlation between scores over all pairs of graphs in this layer, all networks. Variation of information falls where the others rise.");
  return M.drawCells(sweep, panel, titles, values, { zmin: -1, zmax: 1, colorscale: M.DIVERGING });
};
