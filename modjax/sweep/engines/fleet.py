"""Trainers as Ray actors: started where there is room, watched, replaced."""

import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from modjax.storage.manifest import describe_machine
from modjax.sweep.engines.dispatch import Done, Order
from modjax.sweep.engines.worker import TrialWorker, WorkerJob, describe_worker

# Of a CPU core a trainer is counted as one half and a search as the other, so that searches run beside the training of
# the next epochs, as they do on one machine; searches run at low priority.
CORE_SHARE = 0.5
GROW_SECONDS = 5.0
ROOM_SECONDS = 600.0  # without any worker for so long, the run ends
SAME_ON_ALL = ("modjax", "jax", "jaxlib", "numpy")
PASSED_ON = ("JAX_", "XLA_", "LD_LIBRARY_PATH")


class Room(NamedTuple):
    """Where a worker can be."""

    node: str
    num_cpus: float
    num_gpus: float


def rooms_of(nodes: list[dict[str, Any]], is_gpu: bool, cores: int | None) -> list[Room]:
    """Room for workers: one for each GPU; or for so many cores, all of a node where None.

    Example:
        >>> nodes = [{"NodeID": "a", "Alive": True, "Resources": {"CPU": 4.0}}, {"NodeID": "b", "Alive": False}]
        >>> rooms_of(nodes, False, 2)
        [Room(node='a', num_cpus=1.0, num_gpus=0), Room(node='a', num_cpus=1.0, num_gpus=0)]
    """
    rooms = []
    for node in nodes:
        if not node["Alive"]:
            continue
        cpus, gpus = (int(node["Resources"].get(name, 0)) for name in ("CPU", "GPU"))
        if is_gpu:
            rooms += [Room(node["NodeID"], CORE_SHARE * min(1, cpus / gpus), 1) for _ in range(gpus)]
        elif cpus:
            each = cores or cpus
            rooms += [Room(node["NodeID"], CORE_SHARE * each, 0) for _ in range(cpus // each)]
    return rooms


class RayFleet:
    """Trainers as actors, each on a node that has room for it; one that dies is replaced where there is room.

    Args:
        ray: The package.
        about: What every worker is told.
        first: Number of the first worker.
        folder_of: The folder of a worker's snapshots, by its number.
        rooms: Where workers can be now.
        cores: Threads of each worker's CPU; None: as many as it finds.
    """

    def __init__(
        self,
        ray: Any,
        about: WorkerJob,
        first: int,
        folder_of: Callable[[int], str],
        rooms: Callable[[], list[Room]],
        cores: int | None,
    ) -> None:
        self._ray, self._folder_of, self._rooms, self._cores = ray, folder_of, rooms, cores
        self._about = ray.put(about)
        self._next = self._first = first
        self._actors: dict[int, tuple[Room, Any]] = {}
        self._orders: dict[int, dict[Any, None]] = {}
        self._greetings: dict[Any, int] = {}
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
        free = self._rooms()
        for room, _ in self._actors.values():
            if room in free:
                free.remove(room)
        for room in free:
            self._start(room)
        if self._actors:
            self._last_alive = now
        elif now - self._last_alive > ROOM_SECONDS:
            raise RuntimeError(
                f"no node has had room for a worker for {ROOM_SECONDS:.0f} s; "
                "nothing finished is lost: run the same command again."
            )

    def _start(self, room: Room) -> None:
        on_its_node = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(room.node, soft=False)
        number, self._next = self._next, self._next + 1
        actor_class = self._ray.remote(_Actor).options(
            num_cpus=room.num_cpus,
            num_gpus=room.num_gpus,
            max_restarts=0,
            scheduling_strategy=on_its_node,
            runtime_env={"env_vars": worker_variables(self._cores)},
        )
        actor = actor_class.remote(self._about, self._folder_of(number))
        self._actors[number] = (room, actor)
        self._orders[number] = {}
        self._greetings[actor.describe.remote()] = number

    def workers(self) -> list[int]:
        """Those that live, or are being started."""
        return list(self._actors)

    def num_orders(self, worker: int) -> int:
        """Orders that a worker has not carried out."""
        return len(self._orders[worker])

    def send(self, worker: int, order: Order) -> None:
        """Give an order."""
        self._orders[worker][self._actors[worker][1].carry_out.remote(order)] = None

    def wait(self, seconds: float) -> list[tuple[int, Done | None]]:
        """What workers did; None: the worker died."""
        owner = {ref: worker for worker, refs in self._orders.items() for ref in refs} | self._greetings
        if not owner:
            time.sleep(seconds / 10)
            return []
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
            if self._greetings.pop(ref, None) is not None and answer is not None:
                _check_same(answer, worker)
                continue
            if answer is None:
                self._bury(worker)
            else:
                self.programs += [one for one in answer.programs if one not in self.programs]
            told.append((worker, answer))
        return told

    def _answer(self, ref: Any, worker: int) -> Any:
        """What a call returned; None where its worker or node is gone."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(ref)
        except errors.RayTaskError as error:  # raised by our own code over there
            cause = " ".join(str(error.cause).split()) or type(error.cause).__name__
            raise RuntimeError(f"worker {worker} failed: {cause}") from error
        except (errors.RayActorError, errors.ObjectLostError, errors.NodeDiedError, errors.WorkerCrashedError):
            return None

    def _bury(self, worker: int) -> None:
        _, actor = self._actors.pop(worker)
        del self._orders[worker]
        self._greetings = {ref: number for ref, number in self._greetings.items() if number != worker}
        self._ray.kill(actor)  # where it lives on behind a broken network, its room is not free before
        self._grown = -np.inf

    def close(self) -> None:
        """End all workers."""
        for _, actor in self._actors.values():
            self._ray.kill(actor)
        self._actors, self._orders, self._greetings = {}, {}, {}


class _Actor:
    """A :class:`TrialWorker` in a process of its own."""

    def __init__(self, about: WorkerJob, folder: str) -> None:
        self._worker = TrialWorker(about, folder)

    def describe(self) -> dict[str, Any]:
        return describe_worker()

    def carry_out(self, order: Order) -> Done:
        return self._worker.carry_out(order)


def worker_variables(cores: int | None) -> dict[str, str]:
    """Variables of a worker's environment: this process's for JAX, and the number of threads."""
    passed = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
    return passed | ({} if cores is None else {"NPROC": str(cores), "OMP_NUM_THREADS": str(cores)})


def _check_same(there: dict[str, Any], worker: int) -> None:
    """Raise unless a worker computes on the same kind of device and by the same versions as this process."""
    here = describe_machine()
    for name in SAME_ON_ALL:
        mine, its = here["packages"][name], there["packages"][name]
        if mine != its:
            raise RuntimeError(f"worker {worker} has {name} {its}, this process {mine}: numbers would not be the same.")
    if here["device"]["kind"] != there["device"]["kind"]:
        raise RuntimeError(
            f"worker {worker} computes on {there['device']['kind']}, this process on {here['device']['kind']}: "
            "numbers would not be the same; run modjax on a node with the workers' kind of device."
        )
