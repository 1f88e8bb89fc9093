"use strict";
// Reads the data of the page and gives it to the sections. Everything hangs on one name, M.
const M = {};

M.read = (id) => JSON.parse(document.getElementById(id).textContent);

M.inflate = async (base64) => {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
};

M.KINDS = {
  f4: Float32Array, f8: Float64Array, i2: Int16Array, i4: Int32Array, u1: Uint8Array, u2: Uint16Array, u4: Uint32Array,
};

// Columns end to end; of each, the first bytes of all values, then the second ones, and so on (page_columns.py).
M.unpack = (header, buffer) => {
  const tables = {};
  for (const { table, name, kind, offset, length } of header) {
    const size = M.KINDS[kind].BYTES_PER_ELEMENT;
    const planes = new Uint8Array(buffer, offset, size * length), bytes = new Uint8Array(size * length);
    for (let plane = 0; plane < size; plane++) {
      for (let i = 0; i < length; i++) bytes[i * size + plane] = planes[plane * length + i];
    }
    tables[table] ??= {};
    tables[table][name] = new M.KINDS[kind](bytes.buffer);
  }
  return tables;
};

// ---- numbers

M.isNumber = (value) => typeof value === "number" && Number.isFinite(value);

M.format = (value) => {
  if (value === null || value === undefined) return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value !== "number") return String(value);
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "–" : String(value);
  if (Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return value.toExponential(2).replace(/\.?0+e/, "e").replace("e+", "e");
  return String(Number(value.toPrecision(4)));
};

M.short = (value) => (M.isNumber(value) ? M.format(Number(value.toPrecision(3))) : M.format(value));

M.mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

M.deviation = (values) => {
  if (values.length < 2) return 0;
  const mean = M.mean(values);
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1));
};

M.ranks = (values) => {
  const order = Array.from(values.keys()).sort((a, b) => values[a] - values[b]);
  const ranks = new Float64Array(values.length);
  for (let i = 0; i < order.length; ) {
    let j = i;
    while (j < order.length && values[order[j]] === values[order[i]]) j++;
    for (let k = i; k < j; k++) ranks[order[k]] = (i + j - 1) / 2;
    i = j;
  }
  return ranks;
};

M.correlation = (a, b) => {
  const meanA = M.mean(a), meanB = M.mean(b);
  let ab = 0, aa = 0, bb = 0;
  for (let i = 0; i < a.length; i++) {
    ab += (a[i] - meanA) * (b[i] - meanB);
    aa += (a[i] - meanA) ** 2;
    bb += (b[i] - meanB) ** 2;
  }
  return aa > 0 && bb > 0 ? ab / Math.sqrt(aa * bb) : NaN;
};

M.groupBy = (rows, key) => {
  const groups = new Map();
  for (const row of rows) {
    const name = key(row);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(row);
  }
  return groups;
};

// ---- the sweep

// What trials can vary, as the page's facts say: names, and which of them have a log axis. Titles go to M.AXES.
M.HYPERPARAMETERS = [];
M.LOG_AXES = new Set();
M.knowHyperparameters = (infos) => {
  for (const info of infos) {
    if (!M.HYPERPARAMETERS.includes(info.name)) M.HYPERPARAMETERS.push(info.name);
    if (info.scale === "log") M.LOG_AXES.add(info.name);
    M.AXES[info.name] = info.title;
  }
};

M.openSweep = async (facts, tablesText) => {
  M.knowHyperparameters(facts.hyperparameters);
  const tables = M.unpack(facts.columns, await M.inflate(tablesText));
  const columns = tables.trials;
  const trials = facts.trial_ids.map((id, index) => {
    const trial = { index, id, arm: facts.arm_of[index], setting: facts.setting_of[index] };
    for (const name in columns) trial[name] = columns[name][index];
    for (const info of facts.hyperparameters) if (info.values) trial[info.name] = info.values[trial[info.name]] ?? "-";
    trial.status = facts.statuses[trial.status];
    trial.excluded = trial.excluded === 1;
    trial.armName = facts.arms[trial.arm].name;
    trial.isUntrained = trial.status === "untrained";
    trial.isShown = trial.isUntrained || !["pending", "untrained"].includes(trial.status);
    trial.counts = trial.isUntrained || (trial.isShown && !trial.excluded && trial.status !== "failed");
    return trial;
  });
  const sweep = { facts, tables, trials, byId: new Map(trials.map((trial) => [trial.id, trial])) };
  sweep.modules = M.moduleRows(sweep);
  sweep.varying = M.HYPERPARAMETERS.filter((name) => new Set(trials.filter((t) => !t.isUntrained).map((t) => t[name])).size > 1);
  return sweep;
};

M.moduleRows = (sweep) => {
  const columns = sweep.tables.modules;
  const numbers = Object.keys(columns).filter((name) => !["labels", "joint_labels", "certainty"].includes(name));
  const rows = [];
  let start = 0;
  for (let i = 0; i < columns.trial.length; i++) {
    const row = { start };
    for (const name of numbers) row[name] = columns[name][i];
    row.trial = sweep.trials[row.trial];
    start += row.num_units;
    rows.push(row);
  }
  return rows;
};

M.listOf = (sweep, row, name) => sweep.tables.modules[name].subarray(row.start, row.start + row.num_units);

M.arm = (sweep, trial) => sweep.facts.arms[trial.arm];

M.describe = (trial) =>
  trial.isUntrained ? `untrained, seed ${trial.seed}` : `${trial.armName}: ${trial.setting}, seed ${trial.seed}`;

// Plotly reads a little HTML in its texts: names from a spec are text and nothing else.
M.plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

// ---- what is picked, and who wants to know

M.listeners = { trial: [], arms: [], theme: [] };
M.on = (event, listener) => M.listeners[event].push(listener);
M.tell = (event) => M.listeners[event].forEach((listener) => listener());
M.state = { trial: null, hidden: new Set() };

M.pick = (trial, goTo = "viewer") => {
  if (!trial) return;
  M.state.trial = trial;
  const hash = `#trial=${trial.id}`;
  if (location.hash !== hash) history.replaceState(null, "", hash);
  M.tell("trial");
  if (goTo) M.goTo(goTo);
};

M.goTo = (section) => {
  const target = document.getElementById(section);
  if (!target) return;
  target.scrollIntoView();
  target.focus({ preventScroll: true });
};

M.trialOfHash = (sweep) => {
  const found = /^#trial=([\w-]+)$/.exec(location.hash);
  return found ? sweep.byId.get(found[1]) : undefined;
};
