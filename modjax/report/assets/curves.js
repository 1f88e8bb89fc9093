"use strict";
// How the picked network and its arm were trained, epoch by epoch.

M.CURVES = {
  loss: ["loss", [["train_loss", "training (dropout on)", "dot"], ["val_loss", "validation", "solid"]]],
  val_accuracy: ["validation accuracy", [["val_accuracy", "validation accuracy", "solid"]]],
  learning_rate: ["learning rate", [["learning_rate", "learning rate", "solid"]]],
};

// Where each trial's epochs begin and end; rows are sorted by trial.
M.historySpans = (sweep) => {
  const spans = new Map(), trial = sweep.tables.history.trial;
  for (let i = 0; i < trial.length; i++) {
    if (i === 0 || trial[i] !== trial[i - 1]) spans.set(trial[i], [i, i]);
    spans.get(trial[i])[1] = i + 1;
  }
  return spans;
};

M.curves = (sweep) => M.section("curves", "Training curves",
  "The picked trial in front of the other trials of its arm (thin). Solid: validation; dotted: training. A click on a thin curve picks its trial.",
  (section) => {
    const spans = M.historySpans(sweep);
    const state = { withArm: true, isLog: true };
    const row = M.controls(section);
    M.check(row, "show the trials of its arm", true, (isOn) => { state.withArm = isOn; section.refresh(); });
    M.check(row, "log loss", true, (isOn) => { state.isLog = isOn; section.refresh(); });
    const step = sweep.facts.left_out.history_step;
    if (step > 1) M.note(section.body, `The page holds every ${step}th epoch; all are in history.parquet.`);
    const grid = M.grid(section, "three");
    const panels = Object.entries(M.CURVES).map(([name, [title]]) => [name, M.panel(grid, title)]);
    M.on("trial", section.refresh);
    return () => Promise.all(panels.map(([name, panel]) => M.drawCurves(sweep, panel, name, spans, state)));
  });

M.drawCurves = (sweep, panel, name, spans, state) => {
  const [title, series] = M.CURVES[name];
  const columns = sweep.tables.history, picked = M.state.trial;
  const traces = [];
  const main = series.at(-1)[0];
  if (picked && state.withArm) {
    const x = [], y = [], ids = [], texts = [];
    for (const trial of sweep.trials) {
      if (trial.arm !== picked.arm || trial === picked || !spans.has(trial.index)) continue;
      const [begin, end] = spans.get(trial.index), told = M.plain(M.describe(trial));
      for (let i = begin; i < end; i++) { x.push(columns.epoch[i]); y.push(columns[main][i]); ids.push(trial.index); texts.push(told); }
      x.push(null); y.push(null); ids.push(null); texts.push("");
    }
    traces.push({ type: "scatter", mode: "lines", connectgaps: false, x, y, customdata: ids, text: texts, line: { color: sweep.facts.untrained_colour, width: 0.8 }, opacity: 0.45, hovertemplate: "%{text}<br>epoch %{x}: %{y:.4g}<extra></extra>" });
  }
  const shapes = [];
  if (picked && spans.has(picked.index)) {
    const [begin, end] = spans.get(picked.index), colour = M.visible(M.arm(sweep, picked).colour);
    for (const [column, label, dash] of series) {
      traces.push({ type: "scatter", mode: "lines", name: label, x: Array.from(columns.epoch.subarray(begin, end)), y: Array.from(columns[column].subarray(begin, end)),
        customdata: Array(end - begin).fill(picked.index), line: { color: colour, width: 2.5, dash }, hovertemplate: `${label}<br>epoch %{x}: %{y:.4g}<extra></extra>` });
    }
    if (picked.best_epoch >= 0) shapes.push({ type: "line", yref: "paper", y0: 0, y1: 1, x0: picked.best_epoch, x1: picked.best_epoch, line: { color: M.colour("soft"), width: 1, dash: "dot" } });
    panel.tell(`${M.describe(picked)}: ${series.map(([column, label]) => `${label} ${M.format(columns[column][end - 1])} at the end`).join(", ")}; ${picked.epochs} epochs, best epoch ${picked.best_epoch} (dotted line).`);
  } else {
    panel.tell(!picked ? "No trial is picked." : picked.isUntrained ? `${M.describe(picked)}: no training, no curve.` : `${M.describe(picked)}: no epochs in the tables.`);
  }
  const isLog = (name === "loss" && state.isLog) || name === "learning_rate";
  return M.draw(sweep, panel.plot, traces, { shapes, xaxis: { title: "epoch" }, yaxis: { title, type: isLog ? "log" : "linear", exponentformat: "power" }, showlegend: false });
};
