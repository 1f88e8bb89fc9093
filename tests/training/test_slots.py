import random

import numpy as np
import pytest

from modjax.training.slots import SlotTable


@pytest.mark.parametrize(("slots", "num_trials", "num_devices"), [(1, 5, 1), (4, 3, 1), (8, 100, 1), (3, 40, 2)])
def test_every_trial_sits_once_and_seats_stay_full(slots, num_trials, num_devices):
    rng = random.Random(0)
    slot_table = SlotTable(num_devices, slots, range(num_trials), np.zeros(num_trials, int))
    seen = []
    while True:
        filled = slot_table.fill()
        seen += [trial for trial, _, _ in filled]
        assert len({slot_table.slot_of(trial) for trial, _, _ in filled}) == len(filled)
        assert slot_table.num_living == min(slots * num_devices, slot_table.num_living + slot_table.num_waiting)
        if not slot_table.num_living:
            break
        device = rng.choice([device for device in range(num_devices) if slot_table.living(device)])
        slot_table.release(rng.choice(slot_table.living(device)))
    assert seen == list(range(num_trials))


def test_pairs_have_one_seed_and_epoch_and_the_young_are_waited_for():
    slot_table = SlotTable(1, 10, range(7), np.array([5, 5, 5, 5, 9, 9, 9]))
    slot_table.fill()
    assert slot_table.next_paired(3) == [[0, 1, 2]]
    for trial in (0, 1, 2):
        slot_table.epochs[trial] += 1
    # Trial 3 is behind: its seed's others wait for it, the other seed goes first.
    assert slot_table.pairable(0) == [[4, 5, 6], [3]]
    slot_table.epochs[3] += 1
    assert slot_table.next_paired(4) == [[0, 1, 2, 3]]


def test_mixed_rounds_take_everybody_who_fits_else_the_smallest_pairs():
    slot_table = SlotTable(1, 10, range(7), np.array([5, 5, 5, 5, 9, 9, 9]))
    slot_table.fill()
    assert sorted(slot_table.next_mixed(7)[0]) == list(range(7))
    assert slot_table.next_mixed(3) == [[4, 5, 6]]


def test_blocks_stay_on_one_device():
    slot_table = SlotTable(2, 8, range(16), np.arange(16) // 4, block=4)
    slot_table.fill()
    assert slot_table.living(0) == [0, 1, 2, 3, 8, 9, 10, 11]
    assert slot_table.next_paired(4) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_trials_of_a_seed_stay_on_one_device():
    seeds = np.repeat([0, 1, 2], 5)
    slot_table = SlotTable(2, 7, range(15), seeds, block=5)
    where = {trial: device for trial, device, _ in slot_table.fill()}
    assert [where.get(trial) for trial in range(15)] == [0] * 5 + [1] * 5 + [0, 0] + [None] * 3
    slot_table.release(5)
    assert slot_table.fill() == []  # the device that has a free slot has no block of its own, and the queue is empty
    slot_table.release(0)
    assert [(trial, device) for trial, device, _ in slot_table.fill()] == [(12, 0)]
    assert slot_table.num_waiting == 2


def test_a_device_without_trials_gets_half_of_the_rounds_of_another():
    seeds = np.repeat([0, 1, 2], 4)
    slot_table = SlotTable(2, 12, range(12), seeds, block=12)
    slot_table.fill()
    for trial in slot_table.living(1):
        slot_table.release(trial)
    before = {trial: slot_table.slot_of(trial) for trial in slot_table.living(0)}
    slot_table.epochs[max(before)] = 7
    moved = slot_table.rebalance(lanes=2)
    assert dict(moved).items() <= before.items()
    assert len(moved) == len(before) // 2
    assert slot_table.living(1) == [trial for trial, _ in moved]
    assert slot_table.epochs[max(before)] == 7
    assert slot_table.rebalance(lanes=2) == []
    one = SlotTable(2, 3, range(2), seeds, block=2)
    one.fill()
    assert one.rebalance(lanes=2) == []  # a single round
