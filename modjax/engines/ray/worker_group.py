"""Trainers as Ray actors: started where there is room, watched, replaced."""

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from modjax.engines.ray.dispatch import Done, Order
from modjax.engines.ray.placement import Placement, waiting_text
from modjax.engines.ray.worker import TrialWorker, WorkerJob, describe_worker
from modjax.integrity.environment import other_packages
from modjax.store.manifest import describe_machine

GROW_SECONDS = 5.0
START_SECONDS = 30.0  # a worker that is not up after so long waits for room, as far as one can tell from here
SAY_SECONDS = 60.0
NO_WORKER_SECONDS = 600.0  # without any worker that is up for so long, the run ends
PASSED_ON = ("JAX_", "XLA_", "LD_LIBRARY_PATH")


class RayWorkerGroup:
    """Trainers as actors, each on a node that has room for it; one that dies is replaced where there is room.

    A placement may be held by another job: its worker waits there, and is given nothing before it says that it is up.

    Args:
        ray: The package.
        about: What every worker is told.
        first: Number of the first worker.
        folder_of: The folder of a worker's snapshots, by its number.
        placements: Where workers can be now.
        cores: Threads of each worker's CPU; None: as many as it finds.
    """

    def __init__(
        self,
        ray: Any,
        about: WorkerJob,
        first: int,
        folder_of: Callable[[int], str],
        placements: Callable[[], list[Placement]],
        cores: int | None,
    ) -> None:
        self._ray, self._folder_of, self._placements, self._cores = ray, folder_of, placements, cores
        self._about = ray.put(about)
        self._next = self._first = first
        self._actors: dict[int, tuple[Placement, Any]] = {}
        self._orders: dict[int, dict[Any, None]] = {}
        self._startups: dict[Any, int] = {}
        self._begun: dict[int, float] = {}  # when those that are not up were asked for
        self._said: tuple[float, list[int]] = (-np.inf, [])
        self._grown = -np.inf
        self._last_alive = time.perf_counter()
        self.programs: list[dict[str, Any]] = []

    @property
    def num_started(self) -> int:
        """Workers so far, those that died among them."""
        return self._next - self._first

    def grow(self) -> None:
        """Start workers where there is room; asked of the cluster every few seconds."""
        now = time.perf_counter()
        if now - self._grown < GROW_SECONDS:
            return
        self._grown = now
        free = self._placements()
        for placement, _ in self._actors.values():
            if placement in free:
                free.remove(placement)
        for placement in free:
            self._start(placement)
        if self.workers():
            self._last_alive = now
        elif now - self._last_alive > NO_WORKER_SECONDS:
            waiting = self._waiting()
            why = f" ({waiting_text({one: self._actors[one][0] for one in waiting})})" if waiting else ""
            raise RuntimeError(
                f"no worker of the Ray cluster has been up for {NO_WORKER_SECONDS:.0f} s{why}; "
                "nothing finished is lost: run the same command again."
            )

    def _start(self, placement: Placement) -> None:
        on_its_node = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(placement.node, soft=False)
        number, self._next = self._next, self._next + 1
        actor_class = self._ray.remote(_Actor).options(
            num_cpus=placement.num_cpus,
            num_gpus=placement.num_gpus,
            max_restarts=0,
            scheduling_strategy=on_its_node,
            runtime_env={"env_vars": worker_variables(self._cores)},
        )
        actor = actor_class.remote(self._about, self._folder_of(number))
        self._actors[number] = (placement, actor)
        self._orders[number] = {}
        self._begun[number] = time.perf_counter()
        self._startups[actor.describe.remote()] = number

    def workers(self) -> list[int]:
        """Those that live and have said that they are up."""
        return [worker for worker in self._actors if worker not in self._begun]

    def num_starting(self) -> int:
        """Workers that will be up soon, unless they turn out to wait for room."""
        return len(self._begun) - len(self._waiting())

    def _waiting(self) -> list[int]:
        now = time.perf_counter()
        return [worker for worker, begun in self._begun.items() if now - begun >= START_SECONDS]

    def _news(self) -> list[tuple[int, Done | None]]:
        """Which workers wait for room, in the words of the first, where it is time to say so or to say it anew."""
        now, waiting = time.perf_counter(), self._waiting()
        if not waiting or waiting == self._said[1] or now - self._said[0] < SAY_SECONDS:
            return []
        self._said = (now, waiting)
        told = waiting_text({worker: self._actors[worker][0] for worker in waiting})
        return [(waiting[0], Done([], 0, 0, (told,), []))]

    def num_orders(self, worker: int) -> int:
        """Orders that a worker has not carried out."""
        return len(self._orders[worker])

    def send(self, worker: int, order: Order) -> None:
        """Give an order."""
        self._orders[worker][self._actors[worker][1].carry_out.remote(order)] = None

    def wait(self, seconds: float) -> list[tuple[int, Done | None]]:
        """What workers did; None: the worker died."""
        owner = {ref: worker for worker, refs in self._orders.items() for ref in refs} | self._startups
        if not owner:
            time.sleep(seconds / 10)
            return []  # nor does anybody wait for room
        ready, _ = self._ray.wait(list(owner), num_returns=1, timeout=seconds)
        if ready:  # and whatever else is there
            ready, _ = self._ray.wait(list(owner), num_returns=len(owner), timeout=0)
        told: list[tuple[int, Done | None]] = []
        for ref in sorted(ready, key=list(owner).index):
            worker = owner[ref]
            if worker not in self._actors:
                continue  # it died: one of its other orders said so
            answer = self._answer(ref, worker)
            self._orders[worker].pop(ref, None)
            if self._startups.pop(ref, None) is not None and answer is not None:
                _check_same(answer, worker)
                del self._begun[worker]
                continue
            if answer is None:
                self._forget(worker)
            else:
                self.programs += [one for one in answer.programs if one not in self.programs]
            told.append((worker, answer))
        return told + self._news()

    def _answer(self, ref: Any, worker: int) -> Any:
        """What a call returned; None where its worker or node is gone."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(ref)
        except errors.RayTaskError as error:  # raised by our own code over there
            cause = " ".join(str(error.cause).split()) or type(error.cause).__name__
            raise RuntimeError(f"worker {worker} failed: {cause}") from error
        except (
            errors.RayActorError,
            errors.ActorUnschedulableError,
            errors.ObjectLostError,
            errors.NodeDiedError,
            errors.WorkerCrashedError,
        ) as error:
            if getattr(error, "actor_init_failed", False):  # modjax cannot be imported there, or the like
                why = str(error).strip().splitlines()[-1]
                raise RuntimeError(f"worker {worker} could not be started: {why}") from error
            return None

    def _forget(self, worker: int) -> None:
        _, actor = self._actors.pop(worker)
        del self._orders[worker]
        self._begun.pop(worker, None)
        self._startups = {ref: number for ref, number in self._startups.items() if number != worker}
        self._ray.kill(actor)  # where it lives on behind a broken network, its room is not free before
        self._grown = -np.inf

    def close(self) -> None:
        """End all workers."""
        for _, actor in self._actors.values():
            self._ray.kill(actor)
        self._actors, self._orders, self._startups, self._begun = {}, {}, {}, {}


class _Actor:
    """A :class:`TrialWorker` in a process of its own, made with the first order: that it is up is said before."""

    def __init__(self, about: WorkerJob, folder: str) -> None:
        self._about, self._folder = about, folder
        self._worker: TrialWorker | None = None

    def describe(self) -> dict[str, Any]:
        return describe_worker()

    def carry_out(self, order: Order) -> Done:
        if self._worker is None:
            self._worker = TrialWorker(self._about, self._folder)
        return self._worker.carry_out(order)


def worker_variables(cores: int | None) -> dict[str, str]:
    """Variables of a worker's environment: this process's for JAX, and the number of threads."""
    passed = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
    return passed | ({} if cores is None else {"NPROC": str(cores), "OMP_NUM_THREADS": str(cores)})


def _check_same(there: dict[str, Any], worker: int) -> None:
    """Raise unless a worker computes on the same kind of device and by the same versions as this process."""
    here = describe_machine()
    others = other_packages(here["packages"], there["packages"])
    if others:
        raise RuntimeError(f"worker {worker} has {'; '.join(others)}: numbers would not be the same.")
    if here["device"]["kind"] != there["device"]["kind"]:
        raise RuntimeError(
            f"worker {worker} computes on {there['device']['kind']}, this process on {here['device']['kind']}: "
            "numbers would not be the same; run modjax on a node with the workers' kind of device."
        )
