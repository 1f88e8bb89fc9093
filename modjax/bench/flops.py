"""FLOPs that the measures of a dense chain need, by the formulas of the closed forms, whatever computes them.

For one example, D inputs, hidden layers of U_0 ... U_{L-1} units, O outputs, R = min(D, U_0). A multiplication and an
addition are 2 FLOPs; elementwise operations and products of parameters alone are not counted. One matrix per layer:

    forward          2 (D U_0 + sum_{l>0} U_{l-1} U_l), once for all measures; another 2 U_{L-1} O for the loss
    covariance       sum_l 2 U_l^2
    input_jacobian   2 U_0^2 + sum_{l>0} (2 R U_{l-1} U_l + 2 R U_l^2)
    output_jacobian  2 U_{L-1}^2 (of the layer before the last; the last needs none) + Z + sum_{0<l<L-1} 2 O U_l^2
    loss_hessian     2 O^2 (of the last layer) + Z + sum_{l>0} 2 O U_l^2
    Z                sum_{0<l<L-1} 2 O U_l U_{l+1}, once for the two measures that need it

:mod:`modjax.measures.chain_terms` explains them. Where f is not piecewise linear, f'' adds to the Hessian of layer l,
for every layer k above it, A_k^T diag(dCE/dh_k f''(a_k)) A_k with A_k = da_k/dh_l. For k = l + 1 that is W_k, and only
the mean over examples of the vector is needed; the rest is

    gradient         2 (U_{L-1} O + sum_{l>1} U_{l-1} U_l), dCE/dh_k of all layers but the lowest
    curvature        sum_l sum_{k>l+1} (2 U_l U_{k-1} U_k + 2 U_l^2 U_k)
"""

from collections.abc import Sequence
from itertools import pairwise

from modjax.names import PIECEWISE_LINEAR


def forward_flops(num_inputs: int, widths: Sequence[int]) -> int:
    """Return the FLOPs of the hidden layers, once; the logits are counted with the loss."""
    return sum(2 * below * above for below, above in pairwise((num_inputs, *widths)))


def covariance_flops(widths: Sequence[int]) -> int:
    """Return the FLOPs of the outer products."""
    return sum(2 * width**2 for width in widths)


def input_jacobian_flops(num_inputs: int, widths: Sequence[int]) -> int:
    """Return the FLOPs of the first layer's outer product of slopes and of the other layers' Jacobians and Grams."""
    rank = min(num_inputs, widths[0])
    deeper = sum(2 * rank * below * above + 2 * rank * above**2 for below, above in pairwise(widths))
    return 2 * widths[0] ** 2 + deeper


def output_jacobian_flops(widths: Sequence[int], num_outputs: int) -> int:
    """Return the FLOPs of the slopes' outer product of the last layer, and of the Grams below it; without Z."""
    if len(widths) == 1:
        return 0
    return 2 * widths[-1] ** 2 + sum(2 * num_outputs * width**2 for width in widths[1:-1])


def loss_hessian_flops(widths: Sequence[int], num_outputs: int) -> int:
    """Return the FLOPs of the last layer's outer product of probabilities and of the Grams below; without Z and f''."""
    return 2 * num_outputs**2 + sum(2 * num_outputs * width**2 for width in widths[1:])


def downstream_flops(widths: Sequence[int], num_outputs: int) -> int:
    """Return the FLOPs of Z, for the layers between the first and the last."""
    return sum(2 * num_outputs * below * above for below, above in pairwise(widths[1:]))


def curvature_flops(widths: Sequence[int], num_outputs: int) -> int:
    """Return the FLOPs that f'' adds to the Hessian: the gradient, and Grams of each layer in those 2 or more above."""
    gradient = 2 * num_outputs * widths[-1] + sum(2 * below * above for below, above in pairwise(widths[1:]))
    total = gradient if len(widths) > 1 else 0
    for layer, width in enumerate(widths):
        total += sum(2 * width * below * above + 2 * width**2 * above for below, above in pairwise(widths[layer + 1 :]))
    return total


def example_flops(
    num_inputs: int, widths: Sequence[int], num_outputs: int, measures: Sequence[str], activation: str = "relu"
) -> int:
    """Return the FLOPs of some measures for one example of one network, all layers and the forward pass included.

    Example:
        >>> from modjax.names import MEASURES
        >>> example_flops(784, (64, 64), 10, MEASURES)
        1273288
    """
    total = forward_flops(num_inputs, widths)
    if "covariance" in measures:
        total += covariance_flops(widths)
    if "input_jacobian" in measures:
        total += input_jacobian_flops(num_inputs, widths)
    if "output_jacobian" in measures:
        total += output_jacobian_flops(widths, num_outputs)
    if "loss_hessian" in measures:
        total += 2 * widths[-1] * num_outputs + loss_hessian_flops(widths, num_outputs)
        total += 0 if activation in PIECEWISE_LINEAR else curvature_flops(widths, num_outputs)
    if "output_jacobian" in measures or "loss_hessian" in measures:
        total += downstream_flops(widths, num_outputs)
    return total
