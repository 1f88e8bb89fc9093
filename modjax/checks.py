"""Validation at the public edge, on the host, in NumPy: each check raises one clear ValueError.

Example:
    >>> check_finite("x", np.array([1.0, np.nan]))
    Traceback (most recent call last):
    ValueError: x has 1 value that is not finite (the first at index [1]): remove or replace it.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def check_finite(name: str, values: ArrayLike) -> None:
    """Raise unless every value of a numeric array is finite."""
    array = np.asarray(values)
    if not np.issubdtype(array.dtype, np.inexact):
        return
    bad = ~np.isfinite(array)
    num_bad = int(bad.sum())
    if num_bad:
        first = np.argwhere(bad)[0].tolist()
        plural = "values that are" if num_bad > 1 else "value that is"
        them = "them" if num_bad > 1 else "it"
        raise ValueError(
            f"{name} has {num_bad} {plural} not finite (the first at index {first}): remove or replace {them}."
        )


def check_labels(name: str, labels: ArrayLike, num_examples: int, num_classes: int | None = None) -> None:
    """Raise unless labels are integers from 0, one for each example."""
    array = np.asarray(labels)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"{name} must be a vector of integer class labels from 0; got {array.dtype} of shape {array.shape}."
        )
    if len(array) != num_examples:
        raise ValueError(
            f"{name} must have one label for each example; got {len(array)} labels for {num_examples} examples."
        )
    if len(array) and array.min() < 0:
        raise ValueError(f"{name} must be class labels from 0; got {array.min()}.")
    if num_classes is not None and len(array) and array.max() >= num_classes:
        raise ValueError(f"{name} must be class labels below {num_classes}; got {array.max()}.")


def check_similarity_like(name: str, matrix: ArrayLike) -> np.ndarray:
    """Return ``matrix`` as float64 if it is square, finite and symmetric up to rounding; else raise."""
    array = np.asarray(matrix, dtype=np.float64)
    if array.ndim != 2 or array.shape[0] != array.shape[1]:
        raise ValueError(f"{name} must be a square matrix [units units]; got shape {array.shape}.")
    check_finite(name, array)
    scale = np.abs(array).max(initial=0.0)
    gap = np.abs(array - array.T).max(initial=0.0)
    if gap > 1e-5 * scale:
        raise ValueError(f"{name} must be symmetric; its largest asymmetry is {gap:.3g}. Use modjax.adjacency first.")
    return array


def check_adjacency(matrix: ArrayLike) -> np.ndarray:
    """Return an adjacency as float64, exactly symmetric; raise unless square, finite, symmetric, not negative."""
    array = check_similarity_like("adjacency", matrix)
    if array.min(initial=0.0) < 0:
        raise ValueError(
            f"adjacency must not be negative; its least entry is {array.min():.3g}. Use modjax.adjacency first."
        )
    return (array + array.T) / 2


def check_weights(matrix: ArrayLike) -> np.ndarray:
    """Return signed weights as float64, exactly symmetric, their diagonal zero; raise unless square and finite."""
    array = check_similarity_like("weights", matrix)
    return (array + array.T) / 2 * (1 - np.eye(len(array)))


def check_validation(validation_fraction: float, schedule: Any, keep: str, early_stopping: bool) -> None:
    """Raise if settings of training need a validation loss and there is none."""
    wrong = {
        "schedule = 'plateau'": schedule == "plateau",
        "keep = 'best'": keep == "best",
        "early_stopping = true": early_stopping,
    }
    needs = [setting for setting, is_set in wrong.items() if is_set]
    if validation_fraction == 0 and needs:
        raise ValueError(
            f"validation_fraction = 0 leaves no validation loss, which {' and '.join(needs)} would need. Use "
            "schedule = 'constant' or a cosine one, keep = 'last' and early_stopping = false."
        )


def check_steps(steps_per_epoch: int, batch_size: int | str) -> None:
    """Raise if a number of steps is set where it follows from the size of the batches."""
    if steps_per_epoch != 1 and not isinstance(batch_size, str):
        raise ValueError(
            f"steps_per_epoch is for batch_size = 'all'; got {steps_per_epoch} with batches of {batch_size}, whose "
            "number follows from the number of examples. Leave it out."
        )


def num_validation(num_examples: int, fraction: float) -> int:
    """Examples held out for validation: the nearest integer to ``fraction * num_examples``."""
    return round(num_examples * fraction)


def examples_per_step(
    num_examples: int, batch_size: int | str, validation_fraction: float, num_train: int | None = None
) -> int:
    """Return the number of examples of a training step: the batch size, or all training examples for ``"all"``.

    Example:
        >>> examples_per_step(100, 20, 0.1), examples_per_step(100, "all", 0.1), examples_per_step(100, "all", 0.1, 50)
        (20, 90, 50)
    """
    if not isinstance(batch_size, str):
        return batch_size
    return num_train or num_examples - num_validation(num_examples, validation_fraction)


def check_batches(
    num_examples: int, batch_size: int | str, validation_fraction: float, num_train: int | None = None
) -> None:
    """Raise unless the examples fill a validation set and, without it, a batch (of ``num_train`` of them, if given)."""
    batch_size = 1 if isinstance(batch_size, str) else batch_size  # all of them, however many
    held_out = num_validation(num_examples, validation_fraction)
    if not (1 if validation_fraction else 0) <= held_out < num_examples:
        raise ValueError(
            f"validation_fraction {validation_fraction:g} holds out {held_out} of {num_examples} examples; "
            "it must leave at least one on each side."
        )
    if num_train is not None and num_examples - held_out < num_train:
        raise ValueError(
            f"num_train {num_train} is larger than the training set: {num_examples} examples less {held_out} for "
            "validation. Use fewer."
        )
    if num_train is not None and num_train < batch_size:
        raise ValueError(f"batch_size {batch_size} is larger than num_train {num_train}. Use a smaller batch_size.")
    if num_examples - held_out < batch_size:
        raise ValueError(
            f"batch_size {batch_size} is larger than the training set: {num_examples} examples less {held_out} for "
            "validation. Use a smaller batch_size or more data."
        )
