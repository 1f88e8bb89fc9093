"""How many trials side by side, and whether they share batches: asked for, remembered, measured, or the default.

The choice decides speed, not results, up to a float tolerance (bit for bit wherever programs of other widths give the
same bits); a sweep writes its choice down and keeps it.
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
from modjax.types import Examples

DEFAULT_LANES = {"cpu": 4}
DEFAULT_PAIRED_LANES = {"cpu": 2}  # nearly as fast as 8, and far fewer places idle once trials stop
ACCELERATOR_LANES = 256
CANDIDATES = {"cpu": (2, 4, 8, 16)}
ACCELERATOR_CANDIDATES = (16, 64, 256, 1024, 4096)
SLOTS_PER_LANE = 8  # paired trials wait in slots for their siblings, so that batches can be shared
MEASURED_STEPS = 12
SHARING_SECONDS = 60.0  # shorter sweeps end before the programs that pack what cannot share have paid for themselves
LONG_SECONDS = 900.0  # sweeps that are expected to take longer are worth measuring for
EXPECTED_EPOCHS = 20
ROUGH_FLOPS = {"cpu": 2e10}  # FLOP/s, only to tell a long sweep from a short one
ACCELERATOR_FLOPS = 5e12
MEMORY_SHARE = 0.8
NEAR_BEST = 0.95


class BatchLayout(NamedTuple):
    """Slots and the base program of a population.

    Attributes:
        lanes: Trials side by side in each program.
        is_paired: Whether they share their batches, which takes trials of one seed and epoch.
        slots: Trials in training on each device, or in each thread.
        num_devices: Devices; None takes all local ones.
        is_fixed: No other program is used, not even for the last trials.
        num_threads: Programs side by side on a single CPU device, each with slots and trials of its own.
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
    hyperparams: Any,
    seeds: np.ndarray,
    examples: Examples,
    memory: Path | None = None,
    cores: int | None = None,
    may_measure: bool = True,
) -> BatchLayout:
    """The layout for these trials.

    Asked for by ``config.num_slots``: so many trials side by side, refilled one by one, and nothing else. Else what was
    found best for this task on this machine before; measured now if the trials are expected to take long. Else 2 lanes
    that share batches for each core of a CPU, or 4 that do not where seeds have too few trials or the sweep is short;
    256 on an accelerator. Never more than fit the device's memory, by the compiled program's own account.

    Args:
        task: Pure functions of one trial.
        config: Static settings.
        hyperparams: Tree of ``[trials]`` arrays.
        seeds: ``[trials]``.
        examples: Tree of arrays.
        memory: File of what was measured before; in the user's cache, where None.
        cores: Of a CPU that will train them; this process's, where None.
        may_measure: Whether layouts may be measured now, which takes a minute.
    """
    num_devices, backend = len(jax.local_devices()[: config.num_devices]), jax.default_backend()
    num_cores = (cores or available_cores()) if backend == "cpu" and num_devices == 1 else 1
    if config.num_slots is not None:
        num_threads = max(count for count in range(1, num_cores + 1) if config.num_slots % count == 0)
        lanes = -(-config.num_slots // (num_devices * num_threads))
        return BatchLayout(lanes, False, lanes, config.num_devices, True, num_threads)
    num_trials = max(1, len(seeds))
    num_threads = min(num_cores, num_trials)
    most = -(-num_trials // (num_devices * num_threads))
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
    slots = min(max(lanes * SLOTS_PER_LANE, 2 * round(per_seed)), most) if is_paired else lanes
    slots = max(lanes, min(slots, probe.slots_that_fit()))
    return BatchLayout(lanes, is_paired, slots, config.num_devices, False, num_threads)


def _default(backend: str, per_seed: float, seconds: float) -> EpochProgram:
    paired = DEFAULT_PAIRED_LANES.get(backend)
    if paired is not None and per_seed >= paired and seconds > SHARING_SECONDS:
        return EpochProgram(paired, True)
    return EpochProgram(DEFAULT_LANES.get(backend, ACCELERATOR_LANES), False)


def _best(rates: dict[EpochProgram, float], per_seed: float) -> EpochProgram:
    """The fewest lanes whose rate, times the share of them that early stopping leaves in use, is near the best.

    Paired ones only where seeds have trials enough to fill them.
    """
    useful = {
        one: rate * (expected_use(one.lanes, per_seed) if one.is_paired else 1.0)
        for one, rate in rates.items()
        if not one.is_paired or per_seed >= one.lanes
    }
    if not useful:
        return min(rates)
    top = max(useful.values())
    return min(one for one, rate in useful.items() if rate >= NEAR_BEST * top)


def expected_use(lanes: int, per_seed: float) -> float:
    """The share of lanes in use while the trials of a seed stop one after the other: sum n / sum lanes ceil(n/lanes).

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
        hyperparams: Any,
        seeds: np.ndarray,
        examples: Examples,
        num_threads: int,
    ) -> None:
        self._task, self._config, self._examples, self._num_threads = task, config, examples, num_threads
        self._num_examples = int(np.shape(jax.tree.leaves(examples)[0])[0])
        self._seeds, self._hyperparams = np.asarray(seeds), jax.tree.map(np.asarray, hyperparams)
        one = self._one = state_shapes(task, config, self._hyperparams)
        self._state_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(one))
        self._num_weights = sum(leaf.size for leaf in jax.tree.leaves(one.params))
        self._shapes = [(leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(one)]

    def _lanes(self, lanes: int) -> tuple[np.ndarray, Any]:
        chosen = np.arange(lanes) % len(self._seeds)
        return self._seeds[chosen], jax.tree.map(lambda column: column[chosen], self._hyperparams)

    def key(self) -> str:
        """A hash of all that speed depends on: device, threads, versions, shapes, recipe."""
        device = jax.devices()[0]
        threads = (available_cores(), self._num_threads)
        data = [(leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(self._examples)]
        recipe = (str(self._config.optimizer), self._config.batch_size, self._config.matmul_precision)
        about = [device.device_kind, jax.local_device_count(), threads, jax.__version__, self._shapes, data, recipe]
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]

    def expected_seconds(self, num_trials: int) -> float:
        """Very roughly: 6 FLOP for each weight, example, epoch and trial."""
        flops = 6.0 * self._num_weights * self._num_examples * EXPECTED_EPOCHS * num_trials
        return flops / ROUGH_FLOPS.get(jax.default_backend(), ACCELERATOR_FLOPS)

    def _few_examples(self) -> Examples:
        wanted = int(MEASURED_STEPS * self._config.batch_size / (1 - self._config.validation_fraction)) + 1
        return jax.tree.map(lambda leaf: leaf[: min(wanted, self._num_examples)], self._examples)

    def _program(self, variant: EpochProgram) -> tuple[Any, Any]:
        """The compiled program for one device on a few examples, and its arguments."""
        seeds, hyperparams = jax.tree.map(jnp.asarray, self._lanes(variant.lanes))
        slots = jnp.arange(variant.lanes, dtype=jnp.int32)
        pool = init_pool(None, self._one, variant.lanes)
        pool = init_slots(self._task, self._config, None, pool, slots, seeds, hyperparams)
        step = variant.lanes if variant.is_paired else 1
        clocks = Clock(seeds[::step], jnp.zeros(variant.lanes, jnp.int32)[::step])
        arguments = (clocks, pool, slots, hyperparams, jax.tree.map(jnp.asarray, self._few_examples()))
        lowered = train_epoch.lower(self._task, self._config, variant.is_paired, None, *arguments)
        return lowered.compile(), arguments

    def measure(self, variants: list[EpochProgram]) -> dict[EpochProgram, float]:
        """Trial-epochs a second of each program that fits, in so many threads at once, on a few batches."""
        rates = {}
        threads = Threads(self._num_threads)
        for variant in variants:
            if not self._may_fit(variant):
                continue
            program, arguments = self._program(variant)
            seconds = np.inf
            for _ in range(3):
                started = time.perf_counter()
                results = threads.map(lambda given, run=program: run(*given), [arguments] * self._num_threads)
                jax.block_until_ready(results)
                seconds = min(seconds, time.perf_counter() - started)
            rates[variant] = self._num_threads * variant.lanes / seconds
        return rates

    def _may_fit(self, variant: EpochProgram) -> bool:
        return 2 * self._num_threads * variant.lanes * self._state_bytes < available_bytes()

    def fits(self, variant: EpochProgram) -> bool:
        """Whether the compiled program's memory fits; asked only where the states alone take a tenth of it."""
        if 10 * self._num_threads * variant.lanes * self._state_bytes < available_bytes():
            return True
        if not self._may_fit(variant):
            return False
        needs = self._program(variant)[0].memory_analysis()
        needed = needs.argument_size_in_bytes + needs.output_size_in_bytes + needs.temp_size_in_bytes
        return self._num_threads * needed < MEMORY_SHARE * available_bytes()

    def slots_that_fit(self) -> int:
        """Slots that a quarter of the memory holds."""
        return int(available_bytes() // 4 // self._num_threads // max(1, self._state_bytes))


def available_bytes() -> int:
    """Free memory of the first device."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")


def recall(path: Path, key: str) -> dict[EpochProgram, float]:
    """Rates measured before; none where there is no such file or it cannot be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))[key]
        return {EpochProgram(int(lanes), bool(paired)): float(rate) for lanes, paired, rate in found}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def remember(path: Path, key: str, rates: dict[EpochProgram, float]) -> None:
    """Add rates to the file; a folder that cannot be written to is left alone."""
    try:
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError):
        known = {}
    known = known if isinstance(known, dict) else {}
    known[key] = [[one.lanes, one.is_paired, rate] for one, rate in rates.items()]
    try:
        write_text(path, json.dumps(known, indent=1) + "\n")
    except OSError:
        return
