"use strict";
// A network of each sweep, side by side: matrices, training, and the table of all trials.

// The other sweep's trial of the same setting and seed, if there is one.
M.partnerOf = (side, trial) => {
  const [own, other] = side === "A" ? [0, 1] : [1, 0];
  const pair = M.facts.pairs.rows.find((one) => one[own] === trial.id);
  return pair ? M.sweeps[other].byId.get(pair[other]) : undefined;
};

// Pick a trial, and its partner in the other sweep unless that one is to stay.
M.pickOf = (sweep, trial, withPartner = true) => {
  if (!trial) return;
  const { side } = sweep.facts, partner = withPartner ? M.partnerOf(side, trial) : undefined;
  M.state.pair[side] = trial;
  if (partner) M.state.pair[side === "A" ? "B" : "A"] = partner;
  const named = Object.entries(M.state.pair).filter(([, one]) => one).map(([name, one]) => `${name.toLowerCase()}=${one.id}`);
  history.replaceState(null, "", `#${named.join("&")}`);
  M.tell("trial");
};

// The trials that the address names (#a=ID&b=ID); unknown ones are not heeded.
M.pairOfHash = (sweeps) => {
  const asked = new URLSearchParams(location.hash.slice(1));
  return Object.fromEntries(sweeps.map(({ facts, byId }) => [facts.side, byId.get(asked.get(facts.side.toLowerCase()) ?? "")]));
};

// The first picture: the most modular trained network of A whose partner's matrices are here too; else any of each.
M.firstPair = (sweeps, stored) => {
  const isHeld = (i, trial) => trial && trial.id in stored[i].trials;
  const [first, second] = sweeps;
  let best = null;
  for (const row of first.modules) {
    if (row.normalized !== 1 || row.layer < 0 || !M.isNumber(row.q) || row.trial.isUntrained || !row.trial.counts || (best && row.q <= best.q)) continue;
    if (isHeld(0, row.trial) && isHeld(1, M.partnerOf("A", row.trial))) best = row;
  }
  if (best) return { A: best.trial, B: M.partnerOf("A", best.trial) };
  return { A: M.mostModular(first, stored[0]) ?? null, B: M.mostModular(second, stored[1]) ?? null };
};

M.compareViewer = (sweeps, stored) => M.section("viewer", "Matrix viewer",
  "The graph |S| of a network of A and of one of B. Networks of one seed began with the same weights: sorted by the modules of one, a block that stays bright in the other is a module that both have.",
  (section) => {
    const layers = M.layersOf(sweeps), measures = M.measuresOf(sweeps);
    const state = { layer: M.startLayer(layers), measure: measures[0]?.[0], normalized: 1, sort: "own" };
    sweeps.forEach(({ facts }, i) => {
      const held = Object.keys(stored[i].trials).length;
      if (held < stored[i].total) M.note(section.body, `To stay below 15 MB the page holds the matrices of ${held} of ${stored[i].total} trials of ${facts.side}; all are in its similarity/*.parquet.`);
    });
    const set = M.setter(section, state), row = M.controls(section);
    const choosers = sweeps.map((sweep, i) => {
      const groups = M.groupBy(sweep.trials.filter((trial) => trial.id in stored[i].trials), (trial) => trial.armName);
      const options = [...groups].map(([label, trials]) => ({
        label, options: trials.sort((a, b) => a.strength - b.strength || a.seed - b.seed).map((trial) => [trial.id, `${M.describe(trial)} · ${trial.id}`]),
      }));
      return M.select(row, `Trial of ${sweep.facts.side}`, options, (id) => M.pickOf(sweep, sweep.byId.get(id), i === 0));
    });
    M.select(row, "Layer", layers, set("layer", Number), state.layer);
    M.select(row, "Measure", measures, set("measure"));
    M.select(row, "Similarity", [["1", "normalized"], ["0", "raw"]], set("normalized", Number));
    M.select(row, "Sort by modules of", [["own", "each one's own"], ["A", "A"], ["B", "B"], ["joint", "each one's joint modules"], ["unit", "none: unit order"]], set("sort"));
    const grid = M.grid(section, "two");
    const panels = sweeps.map(({ facts }) => M.panel(grid, `matrix of ${facts.side}`, true));
    for (const one of panels) one.plot.classList.add("matrix");
    M.on("trial", section.refresh);
    let turn = 0;
    return async () => {
      const own = ++turn; // a drawing that a later choice has overtaken is not finished
      const views = sweeps.map((sweep) => M.viewOf(sweep, M.state.pair[sweep.facts.side], state));
      await Promise.all(sweeps.map(async (sweep, i) => {
        const { trial } = views[i], { side } = sweep.facts;
        const panel = { ...panels[i], title: (text) => panels[i].title(`${side}, ${text}`) };
        const isHere = trial && trial.id in stored[i].trials;
        choosers[i].value = isHere ? trial.id : "";
        if (!isHere || views[i].measure < 0) {
          panel.title(trial ? M.describe(trial) : "no trial");
          panel.tell(!trial ? "No matrix in this page." : isHere ? `${side} has no such measure.` : `The matrices of trial ${trial.id} are not in this page; they are in similarity/*.parquet.`);
          return M.draw(sweep, panel.plot, [], {});
        }
        const matrices = M.decodeMatrices(await M.inflate(stored[i].trials[trial.id]));
        if (own !== turn) return undefined;
        await M.drawMatrix(sweep, panel, trial, matrices, views[i], M.sortingOf(views, i, state.sort));
      }));
    };
  });

M.viewOf = (sweep, trial, { layer, measure: name, normalized }) => {
  const measure = sweep.facts.measures.findIndex((one) => one.name === name);
  const own = trial ? M.findRow(sweep, trial, layer, measure, normalized) : undefined;
  return { sweep, trial, layer, measure, normalized, own };
};

// Labels to sort a matrix by, from where they come; those of the other sweep if both have as many units.
M.sortingOf = (views, i, sort) => {
  const labelsOf = ({ sweep, own }, name) => (own ? M.listOf(sweep, own, name) : null);
  if (sort === "unit") return ["unit order", null];
  if (sort === "joint") return ["the joint modules", labelsOf(views[i], "joint_labels")];
  const from = sort === "own" ? i : "AB".indexOf(sort), own = labelsOf(views[i], "labels"), wanted = labelsOf(views[from], "labels");
  if (wanted && own && wanted.length === own.length) return [from === i ? "its own modules" : `the modules of ${sort}`, wanted];
  return ["its own modules (the other has none here, or other units)", own];
};

M.compareCurves = (sweeps) => M.section("curves", "Training curves", "The picked trials, epoch by epoch. Blue and solid: A; orange and dashed: B.", (section) => {
  const spans = sweeps.map(M.historySpans);
  const state = { isLog: true };
  M.check(M.controls(section), "log loss", true, (isOn) => { state.isLog = isOn; section.refresh(); });
  for (const { facts } of sweeps) if (facts.left_out.history_step > 1) M.note(section.body, `Of ${facts.side} the page holds every ${facts.left_out.history_step}th epoch; all are in history.parquet.`);
  const grid = M.grid(section);
  const panels = ["train_loss", "val_loss", "val_accuracy", "learning_rate"].map((name) => [name, M.panel(grid, M.PERFORMANCE[name] ?? "learning rate")]);
  M.on("trial", section.refresh);
  return () => Promise.all(panels.map(([name, panel]) => {
    const traces = [], told = [];
    sweeps.forEach((sweep, i) => {
      const { side } = sweep.facts, trial = M.state.pair[side];
      if (!trial || !spans[i].has(trial.index)) { told.push(trial ? `${side}: ${M.describe(trial)} has no epochs in the tables` : `${side}: no trial is picked`); return; }
      const [begin, end] = spans[i].get(trial.index), { epoch, [name]: values } = sweep.tables.history, style = M.STYLES[side];
      traces.push({ type: "scatter", mode: "lines", name: side, x: Array.from(epoch.subarray(begin, end)), y: Array.from(values.subarray(begin, end)),
        line: { color: style.colour, dash: style.dash, width: 2 }, hovertemplate: `${side}, ${M.plain(M.describe(trial))}<br>epoch %{x}: %{y:.4g}<extra></extra>` });
      told.push(`${side}, ${M.describe(trial)}: ${M.format(values[end - 1])} after ${trial.epochs} epochs`);
    });
    panel.tell(`${told.join("; ")}.`);
    const isLog = (name.endsWith("loss") && state.isLog) || name === "learning_rate";
    return M.drawCompared(sweeps, panel.plot, traces, { xaxis: { title: "epoch" }, yaxis: { title: name.replace(/_/g, " "), type: isLog ? "log" : "linear", exponentformat: "power" } });
  }));
});

M.compareTrials = (sweeps) => M.section("trials", "Trials", "Every network of both. A click on an id opens it, and its partner, in the matrix viewer; the address (#a=…&b=…) can be passed on.", (section) => {
  const state = { text: "", sweep: "all", arm: "all", status: "all" };
  const all = sweeps.flatMap((sweep) => sweep.trials.map((trial) => ({ sweep, trial, side: sweep.facts.side })));
  const q = Object.fromEntries(sweeps.map((sweep) => [sweep.facts.side, M.firstQ(sweep)]));
  const varying = M.HYPERPARAMETERS.filter((name) => sweeps.some((sweep) => sweep.varying.includes(name)));
  const number = (key) => ({ key, title: key.replace(/_/g, " "), value: ({ trial }) => trial[key] });
  const open = (event, row) => { event.preventDefault(); M.pickOf(row.sweep, row.trial); M.goTo("viewer"); };
  const columns = [
    { key: "sweep", title: "sweep", value: (row) => row.side },
    { key: "id", title: "trial", value: ({ trial }) => trial.id, cell: (row) => M.element("a", { href: `#${row.side.toLowerCase()}=${row.trial.id}`, class: "mono", on: { click: (event) => open(event, row) } }, row.trial.id) },
    { key: "arm", title: "arm", value: ({ trial }) => trial.armName },
    { key: "status", title: "status", value: ({ trial }) => trial.status, text: ({ trial }) => trial.status + (trial.excluded ? ", excluded" : "") },
    ...["seed", ...varying, "test_accuracy", "test_loss", "val_loss", "epochs", "best_epoch"].map(number),
    ...M.measuresOf(sweeps).map(([name, title]) => ({ key: `q_${name}`, title: `Q ${title}`, value: ({ sweep, trial, side }) => q[side](trial, sweep.facts.measures.findIndex((one) => one.name === name)) })),
    ...["l1_norm", "l2_norm", "nuclear_norm", "sparsity"].map(number),
  ];
  const row = M.controls(section);
  const search = M.element("input", { type: "search", placeholder: "id, setting, seed…", on: { input: () => { state.text = search.value.trim().toLowerCase(); filter(); } } });
  row.append(M.element("label", { class: "field" }, "Filter", search));
  const set = (name) => (value) => { state[name] = value; filter(); };
  const found = (read) => [["all", "all"], ...[...new Set(all.map(read))].sort().map((one) => [one, one])];
  M.select(row, "Sweep", [["all", "both"], ["A", "A"], ["B", "B"]], set("sweep"));
  M.select(row, "Arm", found(({ trial }) => trial.armName), set("arm"));
  M.select(row, "Status", found(({ trial }) => trial.status), set("status"));
  const isPicked = ({ side, trial }) => M.state.pair[side] === trial;
  const table = M.table(section.body, "Table of trials", columns, { markOf: isPicked });
  let shown = [];
  const filter = () => {
    const isAsked = (name, value) => state[name] === "all" || state[name] === value;
    shown = all.filter(({ side, trial }) => isAsked("sweep", side) && isAsked("arm", trial.armName) && isAsked("status", trial.status) && M.isMeant(trial, state.text));
    table.set(shown);
  };
  filter();
  M.on("trial", () => table.show(shown.find(isPicked)));
  return null;
});
