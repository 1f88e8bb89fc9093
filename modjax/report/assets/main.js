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

M.start();
