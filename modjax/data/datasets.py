"""Datasets as arrays on the host, with a fixed train/test split.

Images stay ``uint8`` until they are on the device, where ``uint8`` always means pixels, which are divided by 255.
"""

import hashlib
import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from modjax.builtins import DATASETS
from modjax.checks import check_finite, check_labels
from modjax.data.sources import SOURCES, find_or_fetch
from modjax.io.untrusted import check_bytes
from modjax.records import DatasetInfo, resolve


class Dataset(NamedTuple):
    """Examples on the host, with a fixed split.

    Attributes:
        name: ``digits``, ``mnist``, ``fashion_mnist``, or the path of an ``.npz`` file.
        x_train: ``[examples ...]``, uint8 pixels or floats.
        y_train: ``[examples]``, int32 class labels from 0; or for regression floats ``[examples outputs]``.
        x_test: As ``x_train``.
        y_test: As ``y_train``.
        num_classes: Largest label plus one; None where targets are no class labels.
        more_train: Further arrays of the training examples by name, each with one entry per example; the functions of
            a task get them as ``batch.more[name]``.
        more_test: The same of the test examples.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    num_classes: int | None = None
    more_train: Mapping[str, np.ndarray] = {}
    more_test: Mapping[str, np.ndarray] = {}

    @property
    def num_outputs(self) -> int:
        """Number of outputs of a network: the classes, or the values of a target."""
        return self.num_classes or (self.y_train.shape[1] if self.y_train.ndim > 1 else 1)

    @property
    def in_features(self) -> int:
        """Number of values per example."""
        return int(np.prod(self.x_train.shape[1:]))

    def checksum(self) -> str:
        """Return the SHA-256 of the four arrays, and of the further ones by name, with their shapes and types."""
        digest = hashlib.sha256()
        more = [(name, split[name]) for split in (self.more_train, self.more_test) for name in sorted(split)]
        base = [("", array) for array in (self.x_train, self.y_train, self.x_test, self.y_test)]
        for name, array in (*base, *more):
            digest.update(f"{name}{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def load_dataset(
    name: str, data_dir: str | os.PathLike | None = None, datasets: Mapping[str, DatasetInfo] = DATASETS
) -> Dataset:
    """Load a dataset by name, or a user's own ``.npz`` file by path.

    ``digits`` comes with scikit-learn. ``mnist`` and ``fashion_mnist`` are searched for in ``data_dir``, then in the
    folder named by the environment variable ``MODJAX_DATA_DIR``, then in the user's cache, and downloaded to the cache
    if they are in none of them.

    Args:
        name: ``digits``, ``mnist``, ``fashion_mnist``, or a path that ends in ``.npz`` with ``x_train, y_train,
            x_test, y_test`` (``x`` float or uint8 pixels, ``y`` integers from 0).
        data_dir: Folder that holds ``<name>/train-images-idx3-ubyte[.gz]`` and so on.
        datasets: Datasets by name; modjax's own by default.

    Raises:
        ValueError: Unknown name, or a file that is missing, truncated, altered or of the wrong shape.

    Example:
        >>> digits = load_dataset("digits")
        >>> digits.x_train.shape, digits.x_test.shape, digits.num_classes
        ((1442, 8, 8), (355, 8, 8), 10)
    """
    if name in datasets:
        return _checked(name, resolve(datasets[name].load)(data_dir))
    if str(name).endswith(".npz"):
        return _npz(Path(name))
    raise ValueError(f"Unknown dataset {str(name)!r}. Available: {', '.join(datasets)}, or a path to an .npz file.")


def _checked(name: str, data: Any) -> Dataset:
    """Return a loaded dataset; raise unless it is one, of examples and targets in equal numbers."""
    if not isinstance(data, Dataset):
        raise ValueError(f"dataset {name!r}: load must return a modjax.Dataset; got {type(data).__name__}.")
    splits = (
        ("train", data.x_train, data.y_train, data.more_train),
        ("test", data.x_test, data.y_test, data.more_test),
    )
    if {*data.more_train} != {*data.more_test}:
        raise ValueError(
            f"dataset {name!r}: more_train and more_test must hold the same arrays; got "
            f"{', '.join(data.more_train) or 'none'} and {', '.join(data.more_test) or 'none'}."
        )
    for split, x, y, more in splits:
        for key, array in more.items():
            if np.ndim(array) == 0 or len(array) != len(x):
                raise ValueError(
                    f"dataset {name!r}: more_{split}[{key!r}] must have one entry for each of {len(x)} examples; got "
                    f"shape {np.shape(array)}."
                )
        if len(x) != len(y) or not len(x):
            raise ValueError(
                f"dataset {name!r}: x_{split} and y_{split} must be of one length; got {len(x)}, {len(y)}."
            )
        check_finite(f"x_{split} of dataset {name!r}", x)
        check_finite(f"y_{split} of dataset {name!r}", y)
    return data


def load_digits_dataset(data_dir: str | os.PathLike | None = None) -> Dataset:
    """Load scikit-learn's 1,797 handwritten digits; in each class, every fifth image is a test image."""
    del data_dir  # they come with the package
    from sklearn.datasets import load_digits

    bunch = load_digits()
    # Sixteen grey levels become pixels; 255/16 keeps them distinct and the largest at exactly 1 on the device.
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)  # pyright: ignore[reportAttributeAccessIssue]
    labels = bunch.target.astype(np.int32)  # pyright: ignore[reportAttributeAccessIssue]
    # In the file the classes come in rounds, so taking every fifth image of all would favour some classes.
    index_in_class = np.empty(len(labels), np.int64)
    for label in range(10):
        index_in_class[labels == label] = np.arange(np.sum(labels == label))
    is_test = index_in_class % 5 == 4
    return Dataset("digits", images[~is_test], labels[~is_test], images[is_test], labels[is_test], 10)


def load_mnist(data_dir: str | os.PathLike | None = None) -> Dataset:
    """Load MNIST: 60,000 training and 10,000 test images of handwritten digits."""
    return _idx_dataset("mnist", data_dir)


def load_fashion_mnist(data_dir: str | os.PathLike | None = None) -> Dataset:
    """Load Fashion-MNIST: as many images of clothes."""
    return _idx_dataset("fashion_mnist", data_dir)


def _idx_dataset(name: str, data_dir: str | os.PathLike | None) -> Dataset:
    """Load four IDX files; the number of classes is that of the dataset's record, else the largest label plus one."""
    arrays = {part: find_or_fetch(name, part, data_dir) for part in SOURCES[name].files}
    info = DATASETS.get(name)
    num_classes = info.num_classes if info is not None else None
    if num_classes is None:
        num_classes = int(arrays["train_labels"].max()) + 1
    for part in ("train_labels", "test_labels"):
        check_labels(f"{part} of {name}", arrays[part], len(arrays[part]), num_classes)
    return Dataset(
        name,
        arrays["train_images"],
        arrays["train_labels"].astype(np.int32),
        arrays["test_images"],
        arrays["test_labels"].astype(np.int32),
        num_classes,
    )


def _npz(path: Path) -> Dataset:
    arrays = _read_npz(path)
    for split in ("train", "test"):
        x, y = arrays[f"x_{split}"], arrays[f"y_{split}"]
        if x.ndim < 2 or not x.size or not (np.issubdtype(x.dtype, np.floating) or x.dtype == np.uint8):
            raise ValueError(
                f"{path}: x_{split} must be floats or uint8 of shape [examples features...], none of them 0; "
                f"got {x.dtype} of shape {x.shape}."
            )
        check_finite(f"{path}: x_{split}", x)
        if np.issubdtype(x.dtype, np.floating) and np.abs(x).max() > np.finfo(np.float32).max:
            raise ValueError(f"{path}: x_{split} has values beyond the range of float32; scale them down.")
        check_labels(f"{path}: y_{split}", y, len(x))
    x_train, x_test = arrays["x_train"], arrays["x_test"]
    if x_train.shape[1:] != x_test.shape[1:] or x_train.dtype != x_test.dtype:
        raise ValueError(
            f"{path}: x_train and x_test must have features of one shape and type; "
            f"got {x_train.dtype}{list(x_train.shape[1:])} and {x_test.dtype}{list(x_test.shape[1:])}."
        )
    num_classes = int(max(arrays["y_train"].max(), arrays["y_test"].max())) + 1
    y_train, y_test = arrays["y_train"].astype(np.int32), arrays["y_test"].astype(np.int32)
    if num_classes < 2:
        raise ValueError(f"{path}: y_train and y_test must hold at least two classes; got label 0 alone.")
    if num_classes > len(y_train) + len(y_test):
        raise ValueError(
            f"{path}: labels must be integers from 0 without large gaps; got {num_classes - 1} as the largest."
        )
    return Dataset(str(path), x_train, y_train, x_test, y_test, num_classes)


def _check_archive(path: Path, wanted: tuple[str, ...]) -> None:
    """Raise if the arrays that an archive's headers promise are not in it, or do not fit in this machine's memory."""
    # Before anything is unpacked: a small file may claim arrays that fill the memory.
    total = 0
    with zipfile.ZipFile(path) as archive:
        inside = [entry for entry in archive.infolist() if entry.filename.removesuffix(".npy") in wanted]
        if len({entry.filename for entry in inside}) < len(inside):
            raise ValueError("it holds an array twice")
        for entry in inside:
            with archive.open(entry) as file:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(file)
            promised = math.prod(shape) * dtype.itemsize
            if dtype.hasobject or not 0 <= promised <= entry.file_size:
                raise ValueError(f"{entry.filename} promises {dtype} of shape {shape}, and does not hold it")
            total += promised
    check_bytes(path, total)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    wanted = ("x_train", "y_train", "x_test", "y_test")
    expected = f"expected an .npz file with {', '.join(wanted)}"
    try:
        if not path.is_file():
            raise ValueError("there is no such file")
        if not zipfile.is_zipfile(path):
            raise ValueError("it is not an .npz file")
        _check_archive(path, wanted)
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in wanted if name in archive.files}
    except Exception as error:  # a file from anywhere can fail to be read in any way; each ends in one line
        raise ValueError(f"{path}: not readable ({' '.join(str(error).split())[:200]}); {expected}.") from error
    missing = [name for name in wanted if not isinstance(arrays.get(name), np.ndarray)]
    if missing:
        raise ValueError(f"{path}: {', '.join(missing)} missing; {expected}.")
    return arrays
