import zlib

import numpy as np
import polars as pl
import pytest

import modjax as mj
from modjax import MEASURES
from tests.report.tables import DROPOUTS, alignment_rows, module_rows, only, paper_trials, trial, write_sweep
from tests.seams import from_rows, parts_of, reproduction_text

JACOBIAN = {"measure": "input_jacobian", "normalized": True, "layer": 0}


def noise(*key):
    """The same small number for the same key, whatever the order of rows."""
    return float(np.random.default_rng(zlib.crc32(repr(key).encode())).normal())


def rising_q(one, measure, normalized, layer):
    """The input Jacobian rises by 0.5 per unit of dropout and by 3 per unit of L2; the covariance falls; others not."""
    slope = {"input_jacobian": 0.5, "covariance": -0.2}.get(measure, 0.0)
    seed = 0.01 * noise(one["seed"], measure) + 0.001 * noise(one["trial_id"], measure, normalized, layer)
    untrained = -0.1 if one["status"] == "untrained" else 0.0
    return 0.2 + untrained + slope * one["dropout"] + 3 * one["l2"] * (measure == "input_jacobian") + seed


def agreement(one, kind):
    """Above across: upstream in all networks, downstream in trained ones only, where it is below in untrained."""
    base = {"upstream": 0.6, "downstream": 0.5 if one["status"] == "done" else 0.1, "across": 0.3}[kind]
    return base + 0.02 * noise(one["trial_id"], kind)


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    trials = paper_trials()
    folder = tmp_path_factory.mktemp("known")
    return write_sweep(folder, trials, module_rows(trials, rising_q), alignment_rows(trials, agreement))


@pytest.fixture(scope="module")
def found(known):
    return mj.claims(known)


def test_slope_and_rank_correlation_are_found(found):
    row = only(found.dropout, quantity="slope", **JACOBIAN)
    assert row["estimate"] == pytest.approx(0.5, abs=0.005)
    assert row["low"] < 0.5 < row["high"]
    assert (row["p"], row["num_seeds"], row["verdict"]) == (2 / 512, 9, "rises")
    assert row["p"] <= row["p_adjusted"] <= 0.05
    assert "Q of the normalized input Jacobian, layer 0, rises with dropout: +0.5" in row["sentence"]
    assert "rho 1.00" in row["sentence"]
    assert only(found.dropout, quantity="rank correlation", **JACOBIAN)["estimate"] == pytest.approx(1)
    assert only(found.dropout, quantity="slope", **{**JACOBIAN, "measure": "covariance"})["verdict"] == "falls"
    flat = found.dropout.filter(pl.col("measure").is_in(["output_jacobian", "loss_hessian"]))
    assert set(flat["verdict"]) == {"not shown"}


def test_headline_says_where_the_claim_does_not_hold(found):
    (line,) = found.headlines["dropout"]
    assert line.startswith("Does Q rise with dropout? In 4 of 16 graphs; ")
    assert line.endswith(" (16 tests together, family-wise error 0.05).")
    assert "falls: normalized covariance (layers 0, 1), raw covariance (layers 0, 1)" in line
    assert "; not shown in 8 (" in line  # too many to name


def test_slope_is_exact_without_noise_and_takes_the_baseline_in(tmp_path):
    trials = paper_trials()
    sweep = write_sweep(tmp_path, trials, module_rows(trials, lambda one, *_: 0.1 + 0.5 * one["dropout"]))
    row = only(mj.claims(sweep).dropout, quantity="slope", **JACOBIAN)
    assert row["estimate"] == pytest.approx(0.5, abs=1e-12)
    assert row["setting"] == "dropout 0 to 0.6"
    # A baseline off the line is seen: dropout 0 is the trial with the same L2 in the L2 arm.
    sweep = write_sweep(tmp_path / "bent", trials, module_rows(trials, lambda one, *_: float(one["dropout"] > 0)))
    assert only(mj.claims(sweep).dropout, quantity="slope", **JACOBIAN)["estimate"] > 0


def test_parts_do_not_depend_on_names_of_arms():
    rows = [trial("a", 0, dropout=rate, l2=1e-5) for rate in (0.0, 0.5)]
    rows += [trial("b", 0, l2=1e-3), trial("c", 0, l1=1e-3, l2=1e-5), trial("d", 0, l1=1e-3, l2=1e-5, dropout=0.5)]
    rows += [trial("e", 0, l2=1e-5, learning_rate=1e-2), trial("f", 0, status="untrained")]
    rows += [trial("g", 1, dropout=0.5, l2=1e-5, status="pending")]
    parts = parts_of(from_rows("trials", rows)).join(from_rows("trials", rows).select("trial_id", "arm"), on="trial_id")
    assert set(parts.select("arm", "part", "strength").rows()) == {
        ("a", "baseline", 0.0),
        ("a", "dropout", 0.5),
        ("b", "l2", 1e-3),
        ("c", "l1", 1e-3),
        ("d", "other", 0.0),
        ("e", "other", 0.0),
        ("f", "untrained", 0.0),
    }


def test_gains_of_arms_are_compared(found):
    gain = only(found.arms, quantity="gain", networks="dropout", **JACOBIAN)
    assert gain["estimate"] == pytest.approx(0.3, abs=0.005)
    assert gain["setting"] == "dropout 0.6 in 9 of 9 seeds"
    assert gain["verdict"] == "raised"
    assert only(found.arms, quantity="gain", networks="l2", **JACOBIAN)["estimate"] == pytest.approx(0.03, abs=0.005)
    difference = only(found.arms, quantity="difference of gains", networks="dropout - l2", **JACOBIAN)
    assert difference["estimate"] == pytest.approx(0.27, abs=0.005)
    assert difference["verdict"] == "more"
    ratio = only(found.arms, quantity="ratio of gains", networks="dropout / l2", **JACOBIAN)
    assert ratio["low"] < 10 < ratio["high"]
    assert (ratio["p"], ratio["verdict"]) == (None, None)
    # L1 does nothing: near zero, not divided by.
    assert not found.arms.filter(pl.col("networks") == "dropout / l1").height
    against_l2, against_l1 = found.headlines["arms"][:2]
    assert against_l2.startswith("Does dropout raise Q more than L2 at its best? In 4 of 16 graphs; ")
    assert "less: normalized covariance" in against_l2
    assert "than L1" in against_l1


def test_dropout_that_only_lowers_less_does_not_raise_more(tmp_path):
    def q(one, *graph):
        return 0.5 - 0.1 * (one["dropout"] > 0) - 0.3 * (one["l2"] > 1e-5) + 0.001 * noise(one["trial_id"], *graph)

    trials = paper_trials()
    found = mj.claims(write_sweep(tmp_path, trials, module_rows(trials, q)))
    assert set(found.arms.filter(pl.col("networks") == "dropout - l2")["verdict"]) == {"more"}
    (line, *_) = found.headlines["arms"]
    assert "In none of 16 graphs; more, but dropout's own gain lowered in 16 (" in line


def test_families_within_above_across(found):
    for networks, quantity, estimate, verdict in (
        ("trained", "within - across", 0.25, "higher"),
        ("trained", "upstream - across", 0.3, "higher"),
        ("trained", "downstream - across", 0.2, "higher"),
        ("untrained", "within - across", 0.05, "higher"),
        ("untrained", "upstream - across", 0.3, "higher"),
        ("untrained", "downstream - across", -0.2, "lower"),
    ):
        where = {"networks": networks, "quantity": quantity, "score": "ami", "normalized": True}
        row = only(found.families, **where)
        assert row["estimate"] == pytest.approx(estimate, abs=0.02)
        assert row["verdict"] == verdict
        assert row["num_seeds"] == (9 if networks == "trained" else 20)
    lines = found.headlines["families"]
    question = "Do modules of trained networks agree more within families than across families?"
    assert f"{question} Yes, in all 2 graphs (2 tests together, family-wise error 0.05)." in lines
    question = "Do modules of untrained networks agree more within downstream than across families?"
    assert f"{question} No, the contrary: lower in all 2 graphs (2 tests together, family-wise error 0.05)." in lines


def test_families_that_do_not_agree_more_are_not_said_to(tmp_path):
    """Seeds go as often one way as the other."""

    def score(one, kind):
        way = 0 if one["seed"] == 0 else 1 if one["seed"] % 2 else -1
        return 0.4 + 0.05 * way * (kind != "across")

    trials = paper_trials()
    rows = alignment_rows(trials, score)
    found = mj.claims(write_sweep(tmp_path, trials, (), rows))
    assert set(found.families["verdict"]) == {"not shown"}
    assert "In none of 2 graphs; not shown: normalized AMI (layer 0)" in found.headlines["families"][0]
    assert "Cannot be tested" in found.headlines["dropout"][0]


def test_training_is_compared_with_untrained(found):
    row = only(found.training, quantity="trained - untrained", networks="baseline", **JACOBIAN)
    assert row["estimate"] == pytest.approx(0.1, abs=0.02)
    assert row["verdict"] == "higher"
    assert row["effect_size"] > 3
    assert row["setting"] == "against 20 untrained"
    where = {"networks": "l1", "score": "element_centric", "normalized": False}
    assert only(found.training, quantity="within downstream", **where)["verdict"] == "higher"
    assert only(found.training, quantity="within upstream", **where)["verdict"] == "not shown"


def test_order_of_rows_and_names_of_seeds_change_nothing(known, found, tmp_path):
    shuffled = [known.table(name).to_dicts() for name in ("trials", "modules", "alignment")]
    again = mj.claims(write_sweep(tmp_path / "rows", *shuffled, shuffle=True))
    assert again.table.equals(found.table)
    renamed = [{**one, "seed": (one["seed"] * 4 + 100) % 113} for one in shuffled[0]]
    again = mj.claims(write_sweep(tmp_path / "seeds", renamed, *shuffled[1:]))
    assert again.headlines == found.headlines
    assert again.table["verdict"].equals(found.table["verdict"])
    for column in ("estimate", "low", "high", "p", "p_adjusted", "effect_size"):
        one, other = (table[column].cast(pl.Float64).fill_null(-1).to_numpy() for table in (again.table, found.table))
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-12)


def test_excluded_trials_are_left_out(known, found, tmp_path):
    """Excluded trials with wild values change nothing but the counts."""
    wild = [trial("dropout", seed, dropout=0.9, l2=1e-5, excluded=True) for seed in range(9)]
    trials = [*known.trials.to_dicts(), *wild]
    modules = [*known.modules.to_dicts(), *module_rows(wild, lambda *_: 100.0)]
    alignment = [*known.alignment.to_dicts(), *alignment_rows(wild, lambda *_: 100.0)]
    again = mj.claims(write_sweep(tmp_path, trials, modules, alignment))
    for column in ("estimate", "low", "high", "p"):
        assert again.table[column].equals(found.table[column])
    assert only(again.dropout, quantity="slope", **JACOBIAN)["num_left_out"] == 9
    (note,) = again.notes
    assert note == "9 of 81 trained trials are left out (excluded: test accuracy below 0.8): dropout 0.9: 9."


def test_trials_whose_modules_are_not_found_yet_are_waited_for(tmp_path):
    """Of a sweep that runs: what is known of six seeds is told, though nine were trained."""
    trials = paper_trials()
    known = [one for one in trials if one["seed"] < 6]
    rows = module_rows(known, rising_q), alignment_rows(known, agreement)
    running = mj.claims(write_sweep(tmp_path / "running", trials, *rows))
    alone = mj.claims(write_sweep(tmp_path / "alone", known, *rows))
    assert running.table.equals(alone.table)
    assert only(running.dropout, quantity="slope", **JACOBIAN)["num_seeds"] == 6
    (note,) = running.notes
    assert note == f"Trials that are not finished, which these verdicts are without: {len(trials) - len(known)}."


@pytest.mark.parametrize(("num_excluded", "counts"), [(4, True), (5, False)])
def test_a_setting_counts_if_half_of_its_seeds_are_left(tmp_path, num_excluded, counts):
    trials = paper_trials()
    for one in trials:
        one["excluded"] = one["dropout"] == 0.6 and one["seed"] < num_excluded
    sweep = write_sweep(tmp_path, trials, module_rows(trials, lambda one, *_: float(one["dropout"] == 0.6)))
    gain = only(mj.claims(sweep).arms, quantity="gain", networks="dropout", **JACOBIAN)
    assert (gain["most"] == 1) == counts
    assert gain["num_left_out"] == (4 if counts else 9)


def test_few_seeds_are_told_as_points(tmp_path):
    trials = paper_trials(seeds=(0, 1, 2), untrained=3)
    found = mj.claims(write_sweep(tmp_path, trials, module_rows(trials, rising_q), alignment_rows(trials, agreement)))
    for column in ("low", "high", "p", "p_adjusted"):
        assert found.table[column].null_count() == found.table.height
    assert set(found.table["verdict"]) <= {"not tested", None}
    row = only(found.dropout, quantity="slope", **JACOBIAN)
    assert row["least"] <= row["estimate"] <= row["most"]
    assert "(points " in row["sentence"]
    assert "not tested: 3 seeds" in row["sentence"]
    assert found.headlines["dropout"] == found.headlines["arms"] == found.headlines["training"] == ()
    assert found.notes[0] == "Too few seeds to test: 3 seeds, 6 are needed. The tables hold the points."


def test_scores_that_never_differ_show_nothing(tmp_path):
    """Rounding has a sign, the same in every seed."""
    trials = paper_trials()
    rows = alignment_rows(trials, lambda *_: 0.1), module_rows(trials, lambda *_: 0.1)
    found = mj.claims(write_sweep(tmp_path, trials, rows[1], rows[0]))
    assert set(found.table["verdict"]) == {"not shown", "not tested"}
    assert set(found.training["verdict"]) == {"not tested"}
    assert found.headlines["training"] == ()


@pytest.mark.parametrize(("num_seeds", "p", "verdict"), [(5, None, "not tested"), (6, 2 / 64, "rises")])
def test_five_seeds_cannot_reach_the_level_and_are_not_tested(tmp_path, num_seeds, p, verdict):
    trials = paper_trials(seeds=range(num_seeds))
    found = mj.claims(write_sweep(tmp_path, trials, module_rows(trials, rising_q), alignment_rows(trials, agreement)))
    row = only(found.dropout, quantity="slope", **JACOBIAN)
    assert (row["p"], row["verdict"]) == (p, verdict)
    assert row["low"] < row["estimate"] < row["high"]
    assert (
        only(found.training, quantity="trained - untrained", networks="dropout", **JACOBIAN)["verdict"] == "higher"
    )  # Welch's
    for name in ("dropout", "arms"):
        assert (found.headlines[name] == ()) == (p is None)
    about_trained = [line for line in found.headlines["families"] if "of trained" in line]
    assert (about_trained == []) == (p is None)
    assert ("Too few seeds to test: 5 seeds, 6 are needed. The tables hold the points." in found.notes) == (p is None)


@pytest.mark.parametrize("missing", ["dropout", "l2", "l1"])
def test_missing_arms_get_a_line(tmp_path, missing):
    trials = paper_trials(untrained=0, arms={"dropout", "l2", "l1"} - {missing})
    found = mj.claims(write_sweep(tmp_path, trials, module_rows(trials, rising_q)))
    lines = [line for lines in found.headlines.values() for line in lines if "Cannot be tested" in line]
    expected = {"dropout": 4, "l2": 3, "l1": 3}  # nulls, families and training are always missing here
    assert len(lines) == expected[missing]
    assert all("\n" not in line for line in lines)


@pytest.mark.parametrize("rows", [[], [trial("untrained", 0, status="untrained")], [trial("a", 0, status="pending")]])
def test_a_sweep_without_results_is_no_error(tmp_path, rows):
    sweep = write_sweep(tmp_path, rows)
    found = mj.claims(sweep)
    assert found.table.height == 0
    assert all("Cannot be tested" in line for lines in found.headlines.values() for line in lines)
    assert reproduction_text(sweep).startswith("# The numbers of made")


def test_one_measure_only(tmp_path):
    trials = paper_trials()
    modules = module_rows(trials, rising_q, measures=("input_jacobian",), layers=(0,))
    alignment = alignment_rows(trials, agreement, measures=("input_jacobian",))
    found = mj.claims(write_sweep(tmp_path, trials, modules, alignment))
    answer = "Does Q rise with dropout? Yes, in all 2 graphs (2 tests together, family-wise error 0.05)."
    assert found.headlines["dropout"] == (answer,)
    assert found.families.height == 0
    assert "Cannot be tested" in found.headlines["families"][0]


def test_graphs_without_living_units_are_left_out(tmp_path):
    """Q is NaN in one seed of one setting, and throughout for one measure."""

    def q(one, measure, normalized, layer):
        is_dead = measure == "loss_hessian" or (one["seed"] == 0 and one["dropout"] == 0.4)
        return np.nan if is_dead else rising_q(one, measure, normalized, layer)

    trials = paper_trials()
    sweep = write_sweep(
        tmp_path,
        trials,
        module_rows(trials, q),
        alignment_rows(trials, lambda one, kind: np.nan if kind == "across" else 0.5),
    )
    found = mj.claims(sweep)
    row = only(found.dropout, quantity="slope", **JACOBIAN)
    assert (row["num_left_out"], row["num_seeds"]) == (1, 9)
    dead = only(found.dropout, quantity="slope", measure="loss_hessian", normalized=True, layer=0)
    assert (dead["estimate"], dead["p"], dead["num_seeds"], dead["verdict"]) == (None, None, 0, "not tested")
    assert "no seed has it" in dead["sentence"]
    assert "not tested: normalized loss Hessian (layers 0, 1)" in found.headlines["dropout"][0]
    assert found.families.height == 0
    assert "loss_hessian" not in found.arms["measure"].to_list()
    assert reproduction_text(sweep, found)


def test_nothing_rises_and_nothing_is_said_to_under_the_null(tmp_path):
    """False discoveries over many null sweeps stay at the level (p itself is tested in test_statistics)."""
    trials = paper_trials(untrained=0, arms=("dropout",))
    rng = np.random.default_rng(0)
    p, num_wrong = [], 0
    for draw in range(60):
        modules = module_rows(trials, lambda *_: rng.normal(), layers=(0,), scalings=(True,))
        slopes = mj.claims(write_sweep(tmp_path / str(draw), trials, modules)).dropout.filter(
            pl.col("quantity") == "slope"
        )
        p += slopes["p"].to_list()
        num_wrong += slopes.filter(pl.col("verdict") != "not shown").height > 0
    assert abs(np.mean(np.array(p) <= 0.5) - 0.5) < 4 * 0.5 / np.sqrt(len(p))
    assert num_wrong <= 8  # 3 expected of 60 at 5 %; 8 or more has probability 0.01


def test_document_holds_the_numbers(known, found):
    text = reproduction_text(known, found)
    assert text == reproduction_text(known)
    assert len(text.splitlines()) < 400
    rows = known.modules.join(known.trials, on="trial_id").filter(
        pl.col("normalized"), pl.col("layer") == 0, pl.col("measure") == "covariance", pl.col("dropout") == 0.4
    )
    section = text.split("## Q, normalized, layer 0")[1].split("## ")[0]
    (line,) = [line for line in section.splitlines() if line.startswith("| dropout 0.4 ")]
    assert line.split("|")[2].split()[0] == f"{rows['q'].mean():.3f}"
    for line in (line for lines in found.headlines.values() for line in lines):
        assert line in text
    assert "| dropout 0.6 | 9 of 9 | 0.9500 [0.9500, 0.9500] | 1.0 / 1.0 / 1.0 / 1.0 |" in text
    assert "9 trained" not in text
    assert "72 trained, 20 untrained; 0 excluded" in text
    assert "## Time" not in text
    for name in DROPOUTS:
        assert text.count(f"| dropout {name} |") == 7  # settings, 4 of Q, 2 of modules


def test_document_tells_times_and_small_sweeps(tmp_path):
    trials = [*paper_trials(seeds=(0, 1)), trial("both", 0, l1=1e-3, l2=1e-5, dropout=0.2)]
    sweep = write_sweep(
        tmp_path, trials, module_rows(trials, rising_q), seconds_by_stage={"train": 12.34, "cluster": 5}
    )
    text = reproduction_text(sweep)
    assert "| train | 12.3 |" in text
    assert "| learning_rate 0.001, l1 0.001, l2 1e-05, dropout 0.2 | 1 of 1 |" in text
    assert "used for agreement of modules alone: 1." in text
    assert "[" not in text.split("## Q, normalized, layer 0")[1].split("| baseline")[1].split("\n")[0]


def test_measures_are_told_upstream_first(found):
    slopes = found.dropout.filter(pl.col("quantity") == "slope")
    assert slopes["measure"].to_list()[:4] == list(MEASURES)


# Excess Q, matched accuracy, living units, equivalence.


def with_nulls(rows, kind="rotation", null=0.1):
    """Module rows with nulls whose mean is the same for all graphs."""
    for row in rows:
        row |= {"null_kind": kind, "null_n": 19, "null_q": row["q"], "null_mean": null, "null_sd": 0.01, "p": 0.05}
        row |= {"excess_q": row["q"] - null}
    return rows


def test_excess_q_is_reported_beside_q(tmp_path):
    trials = paper_trials()
    rows = with_nulls(module_rows(trials, rising_q))
    found = mj.claims(write_sweep(tmp_path, trials, rows))
    slopes = [only(found.dropout, quantity="slope", score=score, **JACOBIAN) for score in ("q", "excess_q")]
    assert slopes[1]["estimate"] == pytest.approx(slopes[0]["estimate"])  # the null does not depend on dropout
    assert slopes[1]["sentence"].startswith("Excess Q of the normalized input Jacobian, layer 0, rises with dropout")
    assert [line.split("?")[0] for line in found.headlines["dropout"]] == [
        "Does Q rise with dropout",
        "Does excess Q rise with dropout",
    ]
    assert set(found.training["score"]) == {"q", "excess_q"}
    # Permuted weights are no similarity: nothing is said of Q in excess of theirs.
    permuted = mj.claims(write_sweep(tmp_path / "old", trials, with_nulls(rows, "weight_permutation")))
    assert set(permuted.dropout["score"]) == {"q"}
    assert permuted.modular.height == 0


def test_a_null_that_rises_with_q_leaves_no_excess(tmp_path):
    trials = paper_trials()
    rows = with_nulls(module_rows(trials, rising_q))
    for row in rows:
        row["excess_q"] = 0.1 + 0.001 * noise(row["trial_id"], row["measure"], row["normalized"], row["layer"])
    found = mj.claims(write_sweep(tmp_path, trials, rows), margin=0.02)
    assert only(found.dropout, quantity="slope", score="q", **JACOBIAN)["verdict"] == "rises"
    assert set(found.dropout.filter(score="excess_q", quantity="slope")["verdict"]) == {"no difference"}


def test_whether_there_are_modules(tmp_path):
    """Q is 0.1 above the null in the baseline, and as high as the null in untrained networks."""

    def q(one, *graph):
        return 0.1 + 0.1 * (one["status"] == "done") + 0.005 * noise(one["trial_id"], *graph)

    trials = paper_trials()
    found = mj.claims(write_sweep(tmp_path, trials, with_nulls(module_rows(trials, q))))
    baseline = only(found.modular, networks="baseline", **JACOBIAN)
    assert baseline["verdict"] == "higher"
    assert baseline["estimate"] == pytest.approx(0.1, abs=0.005)
    assert baseline["p_combined"] == pytest.approx(mj.combined_p([0.05] * 9))
    untrained = only(found.modular, networks="untrained", **JACOBIAN)
    assert untrained["verdict"] == "not shown"
    assert untrained["num_seeds"] == 20
    answers = {line.split("?")[0]: line.split("? ")[1] for line in found.headlines["modular"]}
    assert answers["Is Q of the baseline higher than of rotated units"].startswith("Yes, in all 16 graphs")
    assert answers["Is Q of untrained networks higher than of rotated units"].startswith("In none of 16 graphs")


def trade_off(trials):
    """L2 buys Q with accuracy, dropout does not."""
    for one in trials:
        one["test_accuracy"] = 0.97 - 5 * one["l2"] - 0.005 * one["dropout"] + 1e-4 * one["seed"]
    return trials


def test_arms_are_compared_at_matched_accuracy(tmp_path):
    def q(one, *graph):
        return 0.2 + 10 * one["l2"] + 0.1 * one["dropout"] + 0.001 * noise(one["trial_id"], *graph)

    trials = trade_off(paper_trials())
    found = mj.claims(write_sweep(tmp_path, trials, module_rows(trials, q)))
    for graph in ({"measure": measure, "normalized": True, "layer": 0} for measure in MEASURES):
        at_best = only(found.arms, quantity="gain", networks="l2", **graph)
        assert at_best["setting"] == "l2 0.01 in 9 of 9 seeds"
        assert at_best["accuracy"] == pytest.approx(0.92, abs=0.001)
        matched = only(found.arms, quantity="gain at matched accuracy", networks="l2", **graph)
        assert matched["setting"] == "l2 0.0001 in 9 of 9 seeds"
        assert matched["accuracy"] == pytest.approx(0.97, abs=0.001)
        name = "dropout - l2"
        assert only(found.arms, quantity="difference of gains", networks=name, **graph)["verdict"] == "less"
        quantity = "difference of gains at matched accuracy"
        assert only(found.arms, quantity=quantity, networks=name, **graph)["verdict"] == "more"
        along = only(found.arms, quantity="difference along accuracy", networks=name, **graph)
        # Both curves begin at the baseline: over the last 0.003 of accuracy dropout gains 0.06, L2 0.006.
        assert along["estimate"] == pytest.approx((0.06 - 0.006) / 2, abs=0.004)
        assert along["verdict"] == "more"
    (line,) = [line for line in found.headlines["arms"] if "L2 at its best?" in line]
    assert "No, the contrary: less in all 16 graphs" in line
    (line,) = [line for line in found.headlines["arms"] if "L2 at its best at matched accuracy" in line]
    assert "Yes, in all 16 graphs" in line


def test_settings_that_lost_their_units_are_left_out_on_request(tmp_path):
    def q(one, *graph):
        return 0.2 + 10 * one["l2"] + 0.001 * noise(one["trial_id"], *graph)

    trials = paper_trials()
    strong = {one["trial_id"] for one in trials if one["l2"] == 1e-2}
    rows = module_rows(trials, q)
    for row in rows:
        row["labels"] = [-1] * 8 + [0] * 2 if row["trial_id"] in strong else [0] * 10
        row["num_dead"] = row["labels"].count(-1)
    sweep = write_sweep(tmp_path, trials, rows)
    gain = only(mj.claims(sweep).arms, quantity="gain", networks="l2", **JACOBIAN)
    assert (gain["setting"], gain["living"]) == ("l2 0.01 in 9 of 9 seeds", pytest.approx(0.2))
    assert "20% of units alive" in gain["sentence"]
    alive = only(mj.claims(sweep, min_living=0.5).arms, quantity="gain", networks="l2", **JACOBIAN)
    assert (alive["setting"], alive["living"]) == ("l2 0.0001 in 9 of 9 seeds", pytest.approx(1.0))


@pytest.mark.parametrize("in_spec", [False, True])
def test_no_difference_is_claimed_by_an_equivalence_test_alone(tmp_path, in_spec):
    trials = paper_trials()
    sweep = write_sweep(tmp_path, trials, module_rows(trials, rising_q))
    if in_spec:
        (tmp_path / "spec.toml").write_text("[analysis]\nmargin = 0.05\n")
    found = mj.claims(sweep) if in_spec else mj.claims(sweep, margin=0.05)
    where = {"quantity": "gain", "networks": "l1", "normalized": True, "layer": 0}
    row = only(found.arms, measure="output_jacobian", **where)
    assert row["verdict"] == "no difference"
    assert row["p_equivalence"] <= 0.05
    assert "no difference beyond the margin" in row["sentence"]
    assert found.families["p_equivalence"].null_count() == found.families.height  # agreement is not in units of Q


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"correction": "bonferroni"}, "Unknown correction 'bonferroni'. Available: max_t, benjamini_hochberg"),
        ({"interval": "z"}, "Unknown interval 'z'. Available: t, bootstrap"),
        ({"margin": 0.0}, "margin of an equivalence test must be a positive number; got 0.0"),
        ({"min_living": 1.5}, "min_living is a share of units, from 0 to 1; got 1.5"),
    ],
)
def test_bad_options(known, options, message):
    with pytest.raises(ValueError, match=message):
        mj.claims(known, **options)


def test_an_unknown_claim_is_named(found):
    with pytest.raises(ValueError, match=r"Unknown claim 'dropuot'\. Available: modular, dropout"):
        found.shown("dropuot")


def test_the_statistics_of_version_0_2_stay_available(known):
    found = mj.claims(known, correction="benjamini_hochberg", interval="bootstrap")
    row = only(found.dropout, quantity="slope", **JACOBIAN)
    assert "q = 0." in row["sentence"]
    assert "false discovery rate 0.05" in found.headlines["dropout"][0]
    slopes = found.dropout.filter(quantity="slope")
    np.testing.assert_allclose(slopes["p_adjusted"], mj.adjusted_p(slopes["p"]))
