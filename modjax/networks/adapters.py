"""Adapters from users' flax modules, linen and nnx, to networks."""

import inspect
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, PyTree

from modjax.networks.base import Network
from modjax.networks.marked import Marked, Masks, as_shape, network_of
from modjax.types import Params, PRNGKey

PERTURBED, SOWN, OUTPUT = "perturbations", "intermediates", "output"
EVALUATION = {"deterministic": True, "train": False, "training": False, "is_training": False}


def from_linen(module: Any, in_shape: int | Sequence[int], hidden: Sequence[str] | None = None) -> Network:
    """Turn a ``flax.linen`` module into a :class:`Network`.

    Its hidden layers are, in the order in which they are computed,

    - with ``hidden`` None: the values given to ``self.perturb(name, h)``; if there are none, those given to
      ``self.sow('intermediates', name, h)``;
    - otherwise the outputs of the submodules named in ``hidden`` (``"block_0"``, ``"encoder/block_0"``). An activation
      function that is called on such an output is not part of it: name a submodule that ends with it, or use
      ``self.perturb``.

    ``perturb`` affects everything that is computed from these values, however they are named. ``dropout`` acts in the
    module's ``nn.Dropout`` layers, at the rate given to ``apply`` (their own rates are not used); without such layers,
    after each hidden activation, as in :func:`modjax.mlp`. Arguments of the module named ``deterministic``, ``train``,
    ``training`` or ``is_training`` are set for evaluation. Pixels (uint8) are divided by 255. Equal modules give the
    same object, if they are hashable.

    Args:
        module: Module that takes ``[batch, *in_shape]`` and returns logits ``[batch, classes]``.
        in_shape: Number of values per example, or the shape of an example.
        hidden: Names of the submodules whose outputs are the hidden layers; None for marked values.

    Raises:
        ValueError: No hidden layers, unknown names, a marked value that cannot be perturbed, an output that is not
            [batch, classes], or a module with state beside its parameters (BatchNorm).

    Example:
        >>> class Small(nn.Module):
        ...     @nn.compact
        ...     def __call__(self, x):
        ...         h = self.perturb("first", nn.relu(nn.Dense(8)(x)))
        ...         return nn.Dense(3)(h)
        >>> network = from_linen(Small(), 4)
        >>> [layer.shape for layer in network.apply(network.init(0), jnp.ones((5, 4))).hidden]
        [(5, 8)]
    """
    if not isinstance(module, nn.Module):
        raise ValueError(f"module must be a flax.linen.Module; got {type(module).__name__}.")
    return _built(_linen_network, module, as_shape(in_shape), None if hidden is None else tuple(hidden))


class _LinenProgram:
    """Provides the functions of :class:`Marked` for a linen module."""

    def __init__(self, module: nn.Module, in_shape: tuple[int, ...], hidden: tuple[str, ...] | None) -> None:
        self.module, self.in_shape, self.hidden = module, in_shape, hidden
        self.options: Any = _evaluation_options(type(module).__call__)
        self.calls: dict[str, int] = {}
        self.has_dropout = False

    def variables(self, key: PRNGKey) -> Any:
        x = jnp.zeros((1, *self.in_shape), jax.dtypes.canonicalize_dtype(float))
        # Intercepted too, so that the names of submodules and the presence of dropout layers are known afterwards.
        with nn.intercept_methods(partial(self.intercept, None, {})):
            return self.module.init({"params": key, "dropout": key}, x, **self.options)

    def init(self, key: PRNGKey) -> Params:
        return self.variables(key).get("params", {})

    def apply(self, variables: PyTree, x: Array, mutable: str, masks: Masks | None, outputs: dict[str, Any]) -> Any:
        with nn.intercept_methods(partial(self.intercept, masks, outputs)):
            return self.module.apply(variables, x, mutable=[mutable], **self.options)

    def zeros(self, params: Params, x: Array) -> Any:
        if self.hidden is not None:
            return {}
        _, state = jax.eval_shape(lambda params, x: self.apply({"params": params}, x, PERTURBED, None, {}), params, x)
        return state.get(PERTURBED, {})

    def run(self, params: Params, x: Array, zeros: PyTree, masks: Masks | None) -> Any:
        variables = {"params": params} | ({PERTURBED: zeros} if jax.tree.leaves(zeros) else {})
        outputs: dict[str, Any] = {}
        logits, state = self.apply(variables, x, SOWN, masks, outputs)
        return logits, state.get(SOWN, {}) if self.hidden is None else outputs

    def intercept(
        self,
        masks: Masks | None,
        outputs: dict[str, Any],
        call: Callable[..., Any],
        args: Any,
        kwargs: Any,
        context: nn.module.InterceptorContext,
    ) -> Any:
        """Replace dropout layers, keep the outputs of hidden submodules, and count the calls of all submodules."""
        if context.method_name != "__call__":
            return call(*args, **kwargs)
        name = "/".join(context.module.path)
        if isinstance(context.module, nn.Dropout):
            self.has_dropout = True
            return args[0] if masks is None else masks(args[0], context.module.broadcast_dims)
        self.calls[name] = self.calls.get(name, 0) + 1
        result = call(*args, **kwargs)
        if self.hidden is not None and name in self.hidden:
            outputs[name] = result
        return result


def _linen_network(module: nn.Module, in_shape: tuple[int, ...], hidden: tuple[str, ...] | None) -> Network:
    what = type(module).__name__
    program = _LinenProgram(module, in_shape, hidden)
    collections = jax.eval_shape(program.variables, jax.random.key(0))
    _refuse_state(what, sorted(set(collections) - {"params", PERTURBED, SOWN}))
    _check_names(what, hidden, {name: count for name, count in program.calls.items() if name})
    return network_of(Marked(what, program.init, program.run, program.zeros, program.has_dropout), in_shape)


def from_nnx(
    module: nnx.Module | Callable[[nnx.Rngs], nnx.Module],
    in_shape: int | Sequence[int],
    hidden: Sequence[str] | None = None,
) -> Network:
    """Turn a ``flax.nnx`` module into a :class:`Network`; its parameters are a plain dict of the ``nnx.Param`` values.

    Hidden layers, dropout (``nnx.Dropout``) and ``perturb`` are as in :func:`from_linen`; values are marked by
    ``self.perturb(name, h)`` or ``self.sow(nnx.Intermediate, name, h)``, submodules are named by their attributes
    (``"block_0"``, ``"blocks/0"``). The module runs in its evaluation mode.

    Args:
        module: A function that makes the module from ``nnx.Rngs`` (``lambda rngs: Model(rngs)``), so that every key
            gives different weights; or a module, whose current weights ``init`` returns, whatever the key.
        in_shape: Number of values per example, or the shape of an example.
        hidden: Names of the submodules whose outputs are the hidden layers; None for marked values.

    Raises:
        ValueError: As :func:`from_linen`.

    Example:
        >>> class Small(nnx.Module):
        ...     def __init__(self, rngs):
        ...         self.first, self.last = nnx.Linear(4, 8, rngs=rngs), nnx.Linear(8, 3, rngs=rngs)
        ...     def __call__(self, x):
        ...         return self.last(self.perturb("h", nnx.relu(self.first(x))))
        >>> network = from_nnx(Small, 4)
        >>> [layer.shape for layer in network.apply(network.init(0), jnp.ones((5, 4))).hidden]
        [(5, 8)]
    """
    names = None if hidden is None else tuple(hidden)
    if isinstance(module, nnx.Module):  # its weights may change, so the network is not cached
        return _nnx_network(module, as_shape(in_shape), names)
    if not callable(module):
        raise ValueError(f"module must be a flax.nnx.Module or a function of nnx.Rngs; got {type(module).__name__}.")
    return _built(_nnx_network, module, as_shape(in_shape), names)


class _NnxProgram:
    """Provides the functions of :class:`Marked` for an nnx module."""

    def __init__(self, source: Any, model: nnx.Module, hidden: tuple[str, ...] | None) -> None:
        self.hidden = hidden
        self.what = type(model).__name__
        self.options = _evaluation_options(type(model).__call__)
        self.graph, self.state, self.random, rest = nnx.split(model, nnx.Param, nnx.RngState, ...)
        _refuse_state(self.what, sorted({type(leaf).__name__ for leaf in nnx.to_flat_state(rest).leaves}))
        self.source = source
        self.weights = nnx.to_pure_dict(self.state) if source is model else None

    def init(self, key: PRNGKey) -> Params:
        if self.weights is not None:
            return jax.tree.map(jnp.asarray, self.weights)
        return nnx.to_pure_dict(nnx.state(self.source(nnx.Rngs(key)), nnx.Param))

    def call(self, params: Params, x: Array, zeros: PyTree, masks: Masks | None) -> Any:
        """Run a copy of the module; return its logits, the values of ``self.perturb``, and the sown values."""
        state = jax.tree.map(lambda leaf: leaf, self.state)
        nnx.replace_by_pure_dict(state, params)
        copy = nnx.merge(self.graph, state, self.random)
        copy.eval()
        for path, part in nnx.iter_modules(copy):
            # Nobody else uses the copy, so its parts may change their class; other modules are not affected.
            if isinstance(part, nnx.Dropout):
                part.__class__ = _Dropout
                part.masks = nnx.static(masks)  # pyright: ignore[reportAttributeAccessIssue]
            elif self.hidden is not None and _join(path) in self.hidden:
                part.__class__ = _sowing(type(part))
        return nnx.capture(copy, nnx.Perturbation, nnx.Intermediate, init=zeros)(x, **self.options)

    def zeros(self, params: Params, x: Array) -> Any:
        if self.hidden is not None:
            return nnx.State({})
        return jax.eval_shape(lambda params, x: self.call(params, x, None, None)[1], params, x)

    def run(self, params: Params, x: Array, zeros: PyTree, masks: Masks | None) -> Any:
        logits, _, sown = self.call(params, x, zeros, masks)
        values = {_join(path): leaf.get_value() for path, leaf in nnx.to_flat_state(sown)}
        if self.hidden is None:
            return logits, values
        outputs = {name: values.get(f"{name}/{OUTPUT}", ()) for name in self.hidden}
        _check_names(self.what, self.hidden, {name: len(calls) for name, calls in outputs.items() if calls})
        return logits, outputs


def _nnx_network(source: Any, in_shape: tuple[int, ...], hidden: tuple[str, ...] | None) -> Network:
    # Shapes are enough to check the names and the parts of the module.
    model = source if isinstance(source, nnx.Module) else nnx.eval_shape(lambda: source(nnx.Rngs(0)))
    if not isinstance(model, nnx.Module):
        raise ValueError(
            "module must be a function that makes a flax.nnx.Module from nnx.Rngs; it makes something else."
        )
    parts = {_join(path): part for path, part in nnx.iter_modules(model) if path}
    _check_names(type(model).__name__, hidden, dict.fromkeys(parts, 1))
    program = _NnxProgram(source, model, hidden)
    has_dropout = any(isinstance(part, nnx.Dropout) for part in parts.values())
    return network_of(Marked(program.what, program.init, program.run, program.zeros, has_dropout), in_shape)


class _Dropout(nnx.Dropout):
    """A dropout layer that applies given masks; None applies none."""

    masks: Masks | None

    def __call__(self, inputs: Array, **_: Any) -> Array:
        return inputs if self.masks is None else self.masks(inputs, self.broadcast_dims)


def _join(path: tuple) -> str:
    return "/".join(map(str, path))


@lru_cache(maxsize=256)
def _sowing(kind: type) -> type:
    """Make a subclass that sows what its call returns."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = kind.__call__(self, *args, **kwargs)
        self.sow(nnx.Intermediate, OUTPUT, result)
        return result

    return type(kind.__name__, (kind,), {"__call__": call})


@lru_cache(maxsize=256)
def _built_once(build: Callable[..., Network], *arguments: Any) -> Network:
    return build(*arguments)


def _built(build: Callable[..., Network], *arguments: Any) -> Network:
    """Build a network, or return the one built before for equal arguments, if these are hashable."""
    try:
        hash(arguments)
    except TypeError:
        return build(*arguments)
    return _built_once(build, *arguments)


def _evaluation_options(call: Callable[..., Any]) -> dict[str, bool]:
    """Return the arguments that put a module in evaluation mode, as far as its call has them."""
    taken = inspect.signature(call).parameters
    return {name: value for name, value in EVALUATION.items() if name in taken}


def _refuse_state(what: str, kinds: list[str]) -> None:
    if kinds:
        raise ValueError(
            f"{what} has state beside its parameters ({', '.join(kinds)}), as BatchNorm has; a network here is a pure "
            "function of its parameters. Use a normalization without running averages (LayerNorm, GroupNorm)."
        )


def _check_names(what: str, hidden: tuple[str, ...] | None, calls: dict[str, int]) -> None:
    """Raise unless every name in ``hidden`` is a submodule that is called once."""
    for name in hidden or ():
        if name not in calls:
            raise ValueError(
                f"{what} has no submodule {name!r} that it calls. Available: {', '.join(calls) or 'none'}."
            )
        if calls[name] > 1:
            raise ValueError(
                f"submodule {name!r} of {what} is called {calls[name]} times; a hidden layer is computed once."
            )
