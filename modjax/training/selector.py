"""Selection of the program for the next round, by measured speed, among programs that give the same bits.

The base program decides what a trial's numbers are. Another program (other lanes, shared batches or not) is used only
after it has run an epoch beside the base and every bit was the same: packing changes when trials train, not what they
become.
"""

import numpy as np

from modjax.training.programs import EpochProgram
from modjax.training.slots import SlotTable

COMPILE_SHARE = 4.0  # factor by which rounds must have outlasted compiling before a new program is tried
LEAST_GAIN = 1.1  # factor in trials per second that it must promise
MIXED_COST = 1.25  # guess, before it is measured, of how much longer a program without shared batches takes


class ProgramSelector:
    """The base program and those found to give the same bits.

    Args:
        base: The program of the layout.
        is_fixed: Whether no other program may be used.
    """

    def __init__(self, base: EpochProgram, is_fixed: bool) -> None:
        self.base, self._is_fixed = base, is_fixed
        self._seconds: dict[EpochProgram, float] = {}
        self._refused: set[EpochProgram] = set()
        self._exact: list[EpochProgram] = []
        self._total = self._compiling = 0.0

    @property
    def used(self) -> list[EpochProgram]:
        """The base, and the programs found to give the same bits."""
        return [self.base, *self._exact]

    def is_known(self, program: EpochProgram) -> bool:
        """Return whether a program is known to give the base's bits."""
        return program == self.base or program in self._exact

    def took(self, program: EpochProgram, seconds: float) -> None:
        """Record the time of a round; the base's first one is mostly compilation."""
        self._total += seconds
        if program == self.base and not self._compiling:
            self._compiling = seconds
            return
        self._seconds[program] = min(seconds, self._seconds.get(program, np.inf))

    def judge(self, program: EpochProgram, is_same: bool, seconds: float) -> None:
        """Accept a program, or refuse it for good, after a trial that took ``seconds``."""
        self._compiling += seconds
        if is_same:
            self._exact.append(program)
        else:
            self._refused.add(program)

    def halve(self) -> EpochProgram:
        """Halve the lanes of the base, since memory ran out, and return it."""
        self.base = EpochProgram(max(1, self.base.lanes // 2), self.base.is_paired)
        # All that was learnt belongs to the old base.
        self._seconds, self._exact, self._refused, self._compiling = {}, [], set(), 0.0
        return self.base

    def plan(self, program: EpochProgram, slot_table: SlotTable) -> list[list[int]]:
        """Return for each device the trials that a program would train next."""
        return slot_table.next_paired(program.lanes) if program.is_paired else slot_table.next_mixed(program.lanes)

    def choose(self, slot_table: SlotTable) -> EpochProgram:
        """Return the program that trains most trials per second next; an unknown one is to be tried beside the base."""
        if self._is_fixed or self.base not in self._seconds:
            return self.base
        rates = {program: self._rate(program, slot_table) for program in self.used}
        best = max(rates, key=rates.__getitem__)
        # Compiling must stay a small share of the time, however many programs look promising.
        if self._total > COMPILE_SHARE * self._compiling:
            for program in self._candidates(slot_table):
                if self._rate(program, slot_table) > LEAST_GAIN * rates[best]:
                    return program
        return best

    def _rate(self, program: EpochProgram, slot_table: SlotTable) -> float:
        num_trials = sum(map(len, self.plan(program, slot_table)))
        return num_trials / self._seconds.get(program, self._guess(program))

    def _guess(self, program: EpochProgram) -> float:
        """Return a guess of a program's seconds per round: part of the base's time does not shrink with the lanes."""
        share = 0.3 + 0.7 * program.lanes / self.base.lanes
        unpaired = MIXED_COST if self.base.is_paired and not program.is_paired else 1.0
        return self._seconds[self.base] * share * unpaired

    def _candidates(self, slot_table: SlotTable) -> list[EpochProgram]:
        """Return programs of fewer lanes, for rounds that do not fill the base, and ones that do not share batches."""
        lanes, candidates = self.base.lanes, []
        if self.base.is_paired:
            candidates += [EpochProgram(lanes // 2, True), EpochProgram(lanes // 4, True), EpochProgram(lanes, False)]
        if not slot_table.num_waiting:  # slots stay empty from now on
            num_living = max(len(slot_table.living(device)) for device in range(slot_table.num_devices))
            while lanes // 2 >= max(1, num_living):
                lanes //= 2
            candidates.append(EpochProgram(lanes, False))
        return [
            program
            for program in candidates
            if program.lanes and program not in self._refused and not self.is_known(program)
        ]


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error says that the device's memory ran out."""
    return "RESOURCE_EXHAUSTED" in str(error)
