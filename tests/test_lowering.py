"""Every compiled program of training and similarity is lowered for accelerators, on a machine that has none.

What only a CPU can do, or what would call back to the host, is seen here before an accelerator is at hand.
"""

import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import modjax as mj
from modjax.measures import compute, functions
from modjax.training import programs

PLATFORMS = ("cuda", "tpu")
MOST_CHARACTERS = 1_500_000  # of a program's text; unrolled over units, trials or examples it would be far longer
HOST_CALLS = ("callback", "infeed", "outfeed", "lapack", "cpu_")
NUM_EXAMPLES = 60


def jitted(module: Any) -> dict[str, Any]:
    """Return the compiled functions that a module defines."""
    own = {name: value for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__}
    return {name: value for name, value in own.items() if hasattr(value, "lower")}


PROGRAMS = {
    f"{module.__name__}.{name}": function
    for module in (programs, compute, functions)
    for name, function in jitted(module).items()
}


def second_moment(network, params, x, y):
    return tuple(hidden.T @ hidden / len(hidden) for hidden in network.apply(params, x).hidden)


def run_everything(folder: Path) -> None:
    """Train and measure small networks of every kind."""
    rng = np.random.default_rng(0)
    data = mj.Dataset(
        "small", *(rng.random((NUM_EXAMPLES, 6), np.float32), rng.integers(0, 3, NUM_EXAMPLES, np.int32)) * 2, 3
    )
    network = mj.mlp(6, (5, 4), 3)
    hyperparams = {"seed": np.arange(4), "dropout": np.full(4, 0.2, np.float32)}
    config = mj.TrainConfig(max_epochs=2, batch_size=10)
    task = mj.classification(network)
    # One trial ends by itself, so that its state alone is read.
    population = mj.train(task, hyperparams, data, config, callback=lambda trial, row: trial == 1)
    mj.train(task, hyperparams, data, config, params=population.params)
    programs.read_lanes(population.params, np.array([0, 2], np.int32))  # which only an accelerator needs
    x, y = data.x_test, data.y_test
    probes = {"estimator": "probes", "num_probes": 2, "return_error": True}
    for combined in (False, True):
        mj.similarity(network, population.params, x, y, combined=combined)
        mj.similarity(network, population.params, x, y, combined=combined, **probes)
    mj.similarity(network, population.params, x, measures=[mj.MeasureInfo("own", "upstream", second_moment)])
    for other in (mj.mlp(6, (5, 4), 3, "tanh"), mj.cnn((6, 6, 1), (3, 2), 3)):
        inputs = x if other.in_features == 6 else rng.random((NUM_EXAMPLES, 6, 6, 1), np.float32)
        mj.similarity(other, other.init(0), inputs, y)
        mj.similarity(other, other.init(0), inputs, y, **probes)
    arms = [{"name": "dropout", "dropout": [0.2]}, {"name": "untrained", "untrained": True}]
    spec = {"name": "lowered", "dataset": "digits", "seeds": [0], "network": {"widths": [4]}, "arms": arms}
    training = {"training": {"max_epochs": 1}, "similarity": {"measures": []}}
    mj.run_sweep({**spec, **training}, folder / "sweep", is_quiet=True, report=False)


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    """The traces of all programs that small runs of everything call, each once."""
    traces: dict[str, list[Any]] = {name: [] for name in PROGRAMS}
    seen = set()
    with pytest.MonkeyPatch.context() as patch:
        for name, function in PROGRAMS.items():

            def traced(*args: Any, name=name, function=function, **kwargs: Any) -> Any:
                shapes = jax.tree.map(lambda leaf: getattr(leaf, "shape", leaf), (args, kwargs))
                if (name, str(shapes)) not in seen:
                    seen.add((name, str(shapes)))
                    traces[name].append(function.trace(*args, **kwargs))
                return function(*args, **kwargs)

            # Wherever a module of the package has imported it.
            for module in [module for key, module in sys.modules.items() if key.startswith("modjax.")]:
                for attribute, value in list(vars(module).items()):
                    if value is function:
                        patch.setattr(module, attribute, traced)
        run_everything(tmp_path_factory.mktemp("lowering"))
    return traces


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_lowers_for_accelerators(traces, name, platform):
    assert traces[name], "a program that no run above calls: add one that does"
    for trace in traces[name]:
        text = trace.lower(lowering_platforms=(platform,)).as_text()
        assert len(text) < MOST_CHARACTERS
        assert not [word for word in HOST_CALLS if word in text.lower()]


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("name", ["modjax.measures.compute._add", "modjax.training.programs.write_slots"])
def test_donated_buffers_are_given_back_as_results(traces, name, platform):
    for trace in traces[name]:
        text = trace.lower(lowering_platforms=(platform,)).as_text()
        assert "tf.aliasing_output" in text or "jax.buffer_donor" in text


def test_what_calls_the_host_is_seen():
    def prints(x):
        jax.debug.print("{}", x)
        return x

    assert [word for word in HOST_CALLS if word in jax.jit(prints).lower(np.float32(0)).as_text().lower()]
    with pytest.raises(ValueError, match="platform"):  # JAX itself refuses it for a platform that is not here
        jax.jit(prints).trace(np.float32(0)).lower(lowering_platforms=("cuda",))
