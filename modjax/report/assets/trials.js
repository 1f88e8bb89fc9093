"use strict";
// The table of trials, and where everything comes from.

// Each word of the text is in the trial's id, setting or status. A short number is meant whole (seed 7, not 17);
// anything else is the beginning of an id or a word.
M.isMeant = (trial, text) => {
  const isShortNumber = (word) => /^[\d.]{1,3}$/.test(word);
  const own = `${trial.id} ${M.describe(trial)} ${trial.status}`.toLowerCase().split(/[\s:,]+/);
  return text.split(/\s+/).filter(Boolean).every((word) => own.some((one) => (isShortNumber(word) ? one === word : one.startsWith(word))));
};

// Q of a trial in the first layer, normalized: (trial, place of the measure) => number or undefined.
M.firstQ = (sweep) => {
  const layer = M.firstLayer(sweep), q = new Map();
  for (const row of sweep.modules) if (row.layer === layer && row.normalized === 1) q.set(`${row.trial.index},${row.measure}`, row.q);
  return (trial, place) => q.get(`${trial.index},${place}`);
};

M.trials = (sweep) => M.section("trials", "Trials",
  "Every network. A click on an id opens it in the matrix viewer; the address of this page then names it (#trial=…) and can be passed on.",
  (section) => {
    const { facts } = sweep;
    const state = { text: "", arm: "all", status: "all" };
    const layer = M.firstLayer(sweep);
    const q = M.firstQ(sweep);
    const number = (key, title = key.replace(/_/g, " ")) => ({ key, title, value: (trial) => trial[key] });
    const columns = [
      { key: "id", title: "trial", value: (trial) => trial.id, cell: (trial) => M.element("a", {
        href: `#trial=${trial.id}`, class: "mono", on: { click: (event) => { event.preventDefault(); M.pick(trial); } } }, trial.id) },
      { key: "arm", title: "arm", value: (trial) => trial.armName },
      { key: "status", title: "status", value: (trial) => trial.status, text: (trial) => trial.status + (trial.excluded ? ", excluded" : "") },
      number("seed"), ...sweep.varying.map((name) => number(name)), number("test_accuracy"), number("test_loss"), number("val_loss"), number("epochs"), number("best_epoch"),
      ...facts.measures.map((measure, place) => ({ key: `q${place}`, title: `Q ${measure.title}`, value: (trial) => q(trial, place) })),
      number("l1_norm"), number("l2_norm"), number("nuclear_norm"), number("sparsity"),
    ];
    const row = M.controls(section);
    const search = M.element("input", { type: "search", placeholder: "id, setting, seed…", on: { input: () => { state.text = search.value.trim().toLowerCase(); filter(); } } });
    row.append(M.element("label", { class: "field" }, "Filter", search));
    const set = (name) => (value) => { state[name] = value; filter(); };
    M.select(row, "Arm", [["all", "all"], ...facts.arms.map((arm, index) => [index, arm.name])], set("arm"));
    M.select(row, "Status", [["all", "all"], ...facts.statuses.filter((one) => facts.counts[one]).map((one) => [one, one]), ["excluded", "excluded"]], set("status"));
    if (facts.measures.length) section.body.append(M.element("p", { class: "summary" }, `Q: normalized, ${facts.layers.find((one) => one.layer === layer)?.title ?? "no layer"}.`));
    const table = M.table(section.body, "Table of trials", columns, { markOf: (trial) => trial === M.state.trial });
    let shown = [];
    const filter = () => {
      shown = sweep.trials.filter((trial) => (state.arm === "all" || trial.arm === Number(state.arm))
        && (state.status === "all" || trial.status === state.status || (state.status === "excluded" && trial.excluded))
        && M.isMeant(trial, state.text));
      table.set(shown);
    };
    filter();
    M.on("trial", () => table.show(M.state.trial));
    return null;
  });

// [name, value] of what a sweep was made with; undefined where its manifest does not say.
M.madeWith = (manifest) => {
  const device = manifest.device ?? {};
  return [
    ["modjax", manifest.packages?.modjax], ["Python", manifest.python], ["device", `${device.count ?? "?"} × ${device.kind ?? "?"} (${device.platform ?? "?"})`],
    ["threads", manifest.threads], ["precision", `${manifest.precision?.dtype ?? "?"}, products in ${manifest.precision?.matmul ?? "?"}`], ["slots", manifest.slots],
    ["data", `${manifest.data?.name ?? "?"} (${String(manifest.data?.checksum ?? "").slice(0, 16)}…)`], ["spec hash", manifest.spec_hash], ["complete", manifest.complete],
  ];
};

M.provenance = (sweep) => M.section("provenance", "Spec, versions, files", "What made these numbers, and how to make them again.", (section) => {
  const { manifest, spec, files } = sweep.facts;
  const rows = M.madeWith(manifest);
  const link = (name) => M.element("li", {}, M.element("a", { href: sweep.facts.folder + name.split("/").map(encodeURIComponent).join("/") }, name));
  section.body.append(M.element("div", { class: "columns" },
    M.element("div", {}, M.element("h3", {}, "Ran on and with"),
      M.element("dl", { class: "facts" }, ...rows.filter(([, value]) => value !== undefined).flatMap(([name, value]) => [M.element("dt", {}, name), M.element("dd", {}, M.format(value))])),
      M.element("h3", {}, "How to run it again"),
      M.element("pre", {}, "modjax sweep spec.toml --out NEW_DIR    # the spec below; the same numbers\nmodjax report DIR                       # its page and the figures, from the tables\nmodjax table DIR modules --csv          # the numbers themselves"),
      M.element("h3", {}, "Files of the sweep"),
      M.element("ul", {}, ...["spec.toml", "manifest.json", "trials.parquet", "history.parquet", "modules.parquet", "alignment.parquet", "similarity/", "checkpoints/", "figures/"].map(link))),
    M.element("div", {}, M.element("h3", {}, "spec.toml"), M.element("pre", { tabindex: "0", id: "spec", "aria-label": "spec.toml" }, spec || "not found"),
      M.element("details", {}, M.element("summary", {}, "manifest.json"), M.element("pre", { tabindex: "0" }, JSON.stringify(manifest, null, 2))),
      files.length ? M.element("details", {}, M.element("summary", {}, `figures (${files.length} files)`), M.element("ul", {}, ...files.map((name) => link(`figures/${name}`)))) : null)));
  return null;
});
