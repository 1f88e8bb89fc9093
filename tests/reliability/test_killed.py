"""SIGKILL at random moments, resumed each time: the tables of the undisturbed sweep, bit for bit."""

import random
import time
from collections import Counter

import pytest

from tests.reliability.harness import assert_same_bits, kill, record

# Half of the kills come a moment after one of these changes: the ends of stages are short, and time alone misses them.
EVENTS = {
    "startup": "manifest.json",
    "plan": "trials.parquet",
    "weights": "checkpoints/stack_*.json",
    "trained part": "parts/trained_*",
    "snapshot": "checkpoints/training/*",
    "analysed part": "parts/analysed_*",
    "similarity": "similarity/*.parquet",
    "modules": "modules.parquet",
    "last table": "trials.parquet",
    "figures": "figures/*",
    "manifest": "manifest.json",
}


def seen(out, pattern):
    return {(str(path), path.stat().st_mtime_ns) for path in out.glob(pattern) if path.exists()}


def changes(out, pattern):
    """Whether something of that name has changed since now."""
    before = seen(out, pattern)

    def has_changed():
        try:
            return bool(seen(out, pattern) - before)
        except FileNotFoundError:
            return True

    return has_changed


@pytest.mark.parametrize(
    "num_kills", [1, pytest.param(10, marks=pytest.mark.slow), pytest.param(50, marks=pytest.mark.long)]
)
def test_killed_at_random_moments(undisturbed, sweeps_with_report, folder, num_kills):
    sweeps, whole = undisturbed if num_kills < 50 else sweeps_with_report
    rng, killed, finished = random.Random(num_kills), Counter(), 0
    started, usual = time.perf_counter(), sweeps.seconds
    while sum(killed.values()) < num_kills:
        out = folder / f"out_{finished}"
        began = time.perf_counter()
        process = sweeps.start(out)
        if rng.random() < 0.5:
            name = "any time"
            time.sleep(rng.uniform(0.0, usual))
        else:
            name = rng.choice(sorted(EVENTS if sweeps.report else EVENTS.keys() - {"figures"}))
            sweeps.wait_for(process, changes(out, EVENTS[name]))
            time.sleep(rng.choice([0.0, rng.uniform(0.0, 0.1)]))
        if kill(process):
            killed[name] += 1
        else:
            assert process.returncode == 0, sweeps.said()[-3000:]
            assert_same_bits(whole, out)
            finished += 1
            usual = min(usual, time.perf_counter() - began)  # the machine may have had other work before
    if (folder / f"out_{finished}").exists():
        sweeps.finish(folder / f"out_{finished}")
        assert_same_bits(whole, folder / f"out_{finished}")
        finished += 1
    record(
        "SIGKILL at random moments",
        kills=sum(killed.values()),
        after=dict(sorted(killed.items())),
        sweeps_finished=finished,
        undisturbed_seconds=round(sweeps.seconds, 1),
        seconds=round(time.perf_counter() - started, 1),
        same_bits=True,
    )


@pytest.mark.slow
def test_killed_while_figures_are_drawn(sweeps_with_report, folder):
    sweeps, whole = sweeps_with_report
    process = sweeps.start(folder / "out")
    assert sweeps.wait_for(process, changes(folder / "out", EVENTS["figures"]))
    assert kill(process)
    sweeps.finish(folder / "out")
    assert_same_bits(whole, folder / "out")
    assert (folder / "out" / "report.html").is_file()


def test_lock_of_a_killed_process_does_not_hold_while_its_workers_end(undisturbed, folder):
    sweeps, whole = undisturbed
    process = sweeps.start(folder / "out")
    assert sweeps.wait_for(process, changes(folder / "out", "parts/trained_*"))
    time.sleep(0.3)  # its workers have begun
    assert kill(process)
    sweeps.finish(folder / "out")
    assert_same_bits(whole, folder / "out")
