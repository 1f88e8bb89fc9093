import json
import re
from importlib import resources

import numpy as np
import polars as pl
import pytest

import modjax as mj
from modjax.report import page, page_compare, page_data, page_matrices
from modjax.report.differences import CLAIM_KEYS, claims_side_by_side, differences, paired_trials, paired_values
from modjax.report.page import as_json, fill
from modjax.report.page_columns import Columns, pack, rounded, shares, unpack
from modjax.report.page_data import embedding_order, page_columns
from modjax.report.page_matrices import pack_matrix, pack_sweep, unpack_matrices
from tests.report.sweeps import spoiled, write_large, write_sweep
from tests.seams import build_comparison, build_page, write_report, write_table


def block(html, name):
    return re.search(rf'<script [^>]*id="{name}">(.*?)</script>', html, re.DOTALL).group(1)


def facts_of(html):
    return json.loads(block(html, "facts"), parse_constant=pytest.fail)


def tables_of(html):
    return unpack(Columns(facts_of(html)["columns"], block(html, "tables")))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_sweep(tmp_path_factory.mktemp("made") / "out")


@pytest.mark.parametrize("units", [1, 2, 7, 64])
def test_matrices_come_back_within_a_255th(units):
    rng = np.random.default_rng(units)
    h = rng.normal(size=(50, units)) * rng.uniform(0.1, 10, units)
    h[:, 1:2] = 0
    S = h.T @ h / 50
    text = page_matrices.to_base64(pack_matrix(S, 3, 1) + pack_matrix(2 * S, -1, 0))
    found = unpack_matrices(text)
    assert list(found) == [(3, 1), (-1, 0)]
    scale = np.sqrt(np.outer(np.diag(S), np.diag(S)))
    for key, factor in (((3, 1), 1), ((-1, 0), 2)):
        np.testing.assert_allclose(found[key].normalized, mj.adjacency(S, normalized=True), atol=1 / 255 + 1e-6)
        error = np.abs(found[key].raw - mj.adjacency(factor * S))
        assert (error <= factor * scale * (1 / 255 + 1e-5)).all()


def test_an_indefinite_matrix_keeps_weights_above_one():
    S = np.array([[1.0, -3.0, 0.5], [-3.0, 1.0, 0.0], [0.5, 0.0, 1.0]])
    found = unpack_matrices(page_matrices.to_base64(pack_matrix(S, 0, 0)))[0, 0]
    np.testing.assert_allclose(found.normalized, mj.adjacency(S, normalized=True), atol=3 / 255)
    assert found.normalized[0, 1] == pytest.approx(3)


def test_columns_come_back():
    columns = {
        "floats": np.array([1.5, np.nan, -np.inf]),
        "singles": np.array([0.25], np.float32),
        "bools": np.array([True, False]),
        "codes": np.array([65535, 1], np.uint16),
        "none": np.array([], np.int16),
    }
    found = unpack(pack({"a": columns, "b": {"x": np.arange(3, dtype=np.int32)}}))
    for name, values in columns.items():
        np.testing.assert_array_equal(found["a"][name], values)
    assert found["b"]["x"].tolist() == [0, 1, 2]


def test_rounding_is_within_one_part_in_8000():
    values = np.random.default_rng(0).normal(size=10_000)
    np.testing.assert_allclose(rounded(values), values, rtol=2**-13 + 1e-7)
    assert np.isnan(rounded(np.array([np.nan])))[0]
    assert rounded(np.array([0.0, np.inf])).tolist() == [0.0, np.inf]


def test_shares_are_hundredths():
    assert shares(np.array([0.0, 0.254, 1.0, np.nan])).tolist() == [0, 25, 100, 255]


def test_page_holds_the_tables(made):
    html = build_page(made, ["Yes."], pl.DataFrame({"claim": ["a"], "p": [float("nan")]}))
    facts, tables = facts_of(html), tables_of(html)
    assert facts["trial_ids"] == made.trials["trial_id"].to_list()
    assert facts["counts"] == {
        "all": 9,
        "pending": 0,
        "done": 6,
        "untrained": 3,
        "diverged": 0,
        "failed": 0,
        "stopped": 0,
    } | {"excluded": 0}
    assert facts["verdicts"] == ["Yes."]
    assert facts["verdict_table"]["rows"] == [["a", None]]
    np.testing.assert_allclose(tables["trials"]["l2"], made.trials["l2"])
    np.testing.assert_allclose(tables["modules"]["q"], made.modules["q"], rtol=1e-6)
    assert tables["modules"]["labels"].tolist() == made.modules["labels"].explode().to_list()
    np.testing.assert_allclose(tables["alignment"]["vi"], made.alignment["vi"], rtol=1e-3)
    assert len(tables["history"]["epoch"]) == made.history.height
    stored = json.loads(block(html, "matrices"))
    assert stored["total"] == len(stored["trials"]) == 9
    row = made.similarity.row(0, named=True)
    matrix = np.array(row["matrix"]).reshape(16, 16)
    found = unpack_matrices(stored["trials"][row["trial_id"]])[row["layer"], mj.MEASURES.index(row["measure"])]
    np.testing.assert_allclose(found.normalized, mj.adjacency(matrix, normalized=True), atol=1 / 255 + 1e-6)


def test_same_tables_same_bytes(made):
    assert build_page(made) == build_page(mj.open_sweep(made.paths.root))


def test_page_asks_for_nothing_from_a_network(made):
    html = build_page(made)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html).group(1)
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=", html[:20_000] + html[-200_000:])


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&\u2028{{style}}"


def test_a_spec_cannot_put_code_into_the_page(tmp_path):
    sweep = write_sweep(tmp_path / "out", name=HOSTILE, question=HOSTILE)
    for html in (build_page(sweep, [HOSTILE]), build_comparison(sweep, sweep, tmp_path)):
        assert "alert(1)</script>" not in html
        assert "<img src=x" not in html
        assert html.count("<script") == html.count("</script>")
    facts = facts_of(build_page(sweep, [HOSTILE]))
    assert facts["name"] == facts["question"] == facts["verdicts"][0] == HOSTILE


def test_json_has_no_nan_and_no_markup():
    assert as_json({"a": "</script>&"}) == '{"a":"\\u003c/script\\u003e\\u0026"}'
    with pytest.raises(ValueError, match="JSON"):
        as_json([float("nan")])
    assert fill("{{a}}{{b}}", {"a": "{{b}}", "b": "2"}) == "{{b}}2"


ODD = {
    "in progress": {"statuses": dict.fromkeys(range(3), "pending")},
    "nothing finished": {"statuses": dict.fromkeys(range(9), "pending")},
    "no measures": {"measures": ()},
    "one layer": {"layers": (0,)},
    "combined": {"layers": (-1, 0, 1)},
    "combined only": {"layers": (-1,)},
    "one seed": {"seeds": (0,), "untrained_seeds": ()},
    "untrained only": {"statuses": dict.fromkeys(range(6), "untrained")},
    "no certainty": {"certain": False},
    "diverged, excluded, not a number": {"change": spoiled},
}


@pytest.mark.parametrize("case", ODD)
def test_odd_sweeps_have_pages(tmp_path, case):
    sweep = write_sweep(tmp_path / "out", **ODD[case])
    facts = facts_of(build_page(sweep))
    assert facts["counts"]["all"] == sweep.trials.height
    assert facts_of(build_comparison(sweep, sweep, tmp_path))["sides"][0]["counts"] == facts["counts"]


@pytest.mark.parametrize("case", ["nothing finished", "diverged, excluded, not a number"])
def test_report_is_figures_and_page(tmp_path, case):
    sweep = write_sweep(tmp_path / "out", **ODD[case])
    names, path = write_report(sweep)
    assert path == tmp_path / "out" / "report.html"
    assert facts_of(path.read_text(encoding="utf-8"))["counts"]["all"] == 9
    assert bool(names) == ("nothing" not in case)
    assert all((sweep.paths.figures / f"{name}.png").is_file() for name in names)


def test_two_sweeps_show_the_matrices_of_the_same_pairs_and_stay_below_15_mb(tmp_path, monkeypatch):
    first = write_sweep(tmp_path / "a", seeds=range(4), units=32)
    second = write_sweep(tmp_path / "b", arms={"l2": (1e-3,), "dropout": (0.5, 0.0)}, seeds=range(4), units=32)
    pairs = paired_trials(first, second)
    assert pairs.height == 12 + 3
    html = build_comparison(first, second, tmp_path)
    assert len(html.encode()) < 15_000_000
    both = [json.loads(block(html, f"matrices{i}")) for i in range(2)]
    assert [len(stored["trials"]) for stored in both] == [15, 15] == [stored["total"] for stored in both]
    monkeypatch.setattr(page, "MATRIX_BYTES", 12 * len(next(iter(both[0]["trials"].values()))) + 100)
    html = build_comparison(first, second, tmp_path)
    held = [set(json.loads(block(html, f"matrices{i}"))["trials"]) for i in range(2)]
    assert len(held[0]) == 6
    assert len(held[1]) == 6
    assert dict(pairs.iter_rows()).keys() >= held[0]
    assert {dict(pairs.iter_rows())[trial_id] for trial_id in held[0]} == held[1]


def test_trials_of_a_pair_have_labels_in_both_sweeps(tmp_path, monkeypatch):
    first = write_sweep(tmp_path / "a", arms={"l2": (1e-3,)}, seeds=(6, 7), untrained_seeds=(), units=32)
    second = write_sweep(tmp_path / "b", arms={"l2": (1e-3,)}, seeds=range(8), untrained_seeds=(), units=32)
    monkeypatch.setattr(page_data, "MAX_LABELS", 2 * 4 * 2 * 2 * 4 * 32)  # of four trials, a sweep's share
    facts, stored = facts_of(html := build_comparison(first, second, tmp_path)), json.loads(block(html, "matrices1"))
    tables = unpack(Columns(facts["sides"][1]["columns"], block(html, "tables1")))["modules"]
    labelled = {facts["sides"][1]["trial_ids"][trial] for trial in tables["trial"][tables["num_units"] > 0]}
    assert len(labelled) == 4
    assert set(stored["trials"]) == labelled


def test_too_many_differences_are_left_out(made, tmp_path, monkeypatch):
    monkeypatch.setattr(page_compare, "MAX_DIFFERENCES", 7)
    facts = facts_of(build_comparison(made, made, tmp_path))
    assert len(facts["differences"]["rows"]) == 7
    assert facts["num_differences"] == differences(made, made).height


def test_claims_stand_side_by_side(tmp_path):
    first = write_sweep(tmp_path / "a", seeds=range(5))
    second = write_sweep(tmp_path / "b", arms={"dropout": (0.0, 0.5)}, seeds=range(5), layers=(0,))
    a, b = mj.claims(first), mj.claims(second)
    both = claims_side_by_side(a, b)
    assert both.height == a.table.height + b.table.join(a.table, on=CLAIM_KEYS, how="anti", nulls_equal=True).height
    row = both.filter(claim="dropout", quantity="slope", measure="covariance", normalized=True, layer=0)
    for side, found in (("a", a), ("b", b)):
        own = found.dropout.filter(quantity="slope", measure="covariance", normalized=True, layer=0)
        assert row[f"estimate_{side}"].item() == own["estimate"].item()
        assert row[f"verdict_{side}"].item() == own["verdict"].item()
    assert both.filter(layer=1)["verdict_b"].null_count() == both.filter(layer=1).height
    assert both["claim"].to_list()[: a.table.height] == a.table["claim"].to_list()


def test_a_matrix_that_is_not_finite_is_left_out(tmp_path):
    sweep = write_sweep(tmp_path / "out", change=spoiled)
    stored = json.loads(block(build_page(sweep), "matrices"))
    row = sweep.similarity.row(0, named=True)
    assert np.isnan(row["matrix"][0])
    found = unpack_matrices(stored["trials"][row["trial_id"]])
    assert len(found) == 6  # of 2 layers by 4 measures, one a layer is spoiled
    assert (row["layer"], mj.MEASURES.index(row["measure"])) not in found


def test_matrices_stop_at_the_budget_one_seed_of_each_setting_first(made):
    order = embedding_order(made.trials)
    seeds = made.trials.select("trial_id", "seed")
    assert [dict(seeds.iter_rows())[trial_id] for trial_id in order] == [0, 0, 0, 0, 1, 1, 1, 1, 2]
    whole = pack_sweep(made, order, list(mj.MEASURES), 10**9)
    assert list(whole.trials) == order
    part = pack_sweep(made, order, list(mj.MEASURES), whole.num_bytes // 2)
    assert list(part.trials) == order[: len(part.trials)]
    assert 0 < len(part.trials) < len(order)
    assert part.num_with_matrices == 9
    assert sum(map(len, part.trials.values())) == part.num_bytes <= whole.num_bytes // 2
    assert pack_sweep(made, order, list(mj.MEASURES), -1).trials == {}


def test_matrices_are_read_in_batches(made, monkeypatch):
    order = embedding_order(made.trials)
    whole = pack_sweep(made, order, list(mj.MEASURES), 10**9)
    monkeypatch.setattr(page_matrices, "READ_BYTES", 20_000)
    assert pack_sweep(made, order, list(mj.MEASURES), 10**9) == whole


def test_long_tables_are_cut_and_it_is_said(made, monkeypatch):
    monkeypatch.setattr(page_data, "MAX_HISTORY_ROWS", 30)
    monkeypatch.setattr(page_data, "MAX_ALIGNMENT_ROWS", 5 * 72)
    monkeypatch.setattr(page_data, "MAX_LABELS", 4 * 16 * 16)
    columns, left_out = page_columns(made, list(mj.MEASURES))
    tables = unpack(columns)
    assert left_out["history_step"] == 3
    assert set(tables["history"]["epoch"]) == {0, 3, 6, 9, 11}
    assert left_out["alignment_trials"] == len(set(tables["alignment"]["trial"])) == 5
    assert left_out["alignment_total"] == 9
    assert left_out["labelled"] == embedding_order(made.trials)[:4]
    assert (tables["modules"]["num_units"] > 0).sum() == 4 * 16


def test_a_large_sweep_stays_below_15_mb(tmp_path, monkeypatch):
    """Made small to be quick: the page of 370 trials is built with a budget in proportion."""
    sweep = write_sweep(tmp_path / "out", units=64)
    free = len(build_page(sweep).encode())
    stored = sum(map(len, json.loads(block(build_page(sweep), "matrices"))["trials"].values()))
    monkeypatch.setattr(page, "PAGE_BYTES", free - stored // 2)
    tight = build_page(sweep)
    assert len(tight.encode()) <= page.PAGE_BYTES
    assert 0 < len(json.loads(block(tight, "matrices"))["trials"]) < 9


@pytest.mark.slow
def test_370_trials_fit_with_all_their_matrices(tmp_path):
    html = build_page(write_large(tmp_path / "out"))
    assert len(html.encode()) < 15_000_000
    stored = json.loads(block(html, "matrices"))
    assert len(stored["trials"]) == stored["total"] == 370


def test_differences_pair_trials_of_one_seed(tmp_path, made):
    def shifted(name, frame):
        return frame.with_columns(q=pl.col("q") + 0.125) if name == "modules" else frame

    other = write_sweep(tmp_path / "other", change=shifted)
    pairs = paired_values(made, other)
    assert (pairs["trial_a"] == pairs["trial_b"]).all()
    table = differences(made, other).filter(quantity="q", layer=0, measure="covariance", normalized=True)
    assert table["difference"].to_list() == pytest.approx([0.125] * 4)
    assert table["standard_error"].to_list() == pytest.approx([0.0] * 4, abs=1e-12)
    assert table["pairs"].to_list() == [3, 2, 2, 2] or sorted(table["pairs"].to_list()) == [2, 2, 2, 3]


def test_differences_without_a_shared_seed_are_of_means(tmp_path, made):
    other = write_sweep(tmp_path / "other", seeds=(7, 8), untrained_seeds=())
    assert paired_values(made, other).height == 0
    row = differences(made, other).filter(quantity="test_accuracy", dropout=0.5).row(0, named=True)
    mean = [s.trials.filter(dropout=0.5)["test_accuracy"].mean() for s in (made, other)]
    assert (row["pairs"], row["standard_error"], row["trials_a"]) == (0, None, 2)
    assert row["difference"] == pytest.approx(mean[1] - mean[0])


def test_report_survives_a_spec_that_is_gone(tmp_path):
    sweep = write_sweep(tmp_path / "out")
    sweep.paths.spec.write_bytes(b"\xff\xfe not toml")
    assert facts_of(build_page(sweep))["question"] == ""
    sweep.paths.spec.unlink()
    write_table(sweep.paths.table("history"), sweep.history.clear())
    assert facts_of(build_page(sweep))["spec"] == ""


def test_scripts_are_short_and_all_of_them_are_used():
    assets = resources.files("modjax.report") / "assets"
    names = {path.name for path in assets.iterdir()}
    assert names == {*page.SCRIPTS, *page_compare.SCRIPTS, "page.html", "page.css"}
    assert all(len((assets / name).read_text(encoding="utf-8").splitlines()) < 300 for name in names)
