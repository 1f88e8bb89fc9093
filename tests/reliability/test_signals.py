"""SIGTERM and Ctrl-C: a checkpoint at the end of the epoch, the exit status, and on from that epoch."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import modjax as mj
from tests.reliability.harness import LIMIT_SECONDS, RUN, Sweeps, assert_same_bits, record
from tests.seams import GRACE_SECONDS, INTERRUPTED, Interrupted, SweepPaths, signals_stop_the_process, signals_wait

RARELY = RUN.replace("0.3", "1e9")  # no checkpoint but the one that is written when a signal comes
LIBRARY = """
import sys
import modjax as mj
mj.run_sweep(sys.argv[2], sys.argv[4], report=False)
"""


@pytest.fixture(autouse=True)
def _sigint_as_it_is_in_a_terminal():
    """A job in the background of a shell is started with SIGINT ignored, and so would be what it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def epochs_saved(out):
    """Epochs of each trial in the newest snapshot."""
    steps = [path for path in SweepPaths(out).training.glob("*") if path.name.isdigit()]
    if not steps:
        return {}
    newest = max(steps, key=lambda path: int(path.name))
    return {row["trial"]: row["epochs"] for row in json.loads((newest / "trials" / "metadata").read_text())["trials"]}


@pytest.fixture
def long_sweeps(undisturbed, folder, write_spec, tiny_content):
    """Epochs enough for every signal; nothing but training."""
    training = {"max_epochs": 4000, "batch_size": 16, "early_stopping_patience": 4000}
    sweeps = Sweeps(write_spec(tiny_content | {"training": training, "similarity": {"measures": []}}), folder)
    sweeps.env = undisturbed[0].env
    return sweeps


def is_training(out, since):
    """Whether epochs have ended since then: before, a signal ends the process at once, with nothing to save."""
    progress = SweepPaths(out).progress
    if not progress.exists() or progress.stat().st_mtime < since:
        return False
    beat = mj.watch_sweep(out).heartbeat
    return beat is not None and beat.epochs > 0


def stop(sweeps, out, number, seconds, code=RARELY):
    """Send a signal so long after training began, or right before; returns the status and the seconds until the end."""
    since = time.time()
    process = sweeps.start(out, code)
    assert sweeps.wait_for(process, lambda: " to do, " in sweeps.said()), sweeps.said()
    if seconds:  # of training, however long compiling takes
        assert sweeps.wait_for(process, lambda: is_training(out, since)), sweeps.said()
        time.sleep(seconds)
    assert process.poll() is None, "it ended before the signal: train longer"
    sent = time.perf_counter()
    process.send_signal(number)
    return process.wait(LIMIT_SECONDS), time.perf_counter() - sent


def test_sigterm_saves_a_checkpoint_and_the_next_run_goes_on_from_that_epoch(long_sweeps, folder):
    sweeps, out, waits = long_sweeps, folder / "out", []
    status, waited = stop(sweeps, out, signal.SIGTERM, 2.0)
    assert status == 143, sweeps.said()
    assert waited < GRACE_SECONDS + 1
    for told in ("stopping at the end of this epoch", "checkpoint saved", "run the same command again"):
        assert told in sweeps.said()
    assert "Traceback" not in sweeps.said()
    waits.append(round(waited, 2))
    first = epochs_saved(out)
    assert first
    status, waited = stop(sweeps, out, signal.SIGINT, 0.0)  # at the end of its first epoch, or before that
    assert status == 130, sweeps.said()
    waits.append(round(waited, 2))
    second = epochs_saved(out)
    assert second.keys() == first.keys()
    assert all(0 <= second[trial] - epochs <= 2 for trial, epochs in first.items())
    record("SIGTERM, then SIGINT on resuming", exits=[143, 130], seconds_to_leave=waits, epochs=sorted(first.values()))


@pytest.mark.slow
def test_stopped_three_times_has_the_tables_of_the_undisturbed(long_sweeps, folder):
    sweeps, out, waits = long_sweeps, folder / "out", []
    sweeps.finish(folder / "whole")
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        status, waited = stop(sweeps, out, number, 2.0)
        assert status == INTERRUPTED[number], sweeps.said()
        waits.append(round(waited, 2))
    sweeps.finish(out)
    assert_same_bits(folder / "whole", out)
    exits = [INTERRUPTED[number] for number in numbers]
    record("stopped by signals, then run to the end", exits=exits, seconds_to_leave=waits, same_bits=True)


def test_second_signal_leaves_at_once(long_sweeps, folder):
    sweeps, out = long_sweeps, folder / "out"
    slow = RARELY.replace(
        "cli.main",
        "from modjax.training.runner import PopulationRun\nimport time\n"
        "def rounds(self):\n    print('stuck', file=sys.stderr, flush=True)\n    time.sleep(60)\n    yield\n"
        "PopulationRun.rounds = rounds\ncli.main",
    )
    process = sweeps.start(out, slow)
    assert sweeps.wait_for(process, lambda: "stuck" in sweeps.said()), sweeps.said()
    process.send_signal(signal.SIGTERM)
    assert sweeps.wait_for(process, lambda: "stopping at the end of this epoch" in sweeps.said())
    sent = time.perf_counter()
    process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT_SECONDS) == 130
    assert time.perf_counter() - sent < 3
    last = sweeps.said().splitlines()[-1]  # of the thread that watches, or of the main one, whichever was first
    assert last.startswith(
        ("modjax: stopped at once; run the same command", "modjax: interrupted; run the same command")
    )
    process = sweeps.start(out, slow)
    assert sweeps.wait_for(process, lambda: "stuck" in sweeps.said()), sweeps.said()
    sent = time.perf_counter()
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT_SECONDS) == 143
    waited = time.perf_counter() - sent
    assert GRACE_SECONDS - 1 < waited < GRACE_SECONDS + 3
    assert "before the end of the epoch; run the same command again" in sweeps.said()
    record("SIGTERM while an epoch does not end", exit=143, seconds_to_leave=round(waited, 1))


def test_keyboard_interrupt_of_a_script_saves_a_checkpoint(long_sweeps, folder):
    sweeps, out = long_sweeps, folder / "out"
    status, _ = stop(sweeps, out, signal.SIGINT, 2.0, LIBRARY)
    assert status == -signal.SIGINT  # how Python ends by KeyboardInterrupt
    assert "checkpoint saved" in sweeps.said()
    assert "KeyboardInterrupt" in sweeps.said()
    assert epochs_saved(out)


def send_in_block(number, times=1):
    with signals_wait() as is_asked:
        for _ in range(times):
            assert not is_asked() or times > 1
            signal.raise_signal(number)
        assert is_asked()
        assert times == 1, "a second signal was put off"


def test_handlers_are_put_back():
    before = {number: signal.getsignal(number) for number in INTERRUPTED}
    with pytest.raises(KeyboardInterrupt):
        send_in_block(signal.SIGINT)
    assert {number: signal.getsignal(number) for number in INTERRUPTED} == before
    with signals_stop_the_process():
        with pytest.raises(Interrupted) as stop:
            send_in_block(signal.SIGTERM)
        assert stop.value.exit_status == 143
    assert {number: signal.getsignal(number) for number in INTERRUPTED} == before


def test_second_signal_is_not_put_off():
    with pytest.raises(KeyboardInterrupt):
        send_in_block(signal.SIGINT, times=2)


def test_handlers_of_others_and_other_threads_are_left_alone():
    found = []

    def look():
        with signals_wait() as is_asked:
            found.append(is_asked())

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [False]

    def own(number, frame):
        found.append(number)

    before = signal.signal(signal.SIGTERM, own)
    try:
        with signals_wait() as is_asked:
            signal.raise_signal(signal.SIGTERM)
            assert not is_asked()
        assert found == [False, signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_signal_before_training_ends_the_process_at_once(tmp_path):
    code = (
        "import sys, time\nfrom modjax import cli\nfrom modjax._util import signals\n"
        "cli.app = lambda **given: (print('ready', flush=True), time.sleep(60))\ncli.main(['status', 'x'])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 143
    assert err == "modjax: interrupted; run the same command again to go on from what is saved.\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_compiled_code_turns_into_its_own_error_still_interrupts(number):
    """As polars does: Python that it calls raises, and it panics."""
    code = (
        "import signal\nfrom modjax import cli\nclass Panic(BaseException): ...\n"
        "def app(**given):\n"
        "    try:\n"
        f"        signal.raise_signal({int(number)})\n"
        "    except BaseException:\n"
        "        raise Panic('no capsule') from None\n"
        "cli.app = app\ncli.main(['status', 'x'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == INTERRUPTED[number]
    assert done.stderr == "modjax: interrupted; run the same command again to go on from what is saved.\n"
