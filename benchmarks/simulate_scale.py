"""What sweeps on many GPUs would cost in scheduling, bytes and files, and what breaks first.

    python benchmarks/simulate_scale.py measure DIR   # DIR: a finished sweep; rows to results/scale_costs_<machine>
    python benchmarks/simulate_scale.py simulate      # from those rows; rows to results/scale_simulated_<machine>

``measure`` times the package's own code on one machine: queue and dispatcher, commits of stacks, reading, merging of
tables, messages through Ray, on stacks of the sweep in DIR. ``simulate`` plays the rules of
``modjax/engines/ray/dispatch.py`` in events: workers that train whole epochs of full seats and report about once a
second, two orders ahead; one driver that takes in reports one after the other, commits stacks and hands out searches;
cores that search. Speeds of a GPU are assumptions and are written into every row; none was at hand.
"""

import argparse
import heapq
import json
import tempfile
import time
import warnings
from collections import deque
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from harness import RESULTS, write_rows

STACK_TRIALS = 8
SEATS = 256
SNAPSHOT_SECONDS = 60.0
TRAIN_FLOP = 229_120 * 54_000  # an epoch of one trial of 784-64-64-10 (benchmarks/README.md)
MEASURE_FLOP = 12.7e9 + 2 * 75_000 * 70_000  # its similarity, and one pass over all examples
GPU_FLOPS = (1e12, 1e13)  # ASSUMED: of 60e12 that a large GPU offers in float32
CORES_PER_GPU = 16  # ASSUMED: for searches
LAYERS, GRAPHS, UNITS = 2, 8, 64
SEARCH_BYTES = GRAPHS * UNITS**2 * 8  # adjacencies that a search is sent
SEARCH_CASE = "a layer: 8 searches, joint modules, 36 alignments"


def measure(root: Path) -> list[dict[str, Any]]:
    """Costs of this package's parts, on stacks of a sweep."""
    from modjax.io.trees import load_tree
    from modjax.store.paths import SweepPaths
    from modjax.store.sweep import open_sweep
    from modjax.store.tables import merge, read_table

    sweep, paths = open_sweep(root), SweepPaths(root)
    frames = {name: sweep.table(name) for name in ("trials", "history", "modules", "alignment", "similarity")}
    trained = frames["trials"].filter(pl.col("status") == "done")
    some = trained["trial_id"].to_list()[:STACK_TRIALS]
    rows = {name: frame.filter(pl.col("trial_id").is_in(some)) for name, frame in frames.items()}
    weights = load_tree(next(path for path in sorted(paths.checkpoints.glob("stack_*")) if path.is_dir()))
    about = {"sweep": sweep.manifest["name"], "trials": sweep.trials.height}
    with tempfile.TemporaryDirectory() as folder:
        stacks = [_commit(Path(folder), rows, weights, copies) for copies in (1, 16)]
        started = time.perf_counter()
        parts = [read_table(path, "similarity") for path in sorted(Path(folder).glob("1_*/similarity.parquet"))]
        merged = merge("similarity", [_renamed(part, number) for number, part in enumerate(parts)])
        merging = (time.perf_counter() - started) / (len(parts) * len(some))
    assert merged.height == len(parts) * rows["similarity"].height
    merge_bytes = sum(frame.estimated_size() for frame in rows.values()) / len(some)
    per_trial = {name: round(frame.estimated_size() / len(some)) for name, frame in rows.items()}
    leaves = _leaves(weights)
    weight_bytes = sum(leaf.nbytes for leaf in leaves) // leaves[0].shape[0]
    costs = [
        *stacks,
        {
            "case": "tables in memory",
            "bytes_per_trial": round(merge_bytes),
            "of_which": per_trial,
            "merge_us_per_trial": round(1e6 * merging, 1),
        },
        {
            "case": "a trial in training",
            "weight_bytes": weight_bytes,
            "snapshot_bytes": 4 * weight_bytes,  # weights, two moments of Adam, best weights
            "epochs_mean": round(float(trained["epochs"].mean()), 1),  # pyright: ignore
            "epochs": trained["epochs"].to_list(),
        },
        *_measure_dispatch(),
        *_measure_ray(weights, per_trial["similarity"]),
    ]
    return [{**about, **row} for row in costs]


def _renamed(frame: pl.DataFrame, copy: int) -> pl.DataFrame:
    return frame.with_columns(pl.col("trial_id") + f"-{copy}")


def _commit(folder: Path, rows: dict[str, pl.DataFrame], weights: Any, copies: int) -> dict[str, Any]:
    """A stack saved and read back, its tables made from rows and written; the least of twelve times."""
    from modjax.io.trees import load_tree, save_tree
    from modjax.store.tables import from_rows, write_table

    stacked = _map(lambda leaf: np.concatenate([leaf] * copies), weights)
    many = {
        name: pl.concat([_renamed(frame, copy) for copy in range(copies)]).to_dicts() for name, frame in rows.items()
    }
    for row in many["similarity"]:
        row["matrix"] = np.array(row["matrix"], np.float32)
    seconds = []
    for number in range(12):
        target = folder / f"{copies}_{number}"
        started = time.perf_counter()
        save_tree(target / "stack", stacked)
        load_tree(target / "stack", stacked)
        for name, made in many.items():
            write_table(target / f"{name}.parquet", from_rows(name, made))
        seconds.append(time.perf_counter() - started)
    files = [path for path in target.rglob("*") if path.is_file()]
    num_trials = copies * STACK_TRIALS
    return {
        "case": f"a stack of {num_trials} trials committed",
        "stack_trials": num_trials,
        "seconds": round(min(seconds), 4),
        "bytes": sum(path.stat().st_size for path in files),
        "files": len(files) + 1,  # and the list of ids
    }


def _map(function: Any, tree: Any) -> Any:
    return {key: _map(function, value) for key, value in tree.items()} if isinstance(tree, dict) else function(tree)


def _leaves(tree: Any) -> list[np.ndarray]:
    return (
        [leaf for value in tree.values() for leaf in _leaves(value)] if isinstance(tree, dict) else [np.asarray(tree)]
    )


def _measure_dispatch() -> list[dict[str, Any]]:
    """The queue and the dispatcher alone, with workers that do nothing: seconds of the driver."""
    from modjax.engines.base import TrainedTrial
    from modjax.engines.queue import TrialQueue
    from modjax.engines.ray.dispatch import Done, Order, dispatch
    from modjax.training.events import FinishedTrial

    class Nothing:
        """Every order ends at once with all the trials that a worker has."""

        def __init__(self, num_workers: int) -> None:
            self.orders: dict[int, deque[Order]] = {worker: deque() for worker in range(num_workers)}
            self.due: deque[int] = deque()

        def grow(self) -> None:
            return

        def workers(self) -> list[int]:
            return list(self.orders)

        def num_orders(self, worker: int) -> int:
            return len(self.orders[worker])

        def send(self, worker: int, order: Order) -> None:
            self.orders[worker].append(order)
            self.due.append(worker)

        def wait(self, seconds: float) -> list[tuple[int, Done | None]]:
            told: list[tuple[int, Done | None]] = []
            for _ in range(min(len(self.due), len(self.orders))):
                worker = self.due.popleft()
                trials = self.orders[worker].popleft().trials
                ended = [TrainedTrial(FinishedTrial(one, {}, {}, [], "done", 0, 0.0)) for one in trials]
                told.append((worker, Done(ended, 0, 0, (), [])))
            return told

    found = []
    for num_workers, num_trials in ((10, 100_000), (1000, 100_000), (1000, 1_000_000)):
        started = time.perf_counter()
        for _ in dispatch(Nothing(num_workers), TrialQueue(range(num_trials), {}), SEATS, lambda worker: {}):
            continue
        seconds = time.perf_counter() - started
        found.append(
            {
                "case": f"dispatch, {num_trials} trials, {num_workers} workers",
                "us_per_trial": round(1e6 * seconds / num_trials, 2),
            }
        )
    return found


def _measure_ray(weights: Any, matrix_bytes: int) -> list[dict[str, Any]]:
    """What the driver spends on a message of a worker with 0 or 8 trials in it."""
    import ray

    payload = {"weights": weights, "matrices": np.zeros(STACK_TRIALS * matrix_bytes, np.uint8)}

    class Echo:
        def empty(self) -> None:
            return

        def full(self) -> Any:
            return payload

    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    ray.init("local", num_cpus=1, object_store_memory=2**28, **quiet)
    found = []
    try:
        actor = ray.remote(Echo).remote()
        for name, amount in (("empty", 400), ("full", 60)):
            ray.get(getattr(actor, name).remote())
            refs = [getattr(actor, name).remote() for _ in range(amount)]
            ray.wait(refs, num_returns=amount)
            started = time.perf_counter()
            for ref in refs:
                ray.get(ref)
            taken = time.perf_counter() - started
            started = time.perf_counter()
            refs = [getattr(actor, name).remote() for _ in range(amount)]
            sending = time.perf_counter() - started
            ray.wait(refs, num_returns=amount)
            found.append(
                {
                    "case": f"a message through Ray, {name}",
                    "get_us": round(1e6 * taken / amount, 1),
                    "send_us": round(1e6 * sending / amount, 1),
                }
            )
    finally:
        ray.shutdown()
    return found


class Costs(NamedTuple):
    """Seconds and bytes of the parts, from the rows."""

    stack_seconds: float
    stack_trial_seconds: float
    trial_bytes: float
    stack_files: float
    table_bytes: float
    merge_seconds: float
    snapshot_bytes: float
    dispatch_seconds: float
    get_seconds: float
    get_full_seconds: float
    send_seconds: float
    search_seconds: float
    schedule_seconds: float
    epochs: list[int]
    payload_bytes: float


def read_costs() -> Costs:
    """From ``results/``: scale_costs, modules and training of the machine with two cores."""
    rows = {row["case"]: row for row in _rows("scale_costs_cpu2.jsonl")}
    tables, trial = rows["tables in memory"], rows["a trial in training"]
    small, large = sorted((row for row in rows.values() if "stack_trials" in row), key=lambda row: row["stack_trials"])
    per_trial = (large["seconds"] - small["seconds"]) / (large["stack_trials"] - small["stack_trials"])
    searches = [row["ms"] for row in _rows("modules_cpu2.jsonl") if row.get("what") == SEARCH_CASE]
    schedule = [
        row["microseconds_per_trial"]
        for row in _rows("training_cpu2.jsonl")
        if row.get("case", "").startswith("scheduling") and row["case"].endswith("256 slots")
    ]
    empty, full = rows["a message through Ray, empty"], rows["a message through Ray, full"]
    return Costs(
        stack_seconds=small["seconds"] - small["stack_trials"] * per_trial,
        stack_trial_seconds=per_trial,
        trial_bytes=small["bytes"] / small["stack_trials"],
        stack_files=small["files"],
        table_bytes=tables["bytes_per_trial"],
        merge_seconds=tables["merge_us_per_trial"] / 1e6,
        snapshot_bytes=trial["snapshot_bytes"],
        dispatch_seconds=rows["dispatch, 1000000 trials, 1000 workers"]["us_per_trial"] / 1e6,
        get_seconds=empty["get_us"] / 1e6,
        get_full_seconds=max(0.0, full["get_us"] - empty["get_us"]) / 1e6 / STACK_TRIALS,
        send_seconds=empty["send_us"] / 1e6,
        search_seconds=min(searches) / 1e3,
        schedule_seconds=max(schedule) / 1e6,
        epochs=trial["epochs"],
        payload_bytes=trial["weight_bytes"] + tables["of_which"]["similarity"],
    )


def _rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (RESULTS / name).read_text().splitlines()]


class Worker:
    """Seats of one GPU and the small queue before them; whole epochs of all seats."""

    def __init__(self) -> None:
        self.seats = np.zeros(0, np.int64)
        self.queue: deque[int] = deque()
        self.orders = 0
        self.held = 0
        self.is_working = False
        self.busy = 0.0

    def work(self, epoch_seconds: float, trial_seconds: float) -> tuple[float, int]:
        """An order: about a second of epochs; returns its seconds and the trials that finished."""
        seconds, ended = 0.0, 0
        while True:
            room = SEATS - len(self.seats)
            new = [self.queue.popleft() for _ in range(min(room, len(self.queue)))]
            self.seats = np.concatenate([self.seats, np.array(new, np.int64)]) if new else self.seats
            if not len(self.seats):
                return seconds, ended
            self.seats = self.seats - 1
            done = int((self.seats <= 0).sum())
            self.seats = self.seats[self.seats > 0]
            spent = epoch_seconds + done * trial_seconds
            seconds += spent
            ended += done
            if seconds >= 1.0:
                return seconds, ended


class Driver(NamedTuple):
    """What the driver's time went to, in seconds, and the stacks that it wrote."""

    messages: float
    stacks: float
    num_stacks: int
    ended: float
    searches: list[float]


class Cluster:
    """Workers and the driver, in events.

    Args:
        costs: Of the parts.
        num_gpus: Workers.
        epochs: That each trial trains for.
        flops: A GPU's.
        has_free_stacks: Stacks cost the driver nothing.
    """

    def __init__(
        self, costs: Costs, num_gpus: int, epochs: np.ndarray, flops: float, has_free_stacks: bool = False
    ) -> None:
        self.costs, self.epochs, self.has_free_stacks = costs, epochs.tolist(), has_free_stacks
        self.epoch_seconds = SEATS * TRAIN_FLOP / flops + SEATS * costs.schedule_seconds
        self.trial_seconds = MEASURE_FLOP / flops
        self.workers = [Worker() for _ in range(num_gpus)]
        self.given = self.finished = 0
        self.events: list[tuple[float, int, int]] = []

    def start(self, index: int, at: float) -> None:
        """Let a worker carry out its next order, if it has one and is free."""
        worker = self.workers[index]
        if worker.is_working or not worker.orders:
            return
        worker.is_working = True
        seconds, ended = worker.work(self.epoch_seconds, self.trial_seconds)
        worker.busy += seconds
        heapq.heappush(self.events, (at + seconds, index, ended))

    def top_up(self, index: int, at: float) -> None:
        """The rules of ``give_orders``."""
        worker, num_trials, num_gpus = self.workers[index], len(self.epochs), len(self.workers)
        waiting = num_trials - self.given
        share = -(-(num_trials - self.finished) // num_gpus)
        ahead = min(SEATS, waiting // (2 * num_gpus))
        count = min(waiting, max(0, min(SEATS + ahead, share) - worker.held))
        worker.queue.extend(self.epochs[self.given : self.given + count])
        self.given += count
        worker.held += count
        if worker.held:
            worker.orders = 2
        self.start(index, at)

    def arrived(self, until: float) -> list[tuple[int, int]]:
        """Reports until then, with those of second orders that ended meanwhile."""
        reports = []
        while self.events and self.events[0][0] <= until:
            at, index, ended = heapq.heappop(self.events)
            self.workers[index].is_working = False
            self.workers[index].orders -= 1
            reports.append((index, ended))
            self.start(index, at)
        return reports

    def run(self) -> Driver:
        """All trials: the driver takes in what has arrived, gives orders, writes; then again."""
        costs, now, messages, stacks, num_stacks, buffered = self.costs, 0.0, 0.0, 0.0, 0, 0
        searches: list[float] = []
        for index in range(len(self.workers)):
            self.top_up(index, 0.0)
        while self.events:
            now = max(now, self.events[0][0])
            reports = self.arrived(now)
            num = sum(ended for _, ended in reports)
            spent = len(reports) * (costs.get_seconds + costs.send_seconds)
            spent += num * (costs.dispatch_seconds + costs.get_full_seconds)
            now += spent
            self.finished += num
            for index, ended in reports:
                self.workers[index].held -= ended
                self.top_up(index, now)
            buffered += num
            if buffered >= STACK_TRIALS or (buffered and not self.events):
                writing = 0.0 if self.has_free_stacks else costs.stack_seconds + buffered * costs.stack_trial_seconds
                # A search a layer is sent off, and its result is taken in.
                sending = LAYERS * buffered * (costs.send_seconds + costs.get_seconds)
                now += writing + sending
                stacks, spent = stacks + writing, spent + sending
                searches += [now] * (LAYERS * buffered)
                num_stacks, buffered = num_stacks + 1, 0
            messages += spent
        return Driver(messages, stacks, num_stacks, now, searches)


def simulate(
    costs: Costs, num_gpus: int, num_trials: int, flops: float, has_free_stacks: bool = False
) -> dict[str, Any]:
    """One sweep; a row."""
    epochs = np.random.default_rng(0).choice(np.array(costs.epochs), num_trials)
    cluster = Cluster(costs, num_gpus, epochs, flops, has_free_stacks)
    driver = cluster.run()
    cores = [0.0] * (
        CORES_PER_GPU * num_gpus
    )  # a search begins when the driver sends it, on the core that is free first
    for sent in driver.searches:
        heapq.heapreplace(cores, max(cores[0], sent) + costs.search_seconds)
    busy = sum(worker.busy for worker in cluster.workers) / num_gpus
    return {
        "case": f"{num_trials} trials on {num_gpus} GPUs",
        "assumed_flops_per_gpu": flops,
        "assumed_cores_per_gpu": CORES_PER_GPU,
        "stacks_cost_nothing": has_free_stacks,
        "training_seconds": round(driver.ended, 1),
        "gpu_busy_share": round(busy / driver.ended, 3),
        "driver_message_seconds": round(driver.messages, 1),
        "driver_stack_seconds": round(driver.stacks, 1),
        "stacks": driver.num_stacks,
        "files": round(driver.num_stacks * costs.stack_files),
        "scheduling_seconds_per_gpu": round(num_trials / num_gpus * costs.schedule_seconds, 4),
        "searches_end_after": round(max(cores), 1),
        "search_core_hours": round(LAYERS * num_trials * costs.search_seconds / 3600, 1),
        "merge_seconds": round(num_trials * costs.merge_seconds, 1),
        "merge_memory_gb": round(num_trials * costs.table_bytes / 1e9, 2),
        "to_driver_gb": round(num_trials * costs.payload_bytes / 1e9, 2),
        "to_searches_gb": round(LAYERS * num_trials * SEARCH_BYTES / 1e9, 2),
        "stacks_gb": round(num_trials * costs.trial_bytes / 1e9, 2),
        "snapshot_gb": round(num_gpus * min(SEATS, num_trials / num_gpus) * costs.snapshot_bytes / 1e9, 2),
    }


def main() -> None:
    warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)  # Ray starts its programs right after it
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("measure").add_argument("directory", type=Path)
    commands.add_parser("simulate")
    arguments = parser.parse_args()
    if arguments.command == "measure":
        print(write_rows("scale_costs", measure(arguments.directory)))
        return
    costs = read_costs()
    cases = [(1, 1_000), (10, 10_000), (100, 100_000), (1000, 1_000_000)]
    rows = [simulate(costs, gpus, trials, flops) for flops in GPU_FLOPS for gpus, trials in cases]
    rows += [simulate(costs, *cases[-1], flops, has_free_stacks=True) for flops in GPU_FLOPS]
    for row in rows:
        print(json.dumps(row))
    print(write_rows("scale_simulated", rows))


if __name__ == "__main__":
    main()
