"""Similarity of the units of networks: the public functions."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from modjax.builtins import WEIGHTS
from modjax.measures.arguments import as_population, check_examples, check_measures, check_stream, first_trial
from modjax.measures.compute import measure
from modjax.measures.functions import is_function, measure_function
from modjax.measures.plan import SimilarityPlan, make_plan, measure_infos
from modjax.measures.probe_plan import check_probes
from modjax.measures.weights import weight_matrix
from modjax.names import MEASURES
from modjax.networks.base import Network, bound
from modjax.records import MeasureInfo
from modjax.types import Params


def similarity(
    network: Network,
    params: Params,
    x: Any,
    y: Any = None,
    measures: str | Sequence[str | MeasureInfo] = MEASURES,
    combined: bool = False,
    *,
    estimator: str = "exact",
    num_probes: int | None = None,
    return_error: bool = False,
    path: str = "auto",
    max_locations: int | None = None,
    seed: int = 0,
    memory: int | None = None,
) -> Any:
    """Compute similarity matrices between the hidden units of a network, or of every network of a population.

    covariance:      S_ij = E[h_i h_j] - E[h_i] E[h_j]
    input_jacobian:  S_ij = E[<dh_i/dx, dh_j/dx>]
    output_jacobian: S_ij = E[sum_o dy_o/dh_i dy_o/dh_j]
    loss_hessian:    S_ij = E[d2 CE / dh_i dh_j]

    h are activations after the nonlinearity, with dropout off; y logits; CE the cross-entropy of one example in nats; E
    the mean over the examples given. All is computed in the dtype of ``params``, in one pass over the examples, in
    batches whose size follows from ``memory``; only these matrices leave the device. Dense chains have closed forms
    (:mod:`modjax.measures.chain_terms`), any other network goes by autodiff (:mod:`modjax.measures.jacobian`,
    :mod:`modjax.measures.hessian`): the numbers are the same.

    Units of a convolution are its channels: S_ij is computed at each location, from the activations of i and j there,
    and averaged over locations.

    With ``estimator="probes"`` derivatives are taken along random directions (:mod:`modjax.measures.probes`): unbiased
    estimates, at a cost that does not grow with inputs times units, for wide layers and any architecture. Covariance
    stays exact; so do measures whose exact way takes no more passes than there are probes (output Jacobian, and loss
    Hessian of piecewise linear networks, where ``num_probes`` is at least the number of logits).

    Args:
        network: The architecture.
        params: Parameters of the network; with a leading trials axis on every leaf, a population. Of a network that
            reads hyperparameters, the pair ``(params, {name: value})``.
        x: Examples ``[examples ...]``, on the host or the device; uint8 pixels are divided by 255. Or an iterator of
            batches ``(x, y)`` (or ``x``, if no labels are needed), for data that do not fit the device; it is read
            once.
        y: Labels ``[examples]``, which only ``loss_hessian`` needs.
        measures: Names of measures, or their records (:class:`modjax.records.MeasureInfo`). ``weights``, the graph of
            weights, can be asked for in a combined matrix.
        combined: Whether to return one matrix over the units of all hidden layers, cross blocks included, instead of
            one matrix per layer. Layers must then have the same locations.
        estimator: ``exact`` or ``probes``.
        num_probes: Number K of probes of each example, 16 by default; errors fall as 1 / sqrt(K).
        return_error: Whether to return standard errors of the estimates, too: of what the probes add, with these
            examples given.
        path: Way of computing what is exact: ``auto``, or ``closed_form`` or ``autodiff`` to insist on one.
        max_locations: Number of locations of each layer to use, drawn by ``seed``: an unbiased estimate. None uses all.
        seed: Seed of the draw of locations and of probes; the same seed gives the same probes whatever the batches.
        memory: Bytes that may be used beside parameters, examples and results; by default 1 GiB on a CPU.

    Returns:
        ``{measure: (S_layer0, S_layer1, ...)}``, or ``{measure: S}`` if ``combined``; NumPy arrays ``[units units]`` or
        ``[trials units units]``, signed, exactly symmetric. With ``return_error`` a pair of such results: estimates and
        their standard errors, which are 0 where a measure is exact.

    Raises:
        ValueError: If a measure is unknown, parameters or examples do not fit the network, values are not finite, there
            are no examples, labels are missing or out of range, layers of a ``combined`` matrix have different
            locations, or ``num_probes`` is not positive, given with exact measures, or 1 with ``return_error``, or a
            measure has no estimate.

    Example:
        >>> import modjax as mj
        >>> network = mj.mlp(2, (3,), 2)
        >>> S = similarity(network, network.init(0), np.eye(2), np.array([0, 1]))
        >>> sorted(S), S["covariance"][0].shape
        (['covariance', 'input_jacobian', 'loss_hessian', 'output_jacobian'], (3, 3))

    References:
        Lange, Rolnick & Kording, TMLR 2022, section 2.1.
    """
    infos, network = check_measures(measures, combined), bound(network)
    population, is_population = as_population(network, params)
    if isinstance(x, Iterator):
        stream, in_shape = check_stream(network, population, x, y, infos)
        chunks, num_examples = (lambda: stream), None
    else:
        x, y = check_examples(network, population, x, y, infos)
        chunks, in_shape, num_examples = (lambda: [(x, y)]), x.shape[1:], len(x)
    check_probes(estimator, num_probes, return_error, infos)
    settings = {"path": path, "max_locations": max_locations, "seed": seed, "memory": memory}
    settings |= {"estimator": estimator, "num_probes": num_probes, "return_error": return_error}
    plan = make_plan(
        network, first_trial(population), in_shape, _of_examples(infos), combined, num_examples, **settings
    )
    functions = _of_functions(network, population, x, y, infos, combined)
    return _results(
        network, plan, population, is_population, chunks, infos, functions, num_examples is None, return_error
    )


def similarity_by_class(
    network: Network,
    params: Params,
    x: Any,
    y: Any,
    measures: str | Sequence[str | MeasureInfo] = MEASURES,
    combined: bool = False,
    **settings: Any,
) -> dict[int, Any]:
    """Compute :func:`similarity` over the examples of each class by itself: ``{label: {measure: ...}}``.

    One program serves all classes. The mean over classes, weighted by their shares, is the similarity over all examples
    (not so for ``covariance``, which loses what lies between the classes' means).

    Args:
        network: The architecture.
        params: Parameters of the network or population, as for :func:`similarity`.
        x: Examples ``[examples ...]``.
        y: Labels ``[examples]``.
        measures: Names of measures, or their records.
        combined: Whether to return one matrix over the units of all hidden layers, as for :func:`similarity`.
        settings: The keyword arguments of :func:`similarity`.
    """
    infos, return_error = check_measures(measures, combined), settings.get("return_error", False)
    check_probes(settings.get("estimator", "exact"), settings.get("num_probes"), return_error, infos)
    if y is None:
        raise ValueError("similarity_by_class needs labels: pass y.")
    population, is_population = as_population(network, params)
    x, y = check_examples(network, population, x, y, infos)
    labels = np.asarray(y)
    # Batches of about a class; their size must not depend on the class, which would compile a program for each.
    num_examples = -(-len(labels) // len(np.unique(labels)))
    plan = make_plan(
        network, first_trial(population), x.shape[1:], _of_examples(infos), combined, num_examples, **settings
    )
    results = {}
    for label in np.unique(labels).tolist():
        chosen = np.flatnonzero(labels == label)
        chunks = [(np.asarray(x)[chosen], labels[chosen])]
        functions = _of_functions(network, population, *chunks[0], infos, combined)
        results[label] = _results(
            network,
            plan,
            population,
            is_population,
            lambda chunks=chunks: chunks,
            infos,
            functions,
            return_error=return_error,
        )
    return results


def _results(
    network: Network,
    plan: SimilarityPlan,
    population: Params,
    is_population: bool,
    chunks: Any,
    infos: tuple[MeasureInfo, ...],
    functions: dict[str, tuple[np.ndarray, ...]],
    is_once: bool = False,
    return_error: bool = False,
) -> Any:
    measured = measure(plan, population, chunks, is_once) if plan.closed or plan.general else {}
    measured, errors = split_errors(plan, measured)
    results: dict[str, Any] = {**measured, **functions}
    if plan.is_combined:
        results, errors = (
            {name: matrices[0] for name, matrices in of_groups.items()} for of_groups in (measured, errors)
        )
    if WEIGHTS in infos:
        results[WEIGHTS.name] = weight_matrix(network, population)
        errors[WEIGHTS.name] = np.zeros_like(results[WEIGHTS.name])
    both = results if is_population else jax.tree.map(lambda matrix: matrix[0], results)
    if not return_error:
        return both
    return both, errors if is_population else jax.tree.map(lambda matrix: matrix[0], errors)


def split_errors(plan: SimilarityPlan, measured: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the matrices of each measure and group, and their standard errors, 0 of exact measures."""
    num_groups = len(plan.setting.groups)
    matrices = {name: of_groups[:num_groups] for name, of_groups in measured.items()}
    errors = {
        name: measured[name][num_groups:] or tuple(map(np.zeros_like, of_groups))
        for name, of_groups in matrices.items()
    }
    return matrices, errors


def compute_similarity(
    network: Network,
    population: Params,
    x: Any,
    y: Any,
    measures: Sequence[str | MeasureInfo],
    layouts: tuple[bool, ...] = (False,),
    estimator: str = "exact",
    num_probes: int | None = None,
) -> tuple[dict[str, Any], ...]:
    """Compute what :func:`similarity` does for a population, without checks and in several layouts at once.

    Args:
        network: The architecture.
        population: Parameters with a leading trials axis.
        x: Examples, pixels or floats.
        y: Integer labels or None.
        measures: Names of measures, or their records; ``weights`` is in the combined layout alone.
        layouts: Layouts to return, one result for each: False for one matrix per layer, True for one combined matrix.
            Layers are the diagonal blocks of the combined matrix, so both together cost as much as the combined one.
        estimator: As for :func:`similarity`; all trials have the same probes.
        num_probes: As for :func:`similarity`.
    """
    infos, combined = measure_infos(measures), any(layouts)
    plan = make_plan(
        network,
        first_trial(population),
        x.shape[1:],
        _of_examples(infos),
        combined,
        len(x),
        estimator=estimator,
        num_probes=num_probes,
    )
    measured = measure(plan, population, lambda: [(x, y)]) if plan.closed or plan.general else {}
    functions = _of_functions(network, population, x, y, infos, combined)
    widths = [shape[-1] for shape in plan.setting.shapes]
    blocks = [slice(start, stop) for start, stop in itertools.pairwise(np.cumsum([0, *widths]))]
    results = []
    for layout in layouts:
        if layout:
            weights = {WEIGHTS.name: weight_matrix(network, population)} if WEIGHTS in infos else {}
            results.append({name: matrices[0] for name, matrices in measured.items()} | weights)
        elif combined:
            results.append({name: tuple(S[0][:, block, block] for block in blocks) for name, S in measured.items()})
        else:
            results.append({**measured, **functions})
    return tuple(results)


def _of_examples(infos: tuple[MeasureInfo, ...]) -> tuple[MeasureInfo, ...]:
    return tuple(info for info in infos if info.family != "parameters" and not is_function(info))


def _of_functions(
    network: Network, population: Params, x: Any, y: Any, infos: tuple[MeasureInfo, ...], combined: bool
) -> dict[str, tuple[np.ndarray, ...]]:
    """Return the matrices of the measures whose kernels are plain functions.

    Raises:
        ValueError: If they are asked for in a combined matrix, or of a stream.
    """
    functions = [info for info in infos if info.family != "parameters" and is_function(info)]
    if functions and (combined or isinstance(x, Iterator)):
        what = "a combined matrix" if combined else "a stream of batches"
        raise ValueError(f"measure {functions[0].name!r} is a plain function; {what} needs a Similarity.")
    return {info.name: measure_function(network, population, x, y, info) for info in functions}
