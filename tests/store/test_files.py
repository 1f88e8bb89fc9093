import os
import stat

import pytest

from modjax.io.checksums import ALTERED, CHUNK_BYTES, MISSING, UNKNOWN, with_own_sum
from modjax.io.untrusted import open_regular, read_json, read_small_file
from modjax.store.failures import FILE, MAX_BYTES, read_failures
from modjax.sweep.heartbeat import Heartbeat, is_locked
from tests.seams import locked, own_sum_problem, read_heartbeat
from tests.untrusted.conftest import time_limit

NO_FILE = "neither a file nor a folder"
KINDS = {"pipe": stat.S_IFIFO, "socket": stat.S_IFSOCK}


@pytest.fixture(params=KINDS)
def no_file(request, tmp_path):
    os.mknod(tmp_path / FILE, KINDS[request.param] | 0o600)
    with time_limit(10):
        yield tmp_path / FILE


def test_pipes_and_sockets_are_not_opened(no_file):
    for read in (open_regular, lambda path: read_small_file(path, 10)):
        with pytest.raises(ValueError, match=NO_FILE):
            read(no_file)
    with pytest.raises(ValueError, match=NO_FILE), locked(no_file):
        pass
    with pytest.raises(ValueError, match="not a list"):
        read_json(no_file, "a list")


def test_nothing_is_told_by_pipes_and_sockets(no_file):
    assert read_failures(no_file.parent) == {}
    assert read_heartbeat(no_file) is None
    assert not is_locked(no_file)
    assert own_sum_problem(no_file) == MISSING


def test_lock_is_made_in_its_own_folder_alone(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "new")
    with pytest.raises(ValueError, match=NO_FILE), locked(tmp_path / "lock"):
        pass
    assert os.listdir(tmp_path) == ["lock"]


def test_lock_is_held_and_let_go(tmp_path):
    with locked(tmp_path / "lock"):
        assert is_locked(tmp_path / "lock")
    assert not is_locked(tmp_path / "lock")
    assert not is_locked(tmp_path / "none")


def test_large_files_are_not_read(tmp_path):
    for name in (FILE, "progress.json"):
        (tmp_path / name).write_bytes(b'{"a": "b"}')
        os.truncate(tmp_path / name, 2**36)  # no blocks, but a size
    assert read_failures(tmp_path) == {}
    assert read_heartbeat(tmp_path / "progress.json") is None
    with pytest.raises(ValueError, match="more than 100 bytes"):
        read_small_file(tmp_path / FILE, 100)
    assert MAX_BYTES < 2**36


def test_small_files_are_read(tmp_path):
    (tmp_path / FILE).write_text('{"a": "b"}')
    assert read_failures(tmp_path) == {"a": "b"}
    assert read_small_file(tmp_path / FILE, 10) == b'{"a": "b"}'
    assert read_heartbeat(tmp_path / FILE) is None
    assert Heartbeat().stage == "starting"


@pytest.mark.parametrize("size", [0, 10, CHUNK_BYTES - 50, CHUNK_BYTES, 3 * CHUNK_BYTES + 7])
def test_own_sum_of_a_page_is_looked_at_in_pieces(tmp_path, size):
    path = tmp_path / "report.html"
    content = with_own_sum("\xe9" + "x" * size)
    path.write_text(content)
    assert own_sum_problem(path) is None
    path.write_text(content.replace("\xe9", "e\xe8"))
    assert own_sum_problem(path) == ALTERED
    path.write_text(content + "x")
    assert own_sum_problem(path) == ALTERED
    path.write_text(content[:-90])
    assert own_sum_problem(path) in (ALTERED, UNKNOWN)
    path.write_text("x" * size)
    assert own_sum_problem(path) == UNKNOWN
