"""No room, or no right to write: one line, exit 1, nothing lost."""

import shutil
import subprocess
import time

import pytest

from tests.reliability.harness import LIMIT_SECONDS, assert_same_bits, record


@pytest.fixture
def mounted(folder):
    """Mounts a small file system; unmounted at the end."""
    disk = folder / "disk"
    disk.mkdir()

    def mount(*options):
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", disk], capture_output=True)
        if done.returncode:
            pytest.skip(f"cannot mount a small file system here: {done.stderr.decode().strip()}")
        return disk

    if shutil.which("mount") is None:
        pytest.skip("no mount command here")
    yield mount
    subprocess.run(["umount", "--lazy", disk], capture_output=True)


def remount(disk, options):
    subprocess.run(["mount", "-o", f"remount,{options}", disk], check=True)


def assert_one_line(said):
    lines = [line for line in said.splitlines() if line.startswith("modjax: ")]
    assert len(lines) == 1, said[-3000:]
    assert "Traceback" not in said, said[-3000:]
    return lines[0]


SHARES = [
    0.3,
    *(pytest.param(share, marks=pytest.mark.slow) for share in (0.01, 0.8)),
    *(pytest.param(share, marks=pytest.mark.long) for share in (0.1, 0.6, 0.95)),
]


@pytest.mark.parametrize("share", SHARES)
def test_full_disk(undisturbed, mounted, share):
    sweeps, whole = undisturbed
    pages = sum(-(-path.stat().st_size // 4096) for path in whole.rglob("*") if path.is_file())
    kib = max(16, int(share * pages * 4))
    out = mounted(f"size={kib}k") / "out"
    started = time.perf_counter()
    status = sweeps.start(out).wait(LIMIT_SECONDS)
    line = assert_one_line(sweeps.said())
    assert status == 1
    assert "No space left on device" in line
    assert "make room" in line
    remount(out.parent, "size=256m")
    sweeps.finish(out)
    assert_same_bits(whole, out)
    seconds = round(time.perf_counter() - started, 1)
    record("full disk", kib=kib, share_of_what_is_needed=share, exit=status, seconds=seconds, same_bits=True)


@pytest.mark.slow
def test_directory_that_cannot_be_written_to(undisturbed, mounted):
    sweeps, whole = undisturbed
    disk = mounted("size=64m")
    remount(disk, "ro")
    status = sweeps.start(disk / "out").wait(LIMIT_SECONDS)
    assert status == 1
    assert "Read-only file system" in assert_one_line(sweeps.said())
    remount(disk, "rw")
    sweeps.finish(disk / "out")
    assert_same_bits(whole, disk / "out")
    record("read-only directory", exit=status, same_bits=True)
