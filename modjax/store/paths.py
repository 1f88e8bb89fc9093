"""The paths of a sweep's directory."""

import re
from dataclasses import dataclass
from pathlib import Path

from modjax.store.tables import BUILTIN_TABLES, Tables

OF_TRAINED_PARTS = ("trials", "history")
BASE = "base"  # name of the population with the settings of the spec's sections


@dataclass(frozen=True)
class SweepPaths:
    """Paths of a sweep's directory.

    Attributes:
        root: The directory itself.
        tables: What its tables hold.
    """

    root: Path
    tables: Tables = BUILTIN_TABLES

    @property
    def spec(self) -> Path:
        """The spec that was run."""
        return self.root / "spec.toml"

    @property
    def manifest(self) -> Path:
        """The manifest: versions, device, slots, checksums."""
        return self.root / "manifest.json"

    @property
    def manifest_copy(self) -> Path:
        """A copy that is read if the manifest is missing or damaged."""
        return self.root / ".manifest.json"

    @property
    def has_manifest(self) -> bool:
        """Whether the directory holds a sweep, or was about to hold one."""
        return self.manifest.is_file() or self.manifest_copy.is_file()

    @property
    def lock(self) -> Path:
        """The lock file, held by the process that writes to the directory."""
        return self.root / ".lock"

    @property
    def progress(self) -> Path:
        """Progress of a running sweep for other processes; removed when the sweep is complete."""
        return self.root / "progress.json"

    @property
    def similarity(self) -> Path:
        """Folder of the similarity matrices, one file per layer."""
        return self.root / "similarity"

    @property
    def checkpoints(self) -> Path:
        """Folder of the stacks with the best weights of finished trials."""
        return self.root / "checkpoints"

    @property
    def training(self) -> Path:
        """Folder of the snapshots of trials in training; removed when all are trained."""
        return self.checkpoints / "training"

    def training_of(self, population: str) -> Path:
        """Return the folder of the snapshots of one population."""
        return self.training if population == BASE else self.checkpoints / f"training_{population}"

    @property
    def parts(self) -> Path:
        """Folder of the parts; removed when the sweep is complete."""
        return self.root / "parts"

    @property
    def damaged(self) -> Path:
        """Folder of damaged files that were set aside and made again."""
        return self.root / "damaged"

    @property
    def figures(self) -> Path:
        """Folder of the figures and their points."""
        return self.root / "figures"

    @property
    def report(self) -> Path:
        """The report page."""
        return self.root / "report.html"

    def table(self, name: str) -> Path:
        """Return the file of a table: trials, history, modules or alignment."""
        return self.root / f"{name}.parquet"

    def similarity_file(self, layer: int, folder: Path | None = None) -> Path:
        """Return the file with the matrices of one layer; layer -1 is the combined one."""
        name = "combined.parquet" if layer < 0 else f"layer_{layer}.parquet"
        return (folder or self.similarity) / name

    def stack(self, index: int) -> Path:
        """Return the folder with the weights of one stack."""
        return self.checkpoints / f"stack_{index:05d}"

    def stack_ids(self, index: int) -> Path:
        """Return the file that lists the ``trial_id`` of each position in a stack."""
        return self.checkpoints / f"stack_{index:05d}.json"

    def trained_part(self, index: int) -> Path:
        """Return the folder with the rows of a stack's trials after training."""
        return self.parts / f"trained_{index:05d}"

    def analysed_part(self, index: int) -> Path:
        """Return the folder with matrices, modules and alignment of a stack's trials."""
        return self.parts / f"analysed_{index:05d}"

    def part_table(self, name: str, index: int) -> Path:
        """Return the file of a table in a trained part (trials, history) or analysed part (modules, alignment)."""
        return getattr(self, f"{kind_of_part(name)}_part")(index) / f"{name}.parquet"

    def stack_indices(self) -> list[int]:
        """Return the indices of all stacks that were written completely."""
        # Ids are written last, so their file marks a complete stack.
        return sorted(int(path.stem.rsplit("_", 1)[1]) for path in self.checkpoints.glob("stack_[0-9]*[0-9].json"))

    def part_indices(self, kind: str) -> list[int]:
        """Return the indices of the complete parts of a kind, ``trained`` or ``analysed``."""
        matches = (re.fullmatch(rf"{kind}_([0-9]{{5,12}})", path.name) for path in self.parts.glob(f"{kind}_*"))
        return sorted(int(match[1]) for match in matches if match)


def kind_of_part(name: str) -> str:
    """Return the kind of parts that hold rows of a table, ``trained`` or ``analysed``."""
    return "trained" if name in OF_TRAINED_PARTS else "analysed"


def worker_folder(root: Path, number: int) -> Path:
    """Return the folder with the snapshots of one worker; numbers are never reused."""
    return root / f"worker_{number}"


def worker_folders(root: Path) -> dict[int, Path]:
    """Return the snapshot folders of all workers so far, by number."""
    matches = {path: re.fullmatch(r"worker_(\d+)", path.name) for path in root.glob("worker_*")}
    return {int(match[1]): path for path, match in matches.items() if match}
