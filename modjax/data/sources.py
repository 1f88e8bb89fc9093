"""Where the downloaded datasets come from, how they are checked, and where they are looked for."""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from modjax.data.idx import GZIP_MAGIC, parse_idx, read_bytes

HEADER_BYTES = 16


class SourceFile(NamedTuple):
    """One IDX file: its name (without .gz), shape, and the published checksum."""

    name: str
    shape: tuple[int, ...]
    sha256_unpacked: str | None = None
    md5_gz: str | None = None


class Source(NamedTuple):
    """A dataset of four IDX files and the mirrors that serve them gzipped, tried in order."""

    mirrors: tuple[str, ...]
    files: dict[str, SourceFile]


SOURCES: dict[str, Source] = {
    "mnist": Source(
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
    "fashion_mnist": Source(
        mirrors=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        files={
            "train_images": SourceFile(
                "train-images-idx3-ubyte", (60000, 28, 28), md5_gz="8d4fb7e6c68d591d4c3dfef9ec88bf0d"
            ),
            "train_labels": SourceFile("train-labels-idx1-ubyte", (60000,), md5_gz="25c81989df183df01b3e8a0aad5dffbe"),
            "test_images": SourceFile(
                "t10k-images-idx3-ubyte", (10000, 28, 28), md5_gz="bef4ecab320f06d8554ea6380940ec79"
            ),
            "test_labels": SourceFile("t10k-labels-idx1-ubyte", (10000,), md5_gz="bb300cfdad3c16e7a12a480ee83cd310"),
        },
    ),
}


def cache_dir() -> Path:
    """The user's cache folder for datasets."""
    import pooch

    return Path(pooch.os_cache("modjax"))


def search_dirs(data_dir: str | os.PathLike | None) -> list[Path]:
    """The folders looked in, first to last."""
    named = [data_dir, os.environ.get("MODJAX_DATA_DIR")]
    return [*(Path(folder) for folder in named if folder), cache_dir()]


def locate(name: str, part: str, data_dir: str | os.PathLike | None = None) -> Path | None:
    """The path of one file of a dataset, plain or gzipped, or None where no folder has it."""
    file = SOURCES[name].files[part]
    for folder in search_dirs(data_dir):
        for candidate in (folder / name / file.name, folder / name / f"{file.name}.gz"):
            if candidate.is_file():
                return candidate
    return None


def find_or_fetch(name: str, part: str, data_dir: str | os.PathLike | None = None) -> np.ndarray:
    """Read and check one file of a dataset, downloading it to the cache if it is nowhere.

    Raises:
        ValueError: The file found is damaged (it is never replaced in silence), or no mirror served a whole one.
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
    if file.md5_gz is not None:
        raw = path.read_bytes() if path.stat().st_size < 2**28 else b""
        # The published sums are of the .gz files: an unpacked copy can only be checked for its shape.
        if raw[:2] == GZIP_MAGIC and (md5 := hashlib.md5(raw, usedforsecurity=False).hexdigest()) != file.md5_gz:
            raise ValueError(f"its MD5 is {md5}, the published one {file.md5_gz}")
    content = read_bytes(path, max_bytes=HEADER_BYTES + int(np.prod(file.shape)))
    array = parse_idx(content, file.shape)
    if file.sha256_unpacked is not None:
        sha256 = hashlib.sha256(content).hexdigest()
        if sha256 != file.sha256_unpacked:
            raise ValueError(
                f"its SHA-256 (unpacked) is {sha256[:16]}..., the published one {file.sha256_unpacked[:16]}..."
            )
    return array


def download(name: str, part: str) -> Path:
    """Download one file to the cache from the first mirror that serves a whole one.

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
        partial = folder / f".{file.name}.gz.{os.getpid()}.part"
        try:
            pooch.retrieve(f"{mirror}{file.name}.gz", known_hash=None, fname=partial.name, path=folder)
            read_checked(partial, file)
            partial.replace(target)
            return target
        except Exception as error:  # a mirror may fail in any way; the next one is tried and all failures are told
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
