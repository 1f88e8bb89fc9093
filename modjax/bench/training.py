"""Training speed of many small networks: against matrix products, one at a time, part by part, and the use of slots.

Network 784-64-64-10, batch 200, dropout on, Adam, on MNIST (or random pixels of its shape, if MNIST is not available).
Only training counts: the validation set is kept below 1 % of the examples. One example of one trial needs
4 x 784 x 64 + 6 x 64 x 64 + 6 x 64 x 10 = 229,120 FLOP (no input gradient in the first layer). All cases are timed in
turn in one process.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from modjax._util.threads import Threads, available_cores
from modjax.bench.harness import Case, Report, run_cases, table_text, write_rows
from modjax.bench.scheduling import Pixels, load_pixels, overhead_rows, paper_hyperparams, utilization_rows
from modjax.names import one_of
from modjax.networks.base import Network
from modjax.networks.mlp import mlp
from modjax.training.config import TrainConfig
from modjax.training.objective import Batch, Task, classification, cross_entropy_sum
from modjax.training.programs import EpochProgram, init_pool, init_slots, state_shapes, train_epoch
from modjax.training.trial import Clock
from modjax.types import Params, PRNGKey, TrialValues

WIDTHS, BATCH, NUM_TRAIN = (64, 64), 200, 54_000
FLOPS = 4 * 784 * 64 + 6 * 64 * 64 + 6 * 64 * 10
HELD_OUT = 400
COLUMNS = (
    "case",
    "seconds_per_trial_epoch",
    "times_ours",
    "gflops",
    "matmul_share",
    "paired_share",
    "compile_seconds",
    "peak_mb",
)
USE_COLUMNS = ("case", "utilization", "trial_epochs", "seconds", "seconds_per_trial_epoch", "programs")
OVERHEAD_COLUMNS = ("case", "microseconds_per_trial", "bytes_per_trial")


def plain_classification(network: Network) -> Task:
    """Return the paper's task without dropout and penalties, to measure by the difference what they cost."""
    whole = classification(network)

    def loss(params: Params, hyperparams: TrialValues, batch: Batch, key: PRNGKey) -> jax.Array:
        x = jax.lax.optimization_barrier(batch.x.astype(jnp.float32) * (1 / 255))
        return cross_entropy_sum(network.apply(params, x).logits, batch.y) / batch.y.shape[0]

    return Task(whole.init, loss, whole.evaluate)


def modjax_case(
    name: str,
    variant: EpochProgram,
    pixels: Pixels,
    num_train: int = NUM_TRAIN,
    plain: bool = False,
    num_threads: int | None = None,
    **config: Any,
) -> Case:
    """Return a case: one epoch of ``variant.lanes`` trials in each of ``num_threads`` threads (None: one per core)."""
    num_threads = num_threads or (available_cores() if jax.default_backend() == "cpu" else 1)
    num_train -= num_train % BATCH  # an epoch leaves out an incomplete batch
    scale, learning_rate = config.pop("scale", 1.0), config.pop("learning_rate", 1e-3)
    examples = Batch(jnp.asarray(pixels.x[: num_train + HELD_OUT]), jnp.asarray(pixels.y[: num_train + HELD_OUT]))
    network = mlp(784, WIDTHS, 10)
    task = plain_classification(network) if plain else classification(network)
    settings = TrainConfig(validation_fraction=HELD_OUT / (num_train + HELD_OUT), **config)

    def prepare() -> Callable[[], Any]:
        lanes = variant.lanes
        hyperparams = paper_hyperparams(np.linspace(0.05, 0.7, lanes), learning_rate)
        seeds = jnp.zeros(lanes, jnp.uint32) if variant.is_paired else jnp.arange(lanes, dtype=jnp.uint32)
        slots = jnp.arange(lanes, dtype=jnp.int32)
        pool = init_pool(None, state_shapes(task, settings, hyperparams), lanes)
        pool = init_slots(task, settings, None, pool, slots, seeds, hyperparams)
        if scale != 1.0:  # in NumPy, since XLA flushes denormal results to zero
            factor = np.float32(scale)
            pool = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf) * factor) if leaf.ndim > 1 else leaf, pool)
        # Trials that share batches share one clock.
        step = lanes if variant.is_paired else 1
        clocks = Clock(seeds[::step], jnp.zeros(lanes, jnp.int32)[::step])
        arguments = (clocks, pool, slots, hyperparams, examples)
        return in_threads(lambda: train_epoch(task, settings, variant.is_paired, None, *arguments), num_threads)

    trial_epochs = num_threads * variant.lanes * num_train / NUM_TRAIN
    layout = "shared batches" if variant.is_paired else "slots"
    notes = {"lanes": variant.lanes, "layout": layout, "num_threads": num_threads}
    return Case(name, prepare, trial_epochs, trial_epochs * NUM_TRAIN * FLOPS, notes=notes)


def in_threads(call: Callable[[], Any], num_threads: int) -> Callable[[], Any]:
    """Return a function that makes a call in several threads at once, as shards of a population do.

    The call is made once before, so that it is compiled.
    """
    jax.block_until_ready(call())
    threads = Threads(num_threads)
    return lambda: threads.map(lambda _: jax.block_until_ready(call()), range(num_threads))


def product_case(lanes: int) -> Case:
    """Return a case: only the matrix products of an epoch of ``lanes`` trials that share batches, in every thread."""
    num_threads = available_cores() if jax.default_backend() == "cpu" else 1
    steps = NUM_TRAIN // BATCH
    key = jax.random.key(0)
    wide, width = lanes * 64, (lanes, BATCH, 64)
    x, w, d = (jax.random.normal(key, s) for s in ((BATCH, 784), (784, wide), (BATCH, wide)))
    h, v, o, e = (jax.random.normal(key, s) for s in (width, (lanes, 64, 64), (lanes, 64, 10), (lanes, BATCH, 10)))

    def one_step(carry: PyTree, _: Any) -> Any:
        x, w, d, h, v, o, e = carry
        with jax.default_matmul_precision("highest"):
            parts = [x @ w, x.T @ d, h @ v, h.mT @ h, h @ v.mT, h @ o, h.mT @ e, e @ o.mT]
        # So that XLA removes no product and reorders no steps: the next step's inputs depend on this step's products.
        nudge = sum(part.ravel()[0] for part in jax.lax.optimization_barrier(parts)) * 1e-30
        return jax.tree.map(lambda leaf: leaf + nudge if leaf.ndim == 0 else leaf, carry), nudge

    def products(carry: tuple) -> jax.Array:
        def body(_: int, state: tuple) -> tuple:
            inner, total = state
            inner = jax.lax.optimization_barrier((*inner, total))[:-1]
            _, nudge = one_step(inner, None)
            return inner, total + nudge

        return jax.lax.fori_loop(0, steps, body, (carry, jnp.float32(0)))[1]

    program = jax.jit(products)
    notes = {"lanes": lanes, "layout": "products alone", "num_threads": num_threads}
    flops = float(num_threads * lanes * NUM_TRAIN * FLOPS)

    def prepare() -> Callable[[], Any]:
        return in_threads(lambda: program((x, w, d, h, v, o, e)), num_threads)

    return Case(f"products alone, {lanes} lanes", prepare, num_threads * lanes, flops, notes=notes)


def speed_cases(pixels: Pixels) -> list[Case]:
    """Return cases for the ways to train several trials at once, and with parts of the work left out one at a time."""
    part = NUM_TRAIN // 6
    plain_sgd: dict[str, Any] = {"optimizer": "sgd", "momentum": 0.0}
    cases = [
        modjax_case("modjax, 2 trials share batches (default)", EpochProgram(2, True), pixels),
        modjax_case("modjax, 4 trials share batches", EpochProgram(4, True), pixels),
        modjax_case("modjax, 8 trials share batches", EpochProgram(8, True), pixels),
        modjax_case("modjax, 16 trials share batches", EpochProgram(16, True), pixels),
        modjax_case("modjax, 4 slots", EpochProgram(4, False), pixels),
        modjax_case("modjax, 8 slots", EpochProgram(8, False), pixels),
        modjax_case("8 share batches, one thread", EpochProgram(8, True), pixels, num_threads=1),
        modjax_case("plain vmap of 128 trials", EpochProgram(128, False), pixels, part, num_threads=1),
        modjax_case("one network at a time, jitted JAX", EpochProgram(1, False), pixels, num_threads=1),
        product_case(8),
        modjax_case(
            "8 share batches, all weights denormal (1e-40)",
            EpochProgram(8, True),
            pixels,
            scale=1e-39,
            learning_rate=0.0,
        ),
        modjax_case("8 share batches, learning rate 0", EpochProgram(8, True), pixels, learning_rate=0.0),
        modjax_case("8 share batches, no dropout, no penalties", EpochProgram(8, True), pixels, plain=True),
        modjax_case("8 share batches, neither, plain SGD", EpochProgram(8, True), pixels, plain=True, **plain_sgd),
    ]
    if jax.default_backend() != "cpu":
        counts = [2**power for power in range(13)]
        cases += [modjax_case(f"modjax, {lanes} slots", EpochProgram(lanes, False), pixels) for lanes in counts]
    return cases


def tiny_cases(pixels: Pixels) -> list[Case]:
    """Return one case per layout, with few steps each."""
    variants = {
        "modjax, 2 trials share batches (default)": EpochProgram(2, True),
        "modjax, 4 slots": EpochProgram(4, False),
    }
    return [modjax_case(name, variant, pixels, 2 * BATCH) for name, variant in variants.items()]


def speed_rows(cases: Sequence[Case], passes: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Return one row per case, with its time relative to the fastest of modjax's own cases."""
    rows = run_cases(cases, passes, say)
    base = min(row["seconds_per_trial_epoch"] for row in rows if row["case"].startswith("modjax"))
    for row in rows:
        row["times_ours"] = round(row["seconds_per_trial_epoch"] / base, 2)
        row["networks_per_second_epoch"] = round(1 / row["seconds_per_trial_epoch"], 3)
    return rows


def run_benchmark(
    out: Path,
    grid: str = "default",
    data_dir: Path | None = None,
    passes: int = 3,
    say: Callable[[str], None] = print,
    others: Sequence[Case] = (),
) -> Report:
    """Time training, the use of slots in sweeps that stop early, and scheduling; write the rows to ``out``.

    Args:
        out: Folder of ``training_<machine>.jsonl``.
        grid: ``default``, or ``tiny`` for a quick check that everything works.
        data_dir: Folder that holds ``mnist/``; random pixels are used where MNIST is not available.
        passes: Number of times that every case is timed.
        say: Function called with messages about the progress.
        others: Cases of other packages' trainers to compare with; their amounts are trial-epochs.

    Raises:
        ValueError: Unknown grid, or no passes.
    """
    is_tiny = one_of(grid, ("default", "tiny"), "grid") == "tiny"
    if passes < 1:
        raise ValueError(f"passes must be at least 1; got {passes}.")
    pixels = load_pixels(data_dir)
    speed = speed_rows([*(tiny_cases if is_tiny else speed_cases)(pixels), *others], passes, say)
    used = [] if is_tiny else utilization_rows(pixels)
    say("use of the slots" if used else "speeds")
    overhead = overhead_rows(256, 1_000) if is_tiny else [*overhead_rows(256, 1_000_000), *overhead_rows(8, 100_000)]
    tables = [(speed, COLUMNS), (used, USE_COLUMNS), (overhead, OVERHEAD_COLUMNS)]
    text = "\n\n".join(table_text(rows, columns) for rows, columns in tables if rows)
    rows = [{**row, "data": pixels.source} for row in (*speed, *used, *overhead)]
    return Report(rows, text, (write_rows(out, "training", rows),))
