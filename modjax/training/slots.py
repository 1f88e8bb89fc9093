"""Which trial sits in which slot, and which trials train next: host side, plain numbers, no JAX."""

from collections import defaultdict, deque
from collections.abc import Sequence

import numpy as np


class SlotTable:
    """Slots on each device, filled from a queue of trials in order.

    Args:
        num_devices: Devices; each has slots of its own, and a trial stays where it sits.
        slots: Slots on each device.
        queue: Trials without a slot, in the order in which they are to get one.
        seeds: Seed of every trial; trials of one seed and epoch may share their batches.
        block: At most so many trials of one seed in a row of the queue go to the same device, side by side or one after
            the other.

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
        self._free = [list(range(slots))[::-1] for _ in range(num_devices)]
        self._slot_of_trial: dict[int, tuple[int, int]] = {}
        self.epochs: dict[int, int] = {}
        self._on_device: list[dict[int, None]] = [{} for _ in range(num_devices)]
        self._assigned: list[deque[int]] = [deque() for _ in range(num_devices)]

    @property
    def num_waiting(self) -> int:
        """Trials that have not had a slot yet."""
        return len(self._queue) - self._next + sum(map(len, self._assigned))

    @property
    def num_devices(self) -> int:
        """Devices."""
        return len(self._free)

    @property
    def num_living(self) -> int:
        """Trials in slots."""
        return len(self._slot_of_trial)

    def slot_of(self, trial: int) -> tuple[int, int]:
        """Device and slot of a trial."""
        return self._slot_of_trial[trial]

    def living(self, device: int) -> list[int]:
        """Trials in the slots of one device, those that sat down first in front."""
        return list(self._on_device[device])

    def extend(self, trials: Sequence[int] | np.ndarray) -> None:
        """Queue more trials behind those that wait."""
        self._queue = np.concatenate([self._queue[self._next :], np.asarray(trials, np.int64)])
        self._next = 0

    def fill(self) -> list[tuple[int, int, int]]:
        """Assign waiting trials, the emptiest device first; returns the new (trial, device, slot).

        A device takes a block of the queue and slots all of it before the next: trials of one seed stay together.
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
        block = self._queue[self._next : self._next + self._block].tolist()
        same = next((count for count, trial in enumerate(block) if self._seeds[trial] != self._seeds[block[0]]), None)
        block = block[:same]
        self._next += len(block)
        return block

    def rebalance(self, lanes: int) -> list[tuple[int, tuple[int, int]]]:
        """Once nobody waits, share trials with a device that has none left; returns (trial, the place it had).

        The fullest device gives half of its rounds of ``lanes`` trials, if it has more than one.
        """
        moved = []
        empty = [device for device, trials in enumerate(self._on_device) if not trials]
        for device in empty if not self.num_waiting else []:
            trials = max(self._on_device, key=len)
            ordered = sorted(trials, key=lambda trial: int(self._seeds[trial]))
            num_given = len(ordered) // lanes // 2 * lanes or (len(ordered) // 2 if len(ordered) > lanes else 0)
            for trial in ordered[len(ordered) - num_given :] if num_given else []:
                epochs, place = self.epochs[trial], self._slot_of_trial[trial]
                self.release(trial)
                self.assign(trial, device, epochs)
                moved.append((trial, place))
        return moved

    def assign(self, trial: int, device: int, epochs: int = 0) -> int:
        """Give a trial, so many epochs old, a slot on a device."""
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
        """Trials that may train next, those with one seed and epoch together, the most numerous first.

        Of each seed only the youngest are due: the others wait until these have caught up and can share their batches.
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
        """For each device, at most ``lanes`` trials of one seed and epoch."""
        return [(self.pairable(device) or [[]])[0][:lanes] for device in range(len(self._free))]

    def next_mixed(self, lanes: int) -> list[list[int]]:
        """For each device, at most ``lanes`` trials of any seed and epoch; the smallest pairs first."""
        if all(len(trials) <= lanes for trials in self._on_device):
            return [list(trials) for trials in self._on_device]
        chosen = []
        for device in range(len(self._free)):
            due = [trial for trials in reversed(self.pairable(device)) for trial in trials]
            chosen.append(due[:lanes])
        return chosen
