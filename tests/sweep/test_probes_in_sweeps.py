"""A sweep whose similarities are estimated by probes."""

import numpy as np
import pytest

import modjax as mj
from modjax.catalog import BUILTIN
from tests.seams import parse_spec

SPEC = {
    "name": "probes",
    "dataset": "digits",
    "seeds": [0, 1],
    "network": {"widths": [12, 10]},
    "training": {"max_epochs": 2, "batch_size": 200},
    "arms": [{"name": "dropout", "dropout": [0.2]}],
}
PROBES = {"estimator": "probes", "num_probes": 3}


def test_matrices_are_those_of_the_public_function(tmp_path) -> None:
    spec = {**SPEC, "similarity": PROBES}
    sweep = mj.run_sweep(spec, tmp_path / "out", slots=2, is_quiet=True, report=False)
    digits, network = mj.load_dataset("digits"), mj.mlp(64, (12, 10), 10)
    for trial in sweep.trials.iter_rows(named=True):
        params = mj.load_params(sweep.paths.root, trial["trial_id"])
        means = mj.similarity(network, params, digits.x_test, digits.y_test, **PROBES)
        exact = mj.similarity(network, params, digits.x_test, digits.y_test)
        for row in sweep.similarity.filter(trial_id=trial["trial_id"]).iter_rows(named=True):
            matrix = np.asarray(row["matrix"]).reshape(exact[row["measure"]][row["layer"]].shape)
            scale = np.abs(matrix).max()
            np.testing.assert_allclose(matrix, means[row["measure"]][row["layer"]], atol=1e-5 * scale)
            gap = np.abs(matrix - exact[row["measure"]][row["layer"]]).max()
            assert (gap < 1e-5 * scale) == (row["measure"] == "covariance"), row["measure"]


def test_the_exact_estimator_is_no_part_of_a_sweeps_identity() -> None:
    plain = parse_spec(SPEC).spec_hash()
    assert parse_spec({**SPEC, "similarity": {"estimator": "exact"}}).spec_hash() == plain
    few, default = (
        parse_spec({**SPEC, "similarity": given}).spec_hash() for given in (PROBES, {"estimator": "probes"})
    )
    assert len({plain, few, default}) == 3
    assert parse_spec({**SPEC, "similarity": {"estimator": "probes", "num_probes": 16}}).spec_hash() == default


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_probes": 4}, r"similarity: num_probes needs estimator = 'probes'"),
        ({"estimator": "probes", "num_probes": 0}, r"similarity\.num_probes: .* greater than or equal to 1; got 0"),
        ({"estimator": "hutchinson"}, r"similarity\.estimator: .*exact, probes"),
    ],
)
def test_bad_settings_are_refused_in_one_line(given, message) -> None:
    with pytest.raises(ValueError, match=message) as error:
        parse_spec({**SPEC, "similarity": given})
    assert "\n" not in str(error.value)


def test_a_measure_without_an_estimate_is_refused_before_training() -> None:
    own = mj.MeasureInfo("own", "upstream", lambda network, params, x, y: ())
    given = {**SPEC, "similarity": {**PROBES, "measures": ["covariance", "own"]}}
    with pytest.raises(ValueError, match=r"similarity: measure 'own' has no estimate by probes: leave it out"):
        parse_spec(given, catalog=BUILTIN.extended([own]))
