"""Workers in this process, without Ray: the tables of the local engine bit for bit, also when workers die."""

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import modjax as mj
from modjax.engines.base import EngineOptions
from modjax.engines.local import LocalEngine
from modjax.engines.queue import TrialQueue
from modjax.engines.ray import worker as worker_module
from modjax.engines.ray.dispatch import dispatch
from modjax.engines.ray.worker import TrialWorker, WorkerJob
from modjax.engines.snapshots import find_saved, saved_in
from modjax.spec.context import make_contexts
from modjax.spec.shipped import shipped
from modjax.store.paths import worker_folder, worker_folders
from modjax.sweep import writer as stacks
from modjax.training.slots import SlotTable
from tests.sweep.test_pipeline import TABLES, assert_same_tables, without_times


class InlineWorkerGroup:
    """Real workers, one order at a time; those in ``deaths`` die instead of carrying out so many orders."""

    def __init__(self, job, root, first, num_workers, deaths):
        self.job, self.root, self.next, self.num_workers, self.deaths = job, root, first, num_workers, dict(deaths)
        self.live, self.orders, self.carried_out = {}, {}, {}

    def grow(self):
        while len(self.live) < self.num_workers:
            self.live[self.next] = TrialWorker(self.job, str(worker_folder(self.root, self.next)))
            self.orders[self.next], self.carried_out[self.next] = [], 0
            self.next += 1

    def workers(self):
        return list(self.live)

    def num_orders(self, worker):
        return len(self.orders[worker])

    def send(self, worker, order):
        self.orders[worker].append(order)

    def wait(self, seconds):
        told = []
        for worker in [one for one in self.live if self.orders[one]]:
            if self.carried_out[worker] == self.deaths.get(worker):
                self.live.pop(worker)._store.close()  # what a dead one was writing is whole or not there
                told.append((worker, None))
                continue
            told.append((worker, self.live[worker].carry_out(self.orders[worker].pop(0))))
            self.carried_out[worker] += 1
        return told


class InlineEngine(LocalEngine):
    """Trains by workers in this process."""

    def __init__(self, deaths=(), stop_after=None, asked_after=None):
        super().__init__(EngineOptions())
        self.deaths, self.stop_after, self.asked_after, self.told = deaths, stop_after, asked_after, []

    def train(self, job):
        names, root = job.trials["trial_id"].to_list(), job.snapshots
        index_of = {name: index for index, name in enumerate(names)}
        manifest = {"layout": {"population": job.context.layout._asdict()}}
        seconds = 0.0 if self.asked_after is None else 1e9  # then only what is asked for is saved
        about = WorkerJob(shipped(job.setup), manifest, job.context.name, job.slots, job.trials, seconds, False)
        group = InlineWorkerGroup(about, root, 1 + max(worker_folders(root), default=-1), 2, self.deaths)
        saved = {index_of[name]: one for name, one in find_saved(root).items() if name in index_of}
        self.resumed = {names[index]: one.epochs for index, one in saved.items()}

        def saved_by(worker):
            return {index_of[name]: one for name, one in saved_in(worker_folder(root, worker)).items()}

        population = job.context.layout
        capacity = population.slots * population.num_threads
        asked = [] if self.asked_after is None else [False] * self.asked_after + [True]

        def is_asked_to_stop():
            return bool(asked) and asked.pop(0)

        queue = TrialQueue(range(len(names)), saved)
        for count, report in enumerate(dispatch(group, queue, capacity, saved_by, is_asked_to_stop)):
            self.told += report.messages
            yield report
            if count == self.stop_after:
                for one in group.live.values():
                    one._store.close()
                raise KeyboardInterrupt
        if self.asked_after is not None:
            for one in group.live.values():
                one._store.close()
            raise KeyboardInterrupt
        self.programs = [{"lanes": population.lanes, "is_paired": population.is_paired}]


CONTEXTS = {}  # made and compiled once, for all workers and tests


@pytest.fixture
def sweep_with(folder, write_spec, tiny_content, monkeypatch):
    monkeypatch.setattr(worker_module, "ORDER_SECONDS", 0.0)

    def make_once(*arguments, **named):
        if "one" not in CONTEXTS:
            CONTEXTS["one"] = make_contexts(*arguments, **named)
        return CONTEXTS["one"]

    monkeypatch.setattr(worker_module, "make_contexts", make_once)
    monkeypatch.setattr("modjax.sweep.pipeline.make_contexts", make_once)
    spec = write_spec(tiny_content)

    def run(engine):
        monkeypatch.setattr("modjax.sweep.pipeline.open_engine", lambda *options: engine)
        return mj.run_sweep(spec, folder / "out", slots=6, is_quiet=True)

    return run


def test_two_workers_make_the_tables_of_the_local_engine(sweep_with, finished):
    assert_same_tables(sweep_with(InlineEngine()), finished)


def test_workers_that_die_lose_nothing(sweep_with, finished):
    engine = InlineEngine(deaths={0: 2, 1: 3, 2: 1})
    assert_same_tables(sweep_with(engine), finished)
    assert len(engine.told) == 3
    assert "worker 0 is gone: 3 trials go to others, 3 of them from a snapshot" in engine.told


def test_a_stopped_driver_goes_on_from_its_workers_snapshots_and_so_does_the_local_engine(
    sweep_with, finished, folder, monkeypatch
):
    with pytest.raises(KeyboardInterrupt):
        sweep_with(InlineEngine(stop_after=1))
    engine = InlineEngine(stop_after=0)
    with pytest.raises(KeyboardInterrupt):
        sweep_with(engine)
    assert engine.resumed
    assert min(engine.resumed.values()) >= 1
    local = LocalEngine(EngineOptions())
    assert_same_tables(sweep_with(local), finished)
    assert not (folder / "out" / "checkpoints" / "training").exists()


def test_asked_to_stop_all_workers_save_what_they_train(sweep_with, finished):
    engine = InlineEngine(asked_after=1)
    with pytest.raises(KeyboardInterrupt):
        sweep_with(engine)
    assert engine.told == ["checkpoint saved: 6 trials in training, and all that had finished"]
    later = InlineEngine()
    assert_same_tables(sweep_with(later), finished)
    assert len(later.resumed) == 6
    assert min(later.resumed.values()) >= 2


def raise_for(monkeypatch, victim, module):
    """Measuring the victim raises, by a worker or by the driver."""
    whole = module.measure_trial

    def measure(context, row, params):
        if row["trial_id"] == victim:
            raise ZeroDivisionError("a bad\nmember")
        return whole(context, row, params)

    monkeypatch.setattr(module, "measure_trial", measure)


def test_a_trial_that_raises_is_marked_and_its_neighbours_finish(sweep_with, finished, monkeypatch):
    victim, engine = finished.trials.filter(pl.col("status") == "done")["trial_id"][1], InlineEngine()
    with monkeypatch.context() as patch:
        for module in (worker_module, stacks):
            raise_for(patch, victim, module)
        sweep = sweep_with(engine)
    assert any(f"could not measure trial {victim}: ZeroDivisionError: a bad member" in line for line in engine.told)
    assert sweep.manifest["failed"] == {victim: "ZeroDivisionError: a bad member"}
    own = pl.col("trial_id") == victim
    assert sweep.trials.filter(own)["status"].to_list() == ["failed"]
    for name in TABLES:
        ours, theirs = (without_times(one.table(name)).filter(~own) for one in (sweep, finished))
        names = [column for column in ours.columns if column != "p_adjusted"]
        assert_frame_equal(ours.select(names), theirs.select(names), check_exact=True)


def test_what_only_raises_on_a_worker_is_done_by_the_driver(sweep_with, finished, monkeypatch):
    raise_for(monkeypatch, finished.trials.filter(pl.col("status") == "done")["trial_id"][0], worker_module)
    assert_same_tables(sweep_with(InlineEngine()), finished)


def test_what_hits_all_trials_ends_the_run(sweep_with, monkeypatch):
    def no_memory(*given):
        raise MemoryError("no room")

    monkeypatch.setattr(worker_module, "measure_trial", no_memory)
    with pytest.raises(MemoryError, match="no room"):
        sweep_with(InlineEngine())


def test_a_damaged_snapshot_only_costs_time(sweep_with, finished, folder):
    with pytest.raises(KeyboardInterrupt):
        sweep_with(InlineEngine(stop_after=1))
    for path in (folder / "out" / "checkpoints" / "training").rglob("*"):
        if path.is_file() and "states" in path.parts:
            path.write_bytes(b"damaged")
    engine = InlineEngine()
    assert_same_tables(sweep_with(engine), finished)
    assert any("cannot be read" in line and "begin again" in line for line in engine.told)


def test_seating_takes_more_trials_behind_those_that_wait():
    slot_table = SlotTable(1, 2, [5, 6, 7], np.zeros(10, int))
    assert [trial for trial, _, _ in slot_table.fill()] == [5, 6]
    slot_table.extend([8, 9])
    assert slot_table.num_waiting == 3
    slot_table.release(5)
    slot_table.release(6)
    assert [trial for trial, _, _ in slot_table.fill()] == [7, 8]
