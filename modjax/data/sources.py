"""Sources of the downloaded datasets, their checksums, and the folders that are searched for them."""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from modjax.data.idx import parse_idx, read_bytes

HEADER_BYTES = 16


class SourceFile(NamedTuple):
    """One IDX file: its name (without .gz), shape, and the SHA-256 of its unpacked bytes.

    The sum is of the unpacked bytes, so that a copy that was compressed again (as Debian's ``dataset-fashion-mnist``)
    is accepted too.
    """

    name: str
    shape: tuple[int, ...]
    sha256_unpacked: str


class DatasetSource(NamedTuple):
    """A dataset of four IDX files and the mirrors that serve them gzipped, tried in order."""

    mirrors: tuple[str, ...]
    files: dict[str, SourceFile]


SOURCES: dict[str, DatasetSource] = {
    "mnist": DatasetSource(
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        files={
            "train_images": SourceFile(
                "train-images-idx3-ubyte",
                (60000, 28, 28),
                sha256_unpacked="ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            ),
            "train_labels": SourceFile(
                "train-labels-idx1-ubyte",
                (60000,),
                sha256_unpacked="65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            ),
            "test_images": SourceFile(
                "t10k-images-idx3-ubyte",
                (10000, 28, 28),
                sha256_unpacked="0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            ),
            "test_labels": SourceFile(
                "t10k-labels-idx1-ubyte",
                (10000,),
                sha256_unpacked="ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            ),
        },
    ),
    "fashion_mnist": DatasetSource(
        mirrors=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        files={
            "train_images": SourceFile(
                "train-images-idx3-ubyte",
                (60000, 28, 28),
                sha256_unpacked="c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            ),
            "train_labels": SourceFile(
                "train-labels-idx1-ubyte",
                (60000,),
                sha256_unpacked="bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            ),
            "test_images": SourceFile(
                "t10k-images-idx3-ubyte",
                (10000, 28, 28),
                sha256_unpacked="5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            ),
            "test_labels": SourceFile(
                "t10k-labels-idx1-ubyte",
                (10000,),
                sha256_unpacked="0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            ),
        },
    ),
}


def cache_dir() -> Path:
    """Return the user's cache folder for datasets."""
    import pooch

    return Path(pooch.os_cache("modjax"))


def search_dirs(data_dir: str | os.PathLike | None) -> list[Path]:
    """Return the folders that are searched, first to last."""
    named = [data_dir, os.environ.get("MODJAX_DATA_DIR")]
    return [*(Path(folder) for folder in named if folder), cache_dir()]


def locate(name: str, part: str, data_dir: str | os.PathLike | None = None) -> Path | None:
    """Return the path of one file of a dataset, plain or gzipped; None if no folder has it."""
    file = SOURCES[name].files[part]
    for folder in search_dirs(data_dir):
        for candidate in (folder / name / file.name, folder / name / f"{file.name}.gz"):
            if candidate.is_file():
                return candidate
    return None


def find_or_fetch(name: str, part: str, data_dir: str | os.PathLike | None = None) -> np.ndarray:
    """Read and check one file of a dataset, after downloading it to the cache if no folder has it.

    Raises:
        ValueError: The local file is damaged (it is never replaced silently), or no mirror served an intact one.
    """
    path = locate(name, part, data_dir)
    if path is None:
        path = download(name, part)
    try:
        return read_checked(path, SOURCES[name].files[part])
    except (ValueError, OSError) as error:
        raise ValueError(
            f"{path} is no good: {error}. Delete it and run 'modjax data fetch {name}', "
            "or point --data-dir or MODJAX_DATA_DIR at a whole copy."
        ) from error


def read_checked(path: Path, file: SourceFile) -> np.ndarray:
    """Return the array of an IDX file after checking its published checksum and its shape."""
    # Bounded, so that a bad file cannot unpack to more than the dataset's size.
    content = read_bytes(path, max_bytes=HEADER_BYTES + int(np.prod(file.shape)))
    array = parse_idx(content, file.shape)
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != file.sha256_unpacked:
        raise ValueError(
            f"its SHA-256 (unpacked) is {sha256[:16]}..., the published one {file.sha256_unpacked[:16]}..."
        )
    return array


def download(name: str, part: str) -> Path:
    """Download one file to the cache from the first mirror that serves an intact one.

    Raises:
        ValueError: No mirror did.
    """
    import pooch

    source = SOURCES[name]
    file = source.files[part]
    folder = cache_dir() / name
    target = folder / f"{file.name}.gz"
    failures = []
    pooch.get_logger().setLevel("ERROR")
    for mirror in source.mirrors:
        # Downloaded under another name, so that an interrupted or bad download never looks like the dataset.
        partial = folder / f".{file.name}.gz.{os.getpid()}.part"
        try:
            pooch.retrieve(f"{mirror}{file.name}.gz", known_hash=None, fname=partial.name, path=folder)
            read_checked(partial, file)
            partial.replace(target)
            return target
        except Exception as error:  # a mirror may fail in any way; the next one is tried, all failures are reported
            failures.append(f"{mirror} ({_first_line(error)})")
        finally:
            partial.unlink(missing_ok=True)
    looked = ", ".join(str(folder / name) for folder in search_dirs(None))
    raise ValueError(
        f"{file.name} of {name} is not in {looked}, and no mirror served it: {'; '.join(failures)}. "
        f"Run 'modjax data fetch {name}' where there is a network, "
        f"or set MODJAX_DATA_DIR to a folder with {name}/{file.name}[.gz]."
    )


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:120]
