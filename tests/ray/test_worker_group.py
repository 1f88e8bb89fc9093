"""Ray's actors and tasks, made up: nodes that other jobs hold, or that have other packages. No Ray."""

from types import SimpleNamespace

import pytest

from modjax.engines.base import TrainedTrial
from modjax.engines.queue import TrialQueue
from modjax.engines.ray import searches
from modjax.engines.ray import worker_group as group
from modjax.engines.ray.dispatch import Done, dispatch, give_orders
from modjax.engines.ray.placement import Placement
from modjax.engines.ray.searches import SEARCHED_WITH, RaySearchExecutor
from modjax.engines.ray.worker import WorkerJob
from modjax.engines.ray.worker_group import RayWorkerGroup
from modjax.training.events import FinishedTrial
from tests.seams import describe_machine

ERRORS = (
    *("RayError", "RayTaskError", "RayActorError", "ActorUnschedulableError", "ObjectLostError", "NodeDiedError"),
    *("WorkerCrashedError", "RaySystemError"),
)

NOTHING = tuple.__new__(WorkerJob, [None] * len(WorkerJob._fields))  # no worker here looks at its job


class MadeUpRay:
    """Calls to actors on ``held`` nodes wait, on ``dead`` ones they raise; killing ``cancelled`` actors raises."""

    def __init__(self):
        self.held, self.dead, self.cancelled = set(), set(), set()
        self.exceptions = SimpleNamespace(**{name: type(name, (Exception,), {}) for name in ERRORS})
        strategy = SimpleNamespace(NodeAffinitySchedulingStrategy=lambda node, soft: node)
        self.util = SimpleNamespace(scheduling_strategies=strategy)

    def put(self, value):
        return value

    def remote(self, what):
        def options(scheduling_strategy=None, **others):
            def start(*arguments):
                is_task = scheduling_strategy is None
                return Call(None, lambda: what(*arguments)) if is_task else Actor(scheduling_strategy, what(*arguments))

            return SimpleNamespace(remote=start)

        return SimpleNamespace(options=options)

    def wait(self, calls, num_returns, timeout):
        ready = [call for call in calls if call.node not in self.held]
        return ready[:num_returns], []

    def get(self, call):
        if call.node in self.dead:
            raise self.exceptions.ActorUnschedulableError
        return call.function()

    def kill(self, actor):
        if actor.node in self.cancelled:
            raise self.exceptions.RaySystemError

    def cluster_resources(self):
        return {"CPU": 2.0}


class Call:
    def __init__(self, node, function):
        self.node, self.function = node, function


class Actor:
    def __init__(self, node, actual):
        self.node = node
        for name in ("describe", "carry_out"):
            method = getattr(actual, name)
            remote = lambda *arguments, method=method: Call(node, lambda: method(*arguments))  # noqa: E731
            setattr(self, name, SimpleNamespace(remote=remote))


class Obedient:
    """Finishes at once whatever it is given."""

    others = ()

    def __init__(self, about, folder):
        self.folder = folder

    def describe(self):
        here = describe_machine()
        return {**here, "packages": here["packages"] | dict(self.others)}

    def carry_out(self, order):
        done = [TrainedTrial(FinishedTrial(one, {}, {}, [], "done", 0, 0.0)) for one in order.trials]
        return Done(done, 0, len(done), (), [{"by": self.folder}] if done else [])


@pytest.fixture
def ray():
    return MadeUpRay()


@pytest.fixture
def group_on(ray, monkeypatch):
    monkeypatch.setattr(group, "_Actor", Obedient)
    monkeypatch.setattr(group, "GROW_SECONDS", 0.0)
    monkeypatch.setattr(group, "START_SECONDS", 0.0)

    def make(nodes):
        return RayWorkerGroup(ray, NOTHING, 0, str, lambda: [Placement(node, 1.0, 0) for node in nodes], 1)

    return make


def run(workers, num_trials, after=lambda count: None):
    finished, told = [], []
    reports = dispatch(workers, TrialQueue(range(num_trials), {}), 2, lambda worker: {}, lambda: False)
    for count, report in enumerate(reports):
        assert count < 50
        after(count)
        finished += [one.trial.trial for one in report.finished]
        told += report.messages
    assert sorted(finished) == list(range(num_trials))
    return told


def test_trials_flow_to_workers_that_are_up_past_nodes_that_others_hold(ray, group_on):
    ray.held = {"b", "c"}
    workers = group_on("abc")
    assert run(workers, 20) == ["workers 1, 2 are waiting for free cores on 2 nodes"]
    assert workers.workers() == [0]
    assert workers.programs == [{"by": "0"}]


def test_a_worker_whose_node_becomes_free_is_given_trials(ray, group_on):
    ray.held = {"b"}
    workers = group_on("ab")
    run(workers, 40, lambda count: ray.held.clear() if count == 2 else None)
    assert workers.workers() == [0, 1]
    assert {"by": "1"} in workers.programs


@pytest.mark.parametrize("cancelled", [set(), {"b"}], ids=["died", "creation cancelled"])
def test_a_node_that_dies_while_a_worker_waits_for_it_costs_nothing(ray, group_on, cancelled):
    ray.dead, ray.cancelled = {"b"}, cancelled
    workers = group_on("ab")
    workers._placements = lambda: [Placement("a", 1.0, 0), Placement("b", 1.0, 0)][: 1 if workers.num_started else 2]
    assert run(workers, 10)[0] == "worker 1 is gone: 0 trials go to others, 0 of them from a snapshot"


def test_without_any_worker_for_long_the_run_ends_with_one_line(ray, group_on, monkeypatch):
    ray.held = {"a", "b"}
    workers = group_on("aab")
    monkeypatch.setattr(group, "NO_WORKER_SECONDS", 0.05)
    monkeypatch.setattr(ray, "wait", lambda *given, **options: (group.time.sleep(0.02), ([], []))[1])
    told = (
        r"no worker .* been up for .* s \(workers 0, 1, 2 are waiting for free cores on 2 nodes\); nothing .* is lost"
    )
    with pytest.raises(RuntimeError, match=told):
        run(workers, 3)


def test_trials_are_left_for_workers_that_are_being_started(ray, group_on, monkeypatch):
    monkeypatch.setattr(group, "START_SECONDS", 60.0)
    ray.held = {"b"}
    workers, queue = group_on("ab"), TrialQueue(range(4), {})
    workers.grow()
    workers.wait(0.0)
    assert (workers.workers(), workers.num_starting()) == ([0], 1)
    give_orders(workers, queue, 4, workers.num_starting())
    assert queue.num_held(0) == 2


@pytest.mark.parametrize("package", ["scipy", "optax", "numba"])
def test_a_worker_with_other_packages_ends_the_run(group_on, monkeypatch, package):
    monkeypatch.setattr(Obedient, "others", ((package, "0.0.1"),))
    with pytest.raises(RuntimeError, match=f"worker 0 has {package} 0.0.1, this process .*would not be the same"):
        run(group_on("a"), 1)


def test_a_worker_that_cannot_import_modjax_ends_the_run(ray, group_on, monkeypatch):
    class CannotStart(ray.exceptions.RayActorError):
        actor_init_failed = True

    def fail(call):
        raise CannotStart("The actor died in its creation task:\n  File ...\nModuleNotFoundError: no modjax\n")

    monkeypatch.setattr(ray, "get", fail)
    with pytest.raises(RuntimeError, match="worker 0 could not be started: ModuleNotFoundError: no modjax"):
        run(group_on("a"), 1)


def test_a_node_that_only_searches_is_asked_for_its_packages(ray, monkeypatch):
    monkeypatch.setattr(searches.os, "nice", lambda by: 0)
    pool, here = RaySearchExecutor(ray), searches._packages()
    pool.submit("one", sum, [1, 2])
    monkeypatch.setattr(searches, "_packages", lambda: {**here, "jax": "0.0.1"})  # which no search uses
    assert pool.is_done("one")
    assert pool.result("one") == 3
    pool.submit("two", sum, [3, 4])
    monkeypatch.setattr(searches, "_packages", lambda: {**here, "igraph": "0.0.1"})
    with pytest.raises(OSError, match=r"a node that searches has igraph 0\.0\.1, this process"):
        pool.result("two")
    assert set(SEARCHED_WITH) <= set(here)
