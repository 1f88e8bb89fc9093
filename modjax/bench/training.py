"""How fast many small networks train: against matrix products, one at a time in JAX, and PyTorch; and what the rest is.

    python benchmarks/bench_training.py [--passes 3] [--data-dir D] [--quick]

Network 784-64-64-10, batch 200, dropout on, Adam, on MNIST (random pixels of its shape where it is not there), training
alone: the validation set is held to under 1 % of the examples. One example of one trial needs
4 x 784 x 64 + 6 x 64 x 64 + 6 x 64 x 10 = 229,120 FLOP (no input gradient in the first layer). All cases are timed in
turn in one process. Rows go to benchmarks/results/.
"""

import argparse
import importlib.util
import time
from collections.abc import Callable
from typing import Any

import harness
import jax
import jax.numpy as jnp
import numpy as np
from harness import Case

import modjax as mj
from modjax.threads import Threads, available_cores
from modjax.training.layout import Layout, choose_layout
from modjax.training.objective import Batch, classification, cross_entropy_sum
from modjax.training.population import Variant, init_pool, seat_lanes, state_shapes, train_epoch
from modjax.training.run import PopulationRun
from modjax.training.trial import Clock

WIDTHS, BATCH, NUM_TRAIN = (64, 64), 200, 54_000
FLOPS = 4 * 784 * 64 + 6 * 64 * 64 + 6 * 64 * 10
HELD_OUT = 400
STUB_TRIALS = (1_000, 10_000, 100_000, 1_000_000)


def load_pixels(data_dir: str | None) -> tuple[np.ndarray, np.ndarray, str]:
    """MNIST's training images, or random ones of its shape."""
    try:
        data = mj.load_dataset("mnist", data_dir)
        return data.x_train.reshape(len(data.x_train), -1), data.y_train, "mnist"
    except ValueError:
        rng = np.random.default_rng(0)
        return rng.integers(0, 256, (60_000, 784), np.uint8), rng.integers(0, 10, 60_000).astype(np.int32), "random"


def paper_hyperparams(dropout: np.ndarray, learning_rate: float = 1e-3) -> mj.Hyperparams:
    """The paper's learning rate and L2 penalty, at these dropout rates."""
    columns = (np.full(len(dropout), value, np.float32) for value in (learning_rate, 0.0, 1e-5))
    return mj.Hyperparams(*columns, dropout.astype(np.float32))


def plain_classification(network: mj.Network) -> mj.Task:
    """The paper's task without dropout and penalties: what they cost is the difference."""
    whole = classification(network)

    def loss(params: Any, hyperparams: Any, batch: Batch, key: Any) -> jax.Array:
        x = jax.lax.optimization_barrier(batch.x.astype(jnp.float32) * (1 / 255))
        return cross_entropy_sum(network.apply(params, x).logits, batch.y) / batch.y.shape[0]

    return mj.Task(whole.init, loss, whole.evaluate)


def modjax_case(
    name: str,
    variant: Variant,
    pixels: tuple,
    num_train: int = NUM_TRAIN,
    plain: bool = False,
    num_threads: int | None = None,
    **config: Any,
) -> Case:
    """One epoch of ``variant.lanes`` trials in each of so many threads, one a core where None."""
    num_threads = num_threads or (available_cores() if jax.default_backend() == "cpu" else 1)
    num_train -= num_train % BATCH
    scale, learning_rate = config.pop("scale", 1.0), config.pop("learning_rate", 1e-3)
    examples = Batch(jnp.asarray(pixels[0][: num_train + HELD_OUT]), jnp.asarray(pixels[1][: num_train + HELD_OUT]))
    network = mj.mlp(784, WIDTHS, 10)
    task = plain_classification(network) if plain else classification(network)
    settings = mj.TrainConfig(validation_fraction=HELD_OUT / (num_train + HELD_OUT), **config)

    def prepare() -> Callable[[], Any]:
        lanes = variant.lanes
        hyperparams = paper_hyperparams(np.linspace(0.05, 0.7, lanes), learning_rate)
        seeds = jnp.zeros(lanes, jnp.uint32) if variant.is_paired else jnp.arange(lanes, dtype=jnp.uint32)
        seats = jnp.arange(lanes, dtype=jnp.int32)
        pool = init_pool(None, state_shapes(task, settings, hyperparams), lanes)
        pool = seat_lanes(task, settings, None, pool, seats, seeds, hyperparams)
        if scale != 1.0:  # in NumPy: XLA flushes denormal results to zero
            factor = np.float32(scale)
            pool = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf) * factor) if leaf.ndim > 1 else leaf, pool)
        step = lanes if variant.is_paired else 1
        clocks = Clock(seeds[::step], jnp.zeros(lanes, jnp.int32)[::step])
        arguments = (clocks, pool, seats, hyperparams, examples)
        return in_threads(lambda: train_epoch(task, settings, variant.is_paired, None, *arguments), num_threads)

    trial_epochs = num_threads * variant.lanes * num_train / NUM_TRAIN
    layout = "shared batches" if variant.is_paired else "slots"
    notes = {"lanes": variant.lanes, "layout": layout, "num_threads": num_threads}
    return Case(name, prepare, trial_epochs, trial_epochs * NUM_TRAIN * FLOPS, notes=notes)


def in_threads(call: Callable[[], Any], num_threads: int) -> Callable[[], Any]:
    """The same call in so many threads at once, as crews of a population make theirs; compiled by the first."""
    jax.block_until_ready(call())
    threads = Threads(num_threads)
    return lambda: threads.map(lambda _: jax.block_until_ready(call()), range(num_threads))


def product_case(lanes: int) -> Case:
    """The products of an epoch of ``lanes`` trials that share their batches, and nothing else; in every thread."""
    num_threads = available_cores() if jax.default_backend() == "cpu" else 1
    steps = NUM_TRAIN // BATCH
    key = jax.random.key(0)
    wide, width = lanes * 64, (lanes, BATCH, 64)
    x, w, d = (jax.random.normal(key, s) for s in ((BATCH, 784), (784, wide), (BATCH, wide)))
    h, v, o, e = (jax.random.normal(key, s) for s in (width, (lanes, 64, 64), (lanes, 64, 10), (lanes, BATCH, 10)))

    def one(carry: Any, _: Any) -> Any:
        x, w, d, h, v, o, e = carry
        with jax.default_matmul_precision("highest"):
            parts = [x @ w, x.T @ d, h @ v, h.mT @ h, h @ v.mT, h @ o, h.mT @ e, e @ o.mT]
        # Each product is kept, and the next step's inputs depend on this step's products.
        nudge = sum(part.ravel()[0] for part in jax.lax.optimization_barrier(parts)) * 1e-30
        return jax.tree.map(lambda leaf: leaf + nudge if leaf.ndim == 0 else leaf, carry), nudge

    def products(carry: tuple) -> jax.Array:
        def body(_: int, state: tuple) -> tuple:
            inner, total = state
            inner = jax.lax.optimization_barrier((*inner, total))[:-1]
            _, nudge = one(inner, None)
            return inner, total + nudge

        return jax.lax.fori_loop(0, steps, body, (carry, jnp.float32(0)))[1]

    program = jax.jit(products)
    notes = {"lanes": lanes, "layout": "products alone", "num_threads": num_threads}
    flops = float(num_threads * lanes * NUM_TRAIN * FLOPS)

    def prepare() -> Callable[[], Any]:
        return in_threads(lambda: program((x, w, d, h, v, o, e)), num_threads)

    return Case(f"products alone, {lanes} lanes", prepare, num_threads * lanes, flops, notes=notes)


def torch_cases(pixels: tuple) -> list[Case]:
    """PyTorch, where it is installed."""
    if importlib.util.find_spec("torch") is None:
        print("PyTorch is not installed: its cases are left out (pip install -e '.[torch]')")
        return []
    import torch_baselines as torch_side

    x = (pixels[0][:NUM_TRAIN].astype(np.float32)) / 255
    y, images = pixels[1][:NUM_TRAIN], pixels[0][:NUM_TRAIN].reshape(-1, 28, 28)
    steps = torch_side.Timing(steps=120)
    rates = np.linspace(0.05, 0.7, 32)
    timed = {
        "PyTorch, tensors, one network": lambda: torch_side.tensor_loop(x, y, timing=steps),
        "PyTorch, torch.func ensemble of 32": lambda: torch_side.stacked_ensemble(
            x, y, 32, timing=torch_side.Timing(steps=40), dropout_rates=rates
        ),
        "PyTorch, DataLoader, one network": lambda: torch_side.data_loader_loop(images, y, timing=steps),
    }
    return [
        Case(name, lambda call=call: call, 1.0, float(NUM_TRAIN * FLOPS), True, {"layout": "PyTorch"})
        for name, call in timed.items()
    ]


def speed_rows(pixels: tuple, passes: int, quick: bool) -> list[dict[str, Any]]:
    """Trainers side by side, and parts of ours left out one at a time."""
    part, plain_sgd = NUM_TRAIN // 6, {"optimizer": "sgd", "momentum": 0.0}
    frozen = {"learning_rate": 0.0}
    cases = [
        modjax_case("modjax, 2 trials share batches (default)", Variant(2, True), pixels),
        modjax_case("modjax, 4 trials share batches", Variant(4, True), pixels),
        modjax_case("modjax, 8 trials share batches", Variant(8, True), pixels),
        modjax_case("modjax, 16 trials share batches", Variant(16, True), pixels),
        modjax_case("modjax, 4 slots", Variant(4, False), pixels),
        modjax_case("modjax, 8 slots", Variant(8, False), pixels),
        modjax_case("8 share batches, one thread", Variant(8, True), pixels, num_threads=1),
        modjax_case("plain vmap of 128 trials", Variant(128, False), pixels, part, num_threads=1),
        modjax_case("one network at a time, jitted JAX", Variant(1, False), pixels, num_threads=1),
        product_case(8),
        modjax_case("8 share batches, all weights denormal (1e-40)", Variant(8, True), pixels, scale=1e-39, **frozen),
        modjax_case("8 share batches, learning rate 0", Variant(8, True), pixels, **frozen),
        modjax_case("8 share batches, no dropout, no penalties", Variant(8, True), pixels, plain=True),
        modjax_case("8 share batches, neither, plain SGD", Variant(8, True), pixels, plain=True, **plain_sgd),
        *torch_cases(pixels),
    ]
    if jax.default_backend() != "cpu":
        counts = [2**power for power in range(13)]
        cases += [modjax_case(f"modjax, {lanes} slots", Variant(lanes, False), pixels) for lanes in counts]
    rows = harness.run_cases(cases[:2] if quick else cases, passes)
    base = min(row["seconds_per_trial_epoch"] for row in rows if row["case"].startswith("modjax"))
    for row in rows:
        row["times_ours"] = round(row["seconds_per_trial_epoch"] / base, 2)
        row["networks_per_second_epoch"] = round(1 / row["seconds_per_trial_epoch"], 3)
    return rows


def utilization_rows(pixels: tuple) -> list[dict[str, Any]]:
    """Trained over available places of 200-trial sweeps with early stopping, in the layout that modjax chooses.

    On digits, which is over in a minute; and on 6,000 of MNIST's images, where trials share their batches.
    """
    digits = mj.load_dataset("digits")
    small = Batch(jnp.asarray(digits.x_train), jnp.asarray(digits.y_train))
    large = Batch(jnp.asarray(pixels[0][:6000]), jnp.asarray(pixels[1][:6000]))
    seeds = np.repeat(np.arange(10), 20).astype(np.uint32)
    hyperparams = paper_hyperparams(np.tile(np.linspace(0, 0.7, 20), 10).astype(np.float32))
    rows = []
    for name, examples, inputs, batch in (("digits", small, 64, 50), ("6,000 of MNIST", large, 784, 200)):
        task, config = classification(mj.mlp(inputs, (64, 64), 10)), mj.TrainConfig(batch_size=batch)
        layout = choose_layout(task, config, hyperparams, seeds, examples)
        started = time.perf_counter()
        run = PopulationRun(task, hyperparams, seeds, examples, config, layout)
        trained, places = 0, 0
        for report in run.rounds():
            trained, places = trained + len(report.rows), places + report.num_lanes
        seconds = time.perf_counter() - started
        programs = ", ".join(f"{one.lanes}{' shared' if one.is_paired else ''}" for one in run.programs)
        rows.append(
            {
                "case": f"200 trials, {name}",
                "utilization": round(trained / places, 3),
                "trial_epochs": trained,
                "seconds": round(seconds, 1),
                "seconds_per_trial_epoch": seconds / trained,
                "programs": f"{programs} in {layout.num_threads} threads",
            }
        )
    return rows


def overhead_rows(num_slots: int, most: int) -> list[dict[str, Any]]:
    """Scheduling alone: a task that computes nothing, one epoch a trial."""
    stub = mj.Task(
        init=lambda key, h: {"w": jnp.zeros(1)},
        loss=lambda params, h, batch, key: jnp.sum(params["w"]) * 0.0,
        evaluate=lambda params, h, batch: {"loss": jnp.sum(batch["x"]) * 0.0, "count": 1.0},
    )
    config = mj.TrainConfig(max_epochs=1, batch_size=1, validation_fraction=0.5)
    layout = Layout(num_slots, False, num_slots, is_fixed=True)
    rows = []
    for num_trials in (count for count in STUB_TRIALS if count <= most):
        hyperparams = {"learning_rate": np.full(num_trials, 1e-3, np.float32)}
        seeds = np.zeros(num_trials, np.uint32)
        harness.reset_peak()
        before = harness.resident_bytes("VmRSS")
        rounds = PopulationRun(stub, hyperparams, seeds, {"x": jnp.zeros((4, 1))}, config, layout).rounds()
        next(rounds)
        started = time.perf_counter()
        finished = sum(len(report.finished) for report in rounds)
        seconds = time.perf_counter() - started
        rows.append(
            {
                "case": f"scheduling, {num_trials} trials, {num_slots} slots",
                "microseconds_per_trial": round(seconds / finished * 1e6, 1),
                "bytes_per_trial": round((harness.resident_bytes("VmHWM") - before) / num_trials),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passes", type=int, default=3, help="times that every case is timed")
    parser.add_argument("--data-dir", help="folder that holds mnist/")
    parser.add_argument("--quick", action="store_true", help="a few cases, once, nothing written: is everything there?")
    given = parser.parse_args()
    *pixels, source = load_pixels(given.data_dir)
    speed = speed_rows(tuple(pixels), 1 if given.quick else given.passes, given.quick)
    overhead = overhead_rows(256, 1_000 if given.quick else 1_000_000)
    overhead += [] if given.quick else overhead_rows(8, 100_000)
    used = [] if given.quick else utilization_rows(tuple(pixels))
    columns = [
        "case",
        "seconds_per_trial_epoch",
        "times_ours",
        "gflops",
        "matmul_share",
        "paired_share",
        "compile_seconds",
        "peak_mb",
    ]
    print()
    harness.print_table(speed, columns)
    print()
    harness.print_table(used, ["case", "utilization", "trial_epochs", "seconds", "seconds_per_trial_epoch", "programs"])
    print()
    harness.print_table(overhead, ["case", "microseconds_per_trial", "bytes_per_trial"])
    if not given.quick:
        rows = [{**row, "data": source} for row in (*speed, *used, *overhead)]
        print(f"\nrows: {harness.write_rows('training', rows)}")


if __name__ == "__main__":
    main()
