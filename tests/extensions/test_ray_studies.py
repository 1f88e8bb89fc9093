"""Studies on a Ray cluster of this machine: the tables of the local engine bit for bit."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from tests.extensions.test_studies import CONTENT, GRAPHS, HERE, REGRESSION, STUDY, assert_same, command

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray: pip install 'modjax[ray]'"),
]
# One CPU thread for whoever computes, as one worker of the cluster has.
RUN = """
import json, sys
import modjax as mj
spec, out, name, *extensions = json.loads(sys.argv[1])
engine = mj.EngineOptions(name, **({"cores_per_worker": 1, "workers": 2} if name == "ray" else {}))
mj.run_sweep(spec, out, engine, slots=3, report=False, is_quiet=True, extensions=extensions)
"""
STUDIES = {
    "study": (CONTENT, [STUDY]),
    "regression": (str(HERE / "regression.toml"), [REGRESSION, GRAPHS]),
}


def run(spec, out, engine, extensions):
    arguments = json.dumps([spec, str(out), engine, *map(str, extensions)])
    done = subprocess.run(
        [sys.executable, "-c", RUN, arguments],
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | {"NPROC": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("case", STUDIES)
def test_workers_make_the_tables_of_the_local_engine(case, tmp_path):
    spec, extensions = STUDIES[case]
    for engine in ("local", "ray"):
        run(spec, tmp_path / engine, engine, extensions)
    assert_same(tmp_path / "local", tmp_path / "ray")
    assert json.loads((tmp_path / "ray" / "manifest.json").read_text())["engine"]["workers"] >= 1
    assert command("verify", tmp_path / "ray").returncode == 0
