"""Which trial sits in which slot of a population: host side, no JAX."""

from collections import deque
from collections.abc import Iterable


class SlotTable:
    """A fixed number of slots, refilled from a queue of trials in order.

    Example:
        >>> table = SlotTable(num_slots=2, trials=[7, 8, 9])
        >>> table.fill()
        [(0, 7), (1, 8)]
        >>> table.release(0)
        7
        >>> table.fill(), table.seated, table.num_waiting
        ([(0, 9)], {0: 9, 1: 8}, 0)
    """

    def __init__(self, num_slots: int, trials: Iterable[int]) -> None:
        self._queue = deque(trials)
        self._num_slots = num_slots
        self.seated: dict[int, int] = {}

    @property
    def num_waiting(self) -> int:
        """Trials that have not had a slot yet."""
        return len(self._queue)

    def fill(self) -> list[tuple[int, int]]:
        """Seat waiting trials in the free slots, the lowest first; returns the new (slot, trial) pairs."""
        filled = []
        for slot in range(self._num_slots):
            if slot not in self.seated and self._queue:
                self.seated[slot] = self._queue.popleft()
                filled.append((slot, self.seated[slot]))
        self.seated = dict(sorted(self.seated.items()))
        return filled

    def release(self, slot: int) -> int:
        """Free a slot; returns the trial that sat there."""
        return self.seated.pop(slot)
