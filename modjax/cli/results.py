"""Commands on an existing sweep: each parses, calls one public function, and prints its result or what it wrote."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

import modjax

FAILED = 1

app = typer.Typer()
Directory = Annotated[Path, typer.Argument(help="A sweep's directory.", metavar="DIR")]


@app.command()
def status(
    directory: Directory,
    watch: Annotated[
        float, typer.Option(help="Seconds after which it is printed again, while the sweep runs.", min=0)
    ] = 0,
) -> None:
    """Print how far a sweep is: while it runs, after an interruption, or when it is complete."""
    import time

    from modjax.sweep.status import status_text, watch_sweep

    while True:
        progress = watch_sweep(directory)
        print_frame(progress.trials)
        typer.echo("\n".join(status_text(progress)))
        if not (watch and progress.is_running):
            return
        time.sleep(watch)


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
    # CSV has no lists: they are written as JSON text.
    lists = [column for column, dtype in frame.schema.items() if isinstance(dtype, pl.List)]
    as_json = [
        pl.format("[{}]", pl.col(column).cast(pl.List(pl.String)).list.join(",")).alias(column) for column in lists
    ]
    typer.echo(frame.with_columns(as_json).write_csv(), nl=False)


@app.command()
def verify(directory: Directory) -> None:
    """Check every file of a sweep; exit 0 whole, 1 damaged, 2 not a sweep."""
    verification = modjax.verify_sweep(directory)
    for problem in verification.problems:
        typer.echo(problem)
    counts = ", ".join(f"{number} {name}" for name, number in verification.checked.items() if number)
    state = "run to its end" if verification.is_finished else "not finished; run its sweep again to go on"
    if verification.problems:
        typer.echo("Run its sweep again: what is damaged is set aside and made anew.", err=True)
        raise typer.Exit(FAILED)
    typer.echo(f"{directory} is whole ({counts}); {state}")


@app.command()
def report(
    directory: Directory,
    out: Annotated[
        Path | None, typer.Option(help="Write the page alone, to this file outside DIR; works while the sweep runs.")
    ] = None,
) -> None:
    """Write the report of a sweep again from its tables: report.html and the figures."""
    from modjax.io.files import LockedError, locked
    from modjax.report.write import write_page, write_report

    opened = modjax.open_sweep(directory)
    if out is not None:
        if out.resolve().is_relative_to(directory.resolve()):
            raise ValueError(f"--out must be a file outside the sweep's directory; {out} lies in {directory}.")
        typer.echo(f"Report:  {write_page(opened, out)}")
        return
    try:
        with locked(opened.paths.lock):
            names, page = write_report(opened)
    except LockedError as error:
        raise LockedError(f"{error} To look at it so far: --out PAGE, a file elsewhere.") from None
    typer.echo("\n".join(str(opened.paths.figures / f"{name}.png") for name in names) or "no finished trials yet")
    typer.echo(f"Report:  {page}")


@app.command()
def compare(
    first: Directory,
    second: Annotated[Path, typer.Argument(help="Another sweep's directory.", metavar="DIR")],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("compare.html"),
) -> None:
    """Compare two sweeps: one page with their curves and what differs at the settings they share."""
    typer.echo(f"Report:  {modjax.compare(modjax.open_sweep(first), modjax.open_sweep(second), out)}")


@app.command()
def claims(
    directory: Directory,
    out: Annotated[Path | None, typer.Option(help="Write all rows, with a sentence each, to this CSV file.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the sweep's numbers and verdicts to this file.")] = None,
    correction: Annotated[
        str, typer.Option(help="max_t (family-wise error) or benjamini_hochberg (false discovery rate).")
    ] = "max_t",
    interval: Annotated[str, typer.Option(help="t, or bootstrap (percentiles).")] = "t",
    margin: Annotated[
        float | None, typer.Option(help="Largest difference in Q that counts as none (default: the spec's).")
    ] = None,
    min_living: Annotated[
        float, typer.Option(help="Leave out of an arm's best settings with a smaller share of living units.")
    ] = 0.0,
) -> None:
    """Test the paper's claims from a sweep's tables: effects, intervals over seeds, verdicts."""
    from modjax.io.files import write_text
    from modjax.report.reproduction import reproduction_text

    opened = modjax.open_sweep(directory)
    tested = modjax.claims(opened, correction, interval, margin, min_living)
    for name, lines in tested.headlines.items():
        typer.echo("\n".join(lines))
        if tested.shown(name).height:
            print_frame(tested.shown(name), max_rows=10_000)
    typer.echo("\n".join(tested.notes), nl=bool(tested.notes))
    if out is not None:
        write_text(out, tested.table.write_csv())
    if markdown is not None:
        write_text(markdown, reproduction_text(opened, tested))


@app.command()
def export(
    directory: Directory,
    to: Annotated[str, typer.Option(help="tensorboard, wandb or mlflow; each needs its package.")],
    dest: Annotated[Path | None, typer.Option(help="Folder outside DIR (default: beside it, DIR_<tracker>).")] = None,
) -> None:
    """Give the trials of a sweep to an experiment tracker, one run each; again, also while it runs, adds what is new.

    A trial is given once it is whole: trained, and with all its modules found.
    """
    from modjax.export.trackers import export_sweep

    exported = export_sweep(directory, to, dest)
    typer.echo(f"{exported.added} trials added to {to} in {exported.folder}")
    if exported.left:
        typer.echo(f"{exported.left} trials left for a later export: not whole yet, or failed")


def print_frame(frame: Any, max_rows: int = 100) -> None:
    """Print a polars frame as a plain table."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column, dtype in frame.schema.items():
        shown.add_column(column, justify="right" if dtype.is_numeric() else "left", no_wrap=True)
    for row in frame.head(max_rows).iter_rows():
        shown.add_row(*(_cell(value) for value in row))
    # Wide enough for any row: a long row wraps in a narrow terminal, and no column is left out.
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
