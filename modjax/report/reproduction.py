"""A sweep's results as one Markdown document: Q, modules, accuracy, agreement of measures, and claims."""

from collections import Counter
from typing import Any

import numpy as np
import polars as pl

from modjax.names import HYPERPARAMETERS
from modjax.report.claims import Claims, claims
from modjax.report.families import COMPARISONS, KINDS, SCORE_NAMES, SCORES, family_means
from modjax.report.headlines import TITLES
from modjax.report.markdown import NOTHING, estimate_cell, markdown_table, seeds_cell
from modjax.report.matched import MATCHED
from modjax.report.modular import GROUPS
from modjax.report.settings import ARMS, baseline_name, graphs_of, parts_of, setting_name
from modjax.report.style import layer_title, measure_title, ordered_measures
from modjax.report.untrained import Q_CHANGE
from modjax.report.verdicts import IN_Q, SCORE_TITLES
from modjax.store.exclusion import NO_RULE, exclusion_rule
from modjax.store.sweep import Sweep

PART_ORDER = ("untrained", "baseline", *ARMS, "other")
SEEDS_NOTE = "Mean and 95 % bootstrap interval over seeds; below five seeds the points themselves."


def reproduction_text(sweep: Sweep, results: Claims | None = None) -> str:
    """Write the results of a sweep, and what they say about the paper's claims, as Markdown.

    Excluded trials are left out of everything but accuracy. The text depends on the sweep's tables and manifest alone.

    Args:
        sweep: A sweep.
        results: Results of :func:`modjax.claims`; computed if None.
    """
    trials = _settings(sweep.trials)
    sections = [
        _head(sweep, trials),
        _claims_section(results if results is not None else claims(sweep)),
        _settings_section(sweep, trials),
        *_modularity_sections(sweep, trials),
        *_modules_sections(sweep, trials),
        _alignment_section(sweep, trials),
        _times_section(sweep.manifest),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _settings(trials: pl.DataFrame) -> pl.DataFrame:
    """Return finished trials with ``setting``, its name, and ``place``, its position in every table."""
    rows = parts_of(trials).join(trials.drop("seed"), on="trial_id", validate="1:1")
    names = _setting_names(list(rows.iter_rows(named=True)))
    order = [PART_ORDER.index(part) for part in rows["part"]]
    rows = rows.with_columns(setting=pl.Series(names, dtype=pl.String), part_order=pl.Series(order, dtype=pl.Int64))
    ranking = rows.select("part_order", "strength", "setting").unique().sort("part_order", "strength", "setting")
    ranking = ranking.with_row_index("place").select("setting", "place")
    return rows.drop("part_order").join(ranking, on="setting", validate="m:1").sort("place", "seed", "trial_id")


def _setting_names(rows: list[dict[str, Any]]) -> list[str]:
    """Name the setting of each row, to three digits, or to all digits where three would merge two settings."""
    # Trials of no arm can vary several hyperparameters: they are named by all that are not zero.
    settings = [
        tuple((name, row[name]) for name in HYPERPARAMETERS if row[name])
        if row["part"] == "other"
        else ((row["part"], row["strength"]),)
        for row in rows
    ]
    short = {setting: ", ".join(setting_name(*pair) for pair in setting) for setting in settings}
    shared = Counter(short.values())
    full = {setting: ", ".join(f"{name} {value!r}" for name, value in setting) for setting in settings}
    return [short[setting] if shared[short[setting]] == 1 else full[setting] for setting in settings]


def _names(trials: pl.DataFrame) -> list[str]:
    return trials["setting"].unique(maintain_order=True).to_list()


def _head(sweep: Sweep, trials: pl.DataFrame) -> str:
    manifest = sweep.manifest
    trained = trials.filter(pl.col("part") != "untrained")
    num_excluded = trained.filter(~pl.col("is_kept")).height
    packages = manifest.get("packages", {})
    lines = [
        f"# The numbers of {manifest.get('name', 'a sweep')}",
        "",
        f"- Networks: {trained.height} trained, {trials.height - trained.height} untrained; {num_excluded} excluded "
        f"({exclusion_rule(sweep) or NO_RULE}).",
        f"- Data: {manifest['data'].get('name', NOTHING)}. Spec hash: `{manifest.get('spec_hash', NOTHING)}`.",
        f"- Device: {manifest.get('device', {}).get('kind', NOTHING)}. "
        f"Packages: {', '.join(f'{name} {packages.get(name, NOTHING)}' for name in ('modjax', 'jax'))}.",
        f"- Baseline: {baseline_name(sweep.trials)}.",
        "- How intervals and p-values are made: docs/statistics.md of modjax. p is adjusted for a question's graphs.",
    ]
    return "\n".join(lines)


def _claims_section(results: Claims) -> str:
    blocks = ["## What the claims come to"]
    tables: dict[str, list[str]] = {
        "modular": [_modular_table(results)],
        "families": [_families_table(results)],
        **{
            name: [write(results, score) for score in IN_Q]
            for name, write in {"dropout": _dropout_table, "arms": _arms_table, "training": _training_table}.items()
        },
    }
    for name, title in TITLES.items():
        blocks += [f"### {title}", "\n".join(f"- {line}" for line in results.headlines[name])]
        blocks += [table for table in tables[name] if table]
    blocks += ["\n".join(f"- {note}" for note in results.notes)] * bool(results.notes)
    return "\n\n".join(blocks)


def _by_graph(table: pl.DataFrame, score: str) -> dict[tuple, dict[tuple, dict[str, Any]]]:
    """Group rows about Q (or excess Q) by graph, then by (quantity, networks)."""
    rows_by_graph: dict[tuple, dict[tuple, dict[str, Any]]] = {}
    for row in table.filter(pl.col("measure").is_not_null(), score=score).iter_rows(named=True):
        graph = (row["measure"], row["normalized"], row["layer"])
        rows_by_graph.setdefault(graph, {})[row["quantity"], row["networks"]] = row
    return rows_by_graph


def _graph_cells(graph: tuple) -> list[str]:
    measure, normalized, layer = graph
    return [measure_title(measure), "normalized" if normalized else "raw", layer_title(layer)]


def _modular_table(results: Claims) -> str:
    groups = list(dict.fromkeys(results.modular["networks"]))
    header = ["measure", "scaling", "layer", *(f"excess Q of {GROUPS.get(group, group)}" for group in groups)]
    cells = _by_graph(results.modular, "excess_q").items()
    rows = [[*_graph_cells(graph), *(estimate_cell(row.get(("excess Q", g))) for g in groups)] for graph, row in cells]
    return markdown_table(header, rows) if rows else ""


def _dropout_table(results: Claims, score: str) -> str:
    header = ["measure", "scaling", "layer", f"slope of {SCORE_TITLES[score]} per unit of dropout"]
    header += ["rank correlation", "verdict"]
    rows = []
    for graph, cells in _by_graph(results.dropout, score).items():
        slope, rho = cells["slope", "dropout"], cells["rank correlation", "dropout"]
        rows.append(
            [*_graph_cells(graph), estimate_cell(slope), estimate_cell(rho, has_p=False), str(slope["verdict"])]
        )
    return markdown_table(header, rows) if rows else ""


def _arms_table(results: Claims, score: str) -> str:
    header = ["measure", "scaling", "layer", *(f"gain of {arm} in {SCORE_TITLES[score]}" for arm in ARMS)]
    header += [
        f"{kind} {arm}" for arm in ("l2", "l1") for kind in ("dropout -", "dropout /", "at matched accuracy: dropout -")
    ]
    rows = []
    for graph, cells in _by_graph(results.arms, score).items():
        estimates = []
        for arm in ARMS:
            gain = cells.get(("gain", arm))
            estimates.append(estimate_cell(gain) + (f" at {gain['setting']}" if gain else ""))
        # A sweep may lack an arm, and a ratio needs a clear gain: such cells stay empty.
        for arm in ("l2", "l1"):
            estimates.append(estimate_cell(cells.get(("difference of gains", f"dropout - {arm}"))))
            estimates.append(estimate_cell(cells.get(("ratio of gains", f"dropout / {arm}"))))
            matched = f"difference of gains{MATCHED}"
            estimates.append(estimate_cell(cells.get((matched, f"dropout - {arm}"))))
        rows.append([*_graph_cells(graph), *estimates])
    return markdown_table(header, rows) if rows else ""


def _families_table(results: Claims) -> str:
    """Table of differences within - across: one row per group of networks, score, scaling and layer."""
    lines: dict[tuple, list[str]] = {}
    for row in results.families.iter_rows(named=True):
        scaling = "normalized" if row["normalized"] else "raw"
        name = (row["networks"], SCORE_NAMES[row["score"]], scaling, layer_title(row["layer"]))
        cells = lines.setdefault(name, [NOTHING] * len(COMPARISONS))
        cells[list(COMPARISONS).index(row["quantity"])] = estimate_cell(row)
    header = ["networks", "score", "scaling", "layer", *COMPARISONS]
    return markdown_table(header, [[*name, *cells] for name, cells in lines.items()]) if lines else ""


def _training_table(results: Claims, score: str) -> str:
    groups, what = ("baseline", *ARMS), SCORE_TITLES[score]
    header = ["measure", "scaling", "layer"]
    header += [f"{what} of {group} - untrained (in sd of untrained)" for group in groups]
    rows = []
    for graph, cells in _by_graph(results.training, score).items():
        estimates = []
        for group in groups:
            row = cells.get((Q_CHANGE, group))
            effect = f" ({row['effect_size']:+.1f} sd)" if row and row["effect_size"] is not None else ""
            estimates.append(estimate_cell(row) + effect)
        rows.append([*_graph_cells(graph), *estimates])
    return markdown_table(header, rows) if rows else ""


def _settings_section(sweep: Sweep, trials: pl.DataFrame) -> str:
    """Section with the networks, accuracy and dead units of every setting."""
    measures = ordered_measures(sweep.modules["measure"])
    layers = sweep.modules["layer"].unique().sort().to_list()
    # Dead units do not depend on the scaling: the raw graphs' counts stand for both.
    dead = sweep.modules.filter(~pl.col("normalized")).join(trials.filter("is_kept"), on="trial_id", validate="m:1")
    means = {
        (setting, layer, measure): mean
        for setting, layer, measure, mean in dead.group_by("setting", "layer", "measure")
        .agg(pl.col("num_dead").mean())
        .iter_rows()
    }
    rows = []
    for name in _names(trials):
        here = trials.filter(pl.col("setting") == name)
        accuracy = here["test_accuracy"].cast(pl.Float64).fill_null(np.nan).to_numpy()
        cells = [name, f"{here['is_kept'].sum()} of {here.height}", seeds_cell(accuracy, 4)]
        for layer in layers:
            num_dead = [means.get((name, layer, measure)) for measure in measures]
            cells.append(" / ".join(NOTHING if mean is None else f"{mean:.1f}" for mean in num_dead))
        rows.append(cells)
    header = ["setting", "kept", "test accuracy", *(f"dead units, {layer_title(layer)}" for layer in layers)]
    note = (
        f"Test accuracy is of all trials, excluded ones too. Dead units: means over kept ones, {' / '.join(measures)}."
    )
    return f"## Settings\n\n{SEEDS_NOTE} {note}\n\n{markdown_table(header, rows)}"


def _cells_of(sweep: Sweep, trials: pl.DataFrame, column: str, digits: int) -> dict[tuple, str]:
    """Summarize a column over kept trials: ``{(setting, measure, normalized, layer): cell}``."""
    keys = ["setting", "measure", "normalized", "layer"]
    kept = trials.filter("is_kept").select("trial_id", "setting", "seed")
    # q is always needed, for the filter; where it is the column itself, num_dead only keeps the names distinct.
    rows = sweep.modules.select("trial_id", *keys[1:], "q", column if column != "q" else "num_dead")
    rows = rows.filter(pl.col("q").is_not_nan()).join(kept, on="trial_id", validate="m:1").sort(*keys, "seed")
    grouped = rows.group_by(keys, maintain_order=True).agg(pl.col(column).cast(pl.Float64))
    return {tuple(row[:4]): seeds_cell(row[4], digits) for row in grouped.iter_rows()}


def _modularity_sections(sweep: Sweep, trials: pl.DataFrame) -> list[str]:
    """Sections with Q: one table per scaling and layer."""
    cells, measures = _cells_of(sweep, trials, "q", 3), ordered_measures(sweep.modules["measure"])
    sections = []
    for normalized, layer in dict.fromkeys((graph[1], graph[2]) for graph in graphs_of(sweep)):
        rows = [
            [name, *(cells.get((name, measure, normalized, layer), NOTHING) for measure in measures)]
            for name in _names(trials)
        ]
        scaling = "normalized" if normalized else "raw"
        header = ["setting", *(measure_title(measure) for measure in measures)]
        sections.append(f"## Q, {scaling}, {layer_title(layer)}\n\n{markdown_table(header, rows)}")
    return sections


def _modules_sections(sweep: Sweep, trials: pl.DataFrame) -> list[str]:
    """Sections with effective numbers of modules: one table per layer."""
    cells, measures = _cells_of(sweep, trials, "effective_modules", 2), ordered_measures(sweep.modules["measure"])
    columns = [(measure, normalized) for normalized in (True, False) for measure in measures]
    sections = []
    for layer in sweep.modules["layer"].unique().sort().to_list():
        rows = [[name, *(cells.get((name, *column, layer), NOTHING) for column in columns)] for name in _names(trials)]
        named = [f"{measure_title(name)}, {'normalized' if kind else 'raw'}" for name, kind in columns]
        table = markdown_table(["setting", *named], rows)
        sections.append(f"## Effective number of modules, {layer_title(layer)}\n\n{table}")
    return sections


def _alignment_section(sweep: Sweep, trials: pl.DataFrame) -> str:
    """Section with the mean agreement within and across families, trained and untrained."""
    kept = trials.filter("is_kept").select("trial_id", "seed", is_untrained=pl.col("part") == "untrained")
    joined = family_means(sweep).join(kept, on="trial_id", validate="m:1")
    keys = ["is_untrained", "normalized", "layer"]
    rows = []
    for key, here in joined.sort("seed").group_by(keys, maintain_order=True):
        cells = []
        for score in SCORES:
            of_score = here.filter(pl.col("score") == score)
            for kind in KINDS:
                # Averaged by seed first: a seed counts once, however many settings it was trained with.
                by_seed = of_score.group_by("seed").agg(pl.col(kind).fill_nan(None).mean()).sort("seed")[kind]
                cells.append(seeds_cell(by_seed.cast(pl.Float64).fill_null(np.nan).to_numpy()))
        name = ["untrained" if key[0] else "trained", "normalized" if key[1] else "raw", layer_title(key[2])]
        rows.append(((key[0], not key[1], key[2]), name + cells))
    if not rows:
        return ""
    header = ["networks", "scaling", "layer", *(f"{SCORE_NAMES[score]} {kind}" for score in SCORES for kind in KINDS)]
    table = markdown_table(header, [row for _, row in sorted(rows, key=lambda row: row[0])])
    return f"## Agreement of modules\n\nPairs of different measures, same scaling. {SEEDS_NOTE}\n\n{table}"


def _times_section(manifest: dict[str, Any]) -> str:
    times = manifest.get("seconds_by_stage")
    if not isinstance(times, dict) or not times:
        return ""
    rows = [[str(stage), f"{seconds:.1f}"] for stage, seconds in times.items() if isinstance(seconds, int | float)]
    return f"## Time of the last run of the command\n\n{markdown_table(['stage', 'seconds'], rows)}"
