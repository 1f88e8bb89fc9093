"""Whatever a TOML file can hold, a spec is either valid or refused with one line."""

import copy
import datetime

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.seams import parse_spec

GOOD = {
    "name": "x",
    "question": "?",
    "dataset": "digits",
    "seeds": [0, 1],
    "network": {"kind": "mlp", "widths": [4], "activation": "relu"},
    "training": {"max_epochs": 2, "batch_size": 20, "validation_fraction": 0.1, "plateau_patience": 3},
    "arms": [{"name": "a", "dropout": [0.0, 0.5], "l2": {"logspace": [-3, -1, 3]}}, {"name": "u", "untrained": True}],
    "similarity": {
        "measures": ["covariance"],
        "split": "test",
        "combined": False,
        "estimator": "probes",
        "num_probes": 2,
    },
    "modules": {"method": "leiden", "resolution": 1.0, "restarts": 3, "nulls": 0},
    "alignment": {"permutations": 5},
}
SCALARS = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.just(datetime.date(2026, 1, 1)),
    st.sampled_from(["digits", "mlp", "relu", "linspace", "\x00", "../x"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["name", "linspace", "logspace", "l2", "widths", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


def places(content, path=()):
    """Every path into nested dicts and lists."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in inner:
        yield (*path, key)
        yield from places(value, (*path, key))


PLACES = list(places(GOOD))


def told(content):
    """What a refused spec is told; empty where it is valid."""
    try:
        spec = parse_spec(content)
    except ValueError as error:
        return str(error)
    assert spec.num_trials > 0
    return ""


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(place=st.sampled_from(PLACES), value=VALUES)
def test_one_value_changed(place, value):
    content = copy.deepcopy(GOOD)
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    message = told(content)
    assert "\n" not in message
    assert len(message) < 2000


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from([*GOOD, "extra"]), VALUES, max_size=6))
def test_anything_at_all(content):
    message = told(content)
    assert "\n" not in message
    assert len(message) < 2000
