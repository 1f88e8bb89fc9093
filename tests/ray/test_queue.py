"""The queue and its dispatcher, with workers that are made up: deaths, late results, fair shares. No Ray."""

import random
from collections import Counter, deque

import pytest

from modjax.engines.base import TrainedTrial
from modjax.engines.queue import MAX_LOSSES, TrialQueue
from modjax.engines.ray.dispatch import ORDERS_AHEAD, Done, dispatch, give_orders
from modjax.engines.snapshots import Saved
from modjax.training.events import FinishedTrial

EPOCHS = 5


def finished(trial):
    return TrainedTrial(FinishedTrial(trial, {}, {}, [], "done", 0, 0.0))


class MadeUpFleet:
    """Workers with some seats each; an order is an epoch of every seated trial. Some die; some only seem to."""

    def __init__(self, num_workers, seats, seed=0, death_rate=0.0, late_rate=0.0):
        self.num_workers, self.seats = num_workers, seats
        self.rng = random.Random(seed)
        self.death_rate, self.late_rate = death_rate, late_rate
        self.alive, self.next, self.late = {}, 0, []
        self.snapshots, self.epochs_trained, self.idle = {}, 0, []

    def grow(self):
        while len(self.alive) < self.num_workers:
            self.alive[self.next] = {"queue": deque(), "seated": {}, "orders": deque()}
            self.snapshots[self.next] = {}
            self.next += 1

    def workers(self):
        return list(self.alive)

    def num_orders(self, worker):
        return len(self.alive[worker]["orders"])

    def send(self, worker, order):
        assert order.is_last or self.num_orders(worker) < ORDERS_AHEAD
        self.alive[worker]["orders"].append(order)

    def wait(self, seconds):
        busy = [worker for worker, state in self.alive.items() if state["orders"]]
        told = [(worker, done) for worker, done in self.late]
        self.late = []
        if busy:
            worker = self.rng.choice(busy)
            is_dying = self.rng.random() < self.death_rate
            done = self.carry_out(worker)
            if is_dying:
                del self.alive[worker]
                if self.rng.random() < self.late_rate:
                    self.late.append((worker, done))
                done = None
            told.append((worker, done))
        return told

    def carry_out(self, worker):
        state = self.alive[worker]
        order = state["orders"].popleft()
        if order.is_last:
            self.snapshots[worker] = {trial: Saved(f"worker_{worker}", 1, n) for trial, n in state["seated"].items()}
            return Done([], len(state["seated"]), 0, (), [])
        state["queue"].extend(
            (trial, order.saved[trial].epochs if trial in order.saved else 0) for trial in order.trials
        )
        while state["queue"] and len(state["seated"]) < self.seats:
            trial, epochs = state["queue"].popleft()
            state["seated"][trial] = epochs
        self.idle.append(self.seats - len(state["seated"]))
        ended = []
        for trial in list(state["seated"]):
            state["seated"][trial] += 1
            self.epochs_trained += 1
            if state["seated"][trial] >= EPOCHS:
                del state["seated"][trial]
                ended.append(finished(trial))
        self.snapshots[worker] = {trial: Saved(f"worker_{worker}", 0, n) for trial, n in state["seated"].items()}
        return Done(ended, len(state["seated"]), len(state["seated"]), (), [])


def run(group, num_trials, saved=None):
    queue = TrialQueue(range(num_trials), saved or {})
    counted = Counter()
    for report in dispatch(group, queue, group.seats, lambda worker: group.snapshots[worker]):
        counted.update(one.trial.trial for one in report.finished)
    assert queue.num_unfinished == queue.num_waiting == 0
    return counted


@pytest.mark.parametrize("seed", range(30))
def test_every_trial_is_counted_exactly_once_whoever_dies(seed):
    rng = random.Random(seed)
    group = MadeUpFleet(rng.randint(1, 5), rng.randint(1, 4), seed, death_rate=0.1, late_rate=0.7)
    num_trials = rng.randint(1, 60)
    assert run(group, num_trials) == Counter(range(num_trials))


def test_trials_of_a_dead_worker_go_on_from_their_snapshot():
    group = MadeUpFleet(3, 2, seed=1, death_rate=0.2)
    run(group, 40)
    # Snapshots are of every epoch here: nothing but the epoch that killed a worker is ever trained again.
    assert group.next > 3
    assert group.epochs_trained <= 40 * EPOCHS + 2 * group.next


def test_trials_saved_by_an_earlier_run_go_first_and_go_on():
    group = MadeUpFleet(1, 2)
    assert run(group, 6, {4: Saved("worker_0", 3, EPOCHS - 1)}) == Counter(range(6))
    assert group.epochs_trained == 5 * EPOCHS + 1
    assert TrialQueue(range(6), {4: Saved("", 0, 1)}).take(0, 2) == [4, 0]


def test_seats_stay_full_until_trials_run_out():
    group = MadeUpFleet(4, 8)
    run(group, 400)
    # All trials of a worker end at once here, the hardest case: in the last quarter its small queue is too short.
    assert sum(group.idle[: len(group.idle) * 3 // 4]) == 0
    assert sum(group.idle) < 0.1 * len(group.idle) * group.seats


def test_few_trials_are_shared_among_all_workers():
    group = MadeUpFleet(4, 8)
    run(group, 8)
    assert group.idle.count(6) == 4 * EPOCHS
    assert set(group.idle) <= {6, 8}  # 8: an order on its way to a worker whose trials had just finished


def test_the_last_trials_wait_for_free_seats_and_not_at_one_worker():
    queue, group = TrialQueue(range(10), {}), MadeUpFleet(2, 4)
    group.grow()
    give_orders(group, queue, 4)
    assert [queue.num_held(worker) for worker in (0, 1)] == [4, 4]
    assert queue.num_waiting == 2


def test_a_trial_that_kills_every_worker_ends_the_run():
    queue = TrialQueue([0, 1], {})
    for worker in range(MAX_LOSSES - 1):
        assert queue.take(worker, 1) == [0]
        queue.lose(worker, {})
    queue.take(99, 1)
    with pytest.raises(RuntimeError, match="workers died one after the other with the same trial"):
        queue.lose(99, {})


def test_a_trial_that_gets_farther_each_time_is_never_given_up():
    queue = TrialQueue([0], {})
    for worker in range(3 * MAX_LOSSES):
        queue.take(worker, 1)
        queue.lose(worker, {0: Saved("", 0, worker)})
    assert queue.saved[0].epochs == 3 * MAX_LOSSES - 1


def test_an_older_snapshot_is_not_preferred():
    queue = TrialQueue([0], {0: Saved("far", 1, 9)})
    queue.take(0, 1)
    queue.lose(0, {0: Saved("near", 1, 3)})
    assert queue.saved[0].folder == "far"


def test_a_result_of_a_worker_given_up_for_dead_counts_once():
    queue = TrialQueue([0, 1], {})
    queue.take(0, 2)
    queue.lose(0, {})
    assert queue.finish(0)
    assert queue.take(1, 2) == [1]
    assert queue.finish(1)
    assert not queue.finish(0)
    assert not queue.finish(1)
    assert queue.lose(1, {}) == []


@pytest.mark.parametrize("seed", range(10))
def test_asked_to_stop_workers_carry_out_what_they_have_and_save_and_nobody_is_given_more(seed):
    group = MadeUpFleet(3, 4, seed, death_rate=0.05)
    asked = iter([False] * 5 + [True])
    queue, counted = TrialQueue(range(60), {}), Counter()
    reports = []
    for report in dispatch(group, queue, group.seats, lambda worker: group.snapshots[worker], lambda: next(asked)):
        counted.update(one.trial.trial for one in report.finished)
        reports.append(report)
    assert not any(group.num_orders(worker) for worker in group.workers())
    in_training = sum(len(state["seated"]) for state in group.alive.values())
    assert reports[-1].messages == (f"checkpoint saved: {in_training} trials in training, and all that had finished",)
    assert [one.is_stopping for one in reports] == [False] * 5 + [True] * (len(reports) - 5)
    assert set(counted.values()) <= {1}
    assert sum(counted.values()) == 60 - queue.num_unfinished


def test_a_worker_that_has_no_time_to_save_is_not_waited_for(monkeypatch):
    monkeypatch.setattr("modjax.engines.ray.dispatch.SAVE_SECONDS", -1.0)
    group = MadeUpFleet(2, 4)
    queue = TrialQueue(range(20), {})
    *_, last = dispatch(group, queue, group.seats, lambda worker: {}, lambda: True)
    assert "2 of 2 workers had no time to save: theirs go on from the one before" in last.messages[0]
