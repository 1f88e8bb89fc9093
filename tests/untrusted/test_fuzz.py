"""Real files with bytes and values changed at random: read as they were meant, or refused with one line.

A thousand cases here, ten thousand more in the slow suite; seeded, so that a failing number can be looked at again.
"""

import io
import json
import os
import random
import shutil
import time

import numpy as np
import pytest
import tomli_w

import modjax as mj
from modjax import watch_sweep
from tests.seams import (
    Heartbeat,
    SweepPaths,
    read_failures,
    read_heartbeat,
    read_ids,
    read_manifest,
    read_table,
    status_text,
)
from tests.untrusted.conftest import files_of, record, time_limit
from tests.untrusted.makers import arrays

WORDS = [b"\x00", b"\xff" * 4, b"\xff\xff\xff\x7f", b"-1", b"1e999", b"NaN", b"[" * 50, b"../../x", b"PAR1", b'"']
NUMBERS = [None, -1, 0, 2**40, 2**70, 1.5, float("inf"), float("nan"), True]
VALUES = [*NUMBERS, "", "../../x", "\0", "x" * 3000, [], {}, [[]]]


def mutate(content, rng):
    """A few bytes changed, cut out, doubled, or replaced by words that parsers stumble over."""
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 5, 20])):
        place = rng.randrange(len(content) + 1)
        kind = rng.randrange(6)
        if kind == 0 and place < len(content):
            content[place] ^= 1 << rng.randrange(8)
        elif kind == 1 and place < len(content):
            content[place] = rng.randrange(256)
        elif kind == 2:
            del content[place : place + rng.choice([1, 4, 100])]
        elif kind == 3:
            content[place:place] = rng.choice(WORDS)
        elif kind == 4:
            content[place : place + 4] = rng.choice(WORDS)[:4]
        elif kind == 5 and rng.random() < 0.3:
            del content[place:]
    return bytes(content)


def change(value, rng, depth=0):
    """One value somewhere in nested lists and dicts replaced, removed, or given a name of its own."""
    if isinstance(value, dict) and value and (depth == 0 or rng.random() < 0.8):
        key = rng.choice(sorted(value))
        kind = rng.random()
        if kind < 0.1:
            return {name: inner for name, inner in value.items() if name != key}
        if kind < 0.2:
            return {**value, rng.choice(["extra", "../x", ""]): rng.choice(VALUES)}
        return {**value, key: change(value[key], rng, depth + 1)}
    if isinstance(value, list) and value and rng.random() < 0.7:
        place = rng.randrange(len(value))
        return [*value[:place], change(value[place], rng, depth + 1), *value[place + 1 :]]
    return rng.choice(VALUES)


def spec_bytes(content, rng):
    """TOML of a changed spec, or changed TOML."""
    if rng.random() < 0.5:
        return mutate(tomli_w.dumps(content).encode(), rng)
    changed = change(content, rng)
    try:
        return tomli_w.dumps(changed).encode()
    except (TypeError, ValueError, AttributeError):  # None, and what else TOML cannot say
        return repr(changed).encode("utf-8", "replace")


def json_bytes(content, rng):
    whole = json.dumps(content).encode()
    return mutate(whole, rng) if rng.random() < 0.4 else json.dumps(change(content, rng)).encode()


def npz_bytes():
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays(x_train=np.arange(150).reshape(30, 5).astype(np.float32)))
    return buffer.getvalue()


class Material:
    """A finished sweep to spoil, in a folder that nothing may leave."""

    def __init__(self, root, finished, content):
        self.root = root
        self.sweep_paths = SweepPaths(root / "out")
        shutil.copytree(finished.paths.root, self.sweep_paths.root)
        self.content, self.npz = content, npz_bytes()
        self.trial_id = finished.trials["trial_id"][0]
        self.originals = {path: path.read_bytes() for path in self.sweep_paths.root.rglob("*") if path.is_file()}
        self.stack = next(
            path
            for path in sorted(self.sweep_paths.checkpoints.glob("stack_*.json"))
            if self.trial_id in path.read_text()
        )
        self.weights = [path for path in self.originals if path.is_relative_to(self.stack.with_suffix(""))]

    def spec(self, rng):
        path = self.root / "fuzzed.toml"
        path.write_bytes(spec_bytes(self.content, rng))
        return [path], lambda: mj.load_spec(path).num_trials

    def dataset(self, rng):
        path = self.root / "fuzzed.npz"
        path.write_bytes(mutate(self.npz, rng))
        return [path], lambda: mj.load_dataset(str(path)).checksum()

    def manifest(self, rng):
        path, copy = self.sweep_paths.manifest, self.sweep_paths.manifest_copy
        content = json.loads(self.originals[path])
        del content["sha256"]  # else the sum alone would tell of nearly every change
        spoilt = json_bytes(content, rng)
        for one in (path, copy):
            one.write_bytes(spoilt)

        def use():
            read_manifest(path)
            status_text(watch_sweep(self.sweep_paths.root))

        return [path, copy], use

    def table(self, rng):
        name = rng.choice(["trials", "history", "modules", "alignment", "similarity"])
        path = self.sweep_paths.similarity_file(0) if name == "similarity" else self.sweep_paths.table(name)
        path.write_bytes(mutate(self.originals[path], rng))
        return [path], lambda: read_table(path, name).height

    def ids(self, rng):
        self.stack.write_bytes(json_bytes(json.loads(self.originals[self.stack]), rng))
        return [self.stack], lambda: read_ids(self.stack)

    def heartbeat(self, rng):
        path = self.sweep_paths.progress
        path.write_bytes(json_bytes(Heartbeat()._asdict(), rng))

        def use():
            read_heartbeat(path)
            status_text(watch_sweep(self.sweep_paths.root))
            (self.sweep_paths.root / "failed.json").write_bytes(json_bytes({"x": "y"}, rng))
            read_failures(self.sweep_paths.root)
            (self.sweep_paths.root / "failed.json").unlink()

        return [path], use

    def checkpoint(self, rng):
        path = rng.choice(self.weights)
        path.write_bytes(mutate(self.originals[path], rng))
        return [path], lambda: mj.load_params(self.sweep_paths.root, self.trial_id)

    def restore(self, paths):
        for path in paths:
            if path in self.originals:
                path.write_bytes(self.originals[path])
            else:
                path.unlink(missing_ok=True)


CHEAP = ("spec", "dataset", "manifest", "table", "ids", "heartbeat")
QUICK = dict.fromkeys(CHEAP, 160) | {"checkpoint": 40}
SLOW = dict.fromkeys(CHEAP, 1600) | {"checkpoint": 400}


@pytest.fixture(scope="module")
def material(tmp_path_factory, finished, tiny_content):
    return Material(tmp_path_factory.mktemp("fuzz"), finished, tiny_content)


def outcome_of(use, case):
    """What a refused file is told; empty where it was read."""
    try:
        with time_limit():
            use()
    except ValueError as error:
        return str(error) or "refused"
    except BaseException as error:
        raise AssertionError(f"{case} ended in {type(error).__name__}: {error}") from error
    return ""


def fuzz(material, kind, numbers):
    started, refused = time.perf_counter(), 0
    before = files_of(material.root.parent, leave_out=material.root)
    names = set(files_of(material.root))
    here = os.getcwd()
    os.chdir(material.root)
    try:
        for number in numbers:
            paths, use = getattr(material, kind)(random.Random(f"{kind} {number}"))
            told = outcome_of(use, f"{kind} {number}")
            refused += bool(told)
            assert "\n" not in told, f"{kind} {number}"
            assert len(told) < 3000, f"{kind} {number}"
            material.restore(paths)
    finally:
        os.chdir(here)
    assert set(files_of(material.root)) == names
    assert files_of(material.root.parent, leave_out=material.root) == before
    outcome = f"{refused} refused with one line, {len(numbers) - refused} read; no traceback, no file outside"
    record(f"fuzzed {kind}", len(numbers), started, outcome)
    return refused


@pytest.mark.parametrize("kind", QUICK)
def test_fuzzed(material, kind):
    refused = fuzz(material, kind, range(QUICK[kind]))
    assert refused or kind == "heartbeat"


@pytest.mark.long
@pytest.mark.parametrize("kind", SLOW)
def test_fuzzed_ten_thousand(material, kind):
    refused = fuzz(material, kind, range(10_000, 10_000 + SLOW[kind]))
    assert refused or kind == "heartbeat"  # of which whatever can be read is taken


def test_there_are_as_many_as_said():
    assert sum(QUICK.values()) >= 1000
    assert sum(SLOW.values()) >= 10_000
