"""Tables that fit their schemas, with values changed at random: what reads them succeeds, or refuses with one line."""

import json
import random
import shutil
import time

import polars as pl
import pytest

import modjax as mj
from tests.seams import FIGURES, SweepPaths, build_comparison, build_page, reproduction_text, use_style, write_table
from tests.untrusted.conftest import record
from tests.untrusted.test_fuzz import outcome_of

TEXTS = [None, "", "x", "a\nb", "$\\frac$", "../../x", "weights", "covariance", "done", "pending", "failed", "x" * 500]
FLOATS = [None, float("nan"), float("inf"), float("-inf"), -1.0, 0.0, 0.5, 1e-300, 1e300]
WHOLES = [None, -(2**31), -2, -1, 0, 1, 99, 100, 2**31 - 1]
LENGTHS = [0, 1, 6, 8, 14]  # 6 and 8 are the layers of the tiny sweep, 14 both


def any_value(dtype, rng):
    """Something that a column of that type can hold."""
    if dtype == pl.String:
        return rng.choice(TEXTS)
    if dtype == pl.Boolean:
        return rng.choice([True, False, None])
    if dtype == pl.List:
        return rng.choice([None, [any_value(dtype.inner, rng) for _ in range(rng.choice(LENGTHS))]])
    return rng.choice(FLOATS if dtype.is_float() else WHOLES)


def changed(frame, rng):
    """One value in one, some or all rows of a column; or rows left out, or turned round."""
    kind = rng.random()
    if kind < 0.05:
        return frame.clear()
    if kind < 0.15:
        return frame.sample(fraction=rng.random(), seed=rng.randrange(100))
    if kind < 0.2:
        return frame.reverse()
    column, number = rng.choice(frame.columns), pl.int_range(pl.len())
    value = pl.lit(pl.Series([any_value(frame.schema[column], rng)], dtype=frame.schema[column])).first()
    where = rng.choice([number == rng.randrange(max(1, frame.height)), number % 3 == 0, pl.lit(True)])
    return frame.with_columns(pl.when(where).then(value).otherwise(column).alias(column))


class Tables:
    """A finished sweep whose tables are changed, beside a whole one; its manifest has no sums of them."""

    def __init__(self, root, finished):
        self.root, self.whole, self.sweep_paths = root, finished, SweepPaths(root / "out")
        shutil.copytree(finished.paths.root, self.sweep_paths.root)
        manifest = {**json.loads(self.sweep_paths.manifest.read_text()), "checksums": {}}
        del manifest["sha256"]
        for path in (self.sweep_paths.manifest, self.sweep_paths.manifest_copy):
            path.write_text(json.dumps(manifest))
        self.paths = {name: self.sweep_paths.table(name) for name in ("trials", "history", "modules", "alignment")}
        self.paths["similarity"] = self.sweep_paths.similarity_file(0)
        self.frames = {name: pl.read_parquet(path) for name, path in self.paths.items()}

    def spoil(self, rng):
        for name in rng.sample(sorted(self.paths), rng.choice([1, 1, 1, 2])):
            frame = self.frames[name]
            for _ in range(rng.choice([1, 1, 2, 4])):
                frame = changed(frame, rng)
            write_table(self.paths[name], frame)

    def restore(self):
        for name, path in self.paths.items():
            write_table(path, self.frames[name])

    def claims(self, rng):
        sweep = mj.open_sweep(self.sweep_paths.root)
        reproduction_text(sweep, mj.claims(sweep))

    def compare(self, rng):
        sides = [mj.open_sweep(self.sweep_paths.root), self.whole]
        build_comparison(*rng.sample(sides, 2), self.root)

    def verify(self, rng):
        mj.verify_sweep(self.sweep_paths.root)

    def report(self, rng):
        """The page, and some of the figures: all of them take seconds."""
        use_style()
        sweep = mj.open_sweep(self.sweep_paths.root)
        for name in rng.sample(sorted(FIGURES), 3):
            FIGURES[name](sweep)
        build_page(sweep)


QUICK = {"verify": 12, "compare": 6, "claims": 8, "report": 6}
SLOW = {"verify": 200, "compare": 200, "claims": 100, "report": 60}


@pytest.fixture(scope="module")
def tables(tmp_path_factory, finished):
    return Tables(tmp_path_factory.mktemp("tables"), finished)


def fuzz(tables, use, numbers):
    started, refused = time.perf_counter(), 0
    for number in numbers:
        rng = random.Random(f"{use} {number}")
        tables.spoil(rng)
        told = outcome_of(lambda rng=rng: getattr(tables, use)(rng), f"{use} {number}")
        refused += bool(told)
        assert "\n" not in told, f"{use} {number}"
        assert not told or told.startswith(str(tables.root)), f"{use} {number}: {told}"
        tables.restore()
    outcome = f"{refused} refused with one line, {len(numbers) - refused} read; no traceback"
    record(f"fuzzed tables, {use}", len(numbers), started, outcome)
    return refused


@pytest.mark.parametrize("use", QUICK)
def test_fuzzed_tables(tables, use):
    assert fuzz(tables, use, range(QUICK[use])) or use in ("verify", "claims")  # damage is told; few tables are read


@pytest.mark.long
@pytest.mark.parametrize("use", SLOW)
def test_many_fuzzed_tables(tables, use):
    assert fuzz(tables, use, range(10_000, 10_000 + SLOW[use])) or use == "verify"  # which tells of damage instead
