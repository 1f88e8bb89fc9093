"""Write docs/reliability.md from the rows that the tests left.

rm -f benchmarks/results/reliability.jsonl
export MODJAX_RELIABILITY_ROWS=$PWD/benchmarks/results/reliability.jsonl
python -m pytest tests/reliability tests/untrusted tests/ray -m "slow or long or not slow"
python benchmarks/reliability_report.py
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
ROWS = Path(__file__).parent / "results" / "reliability.jsonl"
PAGE = ROOT / "docs" / "reliability.md"
ABOUT = ("test", "cores", "machine", "python", "jax", "when")

HEAD = """# Nothing lost: what was tried, and what came of it

Written by `benchmarks/reliability_report.py` from the rows that `tests/reliability/`, `tests/ray/` and
`tests/untrusted/` left; no figure is typed by hand. Machine: {cores} cores, {machine}; Python {python}, JAX {jax};
{when}. Two tests ran at a time, so seconds say little.

*Same bits* means: every table of the sweep (trials, history, modules, alignment, similarity of each layer) equals that
of a sweep that nothing happened to, columns of times aside. A row stands for a test that passed: one that fails leaves
none.

## What is promised

- **Stop at any moment.** A first SIGTERM or Ctrl-C in training: a checkpoint at the end of the epoch, then exit 143 or
  130. It has 10 seconds; a second signal leaves at once. Outside training it leaves at once. In a script or notebook,
  `KeyboardInterrupt` is raised after the checkpoint. On a cluster every worker saves what it trains. SIGKILL and power
  cuts lose what was not saved: training of about a minute, finished trials of about 30 seconds (then they are trained
  again, to the same bits).
- **The same command goes on.** Finished trials, saved weights and analysed parts are kept. Done again are: epochs since
  the last checkpoint; similarity, modules and alignment of stacks that were not analysed to the end; the merging of
  tables, and the figures, if the sweep had not come to its end.
- **Files that can be trusted.** Every file is written under another name, flushed, renamed. The SHA-256 of a table, a
  figure or the spec is on the disk before the file takes its name; that of a stack of weights is written with its list
  of trials, last; a snapshot and the manifest carry their own, and the manifest has a copy. `modjax verify DIR` holds
  all of them against their sums and schemas, rows against trials, weights against the spec. What is damaged goes to
  `DIR/damaged/`, and the next run makes it anew and says so: matrices, modules and alignment from the saved weights;
  trials are trained again only if their weights, or the tables of trials or history, are what was damaged.
- **A full disk, or no right to write**: one line, exit 1; with room, the same command goes on.
- **Other settings, versions or machines**: a line that names the difference, exit 2; `--fork NEW_DIR` begins a sweep of
  its own with what can be used again.

## What was tried
"""


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def tell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{number} {name}" for name, number in value.items())
    if isinstance(value, list):
        return ", ".join(str(one) for one in value)
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def section(test: str, rows: list[dict[str, Any]]) -> Iterable[str]:
    names = [name for name in rows[0] if name not in ABOUT]
    yield f"\n### {test[0].upper()}{test[1:]}\n"
    if len(rows) == 1:
        yield from (f"- {name.replace('_', ' ')}: {tell(rows[0][name])}" for name in names)
        return
    yield "| " + " | ".join(name.replace("_", " ") for name in names) + " |"
    yield "|" + "---|" * len(names)
    yield from ("| " + " | ".join(tell(row.get(name, "")) for name in names) + " |" for row in rows)


NO_INPUT = ("hostile: test_at_least_sixty_kinds", "hostile: test_links_within_the_directory_are_left")


def hostile_section(rows: list[dict[str, Any]]) -> Iterable[str]:
    """Bad input: how many kinds by name, and what became of the fuzzed ones."""
    named = [row for row in rows if row["kind"].startswith("hostile: ") and row["kind"] not in NO_INPUT]
    fuzzed: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["kind"].startswith("fuzzed "):
            fuzzed.setdefault(row["kind"].removeprefix("fuzzed "), []).append(row)
    yield "\n### Bad input\n"
    yield f"- kinds by name (`tests/untrusted/test_named.py`), each refused with exit 2 or one line: {len(named)}"
    total = sum(row["number"] for some in fuzzed.values() for row in some)
    yield f"- fuzzed files, none ending in a traceback, a hang or a file outside its folder: {total}"
    for kind, some in fuzzed.items():
        refused = sum(int(row["outcome"].split()[0]) for row in some)
        count = sum(row["number"] for row in some)
        yield f"    - {kind}: {count}, of which {refused} were refused with one line and the others read"


def main(path: Path = ROWS) -> None:
    rows = read_rows(path)
    found = [row for row in rows if "test" in row]
    tests = sorted({row["test"] for row in found}, key=lambda test: (test.startswith("Ray"), test))
    lines = [HEAD.format(**found[-1])]
    for test in tests:
        lines += section(test, [row for row in found if row["test"] == test])
    lines += hostile_section([row for row in rows if "kind" in row])
    PAGE.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
