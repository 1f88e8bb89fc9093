"""What an engine is asked for, and what is refused before anything is written."""

import shutil
import sys

import pytest

import modjax as mj
from modjax._util.threads import available_cores
from modjax.engines.base import EngineOptions
from modjax.engines.local import LocalEngine
from modjax.engines.ray.placement import NAMED_WORKERS, Placement, cores_of_workers, placements_of, waiting_text
from modjax.engines.ray.worker_group import worker_variables
from modjax.engines.registry import open_engine
from modjax.integrity.environment import training_threads
from tests.seams import SweepPaths, read_manifest, write_manifest

REFUSED = {
    "an address for the local engine": (EngineOptions(address="here"), "address is an option of engine 'ray'"),
    "workers for the local engine": (EngineOptions(workers=2), "workers is an option of engine 'ray'"),
    "no workers": (EngineOptions("ray", workers=0), "workers must be a whole number, at least 1; got 0"),
    "no cores": (EngineOptions("ray", cores_per_worker=-1), "cores_per_worker must be a whole number"),
    "an unknown engine": ("dask", "Unknown engine 'dask'. Available: local, ray."),
}


@pytest.mark.parametrize("case", REFUSED)
def test_options_that_make_no_sense(folder, write_spec, tiny_content, case):
    engine, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        mj.run_sweep(write_spec(tiny_content), folder / "out", engine)
    assert not (folder / "out").exists()


def test_without_ray_one_line_says_what_to_install(folder, write_spec, tiny_content, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"pip install 'modjax\[ray\]'"):
        mj.run_sweep(write_spec(tiny_content), folder / "out", engine="ray")
    assert not (folder / "out").exists()


def node(name, alive=True, **resources):
    return {"NodeID": name, "Alive": alive, "Resources": {key: float(value) for key, value in resources.items()}}


def test_room_on_nodes_with_processors():
    nodes = [node("a", CPU=4), node("b", CPU=3), node("dead", alive=False, CPU=64), node("head")]
    assert [placement.node for placement in placements_of(nodes, False, 2)] == ["a", "a", "b"]
    assert [(placement.node, placement.num_cpus) for placement in placements_of(nodes, False, None)] == [
        ("a", 2.0),
        ("b", 1.5),
    ]


def test_room_on_nodes_with_accelerators_is_one_worker_each():
    placements = placements_of([node("a", CPU=8, GPU=4), node("b", CPU=8)], True, None)
    assert [(placement.node, placement.num_gpus) for placement in placements] == [("a", 1)] * 4
    assert all(0 < placement.num_cpus <= 1 for placement in placements)


def test_threads_of_a_worker_are_set_before_it_starts(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    variables = worker_variables(3)
    assert variables["NPROC"] == "3"
    assert variables["XLA_FLAGS"] == "--xla_cpu_enable_fast_math=false"
    assert "NPROC" not in worker_variables(None)


def test_cores_are_what_the_environment_says(monkeypatch):
    monkeypatch.setenv("NPROC", "7")
    assert available_cores() == 7
    monkeypatch.setenv("NPROC", "many")
    assert available_cores() >= 1


def test_workers_have_the_threads_that_the_sweep_was_begun_with():
    nodes = [node("a", CPU=8), node("b", CPU=4), node("dead", alive=False, CPU=1)]
    assert cores_of_workers(None, None, nodes) == 4
    assert cores_of_workers(2, None, nodes) == 2
    assert cores_of_workers(None, 1, nodes) == 1
    assert cores_of_workers(8, 8, nodes) == 8
    assert [placement.node for placement in placements_of(nodes, False, cores_of_workers(None, 8, nodes))] == ["a"]


def test_other_threads_than_the_sweep_was_begun_with_are_refused():
    nodes = [node("a", CPU=8), node("b", CPU=4)]
    with pytest.raises(ValueError, match=r"begun with 2 CPU threads .* asks for 4.*--cores-per-worker 2, .*--fork"):
        cores_of_workers(4, 2, nodes)
    with pytest.raises(ValueError, match=r"begun with 16 CPU threads .* no node .* more than 8 cores.*--fork NEW_DIR"):
        cores_of_workers(None, 16, nodes)
    local = EngineOptions()
    assert isinstance(open_engine(local, available_cores()), LocalEngine)
    with pytest.raises(ValueError, match=r"begun with 1024 CPU threads .* this process has .*--engine ray .*--fork"):
        open_engine(local, 1024)


@pytest.mark.parametrize(
    "engine", [None, "ray", {"threads": None}, {"threads": True}, {"threads": "2"}, {"threads": 0}]
)
def test_threads_of_a_manifest_of_one_machine_or_of_a_stranger(engine):
    made = {"device": {"platform": "cpu"}, "threads": 8}
    assert training_threads({**made, "engine": engine}) == training_threads(made) == 8
    assert training_threads({**made, "device": {"platform": "gpu"}}) is None


def test_a_sweep_of_workers_with_other_threads_is_refused_and_untouched(finished, folder, write_spec, tiny_content):
    shutil.copytree(finished.paths.root, folder / "out")
    paths = SweepPaths(folder / "out")
    write_manifest(paths, read_manifest(paths.manifest) | {"engine": {"name": "ray", "threads": 1024}})
    before = {path: path.read_bytes() for path in paths.root.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="begun with 1024 CPU threads"):
        mj.run_sweep(write_spec({**tiny_content, "seeds": [0, 1, 2]}), paths.root, is_quiet=True)
    assert {path: path.read_bytes() for path in paths.root.rglob("*") if path.is_file()} == before


def test_which_workers_wait_is_one_short_line():
    placements = {number: Placement(f"node {number // 2}", 1.0, 0) for number in range(NAMED_WORKERS + 2)}
    assert waiting_text(placements).endswith(f"{NAMED_WORKERS - 1} and 2 more are waiting for free cores on 5 nodes")
    assert waiting_text({7: Placement("a", 0.5, 1)}) == "worker 7 is waiting for free GPUs on 1 node"
