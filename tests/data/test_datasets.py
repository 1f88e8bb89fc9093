import gzip
import hashlib

import numpy as np
import pytest

from modjax import load_dataset
from modjax.data import datasets, sources
from modjax.data.idx import parse_idx
from modjax.records import DatasetInfo


def idx_bytes(array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    return header + array.tobytes()


@pytest.fixture
def tiny_source(monkeypatch):
    """A dataset 'tiny_idx' of four small IDX files, with checksums in MNIST's manner."""
    rng = np.random.default_rng(0)
    arrays = {
        "train_images": rng.integers(0, 256, (20, 4, 4), dtype=np.uint8),
        "train_labels": rng.integers(0, 10, 20, dtype=np.uint8),
        "test_images": rng.integers(0, 256, (10, 4, 4), dtype=np.uint8),
        "test_labels": rng.integers(0, 10, 10, dtype=np.uint8),
    }
    files = {
        part: sources.SourceFile(part.replace("_", "-"), array.shape, hashlib.sha256(idx_bytes(array)).hexdigest())
        for part, array in arrays.items()
    }
    monkeypatch.setitem(
        sources.SOURCES, "tiny_idx", sources.DatasetSource(("http://127.0.0.1:9/a/", "http://127.0.0.1:9/b/"), files)
    )
    record = DatasetInfo("tiny_idx", lambda data_dir: datasets._idx_dataset("tiny_idx", data_dir), num_classes=10)
    monkeypatch.setitem(datasets.DATASETS, "tiny_idx", record)
    return arrays


def write_source(folder, arrays, is_gzipped):
    target = folder / "tiny_idx"
    target.mkdir(parents=True)
    for part, array in arrays.items():
        name = part.replace("_", "-")
        content = idx_bytes(array)
        if is_gzipped:
            (target / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (target / name).write_bytes(content)
    return target


def test_digits_is_split_once_and_for_all():
    digits = load_dataset("digits")
    assert digits.x_train.dtype == np.uint8
    assert digits.x_train.max() == 255
    assert len(np.unique(digits.x_train)) == 17
    assert np.bincount(digits.y_test, minlength=10).min() >= 34
    assert digits.checksum() == load_dataset("digits").checksum()


@pytest.mark.parametrize("is_gzipped", [True, False], ids=["gzipped", "plain"])
def test_idx_files_are_read_from_the_data_dir(tmp_path, tiny_source, is_gzipped):
    write_source(tmp_path, tiny_source, is_gzipped)
    dataset = load_dataset("tiny_idx", tmp_path)
    np.testing.assert_array_equal(dataset.x_train, tiny_source["train_images"])
    np.testing.assert_array_equal(dataset.y_test, tiny_source["test_labels"])


def test_environment_variable_names_a_data_dir(tmp_path, tiny_source, monkeypatch):
    write_source(tmp_path, tiny_source, True)
    monkeypatch.setenv("MODJAX_DATA_DIR", str(tmp_path))
    assert load_dataset("tiny_idx").num_classes == 10


def truncate(path):
    path.write_bytes(path.read_bytes()[:-20])


def alter(path):
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[-1] ^= 1
    path.write_bytes(gzip.compress(bytes(content)))


def lengthen(path):
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + b"more"))


@pytest.mark.parametrize("damage", [truncate, alter, lengthen], ids=lambda f: f.__name__)
def test_damaged_file_is_one_line_that_says_what_to_do(tmp_path, tiny_source, damage):
    folder = write_source(tmp_path, tiny_source, True)
    damage(folder / "train-images.gz")
    with pytest.raises(ValueError, match=r"train-images\.gz is no good: .*modjax data fetch") as error:
        load_dataset("tiny_idx", tmp_path)
    assert "\n" not in str(error.value)


def test_missing_file_and_no_network_is_one_line(tmp_path, tiny_source):
    with pytest.raises(ValueError, match=r"no mirror served it.*modjax data fetch tiny_idx") as error:
        load_dataset("tiny_idx", tmp_path)
    assert "\n" not in str(error.value)


def test_second_mirror_is_tried_and_the_cache_is_checked(tmp_path, tiny_source, monkeypatch):
    served = write_source(tmp_path / "mirror", tiny_source, True)
    asked = []

    def retrieve(url, known_hash, fname, path):
        asked.append(url)
        path.mkdir(parents=True, exist_ok=True)
        content = (served / url.rsplit("/", 1)[1]).read_bytes()
        # The first mirror serves half a file.
        (path / fname).write_bytes(content[: len(content) // 2] if "/a/" in url else content)

    monkeypatch.setattr("pooch.retrieve", retrieve)
    monkeypatch.setattr(sources, "cache_dir", lambda: tmp_path / "cache")
    assert load_dataset("tiny_idx").num_classes == 10
    assert len(asked) == 8
    assert not list((tmp_path / "cache").rglob("*.part"))
    assert load_dataset("tiny_idx").num_classes == 10
    assert len(asked) == 8


@pytest.mark.parametrize("gzipped", [False, True])
def test_fashion_is_checked_however_it_is_packed(tmp_path, gzipped):
    path = tmp_path / "t10k-labels-idx1-ubyte"
    content = idx_bytes(np.zeros(10000, np.uint8))
    path.write_bytes(gzip.compress(content) if gzipped else content)
    with pytest.raises(ValueError, match=r"SHA-256 \(unpacked\)"):
        sources.read_checked(path, sources.SOURCES["fashion_mnist"].files["test_labels"])


def test_every_image_source_has_more_than_one_mirror_and_a_checksum():
    for source in sources.SOURCES.values():
        assert len(source.mirrors) >= 2
        assert all(len(file.sha256_unpacked) == 64 for file in source.files.values())


def test_fashion_mnist_is_the_real_one(fashion_dir):
    fashion = load_dataset("fashion_mnist", fashion_dir)
    assert fashion.x_train.shape == (60000, 28, 28)
    assert fashion.y_test[:5].tolist() == [9, 2, 1, 1, 6]


def test_mnist_is_the_real_one(mnist_dir):
    mnist = load_dataset("mnist", mnist_dir)
    assert mnist.x_train.shape == (60000, 28, 28)
    assert mnist.y_test[:5].tolist() == [7, 2, 1, 0, 4]


@pytest.mark.parametrize(
    ("content", "shape"),
    [
        (b"", (2,)),
        (b"\0\0\x08\x01\0\0\0\x02a", (2,)),
        (b"\0\0\x09\x01\0\0\0\x02ab", (2,)),
        (b"\0\0\x08\x01\0\0\0\x03ab", (2,)),
    ],
    ids=["empty", "short", "type", "shape"],
)
def test_idx_that_is_none_is_refused(content, shape):
    with pytest.raises(ValueError):
        parse_idx(content, shape)


def good_arrays():
    rng = np.random.default_rng(0)
    return {
        "x_train": rng.random((30, 5)).astype(np.float32),
        "y_train": np.arange(30) % 3,
        "x_test": rng.random((9, 5)).astype(np.float32),
        "y_test": np.arange(9) % 3,
    }


def test_npz_of_ones_own(tmp_path):
    np.savez(tmp_path / "own.npz", **good_arrays())
    dataset = load_dataset(str(tmp_path / "own.npz"))
    assert dataset.num_classes == 3
    assert dataset.in_features == 5


NPZ_FAULTS = {
    "missing array": ({"y_test": None}, "y_test missing"),
    "NaN": ({"x_train": np.full((30, 5), np.nan)}, "not finite"),
    "label floats": ({"y_train": np.zeros(30)}, "integer class labels"),
    "negative labels": ({"y_train": np.arange(30) - 1}, "from 0"),
    "too few labels": ({"y_train": np.arange(29) % 3}, "29 labels for 30"),
    "one axis": ({"x_train": np.zeros(30)}, "x_train must be"),
    "other width": ({"x_test": np.zeros((9, 4), np.float32)}, "one shape"),
    "other type": ({"x_test": np.zeros((9, 5), np.uint8)}, "one shape and type"),
    "strings": ({"x_train": np.full((30, 5), "a")}, "x_train must be"),
    "objects": ({"y_train": np.array([{}] * 30, dtype=object)}, "not readable .*object of shape"),
    "no features": ({"x_train": np.zeros((30, 0)), "x_test": np.zeros((9, 0))}, "none of them 0"),
    "beyond float32": ({"x_train": np.full((30, 5), 1e200)}, "float32"),
    "no examples": ({"x_test": np.zeros((0, 5), np.float32), "y_test": np.zeros(0, int)}, "none of them 0"),
    "one class": ({"y_train": np.zeros(30, int), "y_test": np.zeros(9, int)}, "two classes"),
    "huge label": ({"y_train": np.full(30, 10**9)}, "large gaps"),
}


@pytest.mark.parametrize("fault", NPZ_FAULTS)
def test_bad_npz_is_one_line(tmp_path, fault):
    changes, told = NPZ_FAULTS[fault]
    arrays = {name: value for name, value in {**good_arrays(), **changes}.items() if value is not None}
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ValueError, match=told) as error:
        load_dataset(str(tmp_path / "bad.npz"))
    assert "\n" not in str(error.value)


def test_npz_that_is_none(tmp_path):
    (tmp_path / "bad.npz").write_bytes(b"PK not a zip")
    with pytest.raises(ValueError, match=r"it is not an \.npz file"):
        load_dataset(str(tmp_path / "bad.npz"))
    with pytest.raises(ValueError, match="no such file"):
        load_dataset(str(tmp_path / "none.npz"))


def test_unknown_dataset_lists_the_known():
    with pytest.raises(ValueError, match="digits, mnist, fashion_mnist"):
        load_dataset("cifar")


def test_npz_with_damaged_members(tmp_path):
    import zipfile

    path = tmp_path / "bad.npz"
    np.savez_compressed(path, **good_arrays())
    content = bytearray(path.read_bytes())
    content[80:90] = bytes(10)
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="not readable"):
        load_dataset(str(path))
    with zipfile.ZipFile(path, "w") as archive:
        for name in good_arrays():
            archive.writestr(f"{name}.npy", "no array")
    with pytest.raises(ValueError, match=r"not readable .*magic string"):
        load_dataset(str(path))
    header = (
        b"\x93NUMPY\x01\x00\x76\x00"
        + str({"descr": "<f8", "fortran_order": False, "shape": (10**14, 5)}).encode().ljust(117)
        + b"\n"
    )
    with zipfile.ZipFile(path, "w") as archive:
        for name in good_arrays():
            archive.writestr(f"{name}.npy", header)
    with pytest.raises(ValueError, match="not readable"):
        load_dataset(str(path))
