import pytest

from tests.reliability.harness import Sweeps, assert_same_bits, content


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory):
    """One cache of compiled programs for all tests here."""
    return tmp_path_factory.mktemp("reliability")


@pytest.fixture(scope="session")
def undisturbed(cache_folder, tiny_content):
    """The sweeps of one spec, and the directory of one that nothing happened to; tests only read it."""
    import tomli_w

    from tests.conftest import write_npz

    write_npz(cache_folder / "tiny.npz")
    (cache_folder / "spec.toml").write_text(tomli_w.dumps(content(tiny_content)))
    sweeps = Sweeps(cache_folder / "spec.toml", cache_folder)
    sweeps.finish(cache_folder / "first")  # compiles
    sweeps.seconds = sweeps.finish(cache_folder / "whole")
    assert_same_bits(cache_folder / "first", cache_folder / "whole")
    return sweeps, cache_folder / "whole"
