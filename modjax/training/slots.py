"""The table of slots: which trial has which slot, and which trials train next. On the host, without JAX."""

from collections import defaultdict, deque
from collections.abc import Sequence

import numpy as np


def by_seed(queue: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Return a queue with the trials of a seed together, so that they are together in the slots.

    Example:
        >>> by_seed(np.array([0, 1, 2, 3]), np.array([7, 5, 7, 5])).tolist()
        [0, 2, 1, 3]
    """
    _, first = np.unique(seeds[queue], return_index=True)
    rank = {int(seeds[queue[position]]): position for position in first}
    return queue[np.argsort([rank[int(seed)] for seed in seeds[queue]], kind="stable")]


class SlotTable:
    """Slots on each device, filled from a queue of trials in order.

    Args:
        num_devices: Number of devices; each has slots of its own, and a trial stays in its slot.
        slots: Number of slots on each device.
        queue: Trials without a slot, in the order in which they are to get one.
        seeds: Seed of every trial; trials of one seed and epoch may share their batches.
        block: Largest number of consecutive trials of one seed in the queue that go to the same device.

    Example:
        >>> slot_table = SlotTable(num_devices=1, slots=2, queue=[7, 8, 9], seeds=np.zeros(10, int))
        >>> slot_table.fill(), slot_table.release(7), slot_table.fill(), slot_table.living(0), slot_table.num_waiting
        ([(7, 0, 0), (8, 0, 1)], None, [(9, 0, 0)], [8, 9], 0)
    """

    def __init__(
        self,
        num_devices: int,
        slots: int,
        queue: Sequence[int] | np.ndarray,
        seeds: Sequence[int] | np.ndarray,
        block: int = 1,
    ) -> None:
        self._queue = np.asarray(queue, np.int64)
        self._next = 0
        self._seeds, self._block = seeds, block
        # Stacks, from whose end the lowest slot is taken first.
        self._free = [list(range(slots))[::-1] for _ in range(num_devices)]
        self._slot_of_trial: dict[int, tuple[int, int]] = {}
        self.epochs: dict[int, int] = {}
        # Dicts for their order: trials in the order in which they got their slots.
        self._on_device: list[dict[int, None]] = [{} for _ in range(num_devices)]
        self._assigned: list[deque[int]] = [deque() for _ in range(num_devices)]

    @property
    def num_waiting(self) -> int:
        """Number of trials that have not had a slot yet."""
        return len(self._queue) - self._next + sum(map(len, self._assigned))

    @property
    def num_devices(self) -> int:
        """Number of devices."""
        return len(self._free)

    @property
    def num_living(self) -> int:
        """Number of trials in slots."""
        return len(self._slot_of_trial)

    def slot_of(self, trial: int) -> tuple[int, int]:
        """Return the device and the slot of a trial."""
        return self._slot_of_trial[trial]

    def living(self, device: int) -> list[int]:
        """Return the trials in the slots of one device, in the order in which they got them."""
        return list(self._on_device[device])

    def extend(self, trials: Sequence[int] | np.ndarray) -> None:
        """Append trials to the queue."""
        if not len(trials):
            return
        self._queue = np.concatenate([self._queue[self._next :], np.asarray(trials, np.int64)])
        self._next = 0

    def fill(self) -> list[tuple[int, int, int]]:
        """Give slots to waiting trials, the emptiest device first; return the new (trial, device, slot).

        A device takes a block of the queue, and no other before all of it has slots: trials of a seed stay together.
        """
        filled = []
        while True:
            able = [
                device
                for device, free in enumerate(self._free)
                if free and (self._assigned[device] or self._next < len(self._queue))
            ]
            if not able:
                return filled
            device = max(able, key=lambda index: (len(self._free[index]), -index))
            assigned = self._assigned[device]
            if not assigned:
                assigned.extend(self._next_block())
            for _ in range(min(len(assigned), len(self._free[device]))):
                trial = assigned.popleft()
                filled.append((trial, device, self.assign(trial, device)))

    def _next_block(self) -> list[int]:
        """Take from the queue the next trials of one seed, at most a block."""
        block = self._queue[self._next : self._next + self._block].tolist()
        same = next((count for count, trial in enumerate(block) if self._seeds[trial] != self._seeds[block[0]]), None)
        block = block[:same]
        self._next += len(block)
        return block

    def rebalance(self, lanes: int) -> list[tuple[int, tuple[int, int]]]:
        """Once no trial waits, give trials to devices that have none left; return each with its old (device, slot).

        The fullest device gives half of its rounds of ``lanes`` trials, if it has more than one.
        """
        moved = []
        empty = [device for device, trials in enumerate(self._on_device) if not trials]
        for device in empty if not self.num_waiting else []:
            trials = max(self._on_device, key=len)
            # By seed, so that trials that can share batches move, or stay, together. Whole rounds are given, as a part
            # of a round takes as long as a whole one; less than two rounds are cut in half.
            ordered = sorted(trials, key=lambda trial: int(self._seeds[trial]))
            num_given = len(ordered) // lanes // 2 * lanes or (len(ordered) // 2 if len(ordered) > lanes else 0)
            for trial in ordered[len(ordered) - num_given :] if num_given else []:
                epochs, old_slot = self.epochs[trial], self._slot_of_trial[trial]
                self.release(trial)
                self.assign(trial, device, epochs)
                moved.append((trial, old_slot))
        return moved

    def assign(self, trial: int, device: int, epochs: int = 0) -> int:
        """Give a trial that has trained for ``epochs`` a slot on a device; return the slot."""
        slot = self._free[device].pop()
        self._slot_of_trial[trial] = (device, slot)
        self._on_device[device][trial] = None
        self.epochs[trial] = epochs
        return slot

    def release(self, trial: int) -> None:
        """Free a trial's slot."""
        device, slot = self._slot_of_trial.pop(trial)
        del self._on_device[device][trial], self.epochs[trial]
        self._free[device].append(slot)

    def pairable(self, device: int) -> list[list[int]]:
        """Return the trials that may train next, grouped by seed and epoch, the largest group first.

        Only the youngest trials of each seed are due: the others wait until these have caught up and can share batches.
        """
        by_seed: defaultdict[int, list[int]] = defaultdict(list)
        for trial in self._on_device[device]:
            by_seed[int(self._seeds[trial])].append(trial)
        due = []
        for trials in by_seed.values():
            youngest = min(self.epochs[trial] for trial in trials)
            due.append([trial for trial in trials if self.epochs[trial] == youngest])
        return sorted(due, key=len, reverse=True)

    def next_paired(self, lanes: int) -> list[list[int]]:
        """Return for each device at most ``lanes`` trials of one seed and epoch."""
        return [(self.pairable(device) or [[]])[0][:lanes] for device in range(len(self._free))]

    def next_mixed(self, lanes: int) -> list[list[int]]:
        """Return for each device at most ``lanes`` trials of any seed and epoch, the smallest groups first."""
        if all(len(trials) <= lanes for trials in self._on_device):
            return [list(trials) for trials in self._on_device]
        # Small groups first: the large ones can fill a program that shares batches.
        chosen = []
        for device in range(len(self._free)):
            due = [trial for trials in reversed(self.pairable(device)) for trial in trials]
            chosen.append(due[:lanes])
        return chosen
