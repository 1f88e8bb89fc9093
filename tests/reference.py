"""The slow, literal float64 version of every formula, in NumPy: loops over examples, units and pairs."""

import math
from typing import NamedTuple

import numpy as np


def _normal_cdf(x):
    return np.vectorize(lambda value: (1 + math.erf(value / math.sqrt(2))) / 2)(x)


def _normal_density(x):
    return np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)


# f, f' and f'' of each activation.
ACTIVATIONS = {
    "relu": (lambda x: np.maximum(x, 0), lambda x: (x > 0).astype(np.float64), np.zeros_like),
    "leaky_relu": (
        lambda x: np.where(x > 0, x, 0.01 * x),
        lambda x: np.where(x > 0, 1.0, 0.01),
        np.zeros_like,
    ),
    "linear": (lambda x: x, np.ones_like, np.zeros_like),
    "tanh": (np.tanh, lambda x: 1 - np.tanh(x) ** 2, lambda x: -2 * np.tanh(x) * (1 - np.tanh(x) ** 2)),
    "gelu": (
        lambda x: x * _normal_cdf(x),
        lambda x: _normal_cdf(x) + x * _normal_density(x),
        lambda x: (2 - x**2) * _normal_density(x),
    ),
}


def forward(layers, x, perturb=None, activation="relu"):
    """Hidden activations and logits of one example through dense layers ``[(W, b), ...]``, W (in, out)."""
    hidden = []
    for index, (kernel, bias) in enumerate(layers[:-1]):
        x = ACTIVATIONS[activation][0](x @ kernel + bias)
        if perturb is not None:
            x = x + perturb[index]
        hidden.append(x)
    return hidden, x @ layers[-1][0] + layers[-1][1]


def forward_cnn(params, x, kernel_size, strides, activation="relu", perturb=None):
    """Hidden activations ``[height width channels]`` and logits of one image, a location and a kernel row at a time."""
    hidden = []
    for layer in range(len(params) - 1):
        kernel, bias = (np.asarray(params[f"conv_{layer}"][name]) for name in ("kernel", "bias"))
        height, width, _ = x.shape
        rows, columns = -(-height // strides), -(-width // strides)
        top = max((rows - 1) * strides + kernel_size - height, 0) // 2
        left = max((columns - 1) * strides + kernel_size - width, 0) // 2
        out = np.zeros((rows, columns, len(bias))) + bias
        for row in range(rows):
            for column in range(columns):
                for i in range(kernel_size):
                    for j in range(kernel_size):
                        r, c = row * strides + i - top, column * strides + j - left
                        if 0 <= r < height and 0 <= c < width:
                            out[row, column] += x[r, c] @ kernel[i, j]
        x = ACTIVATIONS[activation][0](out)
        if perturb is not None:
            x = x + perturb[layer]
        hidden.append(x)
    dense = {name: np.asarray(value) for name, value in params["dense"].items()}
    return hidden, x.ravel() @ dense["kernel"] + dense["bias"]


def cross_entropy(logits, label):
    shifted = logits - logits.max()
    return np.log(np.exp(shifted).sum()) - shifted[label]


def numeric_jacobian(function, x, step=1e-6):
    """Central differences: ``[outputs inputs]``."""
    columns = []
    for index in range(len(x)):
        offset = np.zeros_like(x)
        offset[index] = step
        columns.append((function(x + offset) - function(x - offset)) / (2 * step))
    return np.stack(columns, -1)


def example_jacobians(layers, x, activation="relu"):
    """dh/dx and dy/dh for the units of all hidden layers of one example, by the chain rule: ``[units inputs]``,
    ``[outputs units]``."""
    function, slope, _ = ACTIVATIONS[activation]
    inputs, total = [], np.eye(len(x))
    slopes = []
    for kernel, bias in layers[:-1]:
        x = x @ kernel + bias
        slopes.append(slope(x))
        x = function(x)
        total = (total @ kernel) * slopes[-1]
        inputs.append(total.T)
    outputs, back = [], layers[-1][0].T
    for index in reversed(range(len(layers) - 1)):
        outputs.insert(0, back)
        back = (back * slopes[index]) @ layers[index][0].T
    return np.concatenate(inputs), np.concatenate(outputs, 1)


def example_hessian(layers, x, label, activation="relu"):
    """d2 CE / dh dh over the units of all hidden layers of one example: ``[units units]``.

    With J = dy/dh, p the class probabilities, a_k the values before layer k's activation and A_k = da_k/dh:
    H = J^T (diag p - p p^T) J + sum_k A_k^T diag(dCE/dh_k f''(a_k)) A_k.
    """
    function, slope, curvature = ACTIVATIONS[activation]
    logits = forward(layers, x, activation=activation)[1]
    _, J = example_jacobians(layers, x, activation)
    p = np.exp(logits - logits.max())
    p /= p.sum()
    hessian = J.T @ (np.diag(p) - np.outer(p, p)) @ J
    gradient = (p - np.eye(len(p))[label]) @ J
    widths = [len(bias) for _, bias in layers[:-1]]
    start = 0
    to_here = np.zeros((len(x), sum(widths)))  # dh/dh' of the layer below: nothing, for the inputs
    for (kernel, bias), width in zip(layers[:-1], widths, strict=True):
        before = x @ kernel + bias
        from_below = kernel.T @ to_here
        own = slice(start, start + width)
        hessian = hessian + from_below.T @ np.diag(gradient[own] * curvature(before)) @ from_below
        to_here = np.diag(slope(before)) @ from_below
        to_here[:, own] += np.eye(width)
        x, start = function(before), start + width
    return hessian


def similarity(layers, x, y, activation="relu"):
    """All four measures over the units of all hidden layers at once: ``{measure: [units units]}``."""
    num = len(x)
    activations, inputs, outputs, hessians = [], 0, 0, 0
    for example, label in zip(x, y, strict=True):
        activations.append(np.concatenate(forward(layers, example, activation=activation)[0]))
        to_inputs, to_outputs = example_jacobians(layers, example, activation)
        inputs = inputs + to_inputs @ to_inputs.T
        outputs = outputs + to_outputs.T @ to_outputs
        hessians = hessians + example_hessian(layers, example, label, activation)
    h = np.stack(activations)
    means = h.mean(0)
    covariance = sum(np.outer(row - means, row - means) for row in h) / num
    return {
        "covariance": covariance,
        "input_jacobian": inputs / num,
        "output_jacobian": outputs / num,
        "loss_hessian": hessians / num,
    }


class Layer(NamedTuple):
    """One layer of any network here: ``h = f(x W + b)``, plus the values of an earlier place if there is a ``skip``.

    Places are counted from the inputs, 0; W is ``[values_below values]``. The values are ``num_units`` units at each
    location, in the order locations, units.
    """

    kernel: np.ndarray
    bias: np.ndarray
    num_units: int
    activation: str = "linear"
    skip: int | None = None


def conv_layer(kernel, bias, shape, strides, activation):
    """A convolution of an image of ``shape`` as a matrix, zeros around the image, and the shape of what it makes."""
    size, channels = len(kernel), kernel.shape[-1]
    rows, columns = -(-shape[0] // strides), -(-shape[1] // strides)
    top, left = (
        max((num - 1) * strides + size - full, 0) // 2 for num, full in zip((rows, columns), shape, strict=False)
    )
    matrix = np.zeros((*shape, rows, columns, channels))
    for row, column, i, j in np.ndindex(rows, columns, size, size):
        r, c = row * strides + i - top, column * strides + j - left
        if 0 <= r < shape[0] and 0 <= c < shape[1]:
            matrix[r, c, :, row, column] = kernel[i, j]
    matrix = matrix.reshape(math.prod(shape), -1)
    return Layer(matrix, np.tile(bias, rows * columns), channels, activation), (rows, columns, channels)


def run_layers(layers, x, perturb=None):
    """All hidden values of one example side by side, and its logits; ``perturb`` is added to the hidden values."""
    places, start = [x], 0
    for layer in layers:
        values = ACTIVATIONS[layer.activation][0](places[-1] @ layer.kernel + layer.bias)
        if layer.skip is not None:
            values = values + places[layer.skip]
        if perturb is not None and layer is not layers[-1]:
            values = values + perturb[start : start + len(values)]
            start += len(values)
        places.append(values)
    return np.concatenate(places[1:-1]), places[-1]


def layer_derivatives(layers, x, label):
    """Hidden values ``[values]``, dh/dx, dy/dh and d2 CE / dh dh of one example, by the chain rule.

    Every value is followed forward with its first and second derivatives in s, the inputs and what is added to each
    hidden value: (x W)'' = sum_j W_j x_j'', f(a)' = f'(a) a', f(a)'' = f''(a) a' a'^T + f'(a) a''.
    """
    num_inputs = len(x)
    num_seeds = num_inputs + sum(len(layer.bias) for layer in layers[:-1])
    places = [(x, np.eye(num_inputs, num_seeds), np.zeros((num_inputs, num_seeds, num_seeds)))]
    start = num_inputs
    for layer in layers:
        function, slope, curvature = ACTIVATIONS[layer.activation]
        value, first, second = (np.tensordot(layer.kernel, part, (0, 0)) for part in places[-1])
        value = value + layer.bias
        bend = curvature(value)[:, None, None] * first[:, :, None] * first[:, None, :]
        found = (
            function(value),
            slope(value)[:, None] * first,
            bend + slope(value)[:, None, None] * second,
        )
        if layer.skip is not None:
            found = tuple(own + other for own, other in zip(found, places[layer.skip], strict=True))
        if layer is not layers[-1]:
            found = (found[0], found[1] + np.eye(len(value), num_seeds, start), found[2])
            start += len(value)
        places.append(found)
    hidden = np.concatenate([value for value, _, _ in places[1:-1]])
    to_inputs = np.concatenate([first[:, :num_inputs] for _, first, _ in places[1:-1]])
    logits, first, second = places[-1]
    J, bend = first[:, num_inputs:], second[:, num_inputs:, num_inputs:]
    p = np.exp(logits - logits.max())
    p /= p.sum()
    hessian = J.T @ (np.diag(p) - np.outer(p, p)) @ J + np.tensordot(p - np.eye(len(p))[label], bend, 1)
    return hidden, to_inputs, J, hessian


def numeric_derivatives(layers, x, label):
    """What :func:`layer_derivatives` returns, by finite differences of :func:`run_layers`."""
    hidden, _ = run_layers(layers, x)
    zero = np.zeros(len(hidden))

    def gradient(perturb):
        return numeric_jacobian(
            lambda other: np.array([cross_entropy(run_layers(layers, x, other)[1], label)]), perturb, 1e-4
        )[0]

    return (
        hidden,
        numeric_jacobian(lambda other: run_layers(layers, other)[0], x),
        numeric_jacobian(lambda perturb: run_layers(layers, x, perturb)[1], zero),
        numeric_jacobian(gradient, zero, 1e-4),
    )


def similarity_of_layers(layers, x, y, combined=False, derivatives=layer_derivatives):
    """All four measures of any network here: ``{measure: [S of each layer]}``, or one over all layers."""
    found = [derivatives(layers, example, label) for example, label in zip(x, y, strict=True)]
    deviations = [hidden - np.mean([other for other, _, _, _ in found], 0) for hidden, _, _, _ in found]
    whole = {
        "covariance": np.mean([np.outer(row, row) for row in deviations], 0),
        "input_jacobian": np.mean([J @ J.T for _, J, _, _ in found], 0),
        "output_jacobian": np.mean([J.T @ J for _, _, J, _ in found], 0),
        "loss_hessian": np.mean([hessian for _, _, _, hessian in found], 0),
    }
    places, start = [], 0
    for layer in layers[:-1]:
        places.append(np.arange(start, start + len(layer.bias)).reshape(-1, layer.num_units))
        start += len(layer.bias)
    groups = [np.concatenate(places, 1)] if combined else places
    return {
        measure: [np.mean([matrix[np.ix_(here, here)] for here in group], 0) for group in groups]
        for measure, matrix in whole.items()
    }


def modularity(adjacency, labels, resolution=1.0):
    total, strengths = adjacency.sum(), adjacency.sum(1)
    q = 0.0
    for i in range(len(labels)):
        for j in range(len(labels)):
            if labels[i] == labels[j] >= 0:
                q += adjacency[i, j] / total - resolution * strengths[i] * strengths[j] / total**2
    return q


def element_centric(a, b, alpha=0.9):
    """From personalized PageRank vectors: p_ij = alpha/|C_i| [j in C_i] + (1 - alpha) [i = j]."""
    num = len(a)
    rank_a = alpha * (a[:, None] == a) / np.sum(a[:, None] == a, 1)[:, None] + (1 - alpha) * np.eye(num)
    rank_b = alpha * (b[:, None] == b) / np.sum(b[:, None] == b, 1)[:, None] + (1 - alpha) * np.eye(num)
    return np.mean(1 - np.abs(rank_a - rank_b).sum(1) / (2 * alpha))


def variation_of_information(a, b):
    bits = 0.0
    for r in set(a.tolist()):
        for s in set(b.tolist()):
            p_rs = np.mean((a == r) & (b == s))
            if p_rs:
                bits -= p_rs * (np.log2(p_rs / np.mean(a == r)) + np.log2(p_rs / np.mean(b == s)))
    return bits


class Plateau:
    """torch.optim.lr_scheduler.ReduceLROnPlateau (mode min, relative threshold, no cooldown), line by line."""

    def __init__(self, rate, factor, patience, threshold=1e-4, eps=1e-8, dtype=np.float32):
        self.rate, self.factor, self.patience = dtype(rate), dtype(factor), patience
        self.threshold, self.eps, self.dtype = dtype(threshold), dtype(eps), dtype
        self.best, self.num_bad_epochs = dtype(np.inf), 0

    def step(self, loss):
        loss = self.dtype(loss)
        if loss < self.best * (self.dtype(1) - self.threshold):
            self.best, self.num_bad_epochs = loss, 0
        else:
            self.num_bad_epochs += 1
        if self.num_bad_epochs > self.patience:
            new = self.rate * self.factor
            if self.rate - new > self.eps:
                self.rate = new
            self.num_bad_epochs = 0


class EarlyStopping:
    """Strictly better or one more bad epoch; ``patience`` bad ones in a row, or a loss that is not finite, stop."""

    def __init__(self, patience, dtype=np.float32):
        self.patience, self.dtype = patience, dtype
        self.best, self.best_epoch, self.num_bad_epochs, self.status = dtype(np.inf), -1, 0, "running"

    def step(self, loss, epoch):
        loss = self.dtype(loss)
        if not np.isfinite(loss):
            self.status = "diverged"
        elif loss < self.best:
            self.best, self.best_epoch, self.num_bad_epochs = loss, epoch, 0
        else:
            self.num_bad_epochs += 1
            if self.num_bad_epochs >= self.patience:
                self.status = "done"


def entropy_of(weights):
    shares = weights / weights.sum()
    return -sum(share * np.log(share) for share in shares if share > 0)


def temperature_for(scores, entropy):
    """The temperature at which exp(score / T) has an entropy, between 1e-6 and 1e6, by halving its logarithm."""

    def entropy_at(temperature):
        return entropy_of(np.exp((scores - scores.max()) / temperature))

    low, high = 1e-6, 1e6
    if entropy_at(low) > entropy:
        return low
    for _ in range(100):
        middle = np.sqrt(low * high)
        low, high = (middle, high) if entropy_at(middle) < entropy else (low, middle)
    return low


def monte_carlo(adjacency, labels, num_moves, entropy, rng):
    """The paper's Monte Carlo search, each option's Q computed anew; returns the best labels and Q, and a trace of
    (temperature, entropy, Q of the chosen state)."""
    shares = adjacency / adjacency.sum()
    strengths = shares.sum(1)

    def quality(labels):
        members = (labels[:, None] == np.unique(labels)).astype(float)
        return np.trace(members.T @ shares @ members) - np.sum((members.T @ strengths) ** 2)

    labels = labels.copy()
    best, best_labels, trace = quality(labels), labels.copy(), []
    for _ in range(num_moves):
        unit = rng.integers(len(labels))
        others = set(np.delete(labels, unit).tolist())
        options = [*sorted(others), min(set(range(len(labels) + 1)) - others)]
        scores = []
        for option in options:
            labels[unit] = option
            scores.append(quality(labels))
            if scores[-1] > best:
                best, best_labels = scores[-1], labels.copy()
        scores = np.array(scores)
        temperature = temperature_for(scores, entropy)
        weights = np.exp((scores - scores.max()) / temperature)
        chosen = rng.choice(len(options), p=weights / weights.sum())
        labels[unit] = options[chosen]
        trace.append((temperature, entropy_of(weights), scores[chosen]))
    return best_labels, best, np.array(trace)


def set_partitions(num):
    """Labels of every partition of so many units."""
    rows = [[0]]
    for _ in range(num - 1):
        rows = [[*row, label] for row in rows for label in range(max(row) + 2)]
    return [np.array(row) for row in rows]
