"""Networks from traced functions whose hidden activations are marked; the basis of the adapters.

A program is traced to its jaxpr, the equations that make the marked values are located, and the jaxpr is run equation
by equation: ``perturb`` is added to each marked value, and everything that is computed from it sees the sum. This keeps
the promise of ``Network.apply``, whether or not the library that marked the value can change it.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Literal, Var, jaxpr_as_fun
from jaxtyping import Array, PyTree
from numpy.typing import ArrayLike

from modjax._util.pixels import to_unit_range
from modjax.networks.base import Network, Output, as_key, dropout_mask
from modjax.types import Params, PRNGKey


class Masks:
    """Draws a new dropout mask at each call: mask number k comes from ``fold_in(key, k)``."""

    def __init__(self, rate: Any, key: PRNGKey) -> None:
        self.rate, self.key, self.count = rate, key, 0

    def __call__(self, x: Array, broadcast_dims: Sequence[int] = ()) -> Array:
        """Return ``x`` with values dropped, the same ones along ``broadcast_dims``."""
        same = [axis % x.ndim for axis in broadcast_dims]
        shape = tuple(1 if axis in same else size for axis, size in enumerate(x.shape))
        key = jax.random.fold_in(self.key, self.count)
        self.count += 1
        return x * jnp.broadcast_to(dropout_mask(key, self.rate, shape, x.dtype), x.shape)


class Marked(NamedTuple):
    """A library's module as functions from which a network can be made.

    Attributes:
        what: Name of the module in error messages.
        init: ``init(key) -> params``.
        run: ``run(params, x, zeros, masks) -> (logits, sown)``: ``zeros`` is added to the values it marks, ``sown`` is
            a tree of marked values, ``masks`` are applied by its own dropout layers (None: off).
        zeros: ``zeros(params, x) -> tree`` shaped like the values that ``run`` adds zeros to.
        has_dropout: Whether the module has dropout layers of its own.
    """

    what: str
    init: Callable[..., Any]
    run: Callable[..., Any]
    zeros: Callable[..., Any]
    has_dropout: bool


class MarkedProgram(NamedTuple):
    """A program, traced for one batch.

    Attributes:
        jaxpr: Jaxpr whose inputs are the leaves of params, x, zeros and dropout; its outputs begin with the logits.
        places: Variables that hold the hidden activations, in the order of computation.
    """

    jaxpr: ClosedJaxpr
    places: list[Var]


def as_shape(in_shape: int | Sequence[int]) -> tuple[int, ...]:
    """Return the shape of an example, given its number of values or its shape.

    Raises:
        ValueError: A size that is not a whole number from 1.
    """
    sizes = tuple(in_shape) if isinstance(in_shape, Sequence) else (in_shape,)
    if not sizes or any(int(size) != size or size < 1 for size in sizes):
        raise ValueError(f"the shape of an example must be whole numbers, at least 1 each; got {in_shape}.")
    return tuple(int(size) for size in sizes)


def network_of(marked: Marked, in_shape: tuple[int, ...]) -> Network:
    """Make a network of a module; it is traced once, on shapes alone, to check it.

    Raises:
        ValueError: No hidden layers, or layers that cannot be perturbed; an output that is not [batch, classes].
    """

    def init(key: PRNGKey | int) -> Params:
        return marked.init(as_key(key))

    def apply(params: Params, x: ArrayLike, perturb: tuple | None = None, dropout: tuple | None = None) -> Output:
        x = jnp.asarray(x)
        x = to_unit_range(x.reshape(x.shape[0], *in_shape), jax.tree.leaves(params)[0].dtype)
        own_dropout = dropout if marked.has_dropout else None
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), marked.zeros(params, x))
        program = _trace(marked, params, x, zeros, own_dropout)
        masks = Masks(*dropout) if dropout is not None and own_dropout is None else None
        return _run(program, jax.tree.leaves((params, x, zeros, own_dropout)), perturb, masks)

    params = jax.eval_shape(init, jax.random.key(0))
    if not jax.tree.leaves(params):
        raise ValueError(f"{marked.what} has no parameters, so there is nothing to train or to measure.")
    # A batch of two tells the batch axis from axes of length one.
    jax.eval_shape(apply, params, jax.ShapeDtypeStruct((2, *in_shape), jax.tree.leaves(params)[0].dtype))
    return Network(init, apply, math.prod(in_shape))


def _trace(marked: Marked, params: Params, x: Array, zeros: PyTree, dropout: tuple | None) -> MarkedProgram:
    def run(params: Params, x: Array, zeros: PyTree, dropout: tuple | None) -> Any:
        return marked.run(params, x, zeros, Masks(*dropout) if dropout is not None else None)

    closed, (logits, sown) = jax.make_jaxpr(run, return_shape=True)(params, x, zeros, dropout)
    batch = x.shape[0]
    if not hasattr(logits, "shape") or len(logits.shape) != 2 or logits.shape[0] != batch:
        shapes = jax.tree.map(lambda leaf: list(leaf.shape), logits)
        raise ValueError(
            f"{marked.what} must return logits [batch, classes]; for a batch of {batch} it returns {shapes}."
        )
    jaxpr = closed.jaxpr
    before = len(jax.tree.leaves((params, x)))
    num_zeros = len(jax.tree.leaves(zeros))
    names = [_name(path) for path, _ in jax.tree.leaves_with_path(zeros)]
    names += [_name(path) for path, _ in jax.tree.leaves_with_path(sown)]
    # Values marked by perturb are sums with zeros; without any, the sown values, which are outputs, are taken.
    marked_vars = [_sum_with(jaxpr, zero) for zero in jaxpr.invars[before : before + num_zeros]]
    if not marked_vars:
        marked_vars = list(jaxpr.outvars[1:])
    if not marked_vars:
        raise ValueError(
            f"{marked.what} marks no hidden layers: name them with h = self.perturb('name', h) or "
            "self.sow(..., 'name', h) in it, or pass hidden = [names of submodules]."
        )
    order = _order_of(jaxpr)
    for name, var in zip(names, marked_vars, strict=False):
        if var is None or isinstance(var, Literal) or var not in order:
            raise ValueError(
                f"hidden layer {name!r} of {marked.what} does not lead to the logits by itself, so that nothing can be "
                "derived in it: mark the value that the next layer takes, outside jit, remat and scan, and once."
            )
        shape = var.aval.shape  # pyright: ignore[reportAttributeAccessIssue]
        if len(shape) < 2 or shape[0] != batch:
            raise ValueError(
                f"hidden layer {name!r} of {marked.what} must be [batch, units] or [batch, locations, units]; "
                f"for a batch of {batch} it has shape {list(shape)}."
            )
    return MarkedProgram(closed, sorted({var for var in marked_vars if isinstance(var, Var)}, key=order.__getitem__))


def _name(path: tuple) -> str:
    return "/".join(str(getattr(part, "key", getattr(part, "idx", getattr(part, "name", part)))) for part in path)


def _sum_with(jaxpr: Any, zero: Var) -> Var | None:
    """Return the variable that holds a marked value plus its zeros; None unless added once, at the top level."""
    users = [equation for equation in jaxpr.eqns if any(var is zero for var in equation.invars)]
    if len(users) != 1 or users[0].primitive.name not in ("add", "add_any"):
        return None
    return users[0].outvars[0]


def _order_of(jaxpr: Any) -> dict[Var, int]:
    """Return, for each variable that the logits depend on, the index of the equation that makes it."""
    needed = {jaxpr.outvars[0]} if isinstance(jaxpr.outvars[0], Var) else set()
    order = {}
    # Backwards, since an equation is needed if anything later needs its outputs.
    for index, equation in reversed(list(enumerate(jaxpr.eqns))):
        if needed.isdisjoint(equation.outvars):
            continue
        order |= dict.fromkeys((var for var in equation.outvars if var in needed), index)
        needed |= {var for var in equation.invars if isinstance(var, Var)}
    return order


def _run(program: MarkedProgram, leaves: list[Array], perturb: tuple | None, masks: Masks | None) -> Output:
    """Run the equations up to each marked value, perturb and keep it, and apply dropout to it for all that follows."""
    jaxpr = program.jaxpr.jaxpr
    values: dict[Var, Any] = dict(zip(jaxpr.constvars, program.jaxpr.consts, strict=True))
    values |= dict(zip(jaxpr.invars, leaves, strict=True))
    order = _order_of(jaxpr)
    hidden = []
    start = 0
    for layer, var in enumerate(program.places):
        start = _advance(jaxpr, values, order, start, order[var] + 1)
        hidden.append(values[var] if perturb is None else values[var] + perturb[layer])
        values[var] = hidden[-1] if masks is None else masks(hidden[-1])
    _advance(jaxpr, values, order, start, len(jaxpr.eqns))
    logits = jaxpr.outvars[0]
    return Output(tuple(hidden), logits.val if isinstance(logits, Literal) else values[logits])


def _advance(jaxpr: Any, values: dict[Var, Any], order: dict[Var, int], start: int, stop: int) -> int:
    """Run those equations from ``start`` to ``stop`` that the logits need; add their results to ``values``."""
    made = [var for var, index in order.items() if start <= index < stop]
    equations = [jaxpr.eqns[index] for index in sorted({order[var] for var in made})]
    taken = {var for equation in equations for var in equation.invars if isinstance(var, Var)}
    given = [var for var in values if var in taken]
    # A jaxpr of these equations alone, so that JAX evaluates them by its own rules.
    stretch = jaxpr.replace(constvars=[], invars=given, outvars=made, eqns=equations)
    results = jaxpr_as_fun(ClosedJaxpr(stretch, []))(*(values[var] for var in given))
    values |= dict(zip(made, results, strict=True))
    return stop
