"""What an engine is asked for, and what is refused before anything is written."""

import sys

import pytest

import modjax as mj
from modjax.sweep.engines.fleet import rooms_of, worker_variables
from modjax.threads import available_cores

REFUSED = {
    "an address for the local engine": ({"address": "here"}, "address is an option of engine 'ray'"),
    "workers for the local engine": ({"workers": 2}, "workers is an option of engine 'ray'"),
    "no workers": ({"engine": "ray", "workers": 0}, "workers must be a whole number, at least 1; got 0"),
    "no cores": ({"engine": "ray", "cores_per_worker": -1}, "cores_per_worker must be a whole number"),
    "an unknown engine": ({"engine": "dask"}, "Unknown engine 'dask'. Available: local, ray."),
}


@pytest.mark.parametrize("case", REFUSED)
def test_options_that_make_no_sense(folder, write_spec, tiny_content, case):
    options, told = REFUSED[case]
    with pytest.raises(ValueError, match=told):
        mj.run_sweep(write_spec(tiny_content), folder / "out", **options)
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
    assert [room.node for room in rooms_of(nodes, False, 2)] == ["a", "a", "b"]
    assert [(room.node, room.num_cpus) for room in rooms_of(nodes, False, None)] == [("a", 2.0), ("b", 1.5)]


def test_room_on_nodes_with_accelerators_is_one_worker_each():
    rooms = rooms_of([node("a", CPU=8, GPU=4), node("b", CPU=8)], True, None)
    assert [(room.node, room.num_gpus) for room in rooms] == [("a", 1)] * 4
    assert all(0 < room.num_cpus <= 1 for room in rooms)


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
