"use strict";
// What two sweeps say about modules: the claims, depth, nulls, and how far measures agree.

M.CLAIMS = { dropout: "Q rises with dropout", arms: "dropout against penalties", families: "agreement within and across families", training: "what training changes" };

M.compareClaims = () => M.section("claims", "Claims side by side", "What each sweep's tables say about the claims: estimates over seeds, and verdicts.", (section) => {
  const all = M.records(M.facts.claims);
  if (!all.length) { M.note(section.body, "Neither sweep can test a claim: see its verdicts above."); return null; }
  const state = { claim: all[0].claim, onlyOther: false };
  const row = M.controls(section);
  const titles = [...new Set(all.map((one) => one.claim))].map((claim) => [claim, M.CLAIMS[claim] ?? claim]);
  M.select(row, "Claim", titles, (value) => { state.claim = value; fill(); }, state.claim);
  M.check(row, "only where the verdicts differ", false, (isOn) => { state.onlyOther = isOn; fill(); });
  const told = M.element("p", { class: "summary", role: "status" });
  section.body.append(told);
  const number = (key, title) => ({ key, title, value: (one) => one[key] });
  const text = (key, title = key) => ({ key, title, value: (one) => (one[key] === null ? null : String(one[key]).replace(/_/g, " ")) });
  const table = M.table(section.body, "Claims side by side", [
    text("quantity"), text("networks"), text("score"), text("measure"), { key: "normalized", title: "scaling", value: (one) => (one.normalized === null ? null : one.normalized ? "normalized" : "raw") },
    number("layer", "layer"), number("estimate_a", "estimate A"), text("verdict_a", "verdict A"), number("estimate_b", "estimate B"), text("verdict_b", "verdict B"),
  ]);
  const fill = () => {
    const rows = all.filter((one) => one.claim === state.claim);
    const isTested = (verdict) => verdict !== null && verdict !== "not tested";
    const both = rows.filter((one) => isTested(one.verdict_a) && isTested(one.verdict_b));
    const other = both.filter((one) => one.verdict_a !== one.verdict_b);
    told.textContent = both.length ? `${both.length - other.length} of ${both.length} estimates that both sweeps test come to the same verdict.` : "No estimate that both sweeps test.";
    table.set(state.onlyOther ? other : rows);
  };
  fill();
  return null;
});

M.compareDepth = (sweeps) => M.section("depth", "Modularity against depth",
  "From the first hidden layer to the last: means over the trials of an arm, with standard errors. Solid and filled: A; dashed and open: B; grey: untrained.",
  (section) => {
    const arms = M.compareArms(sweeps).filter((arm) => arm.key !== "untrained");
    const layers = M.layersOf(sweeps).map(([layer]) => layer).filter((layer) => layer >= 0);
    const state = { quantity: "q", normalized: 1, arm: arms[0]?.key, strength: "all" };
    const set = M.setter(section, state), row = M.controls(section);
    M.select(row, "Quantity", M.quantitiesOf(sweeps), set("quantity"));
    M.select(row, "Similarity", [["1", "normalized"], ["0", "raw"]], set("normalized", Number));
    if (arms.length) M.select(row, "Arm", arms.map((arm) => [arm.key, arm.title]), set("arm"));
    M.select(row, "Strength", [["all", "all settings"], ["0", "weakest"], ["1", "strongest"]], set("strength"));
    if (layers.length < 2) M.note(section.body, layers.length ? "These networks have one hidden layer: there is no depth to follow." : "No layer was measured.");
    const panels = M.measurePanels(sweeps, M.grid(section));
    return () => Promise.all(panels.map(([name, panel]) => M.drawDepths(sweeps, panel, name, state, layers)));
  });

M.drawDepths = (sweeps, panel, name, state, layers) => {
  const traces = [], told = [];
  for (const sweep of sweeps) {
    const { side } = sweep.facts, style = M.STYLES[side];
    const rows = M.rowsOfMeasure(sweep, name).filter((one) => one.normalized === state.normalized && one.layer >= 0 && one.trial.counts && M.isNumber(one[state.quantity]));
    const isAsked = ({ trial }) => !trial.isUntrained && trial.armName === state.arm && (state.strength === "all" || trial.strength === Number(state.strength));
    for (const [title, own] of [[state.arm, rows.filter(isAsked)], ["untrained", rows.filter((one) => one.trial.isUntrained)]]) {
      if (!own.length) continue;
      const colour = title === "untrained" ? sweep.facts.untrained_colour : M.visible(M.arm(sweep, own[0].trial).colour);
      const values = layers.map((layer) => own.filter((one) => one.layer === layer).map((one) => one[state.quantity]));
      const means = values.map((some) => (some.length ? M.mean(some) : null));
      traces.push({
        type: "scatter", mode: "lines+markers", name: `${side} ${title}`, x: layers, y: means, line: { color: colour, dash: style.dash, width: 2 }, marker: { color: colour, symbol: `circle${style.open}`, size: 7 },
        error_y: { type: "data", array: values.map((some) => M.deviation(some) / Math.sqrt(some.length || 1)), color: colour, thickness: 1.2, width: 3 },
        text: means.map((mean, i) => `${side}, ${M.plain(title)}, layer ${layers[i]}<br>mean ${M.format(mean)}, n = ${values[i].length}`), hovertemplate: "%{text}<extra></extra>",
      });
      told.push(`${side} ${title} from ${M.short(means[0])} to ${M.short(means.at(-1))}`);
    }
  }
  panel.tell(told.length ? `First to last layer: ${told.join("; ")}.` : "No trial to show.");
  return M.drawCompared(sweeps, panel.plot, traces, {
    xaxis: { title: "hidden layer", tickvals: layers, range: [(layers[0] ?? 0) - 0.3, (layers.at(-1) ?? 0) + 0.3] }, yaxis: { title: M.QUANTITIES.find(([key]) => key === state.quantity)[1] },
  });
};

M.compareNulls = (sweeps) => M.section("nulls", "Against nulls",
  "z = (Q - mean of the null) / its standard deviation, of both sweeps. Blue: A; orange: B. Left of 0 is less modular than the null. A click on a stroke under the bars names its trial.",
  (section) => {
    const kinds = [["z", "the graph's own null"], ["untrained_z", "untrained networks"]].filter(([z]) => sweeps.some((sweep) => sweep.modules.some((one) => M.isNumber(one[z]))));
    const layers = M.layersOf(sweeps);
    const state = { z: kinds[0]?.[0] ?? "z", normalized: 1, layer: M.startLayer(layers), networks: "trained" };
    if (!kinds.length) M.note(section.body, "Neither sweep has a null: none was drawn ([modules] nulls = 0), and there are no untrained networks.");
    const set = M.setter(section, state), row = M.controls(section);
    if (kinds.length) M.select(row, "Null", kinds, set("z"));
    M.select(row, "Similarity", [["1", "normalized"], ["0", "raw"]], set("normalized", Number));
    M.select(row, "Layer", layers, set("layer", Number), state.layer);
    M.select(row, "Networks", [["trained", "trained"], ["untrained", "untrained"]], set("networks"));
    M.legend(section, M.compareArms(sweeps).filter((arm) => arm.key !== "untrained"));
    const panels = M.measurePanels(sweeps, M.grid(section), "z, ");
    M.on("arms", section.refresh);
    const isAsked = (trial) => trial.counts && trial.isUntrained === (state.networks === "untrained") && (trial.isUntrained || !M.state.hidden.has(trial.armName));
    return () => Promise.all(panels.map(([name, panel]) => {
      const groups = sweeps.map((sweep) => {
        const rows = M.rowsOfMeasure(sweep, name).filter((one) => one.layer === state.layer && one.normalized === state.normalized && isAsked(one.trial) && M.isNumber(one[state.z]));
        const { side } = sweep.facts;
        return [`${side} ${state.networks}`, rows, M.STYLES[side].colour, side];
      });
      return M.drawZGroups((traces, layout) => M.drawCompared(sweeps, panel.plot, traces, layout), panel, groups, state.z);
    }));
  });

M.compareAlignment = (sweeps) => M.section("alignment", "Alignment of measures",
  "Do different measures find the same modules? Each cell compares the modules of two graphs of the same layer and network, mean over networks: in A, in B, and B minus A.",
  (section) => {
    const layers = M.layersOf(sweeps);
    const state = { score: "element_centric", layer: M.startLayer(layers), networks: "all" };
    const set = M.setter(section, state), row = M.controls(section);
    M.select(row, "Score", sweeps[0].facts.scores.map((one) => [one.name, one.title]), set("score"));
    M.select(row, "Layer", layers, set("layer", Number), state.layer);
    const arms = M.compareArms(sweeps).filter((arm) => arm.key !== "untrained");
    M.select(row, "Networks", [["all", "trained, all arms"], ["untrained", "untrained"], { label: "trained, arm", options: arms.map((arm) => [`arm ${arm.key}`, arm.title]) }].filter((one) => Array.isArray(one) || one.options.length), set("networks"));
    for (const { facts } of sweeps) {
      const { alignment_trials: here, alignment_total: total } = facts.left_out;
      if (here < total) M.note(section.body, `The page holds the alignment of ${here} of ${total} trials of ${facts.side}; the rest is in alignment.parquet.`);
    }
    const grid = M.grid(section, "two");
    const panels = ["A", "B", "B minus A"].map((title) => M.panel(grid, title, true));
    const isAsked = (trial) => (state.networks === "untrained" ? trial.isUntrained : !trial.isUntrained && (state.networks === "all" || state.networks === `arm ${trial.armName}`));
    return () => {
      const found = sweeps.map((sweep) => M.meanAlignment(sweep, state.score, state.layer, isAsked));
      const names = sweeps.map((sweep, i) => found[i].values.map((_, graph) => M.graphTitle(sweep, graph)));
      const shared = names[0].filter((name) => names[1].includes(name));
      const [inA, inB] = names.map((own) => shared.map((name) => own.indexOf(name)));
      const difference = shared.map((_, a) => shared.map((_, b) => {
        const [first, second] = [found[0].values[inA[a]][inA[b]], found[1].values[inB[a]][inB[b]]];
        return first === null || second === null ? null : second - first;
      }));
      const all = found.flatMap((one) => one.values.flat()).filter(M.isNumber);
      const range = { zmin: Math.min(0, ...all), zmax: state.score === "vi" ? Math.max(...all, 0.1) : 1, colorscale: "Viridis", reversescale: state.score === "vi" };
      const most = Math.max(0.05, ...difference.flat().filter(M.isNumber).map(Math.abs));
      found.forEach((one, i) => panels[i].title(`${"AB"[i]} (n = ${one.n})`));
      return Promise.all([
        ...found.map((one, i) => M.drawGraphs(sweeps[i], panels[i], names[i], one.values, range)),
        M.drawGraphs(sweeps[0], panels[2], shared, difference, { zmin: -most, zmax: most, colorscale: M.DIVERGING }),
      ]);
    };
  });
