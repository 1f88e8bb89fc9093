import random

import pytest

from modjax.training.slots import SlotTable


@pytest.mark.parametrize(("num_slots", "num_trials"), [(1, 5), (4, 3), (8, 100)])
def test_every_trial_sits_once_and_slots_stay_full(num_slots, num_trials):
    rng = random.Random(0)
    table = SlotTable(num_slots, range(num_trials))
    seen = []
    while True:
        seen += [trial for _, trial in table.fill()]
        if not table.seated:
            break
        assert len(table.seated) == min(num_slots, len(table.seated) + table.num_waiting)
        slot = rng.choice(list(table.seated))
        assert table.release(slot) in seen
    assert seen == list(range(num_trials))
    assert table.num_waiting == 0
