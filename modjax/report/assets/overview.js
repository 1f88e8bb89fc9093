"use strict";
// What the sweep is, its main numbers, and how well its networks do.

M.overview = (sweep) => M.section("overview", "Overview", "", (section) => {
  const { facts } = sweep;
  const { counts } = facts;
  section.body.append(M.element("h1", {}, facts.name || "A sweep"));
  M.warn(section.body, facts.warnings);
  if (facts.question) section.body.append(M.element("p", { class: "question" }, facts.question));
  const shown = ["all", "done", "stopped", "untrained", "diverged", "excluded", "pending", "failed"]
    .filter((name) => counts[name] || ["all", "done", "untrained", "diverged", "excluded"].includes(name));
  section.body.append(M.element("dl", { class: "counts" }, ...shown.map((name) =>
    M.element("div", {}, M.element("dt", {}, name === "all" ? "trials" : name), M.element("dd", {}, String(counts[name]))))));
  const said = [];
  if (counts.pending) said.push(`This sweep is in progress, or was interrupted: ${counts.pending} of ${counts.all} trials are pending. DIR/report.html is written when it ends.`);
  if (counts.stopped) said.push("Stopped: left behind by successive halving; not analysed, in no mean.");
  if (counts.excluded) said.push(`Excluded: trained, ${facts.exclusion_rule}; shown as open markers, in no mean.`);
  if (!facts.exclusion_rule) said.push("No trial is excluded for its accuracy: the spec sets no analysis.min_accuracy.");
  if (counts.diverged) said.push("Diverged: the loss was not finite at some epoch; kept and flagged.");
  if (!sweep.modules.length) said.push("No similarity was measured ([similarity] measures is empty, or no trial is finished): sections on modules have nothing to show.");
  if (said.length) M.note(section.body, said.join(" "));
  if (facts.verdicts.length) {
    section.body.append(M.element("h3", {}, "Questions and answers"),
      M.element("ul", { class: "verdicts" }, ...facts.verdicts.map((one) => M.element("li", {}, one))));
  }
  if (facts.verdict_table) section.body.append(M.plainTable(facts.verdict_table, "Numbers behind the claims"));
  if (facts.summary.rows.length) {
    const titles = Object.fromEntries(facts.measures.map((one) => [one.name, `Q ${one.title}`]));
    const table = { columns: facts.summary.columns.map((name) => titles[name] ?? name), rows: facts.summary.rows };
    section.body.append(M.element("h3", {}, "Main numbers"),
      M.element("p", { class: "summary" }, "Mean over seeds at the weakest and strongest setting of each arm; Q of normalized similarity, first layer; accuracy on the test split."),
      M.plainTable(table, "Main numbers"));
  }
  return null;
});

M.PERFORMANCE = {
  test_accuracy: "test accuracy", val_accuracy: "validation accuracy", train_accuracy: "training accuracy",
  test_loss: "test loss", val_loss: "validation loss", train_loss: "training loss",
  l1_norm: "l1_norm: sum of |W|", l2_norm: "l2_norm: sum of W²", nuclear_norm: "nuclear norm", sparsity: "sparsity: share of |W| < 0.001",
};

M.performance = (sweep) => M.section("performance", "Performance and norms",
  "How well networks do, and how large their weights are, against regularization. Points are trials: a click opens one in the matrix viewer and the table. Lines are means over seeds with standard errors.",
  (section) => {
    const state = { group: "main", x: "strength", isLog: false, showExcluded: true, fitTrained: true };
    const groups = {
      main: ["test_accuracy", "test_loss", "nuclear_norm", "sparsity"],
      accuracy: ["test_accuracy", "val_accuracy", "train_accuracy"],
      losses: ["test_loss", "val_loss", "train_loss"],
      norms: ["l1_norm", "l2_norm", "nuclear_norm", "sparsity"],
      all: Object.keys(M.PERFORMANCE),
    };
    const row = M.controls(section);
    M.select(row, "Quantities", [["main", "the main four"], ["accuracy", "accuracies"], ["losses", "losses"], ["norms", "norms and sparsity"], ["all", "all ten"]],
      (value) => { state.group = value; build(); section.refresh(); });
    M.select(row, "Horizontal axis", M.xOptions(sweep).slice(0, 2), (value) => { state.x = value; section.refresh(); });
    M.check(row, "log vertical axis", false, (isOn) => { state.isLog = isOn; section.refresh(); });
    M.check(row, "scale to trained networks", true, (isOn) => { state.fitTrained = isOn; section.refresh(); });
    if (sweep.facts.counts.excluded) M.check(row, "show excluded trials", true, (isOn) => { state.showExcluded = isOn; section.refresh(); });
    M.legend(section, M.armsOf(sweep));
    const grid = M.grid(section);
    let panels = {};
    const build = () => {
      panels = {};
      grid.replaceChildren();
      for (const name of groups[state.group]) panels[name] = M.panel(grid, M.PERFORMANCE[name]);
    };
    build();
    M.on("arms", section.refresh);
    return () => Promise.all(Object.entries(panels).map(([name, panel]) =>
      M.drawStrength(sweep, panel, sweep.trials.map((trial) => ({ trial, y: trial[name] })),
        { ...state, ytitle: M.PERFORMANCE[name].split(":")[0] })));
  });
