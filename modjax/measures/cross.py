"""Similarity of the units of one network to those of another, such as to match units of different seeds."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import jax
import numpy as np

from modjax.builtins import WEIGHTS
from modjax.measures.arguments import as_population, check_examples, check_measures, first_trial
from modjax.measures.compute import measure
from modjax.measures.plan import layer_shapes, make_plan
from modjax.measures.probe_plan import check_probes
from modjax.measures.similarity import split_errors
from modjax.names import MEASURES
from modjax.networks.base import Network, Output
from modjax.records import MeasureInfo
from modjax.types import Params, PRNGKey

HALVES = 2  # each derivative of the mean of two networks' logits is half of one network's own


def cross_similarity(
    network_a: Network,
    params_a: Params,
    network_b: Network,
    params_b: Params,
    x: Any,
    y: Any = None,
    measures: Sequence[str | MeasureInfo] = MEASURES,
    combined: bool = False,
    *,
    estimator: str = "exact",
    num_probes: int | None = None,
    return_error: bool = False,
    seed: int = 0,
    memory: int | None = None,
) -> Any:
    """Compute the similarity between the units of network a (rows) and those of network b (columns).

    The formulas are those of one network. With activations h and logits y of a, activations g and logits z of b, on the
    same examples:

    covariance:      S_ij = E[h_i g_j] - E[h_i] E[g_j]
    input_jacobian:  S_ij = E[<dh_i/dx, dg_j/dx>]
    output_jacobian: S_ij = E[sum_o dy_o/dh_i dz_o/dg_j]
    loss_hessian:    S_ij = 4 E[d2 CE((y + z) / 2) / dh_i dg_j] = E[(dy/dh_i)^T (diag p - p p^T) dz/dg_j]

    with p = softmax((y + z) / 2), the prediction of both together. A network against itself gives its own similarity
    (the loss Hessian where the logits are piecewise linear in the units; else the part of it that first derivatives
    make). With :func:`modjax.adjacency`'s scaling by each network's own diagonal, entries are correlations.

    Derivatives are taken by autodiff, for any two networks of the same inputs and number of logits.

    Args:
        network_a: The first architecture.
        params_a: Parameters of network a; with a leading trials axis, a population, whose networks are paired with
            those of b.
        network_b: The second architecture.
        params_b: Parameters of network b; a single network is paired with every network of the other population.
        x: Examples ``[examples ...]``; uint8 pixels are divided by 255.
        y: Labels, which no measure here needs; they are checked, if given.
        measures: Names of the measures, or their records.
        combined: Whether to return one matrix of the units of all hidden layers of a against all of b, instead of one
            for each k between layer k of a and layer k of b.
        estimator: ``exact`` or ``probes``, as for :func:`modjax.similarity`; both networks get the same probes.
        num_probes: Number of probes of each example, 16 by default.
        return_error: Whether to return standard errors of the estimates, too.
        seed: Seed of the probes.
        memory: Bytes that may be used, as for :func:`modjax.similarity`.

    Returns:
        ``{measure: (S_layer0, ...)}``, or ``{measure: S}`` if ``combined``: ``[units_a units_b]``, or
        ``[trials units_a units_b]``. With ``return_error`` a pair of such results, estimates and standard errors.

    Raises:
        ValueError: In the cases of :func:`modjax.similarity`, and if the networks have different numbers of logits, of
            layers (unless ``combined``) or of trials, or layers with different locations.

    Example:
        >>> import modjax as mj
        >>> network = mj.mlp(2, (3,), 2)
        >>> S = cross_similarity(network, network.init(0), network, network.init(1), np.eye(2))
        >>> S["input_jacobian"][0].shape
        (3, 3)
    """
    infos = check_measures(measures, combined)
    for info in infos:
        if info == WEIGHTS:
            raise ValueError("weights joins units of one network: it has no cross similarity.")
        if info.logit_factors is None:
            raise ValueError(
                f"{info.name} has no cross similarity: its record does not say how many derivatives of the logits its "
                "formula multiplies (logit_factors)."
            )
    check_probes(estimator, num_probes, return_error, infos)
    populations = [as_population(network_a, params_a), as_population(network_b, params_b)]
    x, _ = check_examples(network_a, populations[0][0], x, y, ())
    check_examples(network_b, populations[1][0], x[:1], None, ())
    shapes, outputs = zip(*(layer_shapes(network, x.shape[1:]) for network in (network_a, network_b)), strict=True)
    if outputs[0] != outputs[1]:
        raise ValueError(f"the networks must have the same number of logits; got {outputs[0]} and {outputs[1]}.")
    if not combined and len(shapes[0]) != len(shapes[1]):
        raise ValueError(
            f"the networks have {len(shapes[0])} and {len(shapes[1])} hidden layers: layers can be paired with "
            "combined=True alone."
        )
    # The layers of both networks are those of one network, b's behind a's.
    paired = _pair(populations)
    pairs: list[tuple[int, ...]] = [(k, len(shapes[0]) + k) for k in range(len(shapes[0]))]
    groups = [tuple(range(len(shapes[0]) + len(shapes[1])))] if combined else pairs
    network = _side_by_side(network_a, network_b)
    of_probes: dict[str, Any] = {"estimator": estimator, "num_probes": num_probes, "return_error": return_error}
    plan = make_plan(
        network,
        first_trial(paired),
        x.shape[1:],
        infos,
        combined,
        len(x),
        seed=seed,
        memory=memory,
        groups=groups,
        **of_probes,
    )
    both = split_errors(plan, measure(plan, paired, lambda: [(x, None)]))
    widths = [sum(shapes[0][layer][-1] for layer in group if layer < len(shapes[0])) for group in groups]
    scales = {info.name: HALVES ** (info.logit_factors or 0) for info in infos}
    # The block above the diagonal: units of a against units of b.
    results, errors = (
        {
            name: tuple(scales[name] * S[:, :width, width:] for S, width in zip(matrices, widths, strict=True))
            for name, matrices in measured.items()
        }
        for measured in both
    )
    is_population = any(has_trials for _, has_trials in populations)

    def shaped(blocks: dict[str, tuple]) -> dict[str, Any]:
        whole = {name: of_groups[0] if combined else of_groups for name, of_groups in blocks.items()}
        return whole if is_population else jax.tree.map(lambda matrix: matrix[0], whole)

    return (shaped(results), shaped(errors)) if return_error else shaped(results)


def _pair(populations: list[tuple[Params, bool]]) -> tuple[Params, Params]:
    """Return both populations with the same number of trials; a single network is repeated."""
    counts = [jax.tree.leaves(params)[0].shape[0] for params, _ in populations]
    if all(has_trials for _, has_trials in populations) and counts[0] != counts[1]:
        raise ValueError(f"populations are paired trial by trial; got {counts[0]} and {counts[1]} trials.")
    most = max(counts)
    a, b = (
        jax.tree.map(lambda leaf: np.broadcast_to(np.asarray(leaf), (most, *leaf.shape[1:])), params)
        for params, _ in populations
    )
    return a, b


@lru_cache(maxsize=64)
def _side_by_side(network_a: Network, network_b: Network) -> Network:
    """Return a network that runs both on the same inputs and averages their logits.

    The cross blocks of its measures are the cross similarities of the two.

    Cross blocks of the Hessian need first derivatives alone, whatever the activations: no unit of a acts on b.
    """

    def init(key: PRNGKey) -> Any:
        return network_a.init(key), network_b.init(key)

    def apply(params: Params, x: Any, perturb: tuple | None = None, dropout: tuple | None = None) -> Output:
        assert dropout is None
        output = jax.eval_shape(network_a.apply, params[0], x)
        num_a = len(output.hidden)
        a = network_a.apply(params[0], x, None if perturb is None else perturb[:num_a])
        b = network_b.apply(params[1], x, None if perturb is None else perturb[num_a:])
        return Output((*a.hidden, *b.hidden), (a.logits + b.logits) / 2)

    return Network(init, apply, network_a.in_features, is_piecewise_linear=True)
