import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from modjax.clustering.adjacency import as_similarity
from modjax.clustering.layer import SearchSettings, SignedGraph, cluster_layer
from modjax.clustering.pool import WorkerPool

pytestmark = pytest.mark.workers
SETTINGS = SearchSettings(nulls=2, null_kind="weight_permutation", permutations=20)


def jobs():
    rng = np.random.default_rng(0)
    for index in range(6):
        graphs = rng.random((2, 10, 10))
        adjacencies = (graphs + graphs.transpose(0, 2, 1)) * (1 - np.eye(10))
        yield index, [SignedGraph(as_similarity(graph)) for graph in adjacencies]


def run(num_workers):
    pool = WorkerPool(num_workers)
    try:
        for name, graphs in jobs():
            pool.submit(name, cluster_layer, graphs, SETTINGS, name, [[0, 1]])
        return [pool.result(name) for name, _ in jobs()]
    finally:
        pool.close()


def test_one_worker_for_each_core_that_the_process_may_use(monkeypatch):
    monkeypatch.setenv("NPROC", "3")
    assert WorkerPool().num_workers == 3


def flat(result):
    graphs = [(one.partition.labels.tolist(), one.null, one.participation.tolist()) for one in result.graphs]
    return repr((graphs, [one.labels.tolist() for one in result.joint], result.pairs))  # NaN is not equal to itself


def test_results_do_not_depend_on_the_number_of_workers():
    one, two = run(1), run(2)
    alone = [cluster_layer(graphs, SETTINGS, name, [[0, 1]]) for name, graphs in jobs()]
    for a, b, c in zip(one, two, alone, strict=True):
        assert flat(a) == flat(b) == flat(c)


def report_and_wait(path, seconds):
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(seconds)
    return "whole"


@pytest.mark.filterwarnings("ignore::UserWarning")  # loky warns of the killed worker, which is what is tested
def test_a_killed_workers_job_is_done_again(tmp_path):
    path = tmp_path / "workers"
    pool = WorkerPool(1)
    try:
        pool.submit("job", report_and_wait, str(path), 2.0)
        while not path.exists() or not path.read_text():
            time.sleep(0.05)
        os.kill(int(path.read_text().split()[0]), signal.SIGKILL)
        assert pool.result("job") == "whole"
        assert len(path.read_text().split()) == 2
    finally:
        pool.close()


def hold(megabytes):
    return int(np.ones(megabytes * 10**6, np.uint8).sum())


def test_memory_is_that_of_the_workers_and_not_of_the_parent_that_started_them():
    held = np.ones(10**9, np.uint8)  # a fresh worker's ru_maxrss counts this, since it began as the parent's copy
    pool = WorkerPool(2)
    try:
        assert pool.peak_bytes == 0
        pool.submit("small", hold, 1)
        assert pool.result("small") == 10**6
        assert pool.peak_bytes < held.nbytes
        pool.submit("large", hold, 600)
        assert pool.result("large") == 600 * 10**6
        assert pool.peak_bytes > 2 * 600e6
    finally:
        pool.close()
    assert pool.peak_bytes > 2 * 600e6


def loaded_modules():
    return sorted(name for name in sys.modules if name in ("jax", "jaxlib", "modjax.types"))


def test_workers_import_no_jax_and_need_no_main_guard(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import numpy as np\n"
        "print('main runs once')\n"
        "from modjax.clustering.layer import SearchSettings, SignedGraph, cluster_layer\n"
        "from modjax.clustering.pool import WorkerPool\n"
        "import sys\n"
        "def loaded():\n"
        "    import modjax.clustering.layer, sys\n"
        "    return [name for name in ('jax', 'jaxlib') if name in sys.modules]\n"
        "pool = WorkerPool(1)\n"
        "pool.submit(0, cluster_layer, [SignedGraph(np.ones((4, 4)))], SearchSettings(), 0)\n"
        "pool.submit(1, loaded)\n"
        "print(pool.result(0).graphs[0].partition.num_modules, pool.result(1), 'jax' in sys.modules)\n"
        "pool.close()\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split("\n")[:2] == ["main runs once", "1 [] False"]


def test_a_worker_whose_parent_died_before_it_was_ready_ends():
    code = "import os, time; from modjax.clustering import pool; pool._prepare_worker(os.getppid() + 1); time.sleep(50)"
    assert subprocess.run([sys.executable, "-c", code], timeout=40, check=False).returncode == 1
