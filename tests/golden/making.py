"""What the golden folder holds, and how it is made: by public names, the command line, and ``tests/seams.py``."""

import hashlib
import json
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

import modjax as mj

GOLDEN = Path(__file__).parent
ROOT = GOLDEN.parent.parent
MNIST_BASE = ROOT / "experiments" / "results" / "mnist_base"  # tables of version 0.2
SLOTS = 4
SPECS = ("features", "searches", "images", "spectral", "long")
REDRAWN = ("figures", "report.html", ".lock", "progress.json")  # drawn or made anew, never read
LIMIT_SECONDS = 300


def command(*arguments: object) -> list[str]:
    """``modjax`` of this Python."""
    return [sys.executable, "-m", "modjax.cli", *map(str, arguments)]


def specs_in(folder: Path) -> Path:
    """The golden specs and the data that they name, copied to a folder."""
    shutil.copytree(GOLDEN / "specs", folder, dirs_exist_ok=True)
    for spec in folder.glob("*.toml"):  # what version 0.2 did, which had no key for it or another default
        text = spec.read_text()
        null = "" if "null_kind" in text else 'null_kind = "weight_permutation"\n'
        text = text.replace("[modules]\n", f'[modules]\n{null}null_search = "method"\n')
        spec.write_text(f"{text}\n[analysis]\nmin_accuracy = 0.8\n")
    shutil.copy(GOLDEN / "examples.npz", folder)
    return folder


def run(spec: Path, out: Path) -> mj.Sweep:
    """One golden sweep, from the beginning or from where it was interrupted; with the slots that they all have."""
    return mj.run_sweep(spec, out, slots=SLOTS, is_quiet=True)


def run_all(names: list[str], folder: Path) -> None:
    """Each of these specs, and each interrupted sweep among the names to its end; as tests run sweeps."""
    import pytest

    from tests.seams import leave_reports_out, search_in_process

    with pytest.MonkeyPatch.context() as patch:
        leave_reports_out(patch)
        search_in_process(patch)
        for name in names:
            if name in INTERRUPTED:
                shutil.copytree(GOLDEN / "interrupted" / name, folder / name)
            run(folder / "specs" / f"{'long' if name in INTERRUPTED else name}.toml", folder / name)


def interrupt(spec: Path, out: Path, is_there: Callable[[Path], bool]) -> None:
    """Stop a sweep by SIGTERM as soon as something is there."""
    process = subprocess.Popen(command("sweep", spec, "--out", out, "--slots", SLOTS), stderr=subprocess.DEVNULL)
    started = time.perf_counter()
    while not is_there(out):
        assert process.poll() is None, "the sweep ended before it could be interrupted: train longer"
        assert time.perf_counter() - started < LIMIT_SECONDS
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 143


def is_in_training(out: Path) -> bool:
    """Whether epochs have ended."""
    beat = mj.watch_sweep(out).heartbeat if (out / "trials.parquet").exists() else None
    return beat is not None and beat.epochs > 0


def is_analysed(out: Path) -> bool:
    """Whether modules of some trials are found."""
    return bool(list(out.glob("parts/analysed_*")))


INTERRUPTED = {"in_training": is_in_training, "in_analysis": is_analysed}


def cpu_of_this_machine() -> str:
    """The model and a hash of the instructions that a CPU knows: what compiled code depends on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    about = dict(line.split(":", 1) for line in lines if ":" in line)
    about = {key.strip(): value.strip() for key, value in about.items()}
    flags = hashlib.sha256(" ".join(sorted(about.get("flags", "").split())).encode()).hexdigest()[:12]
    return f"{about.get('model name', platform.machine())} {flags}"


def hard_graphs() -> list[np.ndarray]:
    """Graphs with many partitions that are nearly as good as the best: where a search ends hangs on all its numbers."""
    graphs = []
    for seed in range(4):
        x = np.random.default_rng(seed).normal(size=(60, 9))
        graphs.append(mj.adjacency(x @ x.T, normalized=seed % 2 == 0))
    return graphs


def search_rows() -> pl.DataFrame:
    """What each method finds in each hard graph, and its null."""
    from modjax.clustering.adjacency import as_similarity
    from modjax.clustering.layer import SearchSettings, SignedGraph, cluster_layer

    rows = []
    for number, graph in enumerate(hard_graphs()):
        for method in ("leiden", "leidenalg", "spectral", "monte_carlo"):
            partition = mj.find_modules(graph, method=method, seed=number)
            rows.append(
                {"graph": number, "method": method, "q": partition.q, "labels": np.asarray(partition.labels).tolist()}
            )
        settings = SearchSettings(nulls=4, null_kind="weight_permutation", null_search="method")
        null = cluster_layer([SignedGraph(as_similarity(graph))], settings, number).graphs[0].null
        rows.append({"graph": number, "method": "null", "q": null.mean, "labels": []})
    return pl.DataFrame(
        rows, schema={"graph": pl.Int64, "method": pl.String, "q": pl.Float64, "labels": pl.List(pl.Int64)}
    )


def ids_of(spec: Path) -> dict:
    """The hash of a spec of a named dataset, and its trials."""
    from tests.seams import planned_trials

    trials = planned_trials(spec)
    return {"spec_hash": mj.load_spec(spec).spec_hash(), "trial_ids": trials["trial_id"].to_list()}


def named_specs() -> list[Path]:
    """The experiments that the project ships: all of named datasets."""
    return sorted((ROOT / "experiments").glob("*.toml"))


def main(out: Path) -> None:
    """Make everything anew in a folder that must not be there."""
    out.mkdir()
    work = specs_in(out / "work")
    for name in SPECS:
        run(work / f"{name}.toml", work / name)
        leave_out = shutil.ignore_patterns(*REDRAWN, *(() if name == "features" else ("checkpoints",)))
        shutil.copytree(work / name, out / "finished" / name, ignore=leave_out)
    shutil.copytree(work / "features" / "figures", out / "points", ignore=shutil.ignore_patterns("*.png", "*.svg"))
    for name, is_there in INTERRUPTED.items():
        interrupt(work / "long.toml", work / name, is_there)
        shutil.copytree(work / name, out / "interrupted" / name, ignore=shutil.ignore_patterns(*REDRAWN))
    ids = {spec.stem: ids_of(spec) for spec in named_specs()}
    (out / "trial_ids.json").write_text(json.dumps(ids, indent=0) + "\n")
    mj.claims(mj.open_sweep(MNIST_BASE)).table.write_parquet(out / "claims.parquet")
    search_rows().write_parquet(out / "searches.parquet")
    manifest = mj.open_sweep(work / "features").manifest
    made_on = {name: manifest[name] for name in ("python", "packages", "threads", "device")}
    (out / "made_on.json").write_text(json.dumps({**made_on, "cpu": cpu_of_this_machine()}, indent=1) + "\n")
    shutil.rmtree(work)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        main(Path(sys.argv[1]))
    else:
        run_all(sys.argv[2:], Path(sys.argv[1]))
