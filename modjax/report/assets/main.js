"use strict";
// Opens the sweep and puts the sections on the page.

M.start = async () => {
  const sweep = await M.openSweep(M.read("facts"), document.getElementById("tables").textContent);
  const stored = M.read("matrices");
  M.setUpTheme();
  for (const make of [M.overview, M.performance, M.modularity, M.depth, M.nulls, M.alignment]) make(sweep);
  M.viewer(sweep, stored);
  for (const make of [M.curves, M.trials, M.provenance]) make(sweep);
  M.sweep = sweep;
  const best = M.mostModular(sweep, stored);
  M.state.trial = best ?? null;
  const asked = M.trialOfHash(sweep);
  if (asked) M.pick(asked);
  else if (best) M.tell("trial");
  addEventListener("hashchange", () => { const trial = M.trialOfHash(sweep); if (trial && trial !== M.state.trial) M.pick(trial); });
  M.on("theme", () => M.sections.forEach((section) => section.refresh()));
  M.watchSections();
  document.documentElement.dataset.ready = "true";
};

// The first picture: the highest normalized Q among trained trials whose matrices are here.
M.mostModular = (sweep, stored) => {
  const rows = sweep.modules.filter((row) => row.normalized === 1 && row.layer >= 0 && M.isNumber(row.q) && row.trial.id in stored.trials);
  const trained = rows.filter((row) => row.trial.counts && !row.trial.isUntrained);
  const best = (some) => some.reduce((top, row) => (top === null || row.q > top.q ? row : top), null);
  return (best(trained) ?? best(rows))?.trial ?? sweep.trials.find((trial) => trial.isShown);
};

M.start();
