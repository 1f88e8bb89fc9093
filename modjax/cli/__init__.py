"""The command line: each command parses, calls one public function, and prints what it did."""

import errno
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

import modjax
from modjax._util.signals import INTERRUPTED as INTERRUPTED
from modjax._util.signals import Interrupted, interruption, leave, signals_stop_the_process
from modjax.cli import results as cli_results
from modjax.cli.results import FAILED, print_frame

WRONG_INPUT = 2

app = typer.Typer(
    name="modjax",
    help="Train many small networks at once and ask whether their hidden units form functional modules.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data_app = typer.Typer(
    help="Datasets: which there are, and how to fetch them.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(data_app, name="data")
bench_app = typer.Typer(help="Benchmarks of this machine.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(bench_app, name="bench")
app.add_typer(cli_results.app)  # without a name: its commands are on the same level as these

Spec = Annotated[Path, typer.Argument(help="A TOML file; examples are in experiments/.", metavar="SPEC")]
DataDir = Annotated[Path | None, typer.Option(help="Folder with <name>/train-images-idx3-ubyte[.gz] and so on.")]

Extend = Annotated[
    list[Path] | None,
    typer.Option(help="A Python file of your own, which is run: the spec may name its records. May be repeated."),
]


def _named(extend: list[Path] | None) -> list[Path]:
    """Return the extension files, after saying which are run."""
    for path in extend or ():
        typer.echo(f"modjax: running the extension {path}", err=True)
    return extend or []


@app.command()
def plan(
    spec: Spec,
    slots: Annotated[int | None, typer.Option(help="As for sweep.")] = None,
    probe: Annotated[bool, typer.Option(help="Measure this machine by a short run of each step.")] = True,
    like: Annotated[Path | None, typer.Option(help="An earlier sweep of the same dataset: its mean epochs.")] = None,
    data_dir: DataDir = None,
    extend: Extend = None,
    machines: Annotated[Path | None, typer.Option(help="Folder of rows that 'modjax bench' wrote elsewhere.")] = None,
) -> None:
    """Print what a sweep would be: trials, layout, programs, memory, bytes on the disk, and time."""
    import polars as pl

    from modjax.estimate.plan_text import plan_text

    planned = modjax.plan_sweep(spec, data_dir, slots, probe, like, machines, _named(extend))
    trials = planned.setup.trials
    print_frame(trials.select(trials.columns[: trials.columns.index("status")]), max_rows=60)
    print_frame(trials.group_by("arm").agg(trials=pl.len(), seeds=pl.col("seed").n_unique()).sort("arm"))
    typer.echo("\n".join(plan_text(planned)))


@app.command()
def sweep(
    spec: Spec,
    out: Annotated[Path, typer.Option(help="Directory of the sweep; running the command again resumes it.")],
    slots: Annotated[int | None, typer.Option(help="Trials that train side by side (default: chosen).")] = None,
    engine: Annotated[str, typer.Option(help="Where the work runs: local, or ray (a cluster).")] = "local",
    data_dir: DataDir = None,
    extend: Extend = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster (default: the one Ray finds, or a new one).")] = None,
    workers: Annotated[int | None, typer.Option(help="Ray: maximum number of training workers.")] = None,
    cores_per_worker: Annotated[int | None, typer.Option(help="Ray: CPU cores per worker (default: a node's).")] = None,
    copy_to: Annotated[str | None, typer.Option(help="URL (s3://, gs://, file://) to copy finished files to.")] = None,
    fork: Annotated[Path | None, typer.Option(help="Start a new sweep here from the trials in --out.")] = None,
    keep_weights: Annotated[
        bool, typer.Option("--keep-weights", help="With --fork: copy weights and history alone, repeat every analysis.")
    ] = False,
    report: Annotated[bool, typer.Option(help="Draw the figures and write report.html at the end.")] = True,
) -> int:
    """Train all trials of a spec, find their modules, and write tables and figures."""
    from modjax.report.summary import summary_table
    from modjax.store.exclusion import exclusion_rule, exclusion_warnings, num_excluded
    from modjax.sweep.timing import cost_text

    done = modjax.run_sweep(
        spec,
        out,
        engine=modjax.EngineOptions(engine, address, workers, cores_per_worker),
        slots=slots,
        data_dir=data_dir,
        fork=fork,
        keep_weights=keep_weights,
        copy_to=copy_to,
        report=report,
        extensions=_named(extend),
    )
    out = done.paths.root
    typer.echo("Accuracy and modularity Q (normalized, layer 0), mean over seeds:")
    print_frame(summary_table(done))
    diverged = done.trials.filter(done.trials["status"] == "diverged")["trial_id"].to_list()
    if diverged:
        typer.echo(f"Diverged, kept and flagged: {', '.join(diverged)}")
    num_stopped = done.trials.filter(status="stopped").height
    if num_stopped:
        epochs = int(done.trials["epochs"].fill_null(0).sum())
        typer.echo(f"Stopped early by successive halving: {num_stopped} trials; {epochs} epochs in all")
    if excluded := num_excluded(done.trials):
        typer.echo(f"Left out of means and claims ({exclusion_rule(done)}): {excluded} trials")
    for warning in exclusion_warnings(done):
        typer.echo(f"WARNING: {warning}")
    failed = done.manifest.get("failed", {})
    for trial_id, reason in failed.items():
        typer.echo(f"Failed, to be tried again by the same command: {trial_id} ({reason})")
    if "seconds_by_stage" in done.manifest:
        typer.echo(cost_text(done.manifest))
    typer.echo(f"Tables:  {', '.join(sorted(str(path) for path in out.glob('*.parquet')))}")
    if report:
        typer.echo(f"Figures: {', '.join(sorted(str(path) for path in done.paths.figures.glob('*.png')))}")
        typer.echo(f"Report:  {done.paths.report}")
    return FAILED if failed else 0


@data_app.command("list")
def data_list(data_dir: DataDir = None) -> None:
    """List the datasets and where they are."""
    from modjax.data.sources import SOURCES, locate, search_dirs

    typer.echo("digits         comes with scikit-learn")
    for name, source in SOURCES.items():
        paths = [locate(name, part, data_dir) for part in source.files]
        where = str(paths[0].parent) if paths[0] and all(paths) else f"not here; run 'modjax data fetch {name}'"
        typer.echo(f"{name:14} {where}")
    typer.echo(f"looked in: {', '.join(str(folder) for folder in search_dirs(data_dir))}")


@data_app.command("fetch")
def data_fetch(name: Annotated[str, typer.Argument(help="mnist or fashion_mnist (digits needs no fetching).")]) -> None:
    """Download a dataset to the user's cache, or read and check the copy that is there."""
    dataset = modjax.load_dataset(name)
    typer.echo(f"{name}: {len(dataset.x_train)} training and {len(dataset.x_test)} test examples, whole")


@bench_app.callback()
def bench() -> None:
    """A callback makes a group of a single command: ``bench similarity``, not ``bench``."""


@bench_app.command("similarity")
def bench_similarity(
    out: Annotated[Path, typer.Option(help="Folder for the rows and the figure.")] = Path("bench_results"),
    full: Annotated[bool, typer.Option("--full", help="All widths by all depths, every method; takes long.")] = False,
    tiny: Annotated[bool, typer.Option("--tiny", hidden=True)] = False,
    passes: Annotated[int, typer.Option(help="Number of times each case is timed.")] = 3,
    data_dir: DataDir = None,
) -> None:
    """Time similarity: closed forms, autodiff, PyTorch. Minutes."""
    from modjax.bench.similarity import run_benchmark

    grid = "tiny" if tiny else "full" if full else "default"
    figure = out / "bench_similarity.png"
    report = run_benchmark(out, figure, grid, data_dir, passes, say=lambda text: typer.echo(text, err=True))
    typer.echo(report.table)
    typer.echo(f"Rows:   {report.paths[0]}\nFigure: {report.paths[1]}")


@bench_app.command("probes")
def bench_probes(
    out: Annotated[Path, typer.Option(help="Folder for the rows and the figure.")] = Path("bench_results"),
    tiny: Annotated[bool, typer.Option("--tiny", hidden=True)] = False,
    passes: Annotated[int, typer.Option(help="Number of times each way is timed.")] = 3,
    data_dir: DataDir = None,
) -> None:
    """Compare similarity by probes with the exact one: error, change of Q, time. Minutes."""
    from modjax.bench.probes import run_benchmark

    grid, figure = "tiny" if tiny else "default", out / "bench_probes.png"
    report = run_benchmark(out, figure, grid, data_dir, passes, say=lambda text: typer.echo(text, err=True))
    typer.echo(f"{report.table}\nRows:   {report.paths[0]}\nFigure: {report.paths[1]}")


@bench_app.command("training")
def bench_training(
    out: Annotated[Path, typer.Option(help="Folder for the rows.")] = Path("bench_results"),
    tiny: Annotated[bool, typer.Option("--tiny", hidden=True)] = False,
    passes: Annotated[int, typer.Option(help="Number of times each case is timed.")] = 3,
    data_dir: DataDir = None,
) -> None:
    """Time training: layouts, parts left out, the use of slots, scheduling. Minutes."""
    from modjax.bench.training import run_benchmark

    grid = "tiny" if tiny else "default"
    report = run_benchmark(out, grid, data_dir, passes, say=lambda text: typer.echo(text, err=True))
    typer.echo(f"{report.table}\nRows: {report.path}")


@bench_app.command("modules")
def bench_modules(
    out: Annotated[Path, typer.Option(help="Folder for the rows.")] = Path("bench_results"),
    widths: Annotated[list[int] | None, typer.Option("--width", help="Number of units; may be repeated.")] = None,
    passes: Annotated[int, typer.Option(help="Number of times each case is timed.")] = 3,
) -> None:
    """Time module searches and what nulls and alignment cost, on one core. A minute for 64 units."""
    from modjax.bench.modules import run_benchmark

    report = run_benchmark(out, widths or (64,), passes, say=lambda text: typer.echo(text, err=True))
    typer.echo(f"{report.table}\nRows: {report.path}")


def what_to_do(error: BaseException) -> str:
    """Return advice to append to the message about a file that could not be written."""
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT):
        return "; make room, then run the same command again: what was written before is whole."
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "; allow this user to write there, or choose another directory; what was written before is whole."
    return ""


def _or_help(arguments: list[str]) -> list[str]:
    """Add ``--help`` to the arguments if they name only a command group, or nothing."""
    return [*arguments, "--help"] if arguments in ([], ["data"], ["bench"]) else arguments


def _one_line(error: BaseException) -> str:
    message = error.format_message() if hasattr(error, "format_message") else str(error)  # pyright: ignore[reportAttributeAccessIssue]
    return " ".join(str(message or type(error).__name__).split())


def _unraisable(error: Any) -> None:
    """Report errors that cannot be raised, except those of tensorstore's callbacks after a failed save, and signals.

    The save raises its own error where it is waited for; after a signal the process ends all the same.
    """
    is_late = isinstance(error.exc_value, RuntimeError) and str(error.exc_value) == "Event loop is closed"
    if not is_late and not isinstance(error.exc_value, Interrupted):
        sys.__unraisablehook__(error)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exit with 0 if done, 1 if anything failed, 2 for wrong input, 130 or 143 if interrupted."""
    before, sys.unraisablehook = sys.unraisablehook, _unraisable
    try:
        with signals_stop_the_process():
            _main(sys.argv[1:] if arguments is None else arguments)
    finally:
        sys.unraisablehook = before


def _main(arguments: list[str]) -> None:
    try:
        outcome = app(args=_or_help(arguments), standalone_mode=False)
    except BaseException as error:
        stop = interruption()
        if stop is not None:
            typer.echo("modjax: interrupted; run the same command again to go on from what is saved.", err=True)
            leave(stop.exit_status)
        _exit_with(error)
    sys.exit(outcome if isinstance(outcome, int) else 0)


def _exit_with(error: BaseException) -> NoReturn:
    """Report an error in one line and exit; a bug is raised again, with its traceback."""
    if isinstance(error, ValueError):
        typer.echo(f"modjax: {_one_line(error)}", err=True)
        sys.exit(WRONG_INPUT)
    if isinstance(error, OSError | RuntimeError | MemoryError):
        typer.echo(f"modjax: {_one_line(error)}{what_to_do(error)}", err=True)
        sys.exit(FAILED)
    if hasattr(error, "format_message"):  # an argument error of the parser
        typer.echo(f"modjax: {_one_line(error)} (see modjax --help)", err=True)
        sys.exit(WRONG_INPUT)
    raise error


if __name__ == "__main__":
    main()
