"""Bad files by name: each maker spoils what it is given."""

import io
import json
import os
import pickle
import stat
import struct
import zipfile

import numpy as np
import polars as pl
import tomli_w

SPEC = """
name = "x"
dataset = "digits"
seeds = [0]
[[arms]]
name = "a"
dropout = [0.0]
"""


class Payload:
    """Unpickled, it makes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def put(old, new):
    assert old in SPEC
    return SPEC.replace(old, new)


def seeds(text):
    return put("seeds = [0]", f"seeds = {text}")


def dropout(text):
    return put("dropout = [0.0]", text)


def dataset(text):
    return put('"digits"', text)


SPECS = {
    "empty": "",
    "binary": bytes(range(256)) * 10,
    "not UTF-8": SPEC.replace("x", "\xff").encode("latin-1"),
    "two megabytes": SPEC + "#" * 2**21,
    "100,000 brackets": "a = " + "[" * 100_000,
    "nested tables": "a" + ".a" * 5000 + " = 1",
    "5,000 digits": seeds("[" + "9" * 5000 + "]"),
    "a NUL in the name": put('"x"', r'"a\u0000b"'),
    "name leads out": put('"x"', '"../../x"'),
    "name with a slash": put('"x"', '"a/b"'),
    "name of 1,000 letters": put('"x"', '"' + "x" * 1000 + '"'),
    "name is a number": put('"x"', "1"),
    "dataset is a device": dataset('"/dev/zero"'),
    "dataset is a device by npz name": dataset('"/dev/zero/x.npz"'),
    "dataset is a password file": dataset('"../../../../../../etc/passwd"'),
    "dataset with a NUL": dataset(r'"a\u0000.npz"'),
    "dataset of 10,000 letters": dataset('"' + "x" * 10_000 + '.npz"'),
    "dataset is a list": dataset('["digits"]'),
    "dataset is a URL": dataset('"http://localhost/x"'),
    "negative seed": seeds("[-1]"),
    "seed beyond 32 bits": seeds("[4294967296]"),
    "seed is true": seeds("[true]"),
    "seed is a fraction": seeds("[0.5]"),
    "seeds nested": seeds("[[0]]"),
    "no seeds": seeds("[]"),
    "a billion points": dropout("l2 = { linspace = [0, 1, 1000000000] }"),
    "no points": dropout("l2 = { linspace = [0, 1, 0] }"),
    "powers that overflow": dropout("l2 = { logspace = [0, 1000, 3] }"),
    "NaN penalty": dropout("l2 = [nan]"),
    "infinite rate": dropout("learning_rate = [inf]"),
    "rate of 0": dropout("learning_rate = [0.0]"),
    "a trillion trials": dropout(
        "l1 = { linspace = [0, 1, 10000] }\nl2 = { linspace = [0, 1, 10000] }\ndropout = { linspace = [0, 0.9, 10000] }"
    ),
    "width of 0": SPEC + "[network]\nwidths = [0]\n",
    "1,000 layers": SPEC + f"[network]\nwidths = {[2] * 1000}\n",
    "units that fill the memory": SPEC + f"[network]\nwidths = {[10**6] * 10}\n",
    "batch of 0": SPEC + "[training]\nbatch_size = 0\n",
    "epochs beyond 32 bits": SPEC + "[training]\nmax_epochs = 4294967296\n",
    "negative resolution": SPEC + "[modules]\nresolution = -1.0\n",
    "a measure twice": SPEC + '[similarity]\nmeasures = ["covariance", "covariance"]\n',
    "an arm twice": SPEC + '[[arms]]\nname = "a"\nl2 = [0.1]\n',
    "a date": dropout("l2 = [2026-01-01]"),
    "a tag of YAML": "!!python/object/apply:os.system ['touch pwned']",
    "code in a name": put('"x"', "\"__import__('os').system('touch pwned')\""),
    "a pickle": pickle.dumps({"name": "x"}),
}


def arrays(**changes):
    good = {
        "x_train": np.ones((30, 5), np.float32),
        "y_train": np.arange(30) % 3,
        "x_test": np.ones((9, 5), np.float32),
        "y_test": np.arange(9) % 3,
    }
    return {**good, **changes}


def npz(path, **changes):
    np.savez(path, **arrays(**changes))


def raw_npz(path, header, name="x_train.npy", content=b"\0" * 600, version=b"\x01\x00"):
    """An archive whose first array has a header written by hand."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        length = struct.pack("<H" if version == b"\x01\x00" else "<I", len(header))
        archive.writestr(name, b"\x93NUMPY" + version + length + header + content)
        for other, array in arrays().items():
            if f"{other}.npy" != name.removeprefix("../"):  # that array is there under the given name alone
                buffer = io.BytesIO()
                np.save(buffer, array)
                archive.writestr(f"{other}.npy", buffer.getvalue())


def header(shape="(30, 5)", descr="'<f4'", order="False"):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".ljust(117).encode() + b"\n"


def cut(path):
    npz(path)
    path.write_bytes(path.read_bytes()[:-300])


def wrong_sum(path):
    npz(path)
    content = bytearray(path.read_bytes())
    content[200] ^= 255
    path.write_bytes(bytes(content))


def twice(path):
    npz(path)
    with zipfile.ZipFile(path) as archive:
        content = archive.read("x_train.npy")
    import warnings

    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("x_train.npy", content)


def encrypted(path):
    npz(path)
    content = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = content.find(magic)
        content[place + offset] |= 1
    path.write_bytes(bytes(content))


NPZS = {
    "no such file": lambda path: None,
    "empty file": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("x_train"),
    "a folder": lambda path: path.mkdir(),
    "a pipe": lambda path: os.mkfifo(path),
    "a pickle": lambda path: path.write_bytes(pickle.dumps(Payload(path.parent / "pwned"))),
    "cut short": cut,
    "a wrong checksum": wrong_sum,
    "an encrypted member": encrypted,
    "an array twice": twice,
    "no arrays": lambda path: np.savez(path),
    "an object array": lambda path: npz(path, x_train=np.array([Payload(path.parent / "pwned")] * 30, object)),
    "a terabyte promised": lambda path: raw_npz(path, header("(1000000, 1000000)")),
    "a shape that overflows": lambda path: raw_npz(path, header("(4611686018427387904, 4)")),
    "a negative shape": lambda path: raw_npz(path, header("(-1, 5)")),
    "a shape of text": lambda path: raw_npz(path, header("('a', 5)")),
    "1,000 axes": lambda path: raw_npz(path, header(str((1,) * 1000)), version=b"\x02\x00"),
    "code in a header": lambda path: raw_npz(path, b"__import__('os').system('touch pwned')".ljust(117) + b"\n"),
    "objects in a header": lambda path: raw_npz(path, header(descr="'|O'")),
    "a header that is nested": lambda path: raw_npz(path, b"(" * 60_000),
    "a header of a megabyte": lambda path: raw_npz(path, b"{" + b" " * 10**6, version=b"\x02\x00"),
    "an unknown version": lambda path: raw_npz(path, header(), version=b"\x09\x00"),
    "a member that leads out": lambda path: raw_npz(path, header(), name="../x_train.npy"),
    "NaN": lambda path: npz(path, x_test=np.full((9, 5), np.nan, np.float32)),
    "infinity": lambda path: npz(path, x_train=np.full((30, 5), np.inf, np.float32)),
    "complex numbers": lambda path: npz(path, x_train=np.ones((30, 5), complex)),
    "strings": lambda path: npz(path, x_train=np.full((30, 5), "x")),
    "records": lambda path: npz(path, x_train=np.zeros((30, 5), [("a", "f4"), ("b", "i4")])),
    "labels with fractions": lambda path: npz(path, y_train=np.arange(30) / 2),
    "negative labels": lambda path: npz(path, y_test=np.arange(9) - 3),
    "a label of 10^15": lambda path: npz(path, y_test=np.arange(9) + 10**15),
    "one class": lambda path: npz(path, y_train=np.zeros(30, int), y_test=np.zeros(9, int)),
    "too few labels": lambda path: npz(path, y_train=np.arange(7) % 3),
    "no examples": lambda path: npz(path, x_train=np.ones((0, 5), np.float32), y_train=np.arange(0)),
    "no features": lambda path: npz(path, x_train=np.ones((30, 0), np.float32), x_test=np.ones((9, 0), np.float32)),
    "a single number": lambda path: npz(path, x_train=np.float32(1)),
    "features that differ": lambda path: npz(path, x_test=np.ones((9, 6), np.float32)),
    "values beyond float32": lambda path: npz(path, x_train=np.full((30, 5), 1e300)),
}


def manifest(change):
    def spoil(paths):
        content = json.loads(paths.manifest.read_text())
        del content["sha256"]  # who writes a file by hand need not write its sum
        change(content)
        for path in (paths.manifest, paths.manifest_copy):
            path.write_text(json.dumps(content))

    return spoil


def population(**changes):
    return manifest(lambda content: content["layout"]["population"].update(changes))


def text(content):
    def spoil(paths):
        for path in (paths.manifest, paths.manifest_copy):
            path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return spoil


def manifest_is(make):
    def spoil(paths):
        for path in (paths.manifest, paths.manifest_copy):
            path.unlink()
            make(path)

    return spoil


MANIFESTS = {
    "not JSON": text("{"),
    "empty": text(""),
    "not UTF-8": text(b"\xff\xfe{}"),
    "a list": text("[]"),
    "100,000 brackets": text("[" * 100_000),
    "a number of 5,000 digits": text('{"schema_version": ' + "9" * 5000 + "}"),
    "no version": manifest(lambda content: content.pop("schema_version")),
    "a version that is a table": manifest(lambda content: content.update(schema_version={"a": 1})),
    "a folder": manifest_is(lambda path: path.mkdir()),
    "a pipe": manifest_is(os.mkfifo),
    "no layout": manifest(lambda content: content.pop("layout")),
    "a billion lanes": population(lanes=10**9, slots=10**9),
    "lanes of -1": population(lanes=-1),
    "lanes with a fraction": population(lanes=1.5),
    "lanes of text": population(lanes="4"),
    "unknown seat": population(first_class=True),
    "a million threads": population(num_threads=10**6),
    "slots of 0": manifest(lambda content: content.update(slots=0)),
    "a checksum of a file outside": manifest(
        lambda content: content["checksums"].update({"../../outside/precious": ""})
    ),
    "a checksum of a device": manifest(lambda content: content["checksums"].update({"/dev/zero": ""})),
    "checksums that are a list": manifest(lambda content: content.update(checksums=["spec.toml"])),
    "failures that are a list": manifest(lambda content: content.update(failed=["x"])),
    "seconds of text": manifest(lambda content: content.update(seconds="long")),
    "stages of text": manifest(lambda content: content.update(seconds_by_stage={"training": None})),
    "complete of text": manifest(lambda content: content.update(complete="yes")),
    "data of text": manifest(lambda content: content.update(data="digits")),
}


def table(name, change):
    def spoil(paths):
        frame = pl.read_parquet(paths.table(name))
        change(frame).write_parquet(paths.table(name))

    return spoil


def content_of(name, content):
    def spoil(paths):
        path = paths.table(name)
        path.write_bytes(content(path.read_bytes()) if callable(content) else content)

    return spoil


def matrices(paths):
    path = paths.similarity_file(0)
    pl.read_parquet(path).with_columns(num_units=pl.lit(99, pl.Int32)).write_parquet(path)


def instead(name, make):
    def spoil(paths):
        paths.table(name).unlink()
        make(paths.table(name))

    return spoil


TABLES = {
    "modules empty": ("modules", content_of("modules", b"")),
    "modules of text": ("modules", content_of("modules", b"trial_id,layer\n")),
    "modules a pickle": ("modules", content_of("modules", pickle.dumps([1]))),
    "modules cut short": ("modules", content_of("modules", lambda whole: whole[: len(whole) // 2])),
    "modules without an end": ("modules", content_of("modules", lambda whole: whole[:-8])),
    "a footer of 4 GB": ("modules", content_of("modules", lambda whole: whole[:-8] + b"\xff\xff\xff\xffPAR1")),
    "a footer of zeros": ("modules", content_of("modules", lambda whole: whole[:-200] + b"\0" * 192 + whole[-8:])),
    "magic alone": ("modules", content_of("modules", b"PAR1PAR1")),
    "modules a folder": ("modules", instead("modules", lambda path: path.mkdir())),
    "modules a pipe": ("modules", instead("modules", os.mkfifo)),
    "another table": ("modules", lambda paths: paths.table("history").replace(paths.table("modules"))),
    "a column too many": ("history", table("history", lambda frame: frame.with_columns(x=1))),
    "a column of text": (
        "history",
        table("history", lambda frame: frame.with_columns(pl.col("epoch").cast(pl.String))),
    ),
    "a row twice": ("history", table("history", lambda frame: pl.concat([frame, frame]))),
    "rows without keys": (
        "history",
        table("history", lambda frame: frame.with_columns(trial_id=pl.lit(None, pl.String))),
    ),
    "an unknown status": ("trials", table("trials", lambda frame: frame.with_columns(status=pl.lit("paid")))),
    "negative epochs": ("trials", table("trials", lambda frame: frame.with_columns(epochs=pl.lit(-1, pl.Int32)))),
    "matrices that are not square": ("similarity", matrices),
}


NO_KEY = pl.lit(None, pl.String)
TABLES |= {
    "a column of text": ("history", table("history", lambda frame: frame.with_columns(epoch=pl.lit("1")))),
    "rows without keys": ("history", table("history", lambda frame: frame.with_columns(trial_id=NO_KEY))),
}


def ids(content):
    def spoil(paths):
        for path in paths.checkpoints.glob("stack_*.json"):
            path.write_text(content)

    return spoil


def checkpoint_files(change, pattern="*"):
    def spoil(paths):
        for path in paths.checkpoints.rglob(pattern):
            if path.is_file() and path.suffix != ".json":
                path.write_bytes(change(path.read_bytes()))

    return spoil


def more_trials(paths):
    for path in paths.checkpoints.glob("stack_*.json"):
        names = json.loads(path.read_text())["trial_ids"]
        path.write_text(json.dumps({"trial_ids": [*(["nobody"] * 100), *names]}))


CHECKPOINTS = {
    "ids not JSON": ids("["),
    "ids a list": ids("[]"),
    "ids of numbers": ids('{"trial_ids": [1, 2]}'),
    "ids nested": ids("[" * 100_000),
    "ids of nobody": ids('{"trial_ids": ["nobody"]}'),
    "more ids than weights": more_trials,
    "empty files": checkpoint_files(lambda content: b""),
    "files cut short": checkpoint_files(lambda content: content[: len(content) // 2]),
    "files of zeros": checkpoint_files(lambda content: b"\0" * len(content)),
    "pickles": checkpoint_files(lambda content: pickle.dumps({"a": 1})),
    "no metadata": checkpoint_files(lambda content: b"{}", "_METADATA"),
    "metadata not JSON": checkpoint_files(lambda content: b"{", "_METADATA"),
}


def link(name, to="outside"):
    """A link in the sweep's directory to something beside it."""

    def spoil(paths):
        path = paths.root / name
        target = paths.root.parent.parent / to
        if path.is_dir():
            path.rename(paths.root.parent / "moved")
        path.unlink(missing_ok=True)
        path.symlink_to(target)

    return spoil


LINKS = {
    "figures": link("figures"),
    "parts": link("parts"),
    "checkpoints": link("checkpoints"),
    "similarity": link("similarity"),
    "damaged": link("damaged"),
    "the lock": link(".lock", "outside/precious"),
    "a table": link("trials.parquet", "outside/precious"),
    "the manifest's temporary file": link(".manifest.json.tmp", "outside/new"),
    "progress": link("progress.json", "outside/precious"),
    "a lock that is not there": link(".lock", "outside/new"),
    "the report": link("report.html", "outside/new"),
}


def no_file(name, kind=stat.S_IFIFO):
    """A pipe or socket where a file is expected."""

    def spoil(paths):
        path = paths.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        os.mknod(path, kind | 0o600)

    return spoil


NO_FILES = {
    "a lock that is a pipe": no_file(".lock"),
    "a lock that is a socket": no_file(".lock", stat.S_IFSOCK),
    "failures that are a pipe": no_file("parts/trained_00000/failed.json"),
    "a spec that is a pipe": no_file("spec.toml"),
    "progress that is a pipe": no_file("progress.json"),
    "a page that is a pipe": no_file("report.html"),
    "sums that are a pipe": no_file(".sums.json"),
    "matrices that are a pipe": no_file("similarity/layer_9.parquet"),
    "weights that are a pipe": no_file("checkpoints/stack_00000/_METADATA"),
}


def toml(content):
    return tomli_w.dumps(content)
