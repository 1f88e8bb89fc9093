import subprocess
import sys

import numpy as np

from modjax._util import memory

FAT_PARENT = """
import subprocess, sys
held = bytearray(600_000_000)
held[::4096] = b"x" * len(held[::4096])
code = "from modjax._util.memory import peak_resident_bytes; print(peak_resident_bytes())"
subprocess.run([sys.executable, "-c", code])
"""


def test_the_most_that_was_held_is_remembered():
    before = memory.peak_resident_bytes()
    np.ones(10 * 10**6).sum()
    after = memory.peak_resident_bytes()
    assert 50e6 < after < 1e12
    assert after >= before


def test_a_fat_parent_is_not_counted():
    done = subprocess.run([sys.executable, "-c", FAT_PARENT], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 300e6


def test_memory_is_released_as_often_as_it_is_asked_for(monkeypatch):
    collected = []
    monkeypatch.setattr(memory.gc, "collect", lambda: collected.append(1))
    memory.release_free_memory()
    memory.release_free_memory(every=60.0)
    assert len(collected) == 1
    monkeypatch.setattr(memory, "_released", memory.time.perf_counter() - 61)
    memory.release_free_memory(every=60.0)
    memory.release_free_memory()
    assert len(collected) == 3


def test_a_system_without_proc_tells_too(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "STATUS", tmp_path / "none")
    assert 50e6 < memory.peak_resident_bytes() < 1e12
    memory.release_free_memory()
