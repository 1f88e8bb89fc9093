"""The command line: each command parses, calls one public function, and prints what it did."""

import errno
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

import modjax
from modjax.stopping import INTERRUPTED as INTERRUPTED
from modjax.stopping import Interrupted, leave, signals_stop_the_process

FAILED, WRONG_INPUT = 1, 2

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

Spec = Annotated[Path, typer.Argument(help="A TOML file; examples are in experiments/.", metavar="SPEC")]
Directory = Annotated[Path, typer.Argument(help="A sweep's directory.", metavar="DIR")]
DataDir = Annotated[Path | None, typer.Option(help="Folder with <name>/train-images-idx3-ubyte[.gz] and so on.")]


@app.command()
def plan(spec: Spec, data_dir: DataDir = None) -> None:
    """Print the trials of a spec, their number, and what a sweep would write."""
    import polars as pl

    from modjax.sweep.setup import output_paths, prepare

    setup = prepare(spec, data_dir)
    arms = setup.trials.group_by("arm").agg(trials=pl.len(), seeds=pl.col("seed").n_unique()).sort("arm")
    print_frame(setup.trials.select("trial_id", "arm", "seed", "learning_rate", "l1", "l2", "dropout"), max_rows=60)
    print_frame(arms)
    examples = f"{len(setup.data.x_train)} training and {len(setup.data.x_test)} test examples of {setup.spec.dataset}"
    num_layers = len(setup.spec.network.widths) + setup.spec.similarity.combined
    num_matrices = setup.trials.height * num_layers * len(setup.spec.similarity.measures)
    typer.echo(f"{setup.trials.height} trials, {num_matrices} similarity matrices, {examples}. A sweep writes:")
    typer.echo("  " + "  ".join(output_paths(Path("DIR"))))


@app.command()
def sweep(
    spec: Spec,
    out: Annotated[Path, typer.Option(help="Directory of the sweep; running the command again resumes it.")],
    slots: Annotated[int | None, typer.Option(help="Trials that train side by side (default: chosen).")] = None,
    engine: Annotated[str, typer.Option(help="Where the work runs: local.")] = "local",
    data_dir: DataDir = None,
    fork: Annotated[Path | None, typer.Option(help="Begin a sweep here with what the one in --out has.")] = None,
) -> None:
    """Train all trials of a spec, find their modules, and write tables and figures."""
    from modjax.report.summary import summary_table
    from modjax.sweep.stages import cost_text

    done = modjax.run_sweep(spec, out, engine=engine, slots=slots, data_dir=data_dir, fork=fork)
    out = done.layout.root
    typer.echo("Accuracy and modularity Q (normalized, layer 0), mean over seeds:")
    print_frame(summary_table(done))
    diverged = done.trials.filter(done.trials["status"] == "diverged")["trial_id"].to_list()
    if diverged:
        typer.echo(f"Diverged, kept and flagged: {', '.join(diverged)}")
    num_excluded = int(done.trials["excluded"].sum())
    if num_excluded:
        typer.echo(f"Left out of summaries and figures (test accuracy below 0.8): {num_excluded} trials")
    if "seconds_by_stage" in done.manifest:
        typer.echo(cost_text(done.manifest))
    typer.echo(f"Tables:  {', '.join(sorted(str(path) for path in out.glob('*.parquet')))}")
    typer.echo(f"Figures: {', '.join(sorted(str(path) for path in done.layout.figures.glob('*.png')))}")


@app.command()
def status(directory: Directory) -> None:
    """Print how far a sweep is."""
    from modjax.sweep.status import sweep_status

    print_frame(sweep_status(directory))


@app.command()
def table(
    directory: Directory,
    name: Annotated[str, typer.Argument(help="trials, history, similarity, modules or alignment.")] = "trials",
    rows: Annotated[int, typer.Option(help="Rows to print.", min=1)] = 40,
    csv: Annotated[bool, typer.Option("--csv", help="All rows as CSV; lists are written as JSON.")] = False,
) -> None:
    """Print a table of a sweep."""
    import polars as pl

    frame = modjax.open_sweep(directory).table(name)
    if not csv:
        print_frame(frame, max_rows=rows)
        return
    lists = [column for column, dtype in frame.schema.items() if isinstance(dtype, pl.List)]
    as_json = [
        pl.format("[{}]", pl.col(column).cast(pl.List(pl.String)).list.join(",")).alias(column) for column in lists
    ]
    typer.echo(frame.with_columns(as_json).write_csv(), nl=False)


@app.command()
def verify(directory: Directory) -> None:
    """Check every file of a sweep; exit 0 whole, 1 damaged, 2 not a sweep."""
    found = modjax.verify_sweep(directory)
    for problem in found.problems:
        typer.echo(problem)
    told = ", ".join(f"{number} {name}" for name, number in found.checked.items() if number)
    state = "run to its end" if found.is_finished else "not finished; run its sweep again to go on"
    if found.problems:
        typer.echo("Run its sweep again: what is damaged is set aside and made anew.", err=True)
        raise typer.Exit(FAILED)
    typer.echo(f"{directory} is whole ({told}); {state}")


@app.command()
def report(directory: Directory) -> None:
    """Draw the figures of a sweep again from its tables."""
    from modjax.report.figures import draw_figures

    opened = modjax.open_sweep(directory)
    names = draw_figures(opened)
    typer.echo("\n".join(str(opened.layout.figures / f"{name}.png") for name in names) or "no finished trials yet")


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
    passes: Annotated[int, typer.Option(help="Times that every case is timed.")] = 3,
    data_dir: DataDir = None,
) -> None:
    """Time similarity: closed forms, autodiff, PyTorch. Minutes."""
    from modjax.bench.similarity import run_benchmark

    grid = "tiny" if tiny else "full" if full else "default"
    figure = out / "bench_similarity.png"
    report = run_benchmark(out, figure, grid, data_dir, passes, say=lambda text: typer.echo(text, err=True))
    typer.echo(report.table)
    typer.echo(f"Rows:   {report.paths[0]}\nFigure: {report.paths[1]}")


@bench_app.command("modules")
def bench_modules(
    out: Annotated[Path, typer.Option(help="Folder for the rows.")] = Path("bench_results"),
    widths: Annotated[list[int] | None, typer.Option("--width", help="Units; may be given again.")] = None,
    passes: Annotated[int, typer.Option(help="Times that every case is timed.")] = 3,
) -> None:
    """Time module searches and what nulls and alignment cost, on one core. A minute for 64 units."""
    from modjax.bench.modules import run_benchmark

    report = run_benchmark(out, widths or (64,), passes, say=lambda text: typer.echo(text, err=True))
    typer.echo(f"{report.table}\nRows: {report.path}")


def print_frame(frame: Any, max_rows: int = 100) -> None:
    """Print a polars frame as a plain table."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column, dtype in frame.schema.items():
        shown.add_column(column, justify="right" if dtype.is_numeric() else "left", no_wrap=True)
    for row in frame.head(max_rows).iter_rows():
        shown.add_row(*(_cell(value) for value in row))
    # As wide as it needs to be: a long row wraps in a narrow terminal, no column is left out.
    Console(width=10_000, highlight=False, markup=False, soft_wrap=True).print(shown)
    if frame.height > max_rows:
        typer.echo(f"... {frame.height - max_rows} more rows")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."


def what_to_do(error: BaseException) -> str:
    """The end of the line that tells of a file that could not be written."""
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT):
        return "; make room, then run the same command again: what was written before is whole."
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "; allow this user to write there, or choose another directory; what was written before is whole."
    return ""


def _or_help(arguments: list[str]) -> list[str]:
    """A command group by itself asks for its help."""
    return [*arguments, "--help"] if arguments in ([], ["data"], ["bench"]) else arguments


def _one_line(error: BaseException) -> str:
    message = error.format_message() if hasattr(error, "format_message") else str(error)  # pyright: ignore[reportAttributeAccessIssue]
    return " ".join(str(message or type(error).__name__).split())


def _unraisable(error: Any) -> None:
    """Errors that nobody can catch; not those of tensorstore's callbacks after a save that failed.

    The save has its own error, where it is waited for.
    """
    is_late = isinstance(error.exc_value, RuntimeError) and str(error.exc_value) == "Event loop is closed"
    if not is_late:
        sys.__unraisablehook__(error)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exit 0 done, 1 something failed, 2 the input is wrong, 130 or 143 interrupted."""
    before, sys.unraisablehook = sys.unraisablehook, _unraisable
    try:
        with signals_stop_the_process():
            _main(sys.argv[1:] if arguments is None else arguments)
    finally:
        sys.unraisablehook = before


def _main(arguments: list[str]) -> None:
    try:
        outcome = app(args=_or_help(arguments), standalone_mode=False)
    except Interrupted as stop:
        typer.echo("modjax: interrupted; run the same command again to go on from what is saved.", err=True)
        leave(stop.exit_status)
    except ValueError as error:
        typer.echo(f"modjax: {_one_line(error)}", err=True)
        sys.exit(WRONG_INPUT)
    except (OSError, RuntimeError, MemoryError) as error:
        typer.echo(f"modjax: {_one_line(error)}{what_to_do(error)}", err=True)
        sys.exit(FAILED)
    except Exception as error:
        if not hasattr(error, "format_message"):  # not an argument error of the parser: a bug, told in full
            raise
        typer.echo(f"modjax: {_one_line(error)} (see modjax --help)", err=True)
        sys.exit(WRONG_INPUT)
    sys.exit(outcome if isinstance(outcome, int) else 0)


if __name__ == "__main__":
    main()
