"""Failures of single trials: marked ``failed`` with a reason and tried again by the next run; other trials continue.

Errors that affect all trials alike (no memory, a program that does not compile, a full disk) stop the sweep instead.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from modjax.store.failures import MAX_REASON

MANY_FAILURES = 8  # after so many failures without a success, the cause is not the trials


class Failures:
    """Record of the failed trials of a run, with their reasons."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}
        self._failed: Counter[str] = Counter()
        self._succeeded: set[str] = set()

    def attempt(self, trial_id: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return ``function(*arguments)``, or record the failure of the trial and return None if it raises.

        Raises:
            RuntimeError: If many trials failed in this function and none succeeded, so the cause must be elsewhere.
        """
        try:
            value = function(*arguments)
        except Exception as error:
            if hits_all_trials(error):
                raise
            self.reasons[trial_id] = reason_of(error)
            # Counted per step: measuring may work for all trials while analysis works for none.
            self._failed[function.__name__] += 1
            if self._failed[function.__name__] >= MANY_FAILURES and function.__name__ not in self._succeeded:
                raise RuntimeError(f"no trial could be finished; trial {trial_id}: {reason_of(error)}") from error
            return None
        self._succeeded.add(function.__name__)
        return value

    def among(self, trial_ids: Iterable[str]) -> dict[str, str]:
        """Return the reasons of those of the given trials that failed."""
        return {trial_id: self.reasons[trial_id] for trial_id in trial_ids if trial_id in self.reasons}


def hits_all_trials(error: Exception) -> bool:
    """Return whether an error comes from the machine (device, memory, disk) rather than from one trial."""
    import jax

    return isinstance(error, jax.errors.JaxRuntimeError | MemoryError | OSError)


def reason_of(error: BaseException) -> str:
    """Return the type and message of an error in one line.

    Example:
        >>> reason_of(KeyError("x"))
        "KeyError: 'x'"
    """
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:MAX_REASON]
