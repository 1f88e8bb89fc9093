"""Measures a sweep's steps on this machine: each is run for a short time, with the spec's own layout."""

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
from modjax.clustering.layer import cluster_layer
from modjax.spec.context import SweepContext, measurable, seeds_of
from modjax.store.paths import SweepPaths
from modjax.store.stacks import save_stack
from modjax.sweep.writer import STACK_TRIALS
from modjax.training.programs import init_one, measure_trials
from modjax.training.runner import PopulationRun
from modjax.types import Params

TRAIN_SECONDS = 5.0  # of training, after it is compiled
MAX_ROUND_SECONDS = 2.0  # longer rounds are probed on fewer examples
ROUGH_FLOPS = 2e10
FEW_NULLS, FEW_PERMUTATIONS = 2, 200


class ProbedCosts(NamedTuple):
    """Seconds of each step on this machine; ``compile_*`` is the additional time of a first call.

    Attributes:
        compile_train: Seconds to compile the training program.
        trial_epoch: Wall seconds of a trial-epoch with all slots taken.
        ended: Epochs of each trial that ended during the probe.
        running: Epochs of each trial that was still in training.
        compile_evaluate: Seconds to compile the program that measures accuracies and norms.
        evaluate: Seconds to measure one trial.
        save_first: Additional seconds of the first stack of weights, mostly for imports.
        save: Seconds to save a stack of weights.
        compile_similarity: Seconds to compile the similarity programs.
        similarity: Seconds for the similarity of a stack of 8 trials.
        cluster_first: Additional seconds of a worker's first job.
        cluster: CPU seconds of the module searches of one trial, all layers.
        peak_bytes: Peak memory of this process.
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

    def scaled(self, weights: float, num_populations: int) -> "ProbedCosts":
        """Return the mean costs of populations: of other numbers of weights, each with programs to compile."""
        per_trial = ("trial_epoch", "evaluate", "similarity", "save")
        compiling = ("compile_train", "compile_evaluate", "compile_similarity")
        scaled = {name: weights * getattr(self, name) for name in per_trial}
        return self._replace(**scaled, **{name: num_populations * getattr(self, name) for name in compiling})


def probe(context: SweepContext, trials: pl.DataFrame) -> ProbedCosts:
    """Run every step of the sweep for a short time: 10 to 20 seconds in all, most of them for compiling.

    Args:
        context: What all trials share.
        trials: Trials to train; without any, training and evaluation are not measured.
    """
    costs = ProbedCosts()
    if trials.height:
        costs = _train(context, trials)
        costs = costs._replace(**_evaluate(context, trials))
    params = _stack(context)
    costs = costs._replace(**_save(params))
    if context.spec.similarity.measures:
        costs = costs._replace(**_similarity(context, params))
    return costs._replace(peak_bytes=peak_resident_bytes())


def _train(context: SweepContext, trials: pl.DataFrame) -> ProbedCosts:
    """Train the first trials of the queue for some seconds, with all slots in use."""
    examples, share = _examples(context)
    run = PopulationRun(
        context.task, context.values_of(trials), seeds_of(trials), examples, context.config, context.layout
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
        ended += [len(finished.history) for finished in report.finished if epochs.pop(finished.trial)]
        # Compiling, in the first round, does not count.
        if now - started - rounds[0][0] > TRAIN_SECONDS:
            break
    later = rounds[1:] or rounds
    each = float(np.median([seconds / num for seconds, num in later]))
    compiling = max(0.0, rounds[0][0] - each * rounds[0][1])
    is_whole = share == 1.0  # with fewer examples, trials stop after other numbers of epochs
    return ProbedCosts(
        compiling,
        each / share,
        tuple(ended) if is_whole else (),
        tuple(epochs.values()) if is_whole else (),
    )


def _examples(context: SweepContext) -> tuple[Any, float]:
    """Return few enough examples that a round is short, and their share of all."""
    shapes = jax.eval_shape(context.network.init, jax.random.key(0))
    weights = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    num, lanes = len(context.train_examples.x), context.layout.lanes * context.layout.num_threads
    expected = 6.0 * weights * num * lanes / ROUGH_FLOPS
    # Enough for four batches beside the validation set.
    least = int(4 * context.config.examples_per_step(num) / (1 - context.config.validation_fraction)) + 2
    few = min(num, max(least, round(num * min(1.0, MAX_ROUND_SECONDS / expected))))
    return jax.tree.map(lambda leaf: leaf[:few], context.train_examples), few / num


def _first_and_next(function: Callable[[], Any]) -> tuple[float, float]:
    """Return the additional seconds of a first call, and the seconds of the next."""
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        jax.block_until_ready(function())
        seconds.append(time.perf_counter() - started)
    return max(0.0, seconds[0] - seconds[1]), seconds[1]


def _stack(context: SweepContext) -> Any:
    """Return the weights of a stack of untrained networks, on the host."""
    zero = jax.tree.map(lambda column: jnp.asarray(column[0]), context.values_of(_defaults(context)))
    states = [init_one(context.task, context.config.recipe(), jnp.uint32(seed), zero) for seed in range(STACK_TRIALS)]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *(jax.device_get(state.params) for state in states))


def _defaults(context: SweepContext) -> pl.DataFrame:
    infos = context.spec.catalog.hyperparameters
    return pl.DataFrame({name: [infos[name].default] for name in context.hyperparams})


def _evaluate(context: SweepContext, trials: pl.DataFrame) -> dict[str, float]:
    first_trial = trials.head(1)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf[:1]), _stack(context))
    given = (
        context.task,
        context.config.recipe(),
        params,
        context.values_of(first_trial),
        jnp.asarray(seeds_of(first_trial)),
    )
    first, each = _first_and_next(lambda: measure_trials(*given, context.train_examples, context.test_examples))
    return {"compile_evaluate": first, "evaluate": each}


def _save(params: Params) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="modjax-plan-") as folder:
        layout, ids = SweepPaths(Path(folder)), [str(index) for index in range(STACK_TRIALS)]
        numbers = iter(range(2))
        first, each = _first_and_next(lambda: save_stack(layout, next(numbers), ids, params))
    return {"save_first": first, "save": each}


def _similarity(context: SweepContext, params: Params) -> dict[str, float]:
    examples, spec = context.analysed_examples, context.spec
    stacks: list[Any] = []
    network, params = measurable(context, params, _defaults(context).to_dicts() * STACK_TRIALS)
    first, each = _first_and_next(lambda: stacks.append(stack_matrices(network, params, examples, spec)))
    jobs = [graphs_of(measures, spec) for measures in stacks[-1][0].values()]
    nulls, permutations = spec.modules.nulls, spec.alignment.permutations
    few = (min(nulls, FEW_NULLS), min(permutations, FEW_PERMUTATIONS))

    def cluster(nulls: int, permutations: int) -> tuple[float, float]:
        settings = search_settings(spec)._replace(nulls=nulls, permutations=permutations)
        seconds = []
        for graphs, signed in jobs:
            started = time.perf_counter()
            cluster_layer(signed, settings, 0, joint_groups(graphs))
            seconds.append(time.perf_counter() - started)
        return seconds[0], sum(seconds)

    # Nulls and permutations cost the same each: a few of them, less the time without any, are scaled up.
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
