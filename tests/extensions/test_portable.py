"""What other processes get of an extended sweep: by file or importable name, never by pickle."""

import importlib.util
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import modjax as mj
from modjax.extensions import catalog_of, location_of
from modjax.spec.context import make_contexts
from modjax.spec.plain import extended
from modjax.spec.setup import prepare
from modjax.spec.shipped import check_portable, shipped
from tests.extensions.test_studies import CONTENT, GRAPHS, HERE, PLAIN, REGRESSION, STUDY

NETWORK = mj.mlp(64, (5,), 10)
TASK = mj.classification(NETWORK)
READ = """
import pickle, sys
setup = pickle.load(sys.stdin.buffer).setup()
print(setup.spec.spec_hash(), [record.name for record in setup.spec.catalog.added], len(setup.populations))
"""


def setup_of(*given, **named):
    return prepare(extended(*given, **named))


SETUPS = {
    "study": lambda: setup_of(CONTENT, extensions=[STUDY]),
    "regression": lambda: setup_of(HERE / "regression.toml", extensions=[REGRESSION, GRAPHS]),
    "plain values": lambda: setup_of({**PLAIN, "network": {}}, network=NETWORK, task=TASK),
    "no extension": lambda: setup_of(PLAIN),
}


@pytest.mark.parametrize("case", SETUPS)
def test_another_process_reads_the_same_spec(case):
    setup = SETUPS[case]()
    done = subprocess.run(
        [sys.executable, "-c", READ],
        input=pickle.dumps(shipped(setup)),
        capture_output=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    spec_hash, rest = done.stdout.decode().split(maxsplit=1)
    assert spec_hash == setup.spec.spec_hash()
    assert all(record.name in rest for record in setup.spec.catalog.added)
    assert rest.split()[-1] == str(len(setup.populations))


def test_what_travels_holds_no_function():
    text = pickle.dumps(shipped(SETUPS["study"]()))
    for name in (b"modjax.records", b"modjax.networks", b"group_norms", b"cloudpickle"):
        assert name not in text


def test_the_same_contexts_are_made_of_what_travels():
    setup = SETUPS["study"]()
    there = pickle.loads(pickle.dumps(shipped(setup))).setup()
    here, other = (make_contexts(each, {}, 4, each.trials, may_measure=False) for each in (setup, there))
    assert {name: (context.config, context.layout, context.hyperparams) for name, context in here.items()} == {
        name: (context.config, context.layout, context.hyperparams) for name, context in other.items()
    }


def local_network():
    return mj.mlp(64, (6,), 10)


UNPORTABLE = {
    "a network": {"network": local_network()},
    "a task": {"network": NETWORK, "task": mj.classification(local_network())},
    "a measure": {"extensions": [mj.MeasureInfo("m", "upstream", lambda network, params, x, y: ())]},
}


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray: pip install 'modjax[ray]'")
@pytest.mark.parametrize("case", UNPORTABLE)
def test_ray_refuses_what_workers_cannot_find(case, tmp_path):
    content = {**PLAIN, "network": {}}
    with pytest.raises(ValueError, match="is no module-level value of an extension file or of a module") as error:
        mj.run_sweep(content, tmp_path / "out", engine="ray", **UNPORTABLE[case])
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_dataset_of_ones_own_travels_as_arrays():
    digits = mj.load_dataset("digits")
    own = digits._replace(name="own", x_train=digits.x_train[:500], y_train=digits.y_train[:500])
    setup = setup_of(PLAIN, dataset=own)
    check_portable(setup.spec)
    assert shipped(setup).setup().data.checksum() == setup.data_checksum


def test_a_file_that_changed_is_refused_by_workers(tmp_path):
    path = tmp_path / "own.py"
    path.write_text("import modjax as mj\nimport own_helper\nOWN = mj.DatasetInfo('own', own_helper.load)\n")
    helper = tmp_path / "own_helper.py"
    helper.write_text("def load(data_dir): pass\n")
    location = location_of(catalog_of(path).datasets["own"])
    assert location is not None
    assert location.value().name == "own"
    del sys.modules[location.module]
    helper.write_text("def load(data_dir): return None\n")
    with pytest.raises(OSError, match=r"own\.py has changed since this run was started; restore it\.$"):
        location.value()
    path.unlink()
    with pytest.raises(OSError, match="there is no such extension here; put it where all nodes have it"):
        location.value()
    del sys.modules["own_helper"]


def test_the_checksum_of_a_file_counts_its_neighbours_whoever_imported_them_first(tmp_path):
    (tmp_path / "shared_helper.py").write_text("def load(data_dir): pass\n")
    text = "import modjax as mj\nfrom shared_helper import load\nOWN = mj.DatasetInfo({!r}, load)\n"
    for name in ("first", "second"):
        (tmp_path / f"{name}.py").write_text(text.format(name))
    second = catalog_of([tmp_path / "first.py", tmp_path / "second.py"]).sources[1]
    for name in [name for name in sys.modules if name == "shared_helper" or name.startswith("modjax_extension_second")]:
        del sys.modules[name]
    assert catalog_of(tmp_path / "second.py").sources == (second,)
    del sys.modules["shared_helper"]


def test_a_place_is_a_path_or_an_importable_name():
    assert Path(str(location_of(catalog_of(STUDY).networks["gated"]).path)) == STUDY
    location = location_of(TASK)
    assert (location.module, location.path, location.attribute) == (__name__, None, "TASK")
    assert location.value() is TASK
    assert location_of(local_network()) is None
