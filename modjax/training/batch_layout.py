"""How many trials train side by side, and whether they share batches: as requested, remembered, measured or by default.

The choice decides speed, not results, up to a float tolerance (bit for bit wherever programs of other widths give the
same bits); a sweep records its choice and keeps it.
"""

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pooch

from modjax._util.threads import Threads, available_cores
from modjax.io.files import write_text
from modjax.training.config import TrainConfig
from modjax.training.objective import Task
from modjax.training.programs import EpochProgram, init_pool, init_slots, state_shapes, train_epoch
from modjax.training.trial import Clock
from modjax.types import Examples, TrialValues

DEFAULT_LANES = {"cpu": 4}
DEFAULT_PAIRED_LANES = {"cpu": 2}  # nearly as fast as 8, and far fewer lanes idle once trials stop
ACCELERATOR_LANES = 256
CANDIDATES = {"cpu": (2, 4, 8, 16)}
ACCELERATOR_CANDIDATES = (16, 64, 256, 1024, 4096)
SLOTS_PER_LANE = 8  # paired trials wait in slots for trials of their seed, so that batches can be shared
MEASURED_STEPS = 12
SHARING_SECONDS = 60.0  # shorter sweeps end before it has paid to compile programs for the trials that cannot share
LONG_SECONDS = 900.0  # sweeps that are expected to take longer are worth measuring layouts for
EXPECTED_EPOCHS = 20
ROUGH_FLOPS = {"cpu": 2e10}  # FLOP/s, only to tell a long sweep from a short one
ACCELERATOR_FLOPS = 5e12
MEMORY_SHARE = 0.8
NEAR_BEST = 0.95


class BatchLayout(NamedTuple):
    """Slots and the base program of a population.

    Attributes:
        lanes: Number of trials side by side in each program.
        is_paired: Whether they share their batches, which takes trials of one seed and epoch.
        slots: Number of trials in training on each device, or in each thread.
        num_devices: Number of local devices; None uses all.
        is_fixed: Whether no other program is used, not even for the last trials.
        num_threads: Number of programs side by side on a single CPU device, each with slots and trials of its own.
    """

    lanes: int
    is_paired: bool
    slots: int
    num_devices: int | None = None
    is_fixed: bool = False
    num_threads: int = 1


def choose_layout(
    task: Task,
    config: TrainConfig,
    hyperparams: TrialValues,
    seeds: np.ndarray,
    examples: Examples,
    memory: Path | None = None,
    cores: int | None = None,
    may_measure: bool = True,
) -> BatchLayout:
    """Return the layout for these trials.

    With ``config.num_slots`` it is that many trials side by side, refilled one by one, and nothing else. Else it is
    what was measured to be best for this task on this machine, before or, if the trials are expected to take long, now.
    Else it is 2 lanes that share batches for each core of a CPU, or 4 that do not where seeds have too few trials or
    the sweep is short, and 256 on an accelerator. Lanes are never more than fit the device's memory, by the compiled
    program's own account.

    Args:
        task: The task, as pure functions of one trial.
        config: Static settings.
        hyperparams: Tree of ``[trials]`` arrays.
        seeds: Seeds ``[trials]``.
        examples: Tree of arrays.
        memory: File of the rates that were measured before; None takes one in the user's cache.
        cores: Number of CPU cores that will train the trials; None takes those of this process.
        may_measure: Whether layouts may be measured now, which takes a minute.
    """
    num_devices, backend = len(jax.local_devices()[: config.num_devices]), jax.default_backend()
    # Threads stand in for devices on a CPU alone, and only where JAX sees it as a single device.
    num_cores = (cores or available_cores()) if backend == "cpu" and num_devices == 1 else 1
    if config.num_slots is not None:
        num_threads = max(count for count in range(1, num_cores + 1) if config.num_slots % count == 0)
        lanes = -(-config.num_slots // (num_devices * num_threads))
        return BatchLayout(lanes, False, lanes, config.num_devices, True, num_threads)
    num_trials = max(1, len(seeds))
    num_threads = min(num_cores, num_trials)
    most = -(-num_trials // (num_devices * num_threads))  # lanes beyond that would idle from the start
    per_seed = num_trials / max(1, len(np.unique(seeds)))
    probe = _Probe(task, config.recipe(), hyperparams, seeds, examples, num_threads)
    memory = memory or Path(pooch.os_cache("modjax")) / "layouts.json"
    rates = recall(memory, probe.key())
    seconds = probe.expected_seconds(num_trials)
    if not rates and may_measure and seconds > LONG_SECONDS:
        candidates = CANDIDATES.get(backend, ACCELERATOR_CANDIDATES)
        rates = probe.measure([EpochProgram(lanes, paired) for lanes in candidates for paired in (False, True)])
        remember(memory, probe.key(), rates)
    best = _best(rates, per_seed) if rates else _default(backend, per_seed, seconds)
    lanes = min(best.lanes, most)
    while lanes > 1 and not probe.fits(EpochProgram(lanes, best.is_paired)):
        lanes = -(-lanes // 2)
    is_paired = best.is_paired and lanes > 1
    # Pairs form among the trials in slots: there must be room for the trials of two seeds, so that one seed's can
    # train while the next ones come in.
    slots = min(max(lanes * SLOTS_PER_LANE, 2 * round(per_seed)), most) if is_paired else lanes
    slots = max(lanes, min(slots, probe.slots_that_fit()))
    return BatchLayout(lanes, is_paired, slots, config.num_devices, False, num_threads)


def _default(backend: str, per_seed: float, seconds: float) -> EpochProgram:
    """Return the program to use where nothing was measured."""
    paired = DEFAULT_PAIRED_LANES.get(backend)
    if paired is not None and per_seed >= paired and seconds > SHARING_SECONDS:
        return EpochProgram(paired, True)
    return EpochProgram(DEFAULT_LANES.get(backend, ACCELERATOR_LANES), False)


def _best(rates: dict[EpochProgram, float], per_seed: float) -> EpochProgram:
    """Return the program of fewest lanes whose useful rate is near the best.

    A paired program's useful rate is its rate times the share of its lanes that early stopping leaves in use; it is
    considered only where seeds have trials enough to fill its lanes.
    """
    useful = {
        program: rate * (expected_use(program.lanes, per_seed) if program.is_paired else 1.0)
        for program, rate in rates.items()
        if not program.is_paired or per_seed >= program.lanes
    }
    if not useful:
        return min(rates)
    top = max(useful.values())
    return min(program for program, rate in useful.items() if rate >= NEAR_BEST * top)


def expected_use(lanes: int, per_seed: float) -> float:
    """Return the share of lanes in use while a seed's trials stop one by one: sum n / sum lanes ceil(n/lanes).

    Example:
        >>> [round(expected_use(lanes, 20.0), 3) for lanes in (1, 2, 4, 8)]
        [1.0, 0.955, 0.875, 0.729]
    """
    left = np.arange(1, max(1, round(per_seed)) + 1)
    return float(left.sum() / (lanes * -(-left // lanes)).sum())


class _Probe:
    """Short runs of programs, on a few batches of the examples."""

    def __init__(
        self,
        task: Task,
        config: TrainConfig,
        hyperparams: TrialValues,
        seeds: np.ndarray,
        examples: Examples,
        num_threads: int,
    ) -> None:
        self._task, self._config, self._examples, self._num_threads = task, config, examples, num_threads
        self._num_examples = int(np.shape(jax.tree.leaves(examples)[0])[0])
        self._seeds, self._hyperparams = np.asarray(seeds), jax.tree.map(np.asarray, hyperparams)
        state = self._state = state_shapes(task, config, self._hyperparams)
        self._state_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
        self._num_weights = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        self._shapes = [(leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(state)]

    def _lanes(self, lanes: int) -> tuple[np.ndarray, Any]:
        """Return seeds and hyperparameters for ``lanes`` lanes, from trials that are repeated as needed."""
        chosen = np.arange(lanes) % len(self._seeds)
        return self._seeds[chosen], jax.tree.map(lambda column: column[chosen], self._hyperparams)

    def key(self) -> str:
        """Return a hash of all that speed depends on: device, threads, versions, shapes, recipe."""
        device = jax.devices()[0]
        threads = (available_cores(), self._num_threads)
        data = [(leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(self._examples)]
        recipe = (str(self._config.optimizer), self._config.batch_size, self._config.matmul_precision)
        about = [device.device_kind, jax.local_device_count(), threads, jax.__version__, self._shapes, data, recipe]
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]

    def expected_seconds(self, num_trials: int) -> float:
        """Return a very rough estimate: 6 FLOP for each weight, example, epoch and trial."""
        flops = 6.0 * self._num_weights * self._num_examples * EXPECTED_EPOCHS * num_trials
        return flops / ROUGH_FLOPS.get(jax.default_backend(), ACCELERATOR_FLOPS)

    def _few_examples(self) -> Examples:
        """Return as many examples as make an epoch of ``MEASURED_STEPS`` steps."""
        size = self._config.examples_per_step(self._num_examples)
        wanted = int(MEASURED_STEPS * size / (1 - self._config.validation_fraction)) + 1
        return jax.tree.map(lambda leaf: leaf[: min(wanted, self._num_examples)], self._examples)

    def _program(self, variant: EpochProgram) -> tuple[Any, Any]:
        """Return the compiled program for one device on a few examples, and its arguments."""
        seeds, hyperparams = jax.tree.map(jnp.asarray, self._lanes(variant.lanes))
        slots = jnp.arange(variant.lanes, dtype=jnp.int32)
        pool = init_pool(None, self._state, variant.lanes)
        pool = init_slots(self._task, self._config, None, pool, slots, seeds, hyperparams)
        step = variant.lanes if variant.is_paired else 1  # paired lanes have one clock between them
        clocks = Clock(seeds[::step], jnp.zeros(variant.lanes, jnp.int32)[::step])
        arguments = (clocks, pool, slots, hyperparams, jax.tree.map(jnp.asarray, self._few_examples()))
        lowered = train_epoch.lower(self._task, self._config, variant.is_paired, None, *arguments)
        return lowered.compile(), arguments

    def measure(self, variants: list[EpochProgram]) -> dict[EpochProgram, float]:
        """Return trial-epochs per second of each program that fits, run in all threads at once on a few batches."""
        rates = {}
        threads = Threads(self._num_threads)
        for variant in variants:
            if not self._may_fit(variant):
                continue
            program, arguments = self._program(variant)
            seconds = np.inf
            for _ in range(3):  # the fastest run is the least disturbed one
                started = time.perf_counter()
                results = threads.map(lambda given, run=program: run(*given), [arguments] * self._num_threads)
                jax.block_until_ready(results)
                seconds = min(seconds, time.perf_counter() - started)
            rates[variant] = self._num_threads * variant.lanes / seconds
        return rates

    def _may_fit(self, variant: EpochProgram) -> bool:
        """Return whether the states alone fit: a program has them as arguments and as results."""
        return 2 * self._num_threads * variant.lanes * self._state_bytes < available_bytes()

    def fits(self, variant: EpochProgram) -> bool:
        """Return whether the program's memory fits; it is compiled for that only where states take a tenth of it."""
        if 10 * self._num_threads * variant.lanes * self._state_bytes < available_bytes():
            return True
        if not self._may_fit(variant):
            return False
        needs = self._program(variant)[0].memory_analysis()
        needed = needs.argument_size_in_bytes + needs.output_size_in_bytes + needs.temp_size_in_bytes
        return self._num_threads * needed < MEMORY_SHARE * available_bytes()

    def slots_that_fit(self) -> int:
        """Return the number of slots that a quarter of the memory holds."""
        return int(available_bytes() // 4 // self._num_threads // max(1, self._state_bytes))


def available_bytes() -> int:
    """Return the free memory of the first device."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")


def recall(path: Path, key: str) -> dict[EpochProgram, float]:
    """Return the rates that were measured before; none if there is no such file or it cannot be read."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))[key]
        return {EpochProgram(int(lanes), bool(paired)): float(rate) for lanes, paired, rate in entries}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def remember(path: Path, key: str, rates: dict[EpochProgram, float]) -> None:
    """Add rates to the file; do nothing if it cannot be written."""
    try:
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError):
        known = {}
    known = known if isinstance(known, dict) else {}
    known[key] = [[program.lanes, program.is_paired, rate] for program, rate in rates.items()]
    try:
        write_text(path, json.dumps(known, indent=1) + "\n")
    except OSError:
        return
