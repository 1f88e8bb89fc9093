"""The group of training workers as Ray actors: started where there is room, watched, replaced when they die."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from modjax.engines.ray.dispatch import Done, Order
from modjax.engines.ray.placement import Placement, waiting_text
from modjax.engines.ray.worker import TrialWorker, WorkerJob, describe_worker
from modjax.integrity.environment import other_packages
from modjax.store.manifest import describe_machine

GROW_SECONDS = 5.0
START_SECONDS = 30.0  # a worker that is not up by then is taken to be waiting for room
SAY_SECONDS = 60.0
NO_WORKER_SECONDS = 600.0  # the run ends after this time without any worker that is up
PASSED_ON = ("JAX_", "XLA_", "LD_LIBRARY_PATH")


class RayWorkerGroup:
    """Training workers as actors, each on a node that has room for it; one that dies is replaced.

    Another job may hold the resources of a placement: its worker waits there and gets no orders until it reports that
    it is up.

    Args:
        ray: The package ``ray``.
        job: What every worker needs to know about the sweep.
        first: Number of the first worker.
        folder_of: Function from a worker's number to the folder of its snapshots.
        placements: Function that returns the current placements for workers.
        cores: Number of CPU threads per worker; None for as many as it finds.
    """

    def __init__(
        self,
        ray: Any,
        job: WorkerJob,
        first: int,
        folder_of: Callable[[int], str],
        placements: Callable[[], list[Placement]],
        cores: int | None,
    ) -> None:
        self._ray, self._folder_of, self._placements, self._cores = ray, folder_of, placements, cores
        self._job = ray.put(job)
        self._next = self._first = first
        self._actors: dict[int, tuple[Placement, Any]] = {}
        self._orders: dict[int, dict[Any, None]] = {}
        self._startups: dict[Any, int] = {}
        self._begun: dict[int, float] = {}  # start times of the workers that are not up yet
        self._said: tuple[float, list[int]] = (-np.inf, [])
        self._grown = -np.inf
        self._last_alive = time.perf_counter()
        self.programs: list[dict[str, Any]] = []

    @property
    def num_started(self) -> int:
        """Number of workers started so far, including those that died."""
        return self._next - self._first

    def grow(self) -> None:
        """Start workers wherever there is room; asks the cluster every few seconds at most."""
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
            why = f" ({waiting_text({worker: self._actors[worker][0] for worker in waiting})})" if waiting else ""
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
        actor = actor_class.remote(self._job, self._folder_of(number))
        self._actors[number] = (placement, actor)
        self._orders[number] = {}
        self._begun[number] = time.perf_counter()
        self._startups[actor.describe.remote()] = number

    def workers(self) -> list[int]:
        """Return the workers that are alive and have reported that they are up."""
        return [worker for worker in self._actors if worker not in self._begun]

    def num_starting(self) -> int:
        """Number of workers that should be up soon, unless they turn out to wait for room."""
        return len(self._begun) - len(self._waiting())

    def _waiting(self) -> list[int]:
        now = time.perf_counter()
        return [worker for worker, begun in self._begun.items() if now - begun >= START_SECONDS]

    def _news(self) -> list[tuple[int, Done | None]]:
        """Return a message about waiting workers, as a reply of the first, if one is due; else nothing."""
        now, waiting = time.perf_counter(), self._waiting()
        if not waiting or waiting == self._said[1] or now - self._said[0] < SAY_SECONDS:
            return []
        self._said = (now, waiting)
        message = waiting_text({worker: self._actors[worker][0] for worker in waiting})
        return [(waiting[0], Done([], 0, 0, (message,), []))]

    def num_orders(self, worker: int) -> int:
        """Number of orders that a worker has not carried out yet."""
        return len(self._orders[worker])

    def send(self, worker: int, order: Order) -> None:
        """Give an order to a worker."""
        self._orders[worker][self._actors[worker][1].carry_out.remote(order)] = None

    def wait(self, seconds: float) -> list[tuple[int, Done | None]]:
        """Return the workers' replies; None if the worker died."""
        owner = {ref: worker for worker, refs in self._orders.items() for ref in refs} | self._startups
        if not owner:
            time.sleep(seconds / 10)
            return []  # no worker waits for room either
        ready, _ = self._ray.wait(list(owner), num_returns=1, timeout=seconds)
        if ready:  # take all other results that are available, too
            ready, _ = self._ray.wait(list(owner), num_returns=len(owner), timeout=0)
        replies: list[tuple[int, Done | None]] = []
        # In the order in which the calls were made: Ray returns ready results in any order.
        for ref in sorted(ready, key=list(owner).index):
            worker = owner[ref]
            if worker not in self._actors:
                continue  # it died: another of its orders has shown that already
            answer = self._answer(ref, worker)
            self._orders[worker].pop(ref, None)
            if self._startups.pop(ref, None) is not None and answer is not None:
                _check_same(answer, worker)
                del self._begun[worker]
                continue
            if answer is None:
                self._forget(worker)
            else:
                self.programs += [program for program in answer.programs if program not in self.programs]
            replies.append((worker, answer))
        return replies + self._news()

    def _answer(self, ref: Any, worker: int) -> Any:
        """Return the result of a call; None where its worker or node is gone."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(ref)
        except errors.RayTaskError as error:  # raised by modjax's own code in the worker
            cause = " ".join(str(error.cause).split()) or type(error.cause).__name__
            raise RuntimeError(f"worker {worker} failed: {cause}") from error
        except (
            errors.RayActorError,
            errors.ActorUnschedulableError,
            errors.ObjectLostError,
            errors.NodeDiedError,
            errors.WorkerCrashedError,
        ) as error:
            if getattr(error, "actor_init_failed", False):  # for example, modjax cannot be imported there
                reason = str(error).strip().splitlines()[-1]
                raise RuntimeError(f"worker {worker} could not be started: {reason}") from error
            return None

    def _forget(self, worker: int) -> None:
        _, actor = self._actors.pop(worker)
        del self._orders[worker]
        self._begun.pop(worker, None)
        self._startups = {ref: number for ref, number in self._startups.items() if number != worker}
        self._kill(actor)  # one that is merely cut off by a broken network would keep its resources
        self._grown = -np.inf

    def close(self) -> None:
        """End all workers."""
        for _, actor in self._actors.values():
            self._kill(actor)
        self._actors, self._orders, self._startups, self._begun = {}, {}, {}, {}

    def _kill(self, actor: Any) -> None:
        with suppress(self._ray.exceptions.RaySystemError):  # its creation was cancelled: there is nothing to kill
            self._ray.kill(actor)


class _Actor:
    """A :class:`TrialWorker` in its own process, made with the first order: the actor reports before that it is up."""

    def __init__(self, job: WorkerJob, folder: str) -> None:
        self._job, self._folder = job, folder
        self._worker: TrialWorker | None = None

    def describe(self) -> dict[str, Any]:
        return describe_worker()

    def carry_out(self, order: Order) -> Done:
        if self._worker is None:
            self._worker = TrialWorker(self._job, self._folder)
        return self._worker.carry_out(order)


def worker_variables(cores: int | None) -> dict[str, str]:
    """Return a worker's environment variables: this process's settings of JAX, and the number of threads."""
    passed = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
    return passed | ({} if cores is None else {"NPROC": str(cores), "OMP_NUM_THREADS": str(cores)})


def _check_same(there: dict[str, Any], worker: int) -> None:
    """Raise unless a worker has the same kind of device and the same package versions as this process."""
    here = describe_machine()
    others = other_packages(here["packages"], there["packages"])
    if others:
        raise RuntimeError(f"worker {worker} has {'; '.join(others)}: numbers would not be the same.")
    if here["device"]["kind"] != there["device"]["kind"]:
        raise RuntimeError(
            f"worker {worker} computes on {there['device']['kind']}, this process on {here['device']['kind']}: "
            "numbers would not be the same; run modjax on a node with the workers' kind of device."
        )
