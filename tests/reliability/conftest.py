import pytest
import tomli_w

from tests.conftest import made_once, write_npz
from tests.reliability.harness import Sweeps, content


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, tiny_content):
    """The sweeps of one spec, and the directory of one that nothing happened to; tests only read it."""

    def make(root):
        write_npz(root / "tiny.npz")
        (root / "spec.toml").write_text(tomli_w.dumps(content(tiny_content)))
        seconds = Sweeps(root / "spec.toml", root).finish(root / "whole")
        (root / "seconds").write_text(str(seconds))

    root = made_once(tmp_path_factory, "undisturbed", make)
    sweeps = Sweeps(root / "spec.toml", root)
    sweeps.seconds = float((root / "seconds").read_text())
    return sweeps, root / "whole"


@pytest.fixture
def sweeps_with_report(undisturbed):
    """As a user runs them: figures and page too."""
    quick, whole = undisturbed
    sweeps = Sweeps(quick.spec, quick.folder, report=True)
    sweeps.num_started, sweeps.seconds = 1000, 3 * quick.seconds  # logs of their own
    return sweeps, whole
