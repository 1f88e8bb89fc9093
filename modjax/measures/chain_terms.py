"""Exact closed forms for dense chains ``h_l = f(h_{l-1} W_l + b_l)``: matrix products, and no backward pass.

With slopes m_l = f'(a_l) of one example (0 or 1 for ReLU) and L hidden layers, counted from 0:

    dh_l/dx = D_l W_l^T ... D_0 W_0^T, D_l = diag m_l;  dy/dh_l = W_out^T D_{L-1} W_{L-1}^T ... D_{l+1} W_{l+1}^T

- Inputs. With W_0^T W_0 = F F^T (F ``[units rank]`` from a QR decomposition of W_0, rank <= units), the Gram of dh_l/dx
  is that of X_l = D_l W_l^T X_{l-1}, X_0 = D_0 F: never as wide as the inputs. Layer 0 needs no example's own product:
  (W_0^T W_0) * E[m_0 m_0^T].
- Outputs. Z_{L-1} = W_out, Z_l = W_{l+1} D_{l+1} Z_{l+1}: the Gram of layer l is W_{l+1} G W_{l+1}^T with the Gram G of
  D_{l+1} Z_{l+1}. The last layer's is W_out W_out^T, the one before it needs E[m m^T] alone.
- Loss. Exact where f is piecewise linear: the same with V_l = (Z_l - (Z_l p) 1^T) diag sqrt p in place of Z_l, since
  V V^T = Z (diag p - p p^T) Z^T. The last layer's is W_out E[diag p - p p^T] W_out^T.

Combined matrices need the products of different layers too: X_k X_l^T, and W_{k+1} (D_{k+1} Z_{k+1}) Z_l^T for k < l.

X and Z are laid out ``[columns units block]``: examples come last, and a Gram is the sum over columns of products
``[units block] [block units]``, so few columns at a time that they stay in a core's cache. On a CPU that took two
thirds of the time of one long product over columns and examples. Wide layers go column by column.
"""

from itertools import combinations_with_replacement
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from modjax.measures.base import MeasureBatch, Setting, sum_over, transposed_gram
from modjax.networks.mlp import ACTIVATION_FUNCTIONS

Pairs = list[tuple[int, int]]


class Trace(NamedTuple):
    """What a forward pass of a batch through the chain leaves.

    Attributes:
        hidden: Activations ``[batch units]`` of each layer.
        slopes: Derivatives f'(a) of each layer, 0 for padding.
        probabilities: Softmax of the logits.
        is_valid: Mask ``[batch]`` of the examples that are no padding.
    """

    hidden: list[Float[Array, "batch _"]]
    slopes: list[Float[Array, "batch _"]]
    probabilities: Float[Array, "batch outputs"]
    is_valid: Float[Array, " batch"]


def pairs_of(setting: Setting) -> Pairs:
    """Return the pairs of layers k <= l whose blocks are needed."""
    num_layers = len(setting.shapes)
    if setting.is_combined:
        return list(combinations_with_replacement(range(num_layers), 2))
    return [(layer, layer) for layer in range(num_layers)]


def run_forward(layers: list, activation: str, batch: MeasureBatch) -> Trace:
    """Run a batch forward. FLOPs per example: 2 sum_l U_{l-1} U_l, the logits included."""
    function = ACTIVATION_FUNCTIONS[activation]
    hidden, slopes = [], []
    x = batch.x.reshape(batch.x.shape[0], -1)
    for kernel, bias in layers[:-1]:
        before = x @ kernel + bias[None]
        x, slope = jax.jvp(function, (before,), (jnp.ones_like(before),))
        hidden.append(x)
        slopes.append(slope * batch.is_valid[:, None])
    kernel, bias = layers[-1]
    return Trace(hidden, slopes, jax.nn.softmax(x @ kernel + bias[None]), batch.is_valid)


def first_factor(kernel: Float[Array, "inputs units"]) -> Float[Array, "units rank"]:
    """Return F with F F^T = W^T W, from a QR decomposition, which holds for duplicated and dead units too."""
    if kernel.shape[0] <= kernel.shape[1]:
        return kernel.T  # no wider than a triangular factor
    return jnp.linalg.qr(kernel, mode="r").T


def blocks_of(setting: Setting, arrays: list[Float[Array, "batch ..."]]) -> list[Float[Array, "blocks ... block"]]:
    """Reshape ``[batch units]`` to ``[blocks units block]``, so that examples come last in every product."""
    size = min(setting.block, arrays[0].shape[0])
    return [array.reshape(-1, size, array.shape[-1]).swapaxes(-1, -2) for array in arrays]


def columns_of(setting: Setting, matrix: Float[Array, "units columns"]) -> Float[Array, "groups some units"]:
    """Return the columns of a matrix in groups; the last group is filled with zeros, which add nothing."""
    some = min(setting.columns, matrix.shape[1])
    num_groups = -(-matrix.shape[1] // some)
    return jnp.pad(matrix.T, ((0, num_groups * some - matrix.shape[1]), (0, 0))).reshape(num_groups, some, -1)


def scaled(X: Float[Array, "columns units block"], slopes: Float[Array, "units block"]) -> Array:  # noqa: N803
    """Return ``D X``."""
    # One long row per column, which compiles to full vector instructions.
    return (X.reshape(len(X), -1) * slopes.reshape(1, -1)).reshape(X.shape)


def through(weights: Float[Array, "above below"], X: Float[Array, "columns below block"]) -> Array:  # noqa: N803
    """Return ``weights X`` of every column."""
    if len(X) == 1:  # a plain product is faster than a batched one
        return (weights @ X[0])[None]
    return jnp.broadcast_to(weights[None], (len(X), *weights.shape)) @ X


def products(X: Float[Array, "columns rows block"], Y: Float[Array, "columns units block"]) -> Array:  # noqa: N803
    """Return ``sum over columns and examples of X_i Y_j``."""
    if len(X) == 1:
        return X[0] @ Y[0].T
    return jnp.sum(X @ Y.swapaxes(-1, -2), 0)


def input_sums(setting: Setting, layers: list, trace: Trace, factor: Array | None) -> list[Array]:
    """Return ``sum_b m_0 m_0^T`` for layer 0 with itself, and ``sum_b X_k X_l^T`` for every other pair.

    FLOPs per example, rank R of the first layer: 2 U_0^2, and for every further layer 2 R U_{l-1} U_l for X_l and
    2 R U_l^2 for its Gram (combined: 2 R U_k U_l for every pair).
    """
    pairs = pairs_of(setting)
    first = transposed_gram(trace.slopes[0])
    deeper = [pair for pair in pairs if pair != (0, 0)]
    if not deeper:
        return [first]
    assert factor is not None
    kernels = [kernel for kernel, _ in layers[1:-1]]

    blocks = blocks_of(setting, trace.slopes)

    def of_columns(columns: Float[Array, "some units"]) -> list[Array]:
        # The slopes times a table of all products W_1 F: X_1 without X_0.
        table = (kernels[0].T[None] * columns[:, None, :]).reshape(-1, len(kernels[0]))

        def of_block(slopes: list[Float[Array, "_ block"]]) -> list[Array]:
            product = (table @ slopes[0]).reshape(len(columns), -1, slopes[0].shape[-1])
            X = [None, scaled(product, slopes[1])]  # noqa: N806 - the formula's letter
            if setting.is_combined:
                X[0] = columns[:, :, None] * slopes[0][None]
            for layer in range(2, len(slopes)):
                X.append(scaled(through(kernels[layer - 1].T, X[-1]), slopes[layer]))
            return [products(X[below], X[above]) for below, above in deeper]

        return sum_over(of_block, blocks)

    return [first, *sum_over(of_columns, columns_of(setting, factor))]


def input_matrices(setting: Setting, layers: list, means: list[Array]) -> dict[tuple[int, int], Array]:
    """Return S of each pair of layers from the means of :func:`input_sums`."""
    matrices = dict(zip(pairs_of(setting), means, strict=True))
    kernel = layers[0][0]
    matrices[0, 0] = (kernel.T @ kernel) * matrices[0, 0]
    return matrices


def output_sums(setting: Setting, layers: list, trace: Trace, factor: Array | None = None) -> list[Array]:
    """Return ``sum_b 1`` for the last layer, ``sum_b m m^T`` for the one before it, else ``sum_b (D Z)(D Z)^T``.

    Cross pairs k < l: ``sum_b (D_{k+1} Z_{k+1}) Z_l^T``. FLOPs per example, O logits: 2 U^2 for the layer before the
    last; for every layer below it 2 O U_l U_{l+1} for Z and 2 O U^2 for the Gram.
    """
    del factor
    last = len(setting.shapes) - 1
    # The weights are the same for every example: :func:`output_matrices` multiplies them in once, after the mean.
    known = {(last, last): jnp.sum(trace.is_valid)}
    if last:
        known[last - 1, last - 1] = transposed_gram(trace.slopes[last])
    return _downstream(setting, layers, trace, known, is_loss=False)


def hessian_sums(setting: Setting, layers: list, trace: Trace, factor: Array | None = None) -> list[Array]:
    """Return ``sum_b (diag p - p p^T)`` for the last layer, else ``sum_b (D V)(D V)^T``; cross pairs with V_l.

    FLOPs per example: 2 O^2 for the last layer; 2 O U^2 for the Gram of every layer below it; and 2 O U_l U_{l+1} for
    the Z of those below the one before the last, which the output Jacobian has already.
    """
    del factor
    last = len(setting.shapes) - 1
    p = trace.probabilities * trace.is_valid[:, None]
    # The rows of diag p - p p^T add up to 0: the diagonal is taken from the other entries, since p (1 - p) itself
    # would cancel for p near 1.
    others = transposed_gram(p) * (1 - jnp.eye(p.shape[1], dtype=p.dtype))
    return _downstream(setting, layers, trace, {(last, last): jnp.diag(others.sum(0)) - others}, is_loss=True)


def _downstream(
    setting: Setting, layers: list, trace: Trace, known: dict[tuple[int, int], Array], is_loss: bool
) -> list[Array]:
    """Return the sums of all pairs: those ``known`` already, the others from Z (or V) of every block of examples."""
    pairs = pairs_of(setting)
    rest = [pair for pair in pairs if pair not in known]
    if rest:
        # Z of the lowest layer is not needed: S_k comes from D_{k+1} Z_{k+1}, and W_{k+1} is multiplied in at the end.
        lowest, last = min(k for k, _ in rest), len(setting.shapes) - 1
        kernels, out = [kernel for kernel, _ in layers[:-1]], layers[-1][0]

        def down(Z: Array, slopes: list[Array]) -> dict[int, Array]:  # noqa: N803 - the formula's letter
            """Return Z of the layers above the lowest, from that of the last."""
            by_layer = {last: Z}
            for layer in range(last, lowest + 1, -1):
                by_layer[layer - 1] = through(kernels[layer], scaled(by_layer[layer], slopes[layer]))
            return by_layer

        def of_block(arrays: list[Float[Array, "_ block"]]) -> list[Array]:
            *slopes, p = arrays
            # Z p of every example: as Z is linear in its columns, their mean is passed down as one column more.
            means = down((out @ p)[None], slopes) if is_loss else {}

            def of_columns(group: tuple[Array, Array]) -> list[Array]:
                columns, share = group
                Z = jnp.broadcast_to(columns[:, :, None], (*columns.shape, p.shape[-1]))  # noqa: N806
                right = down(Z, slopes)
                if is_loss:  # V from Z
                    right = {layer: jnp.sqrt(share)[:, None, :] * (Z - means[layer]) for layer, Z in right.items()}
                left = {layer: scaled(Z, slopes[layer]) for layer, Z in right.items()}
                # k == m is a Gram of D Z, k < m a product of D_{k+1} Z_{k+1} and Z_m.
                return [products(left[k + 1], left[k + 1] if k == m else right[m]) for k, m in rest]

            return sum_over(of_columns, (columns_of(setting, out), columns_of(setting, p.T)))

        blocks = blocks_of(setting, [*trace.slopes, trace.probabilities])
        known |= dict(zip(rest, sum_over(of_block, blocks), strict=True))
    return [known[pair] for pair in pairs]


def output_matrices(setting: Setting, layers: list, means: list[Array]) -> dict[tuple[int, int], Array]:
    """Return S of each pair of layers from the means of :func:`output_sums`."""
    last_kernel = layers[-1][0]
    last = len(setting.shapes) - 1
    product = last_kernel @ last_kernel.T
    matrices = dict(zip(pairs_of(setting), means, strict=True))
    matrices[last, last] = product * matrices[last, last]
    if last:  # D P D = P * m m^T elementwise with P = W_out W_out^T: its mean needs that of m m^T alone
        matrices[last - 1, last - 1] = product * matrices[last - 1, last - 1]
    return _back_through(layers, matrices, last)


def hessian_matrices(setting: Setting, layers: list, means: list[Array]) -> dict[tuple[int, int], Array]:
    """Return S of each pair of layers from the means of :func:`hessian_sums`."""
    last_kernel = layers[-1][0]
    last = len(setting.shapes) - 1
    matrices = dict(zip(pairs_of(setting), means, strict=True))
    matrices[last, last] = last_kernel @ matrices[last, last] @ last_kernel.T
    return _back_through(layers, matrices, last)


def _back_through(layers: list, matrices: dict[tuple[int, int], Array], last: int) -> dict[tuple[int, int], Array]:
    """Multiply in the weights W_{k+1}, which the means over examples leave out."""
    for (k, m), mean in matrices.items():
        if k < last:
            kernel = layers[k + 1][0]
            matrices[k, m] = kernel @ mean @ kernel.T if k == m else kernel @ mean
    return matrices
