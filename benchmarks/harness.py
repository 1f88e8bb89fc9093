"""What every benchmark shares: cases timed in turn in one process, the machine, rows of JSON, a table."""

import gc
import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

RESULTS = Path(__file__).parent / "results"
MATMUL_SIZE = 2000


class Case(NamedTuple):
    """One thing to time.

    Attributes:
        name: What it is.
        prepare: Compiles or warms up, and returns the timed call; its own time is the case's ``compile_seconds``.
        trial_epochs: Trials times epochs that one call trains.
        flops: FLOP that one call needs, by formula; 0 where that means nothing.
        is_timer: The call returns its own seconds per trial-epoch instead of being timed.
        notes: Further columns.
    """

    name: str
    prepare: Callable[[], Callable[[], Any]]
    trial_epochs: float
    flops: float = 0.0
    is_timer: bool = False
    notes: Mapping[str, Any] = MappingProxyType({})


def machine() -> dict[str, Any]:
    """Processor or accelerator, threads, versions."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = lines[0] if lines else model
    device = jax.devices()[0]
    return {
        "cpu": model,
        "threads": len(os.sched_getaffinity(0)),
        "device": device.device_kind if device.platform != "cpu" else "cpu",
        "jax": jax.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def resident_bytes(field: str) -> int:
    """``VmRSS`` or ``VmHWM`` of this process; 0 where the system does not say."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    found = [line for line in status.read_text().splitlines() if line.startswith(field)]
    return int(found[0].split()[1]) * 1024 if found else 0


def reset_peak() -> None:
    """Let the high-water mark of memory start again, where the system allows it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def matmul_flops_per_second() -> Callable[[], float]:
    """A float32 2000 x 2000 product at full precision: the speed that everything is compared to."""
    a = jax.random.normal(jax.random.key(0), (MATMUL_SIZE, MATMUL_SIZE), jnp.float32)
    product = jax.jit(lambda a: jnp.dot(a, a, precision="highest"))
    jax.block_until_ready(product(a))

    def measure() -> float:
        seconds = []
        for _ in range(5):
            started = time.perf_counter()
            jax.block_until_ready(product(a))
            seconds.append(time.perf_counter() - started)
        return 2 * MATMUL_SIZE**3 / min(seconds)

    return measure


def run_cases(cases: list[Case], passes: int, say: Callable[[str], None] = print) -> list[dict[str, Any]]:
    """Time all cases in turn, ``passes`` times over; a row each.

    ``seconds`` is the least over the passes, per trial-epoch; ``matmul_share`` compares the least time with the best
    product speed of all passes, ``paired_share`` is the median over passes of the share of the product speed measured
    just before. Each case is prepared once, before the first pass, and timed alone.
    """
    peak = matmul_flops_per_second()
    calls, rows = [], []
    for case in cases:
        gc.collect()
        reset_peak()
        before = resident_bytes("VmRSS")
        started = time.perf_counter()
        call = case.prepare()
        if not case.is_timer:
            jax.block_until_ready(call())
        compile_seconds = time.perf_counter() - started
        calls.append(call)
        rows.append(
            {
                "case": case.name,
                "compile_seconds": round(compile_seconds, 2),
                "peak_mb": round((resident_bytes("VmHWM") - before) / 2**20),
                **case.notes,
            }
        )
        say(f"prepared {case.name} in {compile_seconds:.1f} s")
    seconds: list[list[float]] = [[] for _ in cases]
    speeds: list[list[float]] = [[] for _ in cases]
    for number in range(passes):
        for index, case in enumerate(cases):
            speeds[index].append(peak())
            started = time.perf_counter()
            result = calls[index]()
            if case.is_timer:
                seconds[index].append(float(result))
            else:
                jax.block_until_ready(result)
                seconds[index].append((time.perf_counter() - started) / case.trial_epochs)
        say(f"pass {number + 1} of {passes}")
    best = max(speed for some in speeds for speed in some)
    for case, row, times, before in zip(cases, rows, seconds, speeds, strict=True):
        row["seconds_per_trial_epoch"] = min(times)
        row["median_seconds"] = float(np.median(times))
        if case.flops:
            speed = case.flops / case.trial_epochs / min(times)
            row["gflops"] = round(speed / 1e9, 1)
            row["matmul_gflops"] = round(best / 1e9, 1)
            row["matmul_share"] = round(speed / best, 3)
            pairs = [case.flops / case.trial_epochs / time / flops for time, flops in zip(times, before, strict=True)]
            row["paired_share"] = round(float(np.median(pairs)), 3)
    return rows


def write_rows(name: str, rows: list[dict[str, Any]]) -> Path:
    """Write rows, one JSON object a line, with the machine and the date, to ``results/``."""
    RESULTS.mkdir(exist_ok=True)
    about = machine()
    kind = about["device"] if about["device"] != "cpu" else f"cpu{about['threads']}"
    path = RESULTS / f"{name}_{kind.replace(' ', '-').lower()}.jsonl"
    stamp = time.strftime("%Y-%m-%d")
    path.write_text("".join(json.dumps({**row, "date": stamp, **about}) + "\n" for row in rows), encoding="utf-8")
    return path


def print_table(rows: list[dict[str, Any]], columns: list[str]) -> None:
    """A Markdown table."""
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    for row in rows:
        cells = (row.get(column, "") for column in columns)
        print("| " + " | ".join(f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in cells) + " |")
