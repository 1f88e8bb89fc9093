"""Where the work of a sweep runs: in this process and its workers (``local``), or on the nodes of a cluster (``ray``).

An engine trains trials and searches modules; all else (the directory, its lock, stacks, tables) is the same for each.
"""

from collections.abc import Callable, Generator, Hashable
from typing import Any, NamedTuple, Protocol, runtime_checkable

from modjax.analysis.modules import Matrices
from modjax.training.events import FinishedTrial


class Measurements(NamedTuple):
    """What is computed on a device from a finished trial's weights.

    Attributes:
        numbers: Losses, accuracies and norms, by their column.
        matrices: Of similarity.
    """

    numbers: dict[str, float]
    matrices: Matrices


class TrainedTrial(NamedTuple):
    """A trial that left training, by its row in the trials to train; measured where that was done on the way."""

    trial: FinishedTrial
    measured: Measurements | None = None


class TrainingUpdate(NamedTuple):
    """What an engine says from time to time.

    Attributes:
        finished: Trials that finished since; each trial is told once.
        num_training: Trials in training now.
        num_epochs: Epochs that ended since, of all trials.
        messages: What the user should know.
        is_saving: Trials in training are saved next: what finished is to be committed now.
        is_stopping: The process is about to stop: what finished is to be saved, and nothing else done.
    """

    finished: list[TrainedTrial]
    num_training: int
    num_epochs: int
    messages: tuple[str, ...] = ()
    is_saving: bool = False
    is_stopping: bool = False


@runtime_checkable
class SearchExecutor(Protocol):
    """Jobs of module searches by name, as :class:`modjax.clustering.pool.WorkerPool` takes them."""

    @property
    def peak_bytes(self) -> int:
        """The most memory that this machine's workers took together, from the jobs whose results were collected."""
        ...

    @property
    def num_unfinished(self) -> int:
        """Jobs without a result."""
        ...

    def submit(self, name: Hashable, function: Callable, *arguments: Any) -> None:
        """Queue a job."""
        ...

    def is_done(self, name: Hashable) -> bool:
        """Whether a result is there."""
        ...

    def result(self, name: Hashable) -> Any:
        """The result, waiting for it; the job is forgotten."""
        ...

    def close(self, wait: bool = True) -> None:
        """Let the workers go; can be called twice."""
        ...


@runtime_checkable
class Engine(Protocol):
    """An engine at work.

    Attributes:
        searches: Where modules are searched.
        cores: Threads of a CPU that each worker computes with; None: those of this process.
        programs: Programs that trained, once training is over.
    """

    searches: SearchExecutor
    cores: int | None
    programs: list[dict[str, Any]]

    def train(self, job: Any) -> Generator[TrainingUpdate]:
        """Train the trials of a :class:`modjax.spec.context.TrainingJob` to their end."""
        ...

    def describe(self) -> dict[str, Any]:
        """What the manifest says of it."""
        ...

    def close(self, wait: bool = True) -> None:
        """Let everything go; can be called twice."""
        ...


class EngineOptions(NamedTuple):
    """An engine by name, with its own options.

    Attributes:
        name: ``local`` or ``ray``.
        address: Address of a Ray cluster; None takes the one that Ray finds, or starts one on this machine.
        workers: Maximum number of training workers; None starts as many as the cluster has room for.
        cores_per_worker: CPU cores of each worker; None gives a worker all cores of a node.
    """

    name: str = "local"
    address: str | None = None
    workers: int | None = None
    cores_per_worker: int | None = None
