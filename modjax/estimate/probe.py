"""What a sweep's steps take on this machine: each is run, for real and shortly, with the spec's own layout."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

from modjax._util.memory import peak_resident_bytes
from modjax.analysis.modules import graphs_of, joint_groups, search_settings, stack_matrices
from modjax.builtins import HYPERPARAMETERS
from modjax.clustering.layer import cluster_layer
from modjax.spec.context import SweepContext, hyperparams_of, seeds_of
from modjax.store.paths import SweepPaths
from modjax.store.stacks import save_stack
from modjax.sweep.writer import STACK_TRIALS
from modjax.training.programs import init_one, measure_trials
from modjax.training.runner import PopulationRun

TRAIN_SECONDS = 5.0  # of training, after it is compiled
MAX_ROUND_SECONDS = 2.0  # longer rounds are probed on fewer examples
ROUGH_FLOPS = 2e10
FEW_NULLS, FEW_PERMUTATIONS = 2, 200


class ProbedCosts(NamedTuple):
    """Seconds on this machine; ``compile_*`` are what the first call takes more.

    Attributes:
        compile_train: The training program.
        trial_epoch: Wall seconds of a trial-epoch, all slots taken.
        ended: Epochs of the trials that came to their end meanwhile.
        running: Epochs of those that had not.
        compile_evaluate: The program that measures accuracies and norms.
        evaluate: One trial.
        save_first: The first stack of weights, imports included.
        save: A stack.
        compile_similarity: The similarity programs.
        similarity: A stack of 8 trials.
        cluster_first: What the first job of a worker takes more.
        cluster: Seconds of the module searches of one trial, all layers, on one core.
        peak_bytes: The most memory that this process has had.
    """

    compile_train: float = 0.0
    trial_epoch: float = 0.0
    ended: tuple[int, ...] = ()
    running: tuple[int, ...] = ()
    compile_evaluate: float = 0.0
    evaluate: float = 0.0
    save_first: float = 0.0
    save: float = 0.0
    compile_similarity: float = 0.0
    similarity: float = 0.0
    cluster_first: float = 0.0
    cluster: float = 0.0
    peak_bytes: int = 0


def probe(context: SweepContext, trials: pl.DataFrame) -> ProbedCosts:
    """Run every step of the sweep shortly; 10 to 20 seconds, most of them compiling.

    Args:
        context: What all trials share.
        trials: Those to train; at least one where any step is to be measured.
    """
    found = ProbedCosts()
    if trials.height:
        found = _train(context, trials)
        found = found._replace(**_evaluate(context, trials))
    params = _stack(context)
    found = found._replace(**_save(params))
    if context.spec.similarity.measures:
        found = found._replace(**_similarity(context, params))
    return found._replace(peak_bytes=peak_resident_bytes())


def _train(context: SweepContext, trials: pl.DataFrame) -> ProbedCosts:
    """The first trials of the queue, in the real slots, for some seconds."""
    examples, share = _examples(context)
    run = PopulationRun(
        context.task, hyperparams_of(trials), seeds_of(trials), examples, context.config, context.population
    )
    started = last = time.perf_counter()
    rounds: list[tuple[float, int]] = []
    epochs: dict[int, int] = {}
    ended: list[int] = []
    for report in run.rounds():
        now = time.perf_counter()
        rounds.append((now - last, len(report.rows)))
        last = now
        for trial in report.rows:
            epochs[trial] = epochs.get(trial, 0) + 1
        ended += [len(one.history) for one in report.finished if epochs.pop(one.trial)]
        if now - started - rounds[0][0] > TRAIN_SECONDS:
            break
    later = rounds[1:] or rounds
    each = float(np.median([seconds / num for seconds, num in later]))
    compiling = max(0.0, rounds[0][0] - each * rounds[0][1])
    is_whole = share == 1.0
    return ProbedCosts(
        compiling,
        each / share,
        tuple(ended) if is_whole else (),
        tuple(epochs.values()) if is_whole else (),
    )


def _examples(context: SweepContext) -> tuple[Any, float]:
    """Examples so few that a round is short, and their share of all."""
    shapes = jax.eval_shape(context.network.init, jax.random.key(0))
    weights = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    num, lanes = len(context.train_examples.x), context.population.lanes * context.population.num_threads
    expected = 6.0 * weights * num * lanes / ROUGH_FLOPS
    least = int(4 * context.config.batch_size / (1 - context.config.validation_fraction)) + 2
    few = min(num, max(least, round(num * min(1.0, MAX_ROUND_SECONDS / expected))))
    return jax.tree.map(lambda leaf: leaf[:few], context.train_examples), few / num


def _first_and_next(function: Callable[[], Any]) -> tuple[float, float]:
    """Seconds that the first call takes more, and those of the next."""
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        jax.block_until_ready(function())
        seconds.append(time.perf_counter() - started)
    return max(0.0, seconds[0] - seconds[1]), seconds[1]


def _stack(context: SweepContext) -> Any:
    """Weights of a stack of untrained networks, on the host."""
    zero = jax.tree.map(lambda column: jnp.asarray(column[0]), hyperparams_of(_zeros()))
    states = [init_one(context.task, context.config.recipe(), jnp.uint32(seed), zero) for seed in range(STACK_TRIALS)]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *(jax.device_get(state.params) for state in states))


def _zeros() -> pl.DataFrame:
    return pl.DataFrame({info.name: [info.default] for info in HYPERPARAMETERS.values()})


def _evaluate(context: SweepContext, trials: pl.DataFrame) -> dict[str, float]:
    one = trials.head(1)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf[:1]), _stack(context))
    given = (context.task, context.config.recipe(), params, hyperparams_of(one), jnp.asarray(seeds_of(one)))
    first, each = _first_and_next(lambda: measure_trials(*given, context.train_examples, context.test_examples))
    return {"compile_evaluate": first, "evaluate": each}


def _save(params: Any) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="modjax-plan-") as folder:
        layout, ids = SweepPaths(Path(folder)), [str(place) for place in range(STACK_TRIALS)]
        numbers = iter(range(2))
        first, each = _first_and_next(lambda: save_stack(layout, next(numbers), ids, params))
    return {"save_first": first, "save": each}


def _similarity(context: SweepContext, params: Any) -> dict[str, float]:
    examples, spec = context.analysed_examples, context.spec
    found: list[Any] = []
    first, each = _first_and_next(lambda: found.append(stack_matrices(context.network, params, examples, spec)))
    jobs = [graphs_of(measures) for measures in found[-1][0].values()]
    nulls, permutations = spec.modules.nulls, spec.alignment.permutations
    few = (min(nulls, FEW_NULLS), min(permutations, FEW_PERMUTATIONS))

    def cluster(nulls: int, permutations: int) -> tuple[float, float]:
        settings = search_settings(spec)._replace(nulls=nulls, permutations=permutations)
        seconds = []
        for graphs, adjacencies in jobs:
            started = time.perf_counter()
            cluster_layer(adjacencies, settings, 0, joint_groups(graphs))
            seconds.append(time.perf_counter() - started)
        return seconds[0], sum(seconds)

    warm, _ = cluster(*few)
    once, base = cluster(0, 0)
    seconds = base
    if nulls:
        seconds += max(0.0, cluster(few[0], 0)[1] - base) * nulls / few[0]
    if permutations:
        seconds += max(0.0, cluster(0, few[1])[1] - base) * permutations / few[1]
    return {
        "compile_similarity": first,
        "similarity": each,
        "cluster_first": max(0.0, warm - once),
        "cluster": seconds,
    }
