"""The names below the public ones that tests of behaviour need, in one place: code that moves changes this file alone.

Tests of one module's own functions import that module; others should import modjax, run its command line, or ask here.
"""

import pickle
from concurrent.futures import Future
from typing import ClassVar

import modjax as mj
from modjax._util.signals import GRACE_SECONDS as GRACE_SECONDS
from modjax._util.signals import INTERRUPTED as INTERRUPTED
from modjax._util.signals import Interrupted as Interrupted
from modjax._util.signals import signals_stop_the_process as signals_stop_the_process
from modjax._util.signals import signals_wait as signals_wait
from modjax.builtins import MEASURES as MEASURE_INFOS  # noqa: F401
from modjax.clustering.layer import cluster_layer as cluster_layer
from modjax.export.records import trial_records as trial_records
from modjax.export.trackers import TRACKERS as TRACKERS
from modjax.extensions import catalog_of as catalog_of
from modjax.integrity import fork as fork
from modjax.integrity.directory import with_settings_of as with_settings_of
from modjax.integrity.fork_rows import as_trained as as_trained
from modjax.io import untrusted as untrusted
from modjax.io.checksums import SUMS as SUMS
from modjax.io.checksums import own_sum_problem as own_sum_problem
from modjax.io.checksums import sum_of as sum_of
from modjax.io.files import LockedError as LockedError
from modjax.io.files import locked as locked
from modjax.io.trees import load_tree as load_tree
from modjax.measures import plan as plan
from modjax.measures.chain import has_closed_form as has_closed_form
from modjax.names import ACTIVATIONS as ACTIVATIONS
from modjax.names import NULL_KINDS as NULL_KINDS
from modjax.names import OPTIMIZERS as OPTIMIZERS
from modjax.names import SEARCH_METHODS as SEARCH_METHODS
from modjax.networks.base import KEEP_LEVELS as KEEP_LEVELS
from modjax.networks.base import dropout_mask as dropout_mask
from modjax.networks.mlp import ACTIVATION_FUNCTIONS as ACTIVATION_FUNCTIONS
from modjax.report.figures import FIGURES as FIGURES
from modjax.report.figures import draw_figures as draw_figures
from modjax.report.page import build_page as build_page
from modjax.report.page_compare import build_comparison as build_comparison
from modjax.report.page_compare import compare as compare
from modjax.report.page_matrices import pack_sweep as pack_sweep
from modjax.report.reproduction import reproduction_text as reproduction_text
from modjax.report.settings import parts_of as parts_of
from modjax.report.style import ARM_COLOURS as ARM_COLOURS
from modjax.report.style import use_style as use_style
from modjax.report.verdicts import CLAIM_SCHEMA as CLAIM_SCHEMA
from modjax.report.write import write_page as write_page
from modjax.report.write import write_report as write_report
from modjax.spec.epochs import guess_epochs as guess_epochs
from modjax.spec.expand import expand as expand
from modjax.spec.parse import load_spec as load_spec
from modjax.spec.parse import parse_spec as parse_spec
from modjax.store.failures import read_failures as read_failures
from modjax.store.manifest import SCHEMA_VERSION as SCHEMA_VERSION
from modjax.store.manifest import checksums as checksums
from modjax.store.manifest import describe_machine as describe_machine
from modjax.store.manifest import read_manifest as read_manifest
from modjax.store.manifest import write_manifest as write_manifest
from modjax.store.paths import SweepPaths as SweepPaths
from modjax.store.schemas import KEYS as KEYS
from modjax.store.schemas import SCHEMAS as SCHEMAS
from modjax.store.stacks import read_ids as read_ids
from modjax.store.stacks import save_stack as save_stack
from modjax.store.tables import BUILTIN_TABLES
from modjax.store.tables import write_table as write_table
from modjax.sweep import heartbeat as heartbeat
from modjax.sweep import writer as writer
from modjax.sweep.finalize import completion_of
from modjax.sweep.heartbeat import Heartbeat as Heartbeat
from modjax.sweep.heartbeat import HeartbeatFile as HeartbeatFile
from modjax.sweep.heartbeat import is_locked as is_locked
from modjax.sweep.heartbeat import read_heartbeat as read_heartbeat
from modjax.sweep.progress import SweepProgress as SweepProgress
from modjax.sweep.status import status_text as status_text
from modjax.sweep.status import sweep_status as sweep_status
from modjax.training.objective import Batch as Batch
from modjax.training.programs import init_one as init_one
from modjax.training.trial import split as split

read_table, scan_table = BUILTIN_TABLES.read, BUILTIN_TABLES.scan
merge, from_rows = BUILTIN_TABLES.merge, BUILTIN_TABLES.from_rows


def planned_trials(spec):
    """The trials of a spec of a named dataset, without the data."""
    loaded = mj.load_spec(spec)
    return expand(loaded, loaded.dataset)


def leave_reports_out(monkeypatch):
    """No sweep of this process draws figures or writes a page, whatever it is asked."""
    monkeypatch.setattr("modjax.sweep.pipeline.completion_of", lambda report: None)


def draw_few_figures(monkeypatch, names=("accuracy",)):
    """Reports have these figures alone."""
    monkeypatch.setattr("modjax.report.figures.FIGURES", {name: FIGURES[name] for name in names})


def report_by(monkeypatch, **writers):
    """Sweeps draw by these instead: ``figures``, ``page``."""
    whole = completion_of(report=True)
    monkeypatch.setattr("modjax.sweep.pipeline.completion_of", lambda report: whole._replace(**writers))


def search_modules_by(monkeypatch, function):
    """Workers call this instead, with the arguments of a job."""
    monkeypatch.setattr("modjax.sweep.writer.cluster_layer", function)


class InProcess:
    """In place of worker processes: jobs are done as they are submitted, and module searches but once per graph."""

    known: ClassVar = {}

    def submit(self, measured, function, *arguments):
        """A future that is done."""
        future = Future()
        key = pickle.dumps(arguments) if function is cluster_layer else None
        try:
            result = self.known[key] if key in self.known else measured(function, *arguments)
        except Exception as error:
            future.set_exception(error)
        else:
            future.set_result(result)
            if key is not None:
                self.known[key] = result
        return future

    def shutdown(self, **options):
        """There is nothing to end."""


def search_in_process(monkeypatch):
    """Sweeps of this process start no workers, which takes longer than a tiny sweep."""
    monkeypatch.setattr("modjax.clustering.pool.WorkerPool._executor", lambda self: InProcess())
