"""Trials that raised: marked ``failed`` with the reason, tried again by the next run; their neighbours go on.

What hits every trial alike (memory that ran out, a program that does not compile, a full disk) is no trial's failure
and stops the sweep.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from modjax.store.failures import MAX_REASON

MANY_FAILURES = 8  # so many without one success: it is not the trials


class Failures:
    """Why each trial of a run failed, and which steps have succeeded for any."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}
        self._failed: Counter[str] = Counter()
        self._succeeded: set[str] = set()

    def attempt(self, trial_id: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """``function(*arguments)``; None, and the trial is marked, where it raised.

        Raises:
            RuntimeError: So many trials failed, and none succeeded, that something else is wrong.
        """
        try:
            value = function(*arguments)
        except Exception as error:
            if hits_all_trials(error):
                raise
            self.reasons[trial_id] = reason_of(error)
            self._failed[function.__name__] += 1
            if self._failed[function.__name__] >= MANY_FAILURES and function.__name__ not in self._succeeded:
                raise RuntimeError(f"no trial could be finished; trial {trial_id}: {reason_of(error)}") from error
            return None
        self._succeeded.add(function.__name__)
        return value

    def among(self, trial_ids: Iterable[str]) -> dict[str, str]:
        """Those of some trials."""
        return {trial_id: self.reasons[trial_id] for trial_id in trial_ids if trial_id in self.reasons}


def hits_all_trials(error: Exception) -> bool:
    """Whether an error is of the machine (device, memory, disk), and not of one trial."""
    import jax

    return isinstance(error, jax.errors.JaxRuntimeError | MemoryError | OSError)


def reason_of(error: BaseException) -> str:
    """One line: the kind of error and what it says.

    Example:
        >>> reason_of(KeyError("x"))
        "KeyError: 'x'"
    """
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:MAX_REASON]
