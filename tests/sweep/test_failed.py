"""A trial that raises is marked and tried again; its neighbours end as if nothing had been."""

import jax
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import modjax as mj
from modjax import cli
from modjax.clustering.pool import WorkerPool
from modjax.spec.failures import MANY_FAILURES, Failures
from modjax.sweep import writer
from modjax.sweep.writer import StackWriter
from tests.sweep.dying import die, explode
from tests.sweep.test_pipeline import TABLES, assert_same_tables, without_times


def measuring(monkeypatch, victim):
    whole = StackWriter._trial_row
    monkeypatch.setattr(
        StackWriter, "_trial_row", lambda self, name, one: explode() if name == victim else whole(self, name, one)
    )


def similarity(monkeypatch, victim):
    """All stacks with the victim's weights raise, and so does the victim alone."""
    weights = jax.tree.leaves(mj.load_params(FINISHED[0], victim))[1].ravel()[0]
    whole = writer.stack_matrices

    def raise_on_victim(network, params, *rest):
        first = jax.tree.leaves(params)[1]
        if (first.reshape(len(first), -1)[:, 0] == weights).any():
            explode()
        return whole(network, params, *rest)

    monkeypatch.setattr(writer, "stack_matrices", raise_on_victim)


def clustering(monkeypatch, victim, function=explode):
    whole = WorkerPool.submit

    def submit(self, name, job, *arguments):
        whole(self, name, function if name == (victim, 1) else job, *arguments)

    monkeypatch.setattr(WorkerPool, "submit", submit)


def dying_workers(monkeypatch, victim):
    clustering(monkeypatch, victim, die)


FINISHED = []
STEPS = {"measuring": measuring, "similarity": similarity, "clustering": clustering, "dying workers": dying_workers}


@pytest.mark.filterwarnings("ignore::UserWarning")  # loky warns of killed workers
@pytest.mark.parametrize(
    "step",
    [
        "clustering",
        *(pytest.param(step, marks=pytest.mark.slow) for step in ("measuring", "similarity")),
        pytest.param("dying workers", marks=[pytest.mark.slow, pytest.mark.workers]),
    ],
)
def test_a_trial_that_raises_is_marked_and_tried_again(
    finished, folder, write_spec, tiny_content, monkeypatch, capsys, step
):
    FINISHED[:] = [finished]
    spec, out = write_spec(tiny_content), folder / "out"
    victim = finished.trials.filter(pl.col("status") == "done")["trial_id"][1]
    with monkeypatch.context() as patch:
        STEPS[step](patch, victim)
        for _ in range(2 if step == "measuring" else 1):  # failing again changes nothing
            with pytest.raises(SystemExit) as stop:
                cli.main(["sweep", str(spec), "--out", str(out), "--slots", "6"])
            assert stop.value.code == 1
            told = [line for line in capsys.readouterr().out.splitlines() if victim in line]
            assert len(told) == 1
            assert ("ZeroDivisionError: a bad member" in told[0]) or step == "dying workers"
    sweep = mj.open_sweep(out)
    row = sweep.trials.filter(pl.col("trial_id") == victim).row(0, named=True)
    assert (row["status"], row["excluded"]) == ("failed", True)
    assert set(sweep.manifest["failed"]) == {victim}
    for name in TABLES:
        own = pl.col("trial_id") == victim
        assert name in ("trials", "history") or not sweep.table(name).filter(own).height
        ours, theirs = (without_times(one.table(name)).filter(~own) for one in (sweep, finished))
        names = [column for column in ours.columns if column not in ("p_adjusted",)]
        assert_frame_equal(ours.select(names), theirs.select(names), check_exact=True)
    if step != "measuring":  # then its weights are enough
        monkeypatch.setattr("modjax.engines.local.PopulationRun", explode)
    again = mj.run_sweep(spec, out, is_quiet=True)
    assert_same_tables(again, finished)
    assert not again.manifest["failed"]


def test_analysis_that_failed_before_an_interruption_is_done_again_from_the_weights(
    finished, folder, write_spec, tiny_content, monkeypatch
):
    victim = finished.trials.filter(pl.col("status") == "done")["trial_id"][0]
    with monkeypatch.context() as patch:
        clustering(patch, victim)
        patch.setattr("modjax.sweep.pipeline.merge_parts", lambda *given: explode())
        with pytest.raises(ZeroDivisionError):
            mj.run_sweep(write_spec(tiny_content), folder / "out", slots=6, is_quiet=True)
    monkeypatch.setattr("modjax.engines.local.PopulationRun", explode)
    assert_same_tables(mj.run_sweep(write_spec(tiny_content), folder / "out", is_quiet=True), finished)


@pytest.mark.parametrize("trials_per_stack", [3, 1])
def test_interrupted_after_a_failure_tries_it_again(
    finished, folder, write_spec, tiny_content, monkeypatch, trials_per_stack
):
    monkeypatch.setattr(writer, "STACK_TRIALS", trials_per_stack)
    victim = finished.trials.filter(pl.col("status") == "done")["trial_id"][0]
    with monkeypatch.context() as patch:
        measuring(patch, victim)
        patch.setattr("modjax.sweep.pipeline.merge_parts", lambda *given: explode())
        with pytest.raises(ZeroDivisionError):
            mj.run_sweep(write_spec(tiny_content), folder / "out", slots=6, is_quiet=True)
    assert mj.verify_sweep(folder / "out").is_whole  # of one trial a stack, that of the victim is a part of none
    assert_same_tables(mj.run_sweep(write_spec(tiny_content), folder / "out", is_quiet=True), finished)


def test_what_hits_all_trials_stops_the_sweep(folder, write_spec, tiny_content, monkeypatch):
    def no_memory(*given):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")

    monkeypatch.setattr("modjax.spec.context.measure_trials", no_memory)
    with pytest.raises(RuntimeError, match="RESOURCE_EXHAUSTED"):
        mj.run_sweep(write_spec(tiny_content), folder / "out", is_quiet=True)
    monkeypatch.setattr("modjax.spec.context.measure_trials", explode)
    with pytest.raises(RuntimeError, match=r"no trial could be finished; trial .*: ZeroDivisionError: a bad member"):
        mj.run_sweep(write_spec(tiny_content), folder / "out", is_quiet=True)


def test_failures_without_a_success_end_it():
    failures = Failures()
    for number in range(MANY_FAILURES - 1):
        assert failures.attempt(str(number), explode) is None
    with pytest.raises(RuntimeError, match="no trial could be finished"):
        failures.attempt("last", explode)
    assert len(failures.among(["0", "x"])) == 1
