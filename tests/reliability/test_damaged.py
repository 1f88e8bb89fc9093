"""A random file truncated, flipped or removed before each resume: found, set aside, made again, the same tables."""

import random
import time
from collections import Counter

import pytest

import modjax as mj
from tests.reliability.harness import assert_same_bits, do_damage, files_of, kill, kind_of, record

# In a finished sweep these are of no consequence: a list of sums that the manifest has too, and the manifest's copy.
SPARE = (".sums.json", ".manifest.json")


@pytest.mark.parametrize(
    "num_damages", [1, pytest.param(10, marks=pytest.mark.slow), pytest.param(50, marks=pytest.mark.long)]
)
def test_damaged_between_kills(undisturbed, sweeps_with_report, folder, num_damages):
    sweeps, whole = undisturbed if num_damages < 50 else sweeps_with_report
    rng, out = random.Random(num_damages), folder / "out"
    done, kinds, verified, set_aside, finished = Counter(), Counter(), Counter(), 0, 0
    started = time.perf_counter()
    for _ in range(num_damages):
        process = sweeps.start(out)
        if sweeps.wait_for(process, lambda: " to do, " in sweeps.said()):  # what was damaged before is set aside
            time.sleep(rng.uniform(0.0, 0.7 * sweeps.seconds))
        is_killed = kill(process)
        if not is_killed:
            assert process.returncode == 0, sweeps.said()[-3000:]
            assert_same_bits(whole, out)
            finished += 1
        set_aside += "moved to" in sweeps.said()
        chosen = rng.choice(files_of(out))
        kind = kind_of(chosen, out)
        how = do_damage(chosen, rng)
        is_found = not mj.verify_sweep(out).is_whole
        assert is_found or is_killed or chosen.name in SPARE, (chosen, how)
        done[how] += 1
        kinds[kind] += 1
        verified["killed" if is_killed else "finished", is_found] += 1
    sweeps.finish(out)
    set_aside += "moved to" in sweeps.said()
    assert_same_bits(whole, out)
    assert mj.verify_sweep(out).is_whole
    record(
        "a random file damaged before each resume",
        damages=num_damages,
        how=dict(sorted(done.items())),
        files=dict(sorted(kinds.items())),
        found_by_verify_in_finished=verified["finished", True],
        not_found_in_finished=verified["finished", False],
        found_by_verify_in_killed=verified["killed", True],
        not_found_in_killed=verified["killed", False],
        runs_that_set_files_aside=set_aside,
        sweeps_finished=finished + 1,
        seconds=round(time.perf_counter() - started, 1),
        same_bits=True,
    )
