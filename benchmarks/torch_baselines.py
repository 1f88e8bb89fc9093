"""PyTorch trainers of the paper's recipe, to compare with: a tensor loop, a stacked ensemble, a data loader loop.

All three train the same network (784-64-64-10 unless told otherwise, ReLU, dropout after each hidden activation) on the
same objective, mean CE + l2 sum W^2 over weights and not biases, with Adam, in float32 on the CPU. They differ in how
many networks one step trains and in where a batch comes from:

    tensor_loop        one network    rows of a tensor in memory, scaled beforehand
    stacked_ensemble   all networks   the same, each network with its own shuffle (torch.func)
    data_loader_loop   one network    single images, transformed and collated by a DataLoader

Each returns seconds per trial-epoch: shuffle, batches, forward, backward, Adam. Validation is never part of it, nor are
initialization and the warm-up steps. Measure on an otherwise idle machine: PyTorch's threads wait for each other at the
end of every operation, so that one other busy process can make a step ten times slower.

    python benchmarks/torch_baselines.py
"""

import copy
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice, pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset


class Recipe(NamedTuple):
    """What is trained: the paper's recipe, at one L2 penalty and one dropout rate."""

    widths: tuple[int, ...] = (64, 64)
    num_classes: int = 10
    l2: float = 1e-5
    dropout: float = 0.2
    learning_rate: float = 1e-3
    batch_size: int = 200


class Timing(NamedTuple):
    """What is timed: `steps` of an epoch (None: all of them) after `warmup` steps that are not, on `num_threads`.

    With None for `num_threads`, as many threads as this process has cores.
    """

    steps: int | None = None
    warmup: int = 5
    num_threads: int | None = None
    seed: int = 0


PAPER = Recipe()
FULL_EPOCH = Timing()


class Trainer(NamedTuple):
    """The batches of one freshly shuffled epoch, and the update made with one of them."""

    epoch: Callable[[], Iterable[Sequence[Tensor]]]
    step: Callable[[Tensor, Tensor], None]


class MLP(nn.Module):
    """Dense ReLU layers; PyTorch's own initialization is the recipe's, U(-1/sqrt(fan_in), 1/sqrt(fan_in))."""

    def __init__(self, in_features: int, widths: Sequence[int], num_classes: int):
        super().__init__()
        self.hidden = nn.ModuleList(nn.Linear(*sizes) for sizes in pairwise((in_features, *widths)))
        self.readout = nn.Linear(widths[-1], num_classes)

    def forward(self, x: Tensor, rate: Tensor | float) -> Tensor:
        """Logits [batch num_classes] of inputs [batch in_features]."""
        for layer in self.hidden:
            x = dropout(torch.relu(layer(x)), rate)
        return self.readout(x)


class ImageDataset(Dataset):
    """Single examples, as torchvision's MNIST hands them out: a transformed image and its label."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Callable[[np.ndarray], Tensor]):
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), int(self.labels[index])


def tensor_loop(x: np.ndarray, y: np.ndarray, recipe: Recipe = PAPER, timing: Timing = FULL_EPOCH) -> float:
    """Seconds per trial-epoch of one network at a time, its data held as tensors.

    Timed: the epoch's shuffle, `index_select` of each batch, forward, backward, and Adam in its fused form.

    Args:
        x: inputs in [0, 1], float32 [examples inputs].
        y: labels [examples].
        recipe: what is trained.
        timing: how much of the epoch is timed; the rest is extrapolated.

    Returns:
        Seconds for a full epoch of one network.
    """
    inputs, labels = as_tensors(x, y)
    with session(timing):
        trainer = Trainer(
            lambda: shuffled_batches(inputs, labels, recipe.batch_size),
            single_step(MLP(inputs.shape[1], recipe.widths, recipe.num_classes), recipe),
        )
        return seconds_per_epoch(trainer, len(inputs) // recipe.batch_size, timing)


def stacked_ensemble(
    x: np.ndarray,
    y: np.ndarray,
    num_models: int,
    recipe: Recipe = PAPER,
    timing: Timing = FULL_EPOCH,
    *,
    dropout_rates: Sequence[float] | None = None,
    l2: Sequence[float] | None = None,
) -> float:
    """Seconds per trial-epoch of `num_models` networks trained at once, their parameters stacked.

    Timed: a shuffle for each network, the gather of their batches, forward, backward and Adam of all of them; then
    divided by `num_models`.

    Args:
        x: inputs in [0, 1], float32 [examples inputs].
        y: labels [examples].
        num_models: networks, each with its own initialization, batches and dropout masks.
        recipe: what is trained.
        timing: how much of the epoch is timed; the rest is extrapolated.
        dropout_rates: one rate a network [num_models]; without it the recipe's rate for each.
        l2: one penalty a network [num_models]; without it the recipe's penalty for each.

    Returns:
        Seconds for a full epoch of one of the networks.
    """
    inputs, labels = as_tensors(x, y)
    with session(timing):
        models = [MLP(inputs.shape[1], recipe.widths, recipe.num_classes) for _ in range(num_models)]
        rates = per_model(dropout_rates, recipe.dropout, num_models)
        penalties = per_model(l2, recipe.l2, num_models)
        trainer = Trainer(
            lambda: stacked_batches(inputs, labels, recipe.batch_size, num_models),
            stacked_step(models, rates, penalties, recipe.learning_rate),
        )
        return seconds_per_epoch(trainer, len(inputs) // recipe.batch_size, timing) / num_models


def data_loader_loop(x: np.ndarray, y: np.ndarray, recipe: Recipe = PAPER, timing: Timing = FULL_EPOCH) -> float:
    """Seconds per trial-epoch of one network at a time, its data read by a `DataLoader` as in the paper's code.

    Timed: the loader's shuffle, one transform an image, collation, then the same step as in `tensor_loop`. No worker
    processes; images are arrays, so that torchvision's detour by PIL is not paid.

    Args:
        x: images, uint8 [examples rows columns].
        y: labels [examples].
        recipe: what is trained.
        timing: how much of the epoch is timed; the rest is extrapolated.

    Returns:
        Seconds for a full epoch of one network.
    """
    with session(timing):
        dataset = ImageDataset(x, y, lambda image: to_tensor(image).flatten())
        loader = DataLoader(dataset, batch_size=recipe.batch_size, shuffle=True, num_workers=0, drop_last=True)
        network = MLP(x[0].size, recipe.widths, recipe.num_classes)
        return seconds_per_epoch(Trainer(lambda: loader, single_step(network, recipe)), len(loader), timing)


def seconds_per_epoch(trainer: Trainer, steps_per_epoch: int, timing: Timing) -> float:
    """Time the first steps of an epoch and extrapolate to all of them.

    The first step pays for the epoch's shuffle, so it counts once: t_1 + (t_2 + ... + t_n) (N - 1) / (n - 1) for n
    timed steps of N. With n = N this is the measured time of the epoch.

    Args:
        trainer: what is timed.
        steps_per_epoch: N.
        timing: n and the number of steps before, which come from an epoch of their own and are not timed.

    Returns:
        Seconds for a full epoch.

    Raises:
        ValueError: if an epoch has not that many steps, or fewer than two are asked for.
    """
    steps = steps_per_epoch if timing.steps is None else timing.steps
    if not 2 <= steps <= steps_per_epoch:
        raise ValueError(f"An epoch here has {steps_per_epoch} steps; steps must be from 2 to that, got {steps}.")
    for batch in islice(trainer.epoch(), timing.warmup):
        trainer.step(*batch)
    start = time.perf_counter()
    batches = iter(trainer.epoch())
    trainer.step(*next(batches))
    first = time.perf_counter()
    for batch in islice(batches, steps - 1):
        trainer.step(*batch)
    rest = time.perf_counter() - first
    return (first - start) + rest * (steps_per_epoch - 1) / (steps - 1)


def single_step(network: MLP, recipe: Recipe) -> Callable[[Tensor, Tensor], None]:
    """One Adam update of one network."""
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate, fused=True)
    weights = [parameter for name, parameter in network.named_parameters() if is_weight(name)]

    def step(x: Tensor, y: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss = cross_entropy(network(x, recipe.dropout), y) + recipe.l2 * sum_of_squares(weights)
        loss.backward()
        optimizer.step()

    return step


def stacked_step(
    models: Sequence[MLP], rates: Tensor, penalties: Tensor, learning_rate: float
) -> Callable[[Tensor, Tensor], None]:
    """One Adam update of all networks, on batches [models batch inputs].

    The networks share no parameter, so the gradient of their summed losses is each one's own: one backward of the sum,
    a little faster than `vmap(grad(...))`. Adam acts on each entry alone, stacked or not.
    """
    parameters, _ = stack_module_state(list(models))
    optimizer = torch.optim.Adam(list(parameters.values()), lr=learning_rate, fused=True)
    skeleton = copy.deepcopy(models[0]).to("meta")

    def loss_of_one(parameters: dict[str, Tensor], rate: Tensor, l2: Tensor, x: Tensor, y: Tensor) -> Tensor:
        logits = functional_call(skeleton, parameters, (x, rate))
        weights = [parameter for name, parameter in parameters.items() if is_weight(name)]
        return cross_entropy(logits, y) + l2 * sum_of_squares(weights)

    losses = vmap(loss_of_one, randomness="different")

    def step(x: Tensor, y: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        losses(parameters, rates, penalties, x, y).sum().backward()
        optimizer.step()

    return step


def shuffled_batches(x: Tensor, y: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches [batch inputs] of a shuffled epoch, the incomplete last one left out."""
    order = torch.randperm(len(x))
    for index in order[: len(x) // batch_size * batch_size].split(batch_size):
        yield x.index_select(0, index), y.index_select(0, index)


def stacked_batches(x: Tensor, y: Tensor, batch_size: int, num_models: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches [models batch inputs] of an epoch that each model shuffles for itself."""
    orders = torch.stack([torch.randperm(len(x)) for _ in range(num_models)])
    for index in orders[:, : len(x) // batch_size * batch_size].split(batch_size, dim=1):
        rows = index.flatten()
        yield x.index_select(0, rows).unflatten(0, index.shape), y.index_select(0, rows).unflatten(0, index.shape)


def dropout(x: Tensor, rate: Tensor | float) -> Tensor:
    """Inverted dropout at a rate that may be traced; on the CPU `rand` is also faster than what `nn.Dropout` draws."""
    return x * ((torch.rand_like(x) >= rate) / (1 - rate))


def sum_of_squares(weights: Iterable[Tensor]) -> Tensor:
    """The L2 penalty, sum W^2 over all weights."""
    return torch.stack([weight.square().sum() for weight in weights]).sum()


def is_weight(name: str) -> bool:
    """Whether a parameter is penalized: weights are, biases are not."""
    return name.endswith("weight")


def to_tensor(image: np.ndarray) -> Tensor:
    """What torchvision's `ToTensor` does to a grey image: uint8 [rows columns] to float32 [1 rows columns] / 255."""
    return torch.tensor(image[:, :, None].transpose(2, 0, 1)).contiguous().to(torch.float32).div(255)


def as_tensors(x: np.ndarray, y: np.ndarray) -> tuple[Tensor, Tensor]:
    """Inputs as float32, labels as int64, which cross-entropy wants."""
    return torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(y, dtype=torch.int64)


def per_model(values: Sequence[float] | None, default: float, num_models: int) -> Tensor:
    """One value a model [models]."""
    chosen = [default] * num_models if values is None else list(values)
    if len(chosen) != num_models:
        raise ValueError(f"Expected one value for each of {num_models} models, got {len(chosen)}.")
    return torch.tensor(chosen, dtype=torch.float32)


@contextmanager
def session(timing: Timing) -> Iterator[None]:
    """Seed PyTorch and set its threads, and put both back afterwards."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(timing.seed)
        torch.set_num_threads(timing.num_threads or num_cores())
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def num_cores() -> int:
    """The cores this process may use, fewer than the machine's if it is pinned."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main(num_examples: int = 54_000, num_models: int = 64) -> None:
    """Print seconds per trial-epoch of each trainer, on random data of MNIST's shape."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (num_examples, 28, 28), dtype=np.uint8)
    labels = rng.integers(0, 10, num_examples)
    inputs = images.reshape(num_examples, -1).astype(np.float32) / 255
    rates = np.linspace(0.05, 0.7, num_models).tolist()
    stacked = stacked_ensemble(inputs, labels, num_models, timing=Timing(steps=20, warmup=2), dropout_rates=rates)
    print(f"tensor_loop                  {tensor_loop(inputs, labels):.3f} s")
    print(f"stacked_ensemble, {num_models:4} models {stacked:.3f} s")
    print(f"data_loader_loop             {data_loader_loop(images, labels, timing=Timing(steps=100)):.3f} s")


if __name__ == "__main__":
    main()
