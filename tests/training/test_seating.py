import random

import numpy as np
import pytest

from modjax.training.slots import Seating


@pytest.mark.parametrize(("seats", "num_trials", "num_devices"), [(1, 5, 1), (4, 3, 1), (8, 100, 1), (3, 40, 2)])
def test_every_trial_sits_once_and_seats_stay_full(seats, num_trials, num_devices):
    rng = random.Random(0)
    seating = Seating(num_devices, seats, range(num_trials), np.zeros(num_trials, int))
    seen = []
    while True:
        filled = seating.fill()
        seen += [trial for trial, _, _ in filled]
        assert len({seating.place(trial) for trial, _, _ in filled}) == len(filled)
        assert seating.num_living == min(seats * num_devices, seating.num_living + seating.num_waiting)
        if not seating.num_living:
            break
        device = rng.choice([device for device in range(num_devices) if seating.living(device)])
        seating.release(rng.choice(seating.living(device)))
    assert seen == list(range(num_trials))


def test_pairs_have_one_seed_and_epoch_and_the_young_are_waited_for():
    seating = Seating(1, 10, range(7), np.array([5, 5, 5, 5, 9, 9, 9]))
    seating.fill()
    assert seating.next_paired(3) == [[0, 1, 2]]
    for trial in (0, 1, 2):
        seating.epochs[trial] += 1
    # Trial 3 is behind: its seed's others wait for it, the other seed goes first.
    assert seating.pairable(0) == [[4, 5, 6], [3]]
    seating.epochs[3] += 1
    assert seating.next_paired(4) == [[0, 1, 2, 3]]


def test_mixed_rounds_take_everybody_who_fits_else_the_smallest_pairs():
    seating = Seating(1, 10, range(7), np.array([5, 5, 5, 5, 9, 9, 9]))
    seating.fill()
    assert sorted(seating.next_mixed(7)[0]) == list(range(7))
    assert seating.next_mixed(3) == [[4, 5, 6]]


def test_blocks_stay_on_one_device():
    seating = Seating(2, 8, range(16), np.arange(16) // 4, block=4)
    seating.fill()
    assert seating.living(0) == [0, 1, 2, 3, 8, 9, 10, 11]
    assert seating.next_paired(4) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_trials_of_a_seed_stay_on_one_device():
    seeds = np.repeat([0, 1, 2], 5)
    seating = Seating(2, 7, range(15), seeds, block=5)
    where = {trial: device for trial, device, _ in seating.fill()}
    assert [where.get(trial) for trial in range(15)] == [0] * 5 + [1] * 5 + [0, 0] + [None] * 3
    seating.release(5)
    assert seating.fill() == []  # the device that has a free seat has no block of its own, and the queue is empty
    seating.release(0)
    assert [(trial, device) for trial, device, _ in seating.fill()] == [(12, 0)]
    assert seating.num_waiting == 2


def test_a_device_without_trials_gets_half_of_the_rounds_of_another():
    seeds = np.repeat([0, 1, 2], 4)
    seating = Seating(2, 12, range(12), seeds, block=12)
    seating.fill()
    for trial in seating.living(1):
        seating.release(trial)
    before = {trial: seating.place(trial) for trial in seating.living(0)}
    seating.epochs[max(before)] = 7
    moved = seating.rebalance(lanes=2)
    assert dict(moved).items() <= before.items()
    assert len(moved) == len(before) // 2
    assert seating.living(1) == [trial for trial, _ in moved]
    assert seating.epochs[max(before)] == 7
    assert seating.rebalance(lanes=2) == []
    one = Seating(2, 3, range(2), seeds, block=2)
    one.fill()
    assert one.rebalance(lanes=2) == []  # a single round
