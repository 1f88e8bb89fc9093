"""Shared parts of all benchmarks: timing of cases in turn, description of the machine, rows of JSON, tables."""

import json
import platform
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from modjax._util.memory import release_free_memory
from modjax._util.threads import available_cores

MATMUL_SIZE = 2000
MEGABYTE = 2**20
POLL_SECONDS = 1e-3


class Case(NamedTuple):
    """One case to time.

    Attributes:
        name: Name of the case.
        prepare: Function that compiles or warms up and returns the timed call; its time is part of the first call's.
        amount: Number of items that one call processes, such as trial-epochs or networks.
        flops: FLOP that one call needs, by formula; 0 where that is not meaningful.
        is_timer: Whether the call returns its own seconds per item instead of being timed.
        notes: Further columns.
        peak_bytes: Function that returns the last call's peak memory, where the case knows it better than the harness.
    """

    name: str
    prepare: Callable[[], Callable[[], Any]]
    amount: float
    flops: float = 0.0
    is_timer: bool = False
    notes: Mapping[str, Any] = MappingProxyType({})
    peak_bytes: Callable[[], int] | None = None


def machine() -> dict[str, Any]:
    """Return the processor, the number of threads, the accelerator and the versions."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = lines[0] if lines else model
    device = jax.devices()[0]
    return {
        "cpu": model,
        "threads": available_cores(),
        "device": device.device_kind if device.platform != "cpu" else "cpu",
        "jax": jax.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def resident_bytes(field: str) -> int:
    """Return ``VmRSS`` or ``VmHWM`` of this process; 0 where the system does not report it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    lines = [line for line in status.read_text().splitlines() if line.startswith(field)]
    return int(lines[0].split()[1]) * 1024 if lines else 0


def reset_peak() -> None:
    """Reset the high-water mark of memory, where the system allows it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


class Report(NamedTuple):
    """Result of a benchmark: rows, tables of them as text, and the files that it wrote, the rows' first."""

    rows: list[dict[str, Any]]
    table: str
    paths: tuple[Path, ...]

    @property
    def path(self) -> Path:
        """Path of the file of rows."""
        return self.paths[0]


class PeakMemory:
    """Measures a ``with`` block's peak memory, in addition to what was held when it began: ``bytes``.

    On a CPU this is the process's memory, by its high-water mark. On an accelerator it is the device's, read every
    millisecond, so that a shorter peak may be missed.
    """

    def __enter__(self) -> "PeakMemory":
        self.bytes = 0
        self._device = jax.devices()[0]
        release_free_memory()
        if self._device.platform == "cpu":
            # The high-water mark is the process's: it must begin at what the process holds now.
            reset_peak()
            self._before = resident_bytes("VmRSS")
        else:
            self._before = self._in_use()
            self._is_over = threading.Event()
            self._watcher = threading.Thread(target=self._watch, daemon=True)
            self._watcher.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._device.platform == "cpu":
            self.bytes = max(0, resident_bytes("VmHWM") - self._before)
        else:
            self._is_over.set()
            self._watcher.join()

    def _in_use(self) -> int:
        return (self._device.memory_stats() or {}).get("bytes_in_use", 0)

    def _watch(self) -> None:
        while not self._is_over.wait(POLL_SECONDS):
            self.bytes = max(self.bytes, self._in_use() - self._before)


def matmul_flops_per_second(repeats: int = 5) -> Callable[[], float]:
    """Return a function that measures the speed of a float32 2000 x 2000 product at full precision, the yardstick."""
    a = jax.random.normal(jax.random.key(0), (MATMUL_SIZE, MATMUL_SIZE), jnp.float32)
    product = jax.jit(lambda a: jnp.dot(a, a, precision="highest"))
    jax.block_until_ready(product(a))

    def measure() -> float:
        seconds = []
        for _ in range(repeats):
            started = time.perf_counter()
            jax.block_until_ready(product(a))
            seconds.append(time.perf_counter() - started)
        return 2 * MATMUL_SIZE**3 / min(seconds)

    return measure


def run_cases(
    cases: Sequence[Case],
    passes: int,
    say: Callable[[str], None] = print,
    per: str = "trial_epoch",
    most_seconds: float = float("inf"),
    repeats: int = 5,
) -> list[dict[str, Any]]:
    """Time all cases in turn, ``passes`` times; return one row per case.

    Each case is prepared once, before the first pass, and timed alone. ``seconds_per_<per>`` is the least over the
    passes; ``compile_seconds`` the time of the first call with its preparation; ``peak_mb`` the memory of that,
    compiler included, ``call_mb`` the memory of a later call. ``matmul_share`` compares the least time with the best
    product speed of all passes, ``paired_share`` is the median over passes of the share of the product speed measured
    just before.

    Args:
        cases: Cases to time.
        passes: Number of times that each case is timed.
        say: Function called with messages about the progress.
        per: Name of the items that a case's ``amount`` counts.
        most_seconds: Seconds after which a case is not timed again in the remaining passes.
        repeats: Number of products, of which the fastest gives the speed to compare with.
    """
    peak = matmul_flops_per_second(repeats)
    calls, rows = [], []
    for case in cases:
        call, row = _prepare(case)
        calls.append(call)
        rows.append(row)
        say(f"prepared {case.name} in {row['compile_seconds']:.1f} s")
    seconds: list[list[float]] = [[] for _ in cases]
    speeds: list[list[float]] = [[] for _ in cases]
    for number in range(passes):
        for case, call, row, times, before in zip(cases, calls, rows, seconds, speeds, strict=True):
            if sum(times) * case.amount < most_seconds:
                # Right before the case, so that both meet the machine in the same state.
                before.append(peak())
                times.append(_time(case, call, row if number == 0 else None))
        say(f"pass {number + 1} of {passes}")
    best = max(speed for case_speeds in speeds for speed in case_speeds)
    for case, row, times, before in zip(cases, rows, seconds, speeds, strict=True):
        row[f"seconds_per_{per}"] = min(times)
        row["median_seconds"] = float(np.median(times))
        if case.flops:
            speed = case.flops / case.amount / min(times)
            row["gflops"] = round(speed / 1e9, 1)
            row["matmul_gflops"] = round(best / 1e9, 1)
            row["matmul_share"] = round(speed / best, 3)
            pairs = [case.flops / case.amount / time / flops for time, flops in zip(times, before, strict=True)]
            row["paired_share"] = round(float(np.median(pairs)), 3)
    return rows


def _prepare(case: Case) -> tuple[Callable[[], Any], dict[str, Any]]:
    """Return the timed call of a case, after calling it once, and the beginning of its row."""
    with PeakMemory() as memory:
        started = time.perf_counter()
        call = case.prepare()
        if not case.is_timer:  # a timer measures its own time: it is called only for that
            jax.block_until_ready(call())
        elapsed = time.perf_counter() - started
    peak_mb = round(memory.bytes / MEGABYTE)
    return call, {"case": case.name, "compile_seconds": round(elapsed, 2), "peak_mb": peak_mb, **case.notes}


def _time(case: Case, call: Callable[[], Any], row: dict[str, Any] | None) -> float:
    """Return the seconds per item; with a row, also measure memory and write it there, which may cost time."""
    if row is not None:
        # Only in the first pass, so that the other passes are timed without it.
        with PeakMemory() as memory:
            taken = _time(case, call, None)
        peak_bytes = memory.bytes if case.peak_bytes is None else case.peak_bytes()
        row["call_mb"] = round(peak_bytes / MEGABYTE, 1)
        return taken
    started = time.perf_counter()
    result = call()
    if case.is_timer:
        return float(result)
    jax.block_until_ready(result)
    return (time.perf_counter() - started) / case.amount


def machine_name() -> str:
    """Return a short name for files: the accelerator, or ``cpu`` and the number of its threads."""
    about = machine()
    kind = about["device"] if about["device"] != "cpu" else f"cpu{about['threads']}"
    return kind.replace(" ", "-").lower()


def write_rows(folder: Path, name: str, rows: list[dict[str, Any]]) -> Path:
    """Write rows to a file in a folder, one JSON object per line, with the machine and the date."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}_{machine_name()}.jsonl"
    about = {"date": time.strftime("%Y-%m-%d"), **machine()}
    path.write_text("".join(json.dumps({**row, **about}) + "\n" for row in rows), encoding="utf-8")
    return path


def table_text(rows: list[dict[str, Any]], columns: Sequence[str]) -> str:
    """Return rows as a Markdown table."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        cells = (row.get(column, "") for column in columns)
        lines.append(
            "| " + " | ".join(f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in cells) + " |"
        )
    return "\n".join(lines)


def print_table(rows: list[dict[str, Any]], columns: Sequence[str]) -> None:
    """Print rows as a Markdown table."""
    print(table_text(rows, columns))
