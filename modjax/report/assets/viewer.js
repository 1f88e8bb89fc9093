"use strict";
// One similarity matrix, its units in the order of some modules.

// The bytes of a trial's matrices (page_matrices.py): a record, the diagonal, the strict upper triangle.
M.decodeMatrices = (buffer) => {
  const view = new DataView(buffer), matrices = new Map();
  for (let offset = 0; offset < buffer.byteLength; ) {
    const layer = view.getInt32(offset, true), measure = view.getInt32(offset + 4, true);
    const units = view.getInt32(offset + 8, true), scale = view.getFloat32(offset + 12, true);
    const diagonal = new Float32Array(buffer.slice(offset + 16, offset + 16 + 4 * units));
    const pairs = (units * (units - 1)) / 2, begin = offset + 16 + 4 * units;
    const steps = new Uint8Array(buffer, begin, pairs);
    matrices.set(`${layer},${measure}`, { units, scale, diagonal, steps });
    offset = begin + 4 * Math.ceil(pairs / 4);
  }
  return matrices;
};

M.weights = ({ units, scale, diagonal, steps }, isNormalized) => {
  const values = new Float64Array(units * units);
  const root = isNormalized ? null : diagonal.map(Math.sqrt);
  for (let i = 0, k = 0; i < units; i++) {
    for (let j = i + 1; j < units; j++, k++) {
      const value = scale * (steps[k] / 255) ** 2 * (isNormalized ? 1 : root[i] * root[j]);
      values[i * units + j] = values[j * units + i] = value;
    }
  }
  return values;
};

// Q = sum_ij [A_ij/s - k_i k_j/s^2] [c_i = c_j >= 0], s = sum A, k = row sums.
M.modularityOf = (weights, labels) => {
  const units = labels.length, strength = new Float64Array(units), within = new Map(), of = new Map();
  let total = 0;
  for (let i = 0; i < units; i++) {
    for (let j = 0; j < units; j++) {
      const value = weights[i * units + j];
      strength[i] += value;
      if (labels[i] >= 0 && labels[i] === labels[j]) within.set(labels[i], (within.get(labels[i]) ?? 0) + value);
    }
    total += strength[i];
    if (labels[i] >= 0) of.set(labels[i], (of.get(labels[i]) ?? 0) + strength[i]);
  }
  if (!(total > 0)) return NaN;
  let q = 0;
  for (const [label, sum] of of) q += (within.get(label) ?? 0) / total - (sum / total) ** 2;
  return q;
};

M.viewer = (sweep, stored) => M.section("viewer", "Matrix viewer",
  "The graph |S| of one network, units sorted by the modules of this or of another measure: blocks that stay bright are modules that both see.",
  (section) => {
    const { facts } = sweep;
    const held = Object.keys(stored.trials);
    const state = { layer: M.firstLayer(sweep), measure: 0, normalized: 1, sort: "own" };
    if (held.length < stored.total) {
      M.note(section.body, `To stay below 15 MB the page holds the matrices of ${held.length} of ${stored.total} trials (one seed of each setting first); all are in similarity/*.parquet.`);
    }
    const row = M.controls(section);
    const set = (name, read = (value) => value) => (value) => { state[name] = read(value); section.refresh(); };
    const groups = M.groupBy(sweep.trials.filter((trial) => held.includes(trial.id)), (trial) => trial.armName);
    const choose = M.select(row, "Trial", [...groups].map(([label, trials]) => ({
      label, options: trials.sort((a, b) => a.strength - b.strength || a.seed - b.seed).map((trial) => [trial.id, `${M.describe(trial)} · ${trial.id}`]),
    })), (id) => M.pick(sweep.byId.get(id), null));
    M.select(row, "Layer", M.layerOptions(sweep), set("layer", Number), state.layer);
    M.select(row, "Measure", facts.measures.map((one, place) => [place, one.title]), set("measure", Number));
    M.select(row, "Similarity", [["1", "normalized"], ["0", "raw"]], set("normalized", Number));
    M.select(row, "Sort by modules of", [["own", "its own"], ["joint", "all measures together (joint)"], ["unit", "none: unit order"],
      { label: "normalized", options: facts.measures.map((one, place) => [`${place},1`, one.title]) },
      { label: "raw", options: facts.measures.map((one, place) => [`${place},0`, one.title]) }], set("sort"));
    const others = facts.measures.flatMap((one, place) => [[`${place},1`, `${one.title}, normalized`], [`${place},0`, `${one.title}, raw`]]);
    state.other = `${facts.measures.length - 1},1`;
    M.select(row, "Beside it, in the same order", [...others, ["none", "nothing"]], set("other"), state.other);
    const grid = M.grid(section, "two");
    const panel = M.panel(grid, "matrix", true), beside = M.panel(grid, "matrix beside it", true);
    for (const one of [panel, beside]) one.plot.classList.add("matrix");
    const cache = new Map();
    const matricesOf = async (trial) => {
      if (!cache.has(trial.id)) cache.set(trial.id, M.decodeMatrices(await M.inflate(stored.trials[trial.id])));
      return cache.get(trial.id);
    };
    M.on("trial", () => { choose.value = M.state.trial.id; section.refresh(); });
    let turn = 0;
    return async () => {
      const current = ++turn; // a drawing that a later choice has overtaken is not finished
      const trial = M.state.trial;
      if (!trial || !(trial.id in stored.trials)) {
        panel.title(trial ? M.describe(trial) : "no trial");
        panel.tell(trial ? `The matrices of trial ${trial.id} are not in this page; they are in similarity/*.parquet.` : "No matrix in this page.");
        beside.show(false);
        return M.draw(sweep, panel.plot, [], {});
      }
      choose.value = trial.id;
      const matrices = await matricesOf(trial);
      if (current !== turn) return undefined;
      const own = M.findRow(sweep, trial, state.layer, state.measure, state.normalized);
      const sorting = own ? M.labelsFor(sweep, trial, state, own) : ["unit order", null];
      beside.show(state.other !== "none");
      const [measure, normalized] = state.other.split(",").map(Number);
      return Promise.all([
        M.drawMatrix(sweep, panel, trial, matrices, state, sorting),
        state.other === "none" ? null : M.drawMatrix(sweep, beside, trial, matrices, { layer: state.layer, measure, normalized }, sorting),
      ]);
    };
  });

// The first picture: the highest normalized Q among trained trials whose matrices are here.
M.mostModular = (sweep, stored) => {
  const rows = sweep.modules.filter((row) => row.normalized === 1 && row.layer >= 0 && M.isNumber(row.q) && row.trial.id in stored.trials);
  const trained = rows.filter((row) => row.trial.counts && !row.trial.isUntrained);
  const best = (some) => some.reduce((top, row) => (top === null || row.q > top.q ? row : top), null);
  return (best(trained) ?? best(rows))?.trial ?? sweep.trials.find((trial) => trial.isShown);
};

M.findRow = (sweep, trial, layer, measure, normalized) =>
  sweep.modules.find((row) => row.trial === trial && row.layer === layer && row.measure === measure && row.normalized === normalized);

// Labels to sort by: where they come from, and the labels themselves.
M.labelsFor = (sweep, trial, state, own) => {
  if (state.sort === "unit") return ["unit order", null];
  if (state.sort === "joint") return ["the joint modules", M.listOf(sweep, own, "joint_labels")];
  if (state.sort === "own") return [`the modules of ${M.matrixTitle(sweep, state.measure, state.normalized)}`, M.listOf(sweep, own, "labels")];
  const [measure, normalized] = state.sort.split(",").map(Number);
  const row = M.findRow(sweep, trial, state.layer, measure, normalized);
  return [`the modules of ${M.matrixTitle(sweep, measure, normalized)}`, row ? M.listOf(sweep, row, "labels") : null];
};

M.matrixTitle = (sweep, measure, normalized) => `${sweep.facts.measures[measure].title}, ${normalized ? "normalized" : "raw"}`;

M.drawMatrix = (sweep, panel, trial, matrices, state, [source, labels]) => {
  const matrix = matrices.get(`${state.layer},${state.measure}`);
  const own = M.findRow(sweep, trial, state.layer, state.measure, state.normalized);
  panel.title(`${M.describe(trial)}: ${M.matrixTitle(sweep, state.measure, state.normalized)}`);
  if (!matrix || !own) {
    panel.tell("No matrix of this layer and measure.");
    return M.draw(sweep, panel.plot, [], {});
  }
  const { units } = matrix;
  const weights = M.weights(matrix, state.normalized === 1);
  const order = Array.from({ length: units }, (_, unit) => unit);
  const last = (label) => (label < 0 ? Infinity : label);
  if (labels) order.sort((a, b) => (last(labels[a]) === last(labels[b]) ? a - b : last(labels[a]) - last(labels[b])));
  const ownLabels = M.listOf(sweep, own, "labels"), certainty = M.listOf(sweep, own, "certainty");
  const unitText = (unit) => {
    const module = ownLabels[unit] < 0 ? "dead" : `module ${ownLabels[unit]}`;
    return `unit ${unit} (${module}${certainty[unit] === 255 ? "" : `, certainty ${(certainty[unit] / 100).toFixed(2)}`})`;
  };
  const texts = order.map(unitText);
  const rows = order.map((a) => order.map((b) => weights[a * units + b]));
  const trace = {
    type: "heatmap", z: rows, colorscale: M.MAGMA, zmin: 0, zmax: state.normalized ? Math.min(1, M.highEnd(weights)) : M.highEnd(weights),
    text: texts.map((a) => texts.map((b) => `${a}<br>${b}`)), hovertemplate: "%{text}<br>weight %{z:.4g}<extra></extra>",
    colorbar: { thickness: 10, len: 0.9, outlinewidth: 0, tickfont: { size: 10 } },
  };
  const shapes = labels ? M.blocks(order, labels) : [];
  const shownQ = labels ? M.modularityOf(weights, labels) : NaN;
  const numModules = labels ? new Set(Array.from(labels).filter((label) => label >= 0)).size : 0;
  panel.plot.dataset.q = String(shownQ);
  panel.tell([
    `${units} units, ${own.num_dead} dead. Its own modules: Q = ${M.format(own.q)}, ${own.num_modules} modules (${M.format(own.effective_modules)} effective)`,
    labels ? `sorted by ${source}: ${numModules} modules, which have Q ≈ ${M.short(shownQ)} on this matrix (from the page's 8-bit copy)` : "units in their own order",
    M.isNumber(own.z) ? `z ${M.format(own.z)} against its null` : null,
    certainty.every((share) => share === 255) ? null : "certainty of each unit's module on hover",
  ].filter(Boolean).join("; ") + `. Trial ${trial.id}.`);
  const side = Math.min(panel.plot.clientWidth || 600, 640);
  return M.draw(sweep, panel.plot, [trace], {
    shapes, height: side * 0.93, margin: { l: 44, r: 10, t: 8, b: 40 },
    xaxis: { title: "unit (sorted)", showgrid: false, constrain: "domain", range: [-0.5, units - 0.5] },
    yaxis: { title: "unit (sorted)", showgrid: false, scaleanchor: "x", constrain: "domain", range: [units - 0.5, -0.5] },
  });
};

// The 99.5th percentile of the weights, so that one pair does not darken all others.
M.highEnd = (weights) => {
  const sorted = Float64Array.from(weights.filter((value) => value > 0)).sort();
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(0.995 * sorted.length))] : 1;
};

M.blocks = (order, labels) => {
  const shapes = [];
  for (let start = 0; start < order.length; ) {
    let end = start;
    while (end < order.length && labels[order[end]] === labels[order[start]]) end++;
    if (labels[order[start]] >= 0) {
      shapes.push({ type: "rect", x0: start - 0.5, x1: end - 0.5, y0: start - 0.5, y1: end - 0.5, line: { color: "#56B4E9", width: 2 } });
    }
    start = end;
  }
  return shapes;
};
