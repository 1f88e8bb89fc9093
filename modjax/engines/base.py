"""Where the work of a sweep runs: in this process and its workers (``local``), or on the nodes of a cluster (``ray``).

An engine trains trials and searches for modules. Everything else (the directory, its lock, stacks and tables) does not
depend on the engine.
"""

from collections.abc import Callable, Generator, Hashable
from typing import Any, NamedTuple, Protocol, runtime_checkable

from modjax.analysis.modules import Matrices
from modjax.training.events import FinishedTrial


class Measurements(NamedTuple):
    """What is computed on a device from a finished trial's weights.

    Attributes:
        numbers: Losses, accuracies and norms, by column name.
        matrices: Similarity matrices.
    """

    numbers: dict[str, float]
    matrices: Matrices


class TrainedTrial(NamedTuple):
    """A trial that has left training, with its measurements if the engine has already computed them."""

    trial: FinishedTrial
    measured: Measurements | None = None


class TrainingUpdate(NamedTuple):
    """Progress since the previous update of an engine.

    Attributes:
        finished: Trials that finished since the previous update; each trial is reported once.
        num_training: Number of trials in training now.
        num_epochs: Number of epochs, over all trials, that ended since the previous update.
        messages: Messages for the user.
        is_saving: Whether trials in training are saved next; finished trials must be committed first.
        is_stopping: Whether the process is about to stop; finished trials are saved and nothing else is done.
    """

    finished: list[TrainedTrial]
    num_training: int
    num_epochs: int
    messages: tuple[str, ...] = ()
    is_saving: bool = False
    is_stopping: bool = False


@runtime_checkable
class SearchExecutor(Protocol):
    """Runs module searches as named jobs, as :class:`modjax.clustering.pool.WorkerPool` does."""

    @property
    def peak_bytes(self) -> int:
        """Peak memory of this machine's workers together, over the jobs whose results were collected."""
        ...

    @property
    def num_unfinished(self) -> int:
        """Number of jobs without a result."""
        ...

    def submit(self, name: Hashable, function: Callable, *arguments: Any) -> None:
        """Queue a job."""
        ...

    def is_done(self, name: Hashable) -> bool:
        """Whether the result of a job is available."""
        ...

    def result(self, name: Hashable) -> Any:
        """Wait for the result of a job, return it and forget the job."""
        ...

    def close(self, wait: bool = True) -> None:
        """Release the workers; can be called twice."""
        ...


@runtime_checkable
class Engine(Protocol):
    """Runs the work of a sweep.

    Attributes:
        searches: Executor of the module searches.
        cores: Number of CPU threads per worker; None for those of this process.
        programs: Training programs that were used, available once training is over.
    """

    searches: SearchExecutor
    cores: int | None
    programs: list[dict[str, Any]]

    def train(self, job: Any) -> Generator[TrainingUpdate]:
        """Train the trials of a :class:`modjax.spec.context.TrainingJob` to their end."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return the engine's entries in the manifest."""
        ...

    def close(self, wait: bool = True) -> None:
        """Release all resources; can be called twice."""
        ...


class EngineOptions(NamedTuple):
    """Name and options of an engine.

    Attributes:
        name: ``local`` or ``ray``.
        address: Address of a Ray cluster; None takes the one that Ray finds, or starts one on this machine.
        workers: Maximum number of training workers; None starts as many as the cluster has room for.
        cores_per_worker: Number of CPU cores per worker; None gives a worker all cores of a node.
    """

    name: str = "local"
    address: str | None = None
    workers: int | None = None
    cores_per_worker: int | None = None
