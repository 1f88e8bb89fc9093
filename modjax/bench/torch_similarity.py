"""The measures in PyTorch, with ``torch.func``: ``vmap`` of ``jacrev`` and ``hessian``, one matrix per layer.

PyTorch is imported inside functions, so that it need not be installed. It runs on a GPU where it sees one.
"""

# torch is an optional dependency.
# pyright: reportMissingImports=false

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np

from modjax._util.threads import available_cores
from modjax.bench.naive import examples_at_once
from modjax.names import MEASURES

Layers = Sequence[tuple[Any, Any]]


def has_torch() -> bool:
    """Whether PyTorch is installed."""
    return importlib.util.find_spec("torch") is not None


def torch_similarity(
    layers: Layers, activation: str, x: np.ndarray, y: np.ndarray, measures: Sequence[str] = MEASURES
) -> dict[str, tuple[np.ndarray, ...]]:
    """Compute ``modjax.similarity`` for one dense chain.

    Args:
        layers: ``[(W, b), ...]`` from the first layer to the logits, W ``[inputs outputs]``; they decide the dtype.
        activation: A name of ``modjax.names.ACTIVATIONS``.
        x: Examples ``[examples ...]``; uint8 pixels are divided by 255.
        y: Labels ``[examples]``.
        measures: Names of the measures.
    """
    import torch

    torch.set_num_threads(available_cores())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    weights = [
        (torch.tensor(np.asarray(W), device=device), torch.tensor(np.asarray(b), device=device)) for W, b in layers
    ]
    dtype = weights[0][0].dtype
    widths = [len(b) for _, b in weights[:-1]]
    x = x.reshape(len(x), -1)
    at_once = examples_at_once(widths, x.shape[1], dtype.itemsize)
    terms = _Terms(weights, activation)
    totals: dict[str, list[Any]] = {}
    hidden = []
    with torch.no_grad():
        for start in range(0, len(x), at_once):
            inputs = torch.tensor(x[start : start + at_once], device=device).to(dtype)
            inputs = inputs / 255 if x.dtype == np.uint8 else inputs
            labels = torch.tensor(y[start : start + at_once], device=device, dtype=torch.long)
            hidden.append(terms.run(inputs)[0])
            for name in (name for name in measures if name != "covariance"):
                sums = [matrices.sum(0) for matrices in getattr(terms, name)(inputs, labels)]
                totals[name] = [a + b for a, b in zip(totals[name], sums, strict=True)] if name in totals else sums
        results = {name: tuple((total / len(x)).cpu().numpy() for total in sums) for name, sums in totals.items()}
        if "covariance" in measures:
            whole = [torch.cat(parts).T for parts in zip(*hidden, strict=True)]
            results["covariance"] = tuple(torch.cov(layer, correction=0).cpu().numpy() for layer in whole)
    return {name: results[name] for name in measures}


def device_peak_bytes() -> int:
    """Return the peak GPU memory of the last call."""
    import torch

    return torch.cuda.max_memory_allocated()


def is_on_gpu() -> bool:
    """Whether PyTorch sees a GPU."""
    import torch

    return torch.cuda.is_available()


class _Terms:
    """Computes each measure's matrices of every example, ``[batch units units]`` per layer."""

    def __init__(self, weights: list[tuple[Any, Any]], activation: str) -> None:
        from torch.nn import functional

        functions = {"relu": functional.relu, "leaky_relu": functional.leaky_relu, "linear": lambda x: x}
        functions |= {"tanh": functional.tanh, "gelu": functional.gelu}
        self.weights = weights
        self.function = functions[activation]

    def run(self, x: Any, perturb: Sequence[Any] | None = None) -> tuple[tuple[Any, ...], Any]:
        """Return the hidden activations and the logits, of one example or of a batch."""
        hidden = []
        for layer, (kernel, bias) in enumerate(self.weights[:-1]):
            x = self.function(x @ kernel + bias)
            x = x if perturb is None else x + perturb[layer]  # zeros, to take derivatives by hidden activations
            hidden.append(x)
        kernel, bias = self.weights[-1]
        return tuple(hidden), x @ kernel + bias

    def zeros(self) -> tuple[Any, ...]:
        """Return a perturbation of one example that is zero."""
        return tuple(bias.new_zeros(bias.shape) for _, bias in self.weights[:-1])

    def input_jacobian(self, x: Any, y: Any) -> list[Any]:
        """Return ``J J^T`` of each layer."""
        from torch.func import jacrev, vmap

        jacobians = vmap(jacrev(lambda x: self.run(x)[0]))(x)
        return [J @ J.mT for J in jacobians]

    def output_jacobian(self, x: Any, y: Any) -> list[Any]:
        """Return ``J^T J`` of each layer."""
        from torch.func import jacrev, vmap

        jacobians = vmap(lambda x: jacrev(lambda perturb: self.run(x, perturb)[1])(self.zeros()))(x)
        return [J.mT @ J for J in jacobians]

    def loss_hessian(self, x: Any, y: Any) -> list[Any]:
        """Return the Hessian of the cross-entropy, one layer at a time."""
        from torch.func import hessian, vmap
        from torch.nn.functional import cross_entropy

        zeros = self.zeros()

        def of_layer(layer: int, x: Any, y: Any) -> Any:
            def loss(value: Any) -> Any:
                perturb = (*zeros[:layer], value, *zeros[layer + 1 :])
                return cross_entropy(self.run(x, perturb)[1], y)

            return hessian(loss)(zeros[layer])

        return [vmap(lambda x, y, layer=layer: of_layer(layer, x, y))(x, y) for layer in range(len(zeros))]
