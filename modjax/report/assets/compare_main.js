"use strict";
// What differs, in numbers; and the start of the page that compares.

M.records = ({ columns, rows }) => rows.map((row) => Object.fromEntries(columns.map((name, i) => [name, row[i]])));

M.settingText = (row) => (row.is_untrained ? "untrained" : M.HYPERPARAMETERS.filter((name) => row[name] !== 0 || name === "learning_rate").map((name) => `${name} ${M.format(row[name])}`).join(", "));

M.compareTable = () => M.section("differences", "Differences at shared settings",
  "B minus A. Where both have trials of one seed, the mean over these pairs and its standard error; else the difference of the means over each one's seeds.",
  (section) => {
    const all = M.records(M.facts.differences);
    if (!all.length) { M.note(section.body, "The sweeps share no setting (learning rate, L1, L2, dropout): there is nothing to subtract."); return null; }
    if (all.length < M.facts.num_differences) M.note(section.body, `The page holds the first ${all.length} of ${M.facts.num_differences} differences.`);
    const keyOf = (row) => [row.quantity, row.layer ?? "", row.measure ?? "", row.normalized ?? ""].join("|");
    const titleOf = (row) => row.layer === null ? row.quantity.replace(/_/g, " ")
      : `${row.quantity.replace(/_/g, " ")}, ${row.measure.replace(/_/g, " ")} ${row.normalized ? "normalized" : "raw"}, ${row.layer < 0 ? "all layers" : `layer ${row.layer}`}`;
    const options = [...new Map(all.map((row) => [keyOf(row), titleOf(row)]))];
    const start = options.find(([key]) => key.startsWith("q|0|") && key.endsWith("|true")) ?? options[0];
    const state = { key: start[0] };
    const row = M.controls(section);
    M.select(row, "Quantity", options, (value) => { state.key = value; fill(); section.refresh(); }, state.key);
    const panel = M.panel(M.grid(section, "two"), "B against A, a point a setting");
    const number = (key, title) => ({ key, title, value: (one) => one[key] });
    const table = M.table(section.body, "Differences", [
      { key: "setting", title: "setting", value: M.settingText }, number("trials_a", "trials A"), number("mean_a", "mean A"), number("trials_b", "trials B"), number("mean_b", "mean B"),
      number("pairs", "pairs"), number("difference", "B - A"), number("standard_error", "standard error"),
    ]);
    const chosen = () => all.filter((one) => keyOf(one) === state.key);
    const fill = () => table.set(chosen());
    fill();
    return () => {
      const rows = chosen(), ends = rows.flatMap((one) => [one.mean_a, one.mean_b]).filter(M.isNumber);
      const low = Math.min(...ends), high = Math.max(...ends);
      const above = rows.filter((one) => one.difference > 0).length;
      panel.tell(`${titleOf(rows[0])}: B is above A at ${above} of ${rows.length} shared settings; mean difference ${M.short(M.mean(rows.map((one) => one.difference)))}.`);
      return M.drawCompared([], panel.plot, [{
        type: "scatter", mode: "markers", x: rows.map((one) => one.mean_a), y: rows.map((one) => one.mean_b), marker: { color: M.colour("accent"), size: 8, opacity: 0.7 },
        text: rows.map((one) => `${M.plain(M.settingText(one))}<br>B - A ${M.format(one.difference)}, pairs ${one.pairs}`), hovertemplate: "%{text}<extra></extra>",
      }], { xaxis: { title: "mean of A" }, yaxis: { title: "mean of B" }, shapes: [{ type: "line", x0: low, y0: low, x1: high, y1: high, line: { color: M.colour("soft"), width: 1, dash: "dot" } }] });
    };
  });

M.compareSpecs = (sweeps) => M.section("specs", "Specs, versions, files", "What made these numbers, and how to make them again.", (section) => {
  const made = sweeps.map(({ facts }) => new Map([...M.madeWith(facts.manifest), ...Object.entries(facts.manifest.packages ?? {}).filter(([name]) => name !== "modjax")].filter(([, value]) => value !== undefined)));
  const names = [...new Set(made.flatMap((one) => [...one.keys()]))];
  const values = names.map((name) => made.map((one) => (one.has(name) ? M.format(one.get(name)) : "–")));
  section.body.append(
    M.plainTable({ columns: ["", "A", "B", ""], rows: names.map((name, i) => [name, ...values[i].map((value) => (name === "spec hash" ? `${value.slice(0, 16)}…` : value)), values[i][0] === values[i][1] ? "same" : "differs"]) }, "What both ran on and with"),
    M.element("pre", {}, "modjax sweep spec.toml --out NEW_DIR    # one of the specs below; the same numbers\nmodjax compare DIR DIR                  # this page, from the tables"),
    M.element("div", { class: "columns" }, ...sweeps.map(({ facts }) => M.element("div", {},
      M.element("h3", {}, `${facts.side}: spec.toml`), M.element("pre", { tabindex: "0", "aria-label": `spec of ${facts.side}` }, facts.spec || "not found"),
      M.element("details", {}, M.element("summary", {}, `${facts.side}: manifest.json`), M.element("pre", { tabindex: "0" }, JSON.stringify(facts.manifest, null, 2)))))));
  return null;
});

M.start = async () => {
  M.facts = M.read("facts");
  const sweeps = await Promise.all(M.facts.sides.map((facts, i) => M.openSweep(facts, document.getElementById(`tables${i}`).textContent)));
  const stored = sweeps.map((_, i) => M.read(`matrices${i}`));
  M.sweeps = sweeps;
  M.state.pair = M.firstPair(sweeps, stored);
  M.setUpTheme();
  for (const make of [M.compareOverview, M.compareClaims, M.comparePerformance, M.compareModularity, M.compareDepth, M.compareNulls, M.compareAlignment]) make(sweeps);
  M.compareViewer(sweeps, stored);
  for (const make of [M.compareCurves, M.compareTable, M.compareTrials, M.compareSpecs]) make(sweeps);
  const heed = () => {
    const asked = M.pairOfHash(sweeps);
    // Both named: these two. One named: it and its partner.
    for (const sweep of sweeps) M.pickOf(sweep, asked[sweep.facts.side], !(asked.A && asked.B));
  };
  heed();
  addEventListener("hashchange", heed);
  M.on("theme", () => M.sections.forEach((section) => section.refresh()));
  M.watchSections();
  document.documentElement.dataset.ready = "true";
};

M.start();
