"""The stem: the linear first step of a network, in whose outputs Jacobians are narrower than in the inputs.

Where inputs enter through matrix products and nothing else, ``u(x) = rest(first(x))`` with a linear first step of
matrix T ``[stem inputs]``, the same for every example. Then du/dx = du/ds T, and a Gram over 784 inputs is one over the
64 outputs of the stem: with T T^T = F F^T, F ``[stem rank]``, it is (du/ds F) (du/ds F)^T.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Var, jaxpr_as_fun
from jaxtyping import Array, Float

KEEPS_VALUES = {"reshape", "squeeze", "expand_dims", "copy"}  # primitives that only rearrange


class Stem(NamedTuple):
    """A function of a batch in two steps.

    Attributes:
        first: ``first(x) -> s``, which is linear in each example; s is ``[batch stem]``, all products side by side.
        rest: ``rest(s)``, the remainder of the function.
    """

    first: Callable[[Array], Array]
    rest: Callable[[Array], Array]


def split_stem(function: Callable[[Array], Array], x: Array) -> Stem | None:
    """Split a function into ``rest(first(x))`` if ``x`` enters through matrix products alone; else return None."""
    closed = jax.make_jaxpr(function)(x)
    jaxpr, constants = closed.jaxpr, closed.consts
    taken: list[int] = []
    ends: list[Var] = []
    # Follow x through the equations that only rearrange it, up to the matrix products at which the stem ends.
    follow = list(jaxpr.invars)
    while follow:
        current = follow.pop()
        uses = [index for index, equation in enumerate(jaxpr.eqns) if any(var is current for var in equation.invars)]
        if not uses or any(var is current for var in jaxpr.outvars):
            return None
        for index in uses:
            equation = jaxpr.eqns[index]
            if not _is_linear(equation, current, x.shape[0]):
                return None
            taken.append(index)
            (ends if equation.primitive.name == "dot_general" else follow).append(equation.outvars[0])
    # What is left may share operands with the stem, such as cast weights: equations free of x run in both steps.
    others = [equation for index, equation in enumerate(jaxpr.eqns) if index not in taken]
    given = {var for index in taken for var in jaxpr.eqns[index].outvars} | {*jaxpr.invars}
    free = _without(others, given)
    steps = [
        equation for index, equation in enumerate(jaxpr.eqns) if index in taken or any(equation is f for f in free)
    ]
    shapes = [tuple(getattr(end.aval, "shape", ())) for end in ends]
    edges = np.cumsum([math.prod(shape[1:]) for shape in shapes])[:-1]

    def run(equations: list[Any], given: list[Var], made: list[Any], values: list[Array]) -> list[Array]:
        """Evaluate some equations by themselves."""
        part = jaxpr.replace(constvars=[], invars=[*given, *jaxpr.constvars], outvars=made, eqns=equations)
        return jaxpr_as_fun(ClosedJaxpr(part, []))(*values, *constants)

    def first(x: Array) -> Array:
        products = run(steps, jaxpr.invars, ends, [x])
        return jnp.concatenate([product.reshape(product.shape[0], -1) for product in products], -1)

    def rest(s: Array) -> Array:
        values = [value.reshape(shape) for value, shape in zip(jnp.split(s, edges, -1), shapes, strict=True)]
        return run(others, ends, jaxpr.outvars, values)[0]

    return Stem(first, rest)


def _is_linear(equation: Any, current: Any, num_examples: int) -> bool:
    """Return whether an equation is linear in ``current`` alone, example by example along the first axis."""
    if len(equation.outvars) != 1 or equation.outvars[0].aval.shape[:1] != (num_examples,):
        return False
    name = equation.primitive.name
    if name == "convert_element_type":
        return equation.outvars[0].aval.dtype == current.aval.dtype
    if name != "dot_general":
        return name in KEEPS_VALUES
    # x [batch features] times something without x, contracted over features.
    (contracting, _), (batch, _) = equation.params["dimension_numbers"]
    return equation.invars[0] is current and equation.invars[1] is not current and 0 not in contracting and not batch


def _without(equations: list[Any], given: set[Var]) -> list[Any]:
    """Return the equations that depend on none of the given variables: the operands of the stem's products."""
    depends, free = set(given), []
    for equation in equations:
        if any(isinstance(var, Var) and var in depends for var in equation.invars):
            depends |= set(equation.outvars)
        else:
            free.append(equation)
    return free


def stem_factor(function: Callable[[Array], Array], x: Array) -> Float[Array, "stem rank"] | None:
    """Return F with F F^T = T T^T for the matrix T ``[stem inputs]`` of the stem; rank = min(stem, inputs).

    It comes from a QR decomposition of T^T, which also holds where units are duplicated or dead. None without a stem,
    or where the stem has more outputs than inputs.
    """
    num_inputs = math.prod(x.shape[1:])
    stem = split_stem(function, jnp.zeros((1, *x.shape[1:]), x.dtype))
    if stem is None:
        return None
    # T^T, row by row: the stem is linear, so that its outputs for unit vectors are its matrix.
    identity = jnp.eye(num_inputs, dtype=x.dtype).reshape(num_inputs, 1, *x.shape[1:])
    columns = jax.vmap(stem.first)(identity).reshape(num_inputs, -1)
    if columns.shape[1] > num_inputs:
        return None
    return jnp.linalg.qr(columns, mode="r").T
