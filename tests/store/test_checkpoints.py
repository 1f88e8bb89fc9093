import logging

import numpy as np
import pytest

from modjax.io.trees import save_tree, told_once
from tests.seams import load_tree


@pytest.mark.parametrize("name", ["plain", "a[1]", "a]", "a*", "a?", "a\\b", "a b", "a%20#{1}"])
def test_weights_are_read_back_whatever_their_folder_is_called(tmp_path, name):
    trees = {
        folder: {"kernel": np.full((2, 3), number, np.float32)} for number, folder in enumerate((name, "a1", "ab"))
    }
    for folder, tree in trees.items():
        (tmp_path / folder).mkdir()
        save_tree(tmp_path / folder / "stack_00000", tree)
    save_tree(tmp_path / name / "stack_00000", trees[name])  # an older one is replaced
    for folder, tree in trees.items():
        found = load_tree(tmp_path / folder / "stack_00000")
        assert np.array_equal(found["kernel"], tree["kernel"])
        assert [path.name for path in (tmp_path / folder).iterdir()] == ["stack_00000"]


def test_what_orbax_logs_and_raises_again_is_told_once():
    logger = logging.getLogger("absl")
    error = logging.LogRecord("absl", logging.ERROR, "/site-packages/orbax/future.py", 1, "boom", (), None)
    other = logging.LogRecord("absl", logging.ERROR, "/site-packages/jax/other.py", 1, "boom", (), None)
    with told_once():
        with told_once():
            assert not logger.filter(error)
            assert logger.filter(other)
        assert not logger.filter(error)
    assert logger.filter(error)
