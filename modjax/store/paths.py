"""Every path inside a sweep's directory."""

import re
from dataclasses import dataclass
from pathlib import Path

KIND_OF_PART = {"trials": "trained", "history": "trained", "modules": "analysed", "alignment": "analysed"}


@dataclass(frozen=True)
class SweepPaths:
    """Paths below the root of a sweep."""

    root: Path

    @property
    def spec(self) -> Path:
        """The spec as run."""
        return self.root / "spec.toml"

    @property
    def manifest(self) -> Path:
        """Versions, device, slots, checksums."""
        return self.root / "manifest.json"

    @property
    def manifest_copy(self) -> Path:
        """Read where the manifest is missing or damaged."""
        return self.root / ".manifest.json"

    @property
    def has_manifest(self) -> bool:
        """Whether the directory is a sweep, or was about to become one."""
        return self.manifest.is_file() or self.manifest_copy.is_file()

    @property
    def lock(self) -> Path:
        """Held by the process that writes here."""
        return self.root / ".lock"

    @property
    def progress(self) -> Path:
        """What a running sweep tells other processes; gone when it is complete."""
        return self.root / "progress.json"

    @property
    def similarity(self) -> Path:
        """Folder of the matrices, a file a layer."""
        return self.root / "similarity"

    @property
    def checkpoints(self) -> Path:
        """Best weights of finished trials, in stacks."""
        return self.root / "checkpoints"

    @property
    def training(self) -> Path:
        """Snapshots of trials in training; gone when all are trained."""
        return self.checkpoints / "training"

    @property
    def parts(self) -> Path:
        """Rows of trials that finished before the whole sweep did; gone when it is complete."""
        return self.root / "parts"

    @property
    def damaged(self) -> Path:
        """Files that were found damaged and made again."""
        return self.root / "damaged"

    @property
    def figures(self) -> Path:
        """Figures and their points."""
        return self.root / "figures"

    @property
    def report(self) -> Path:
        """The report page."""
        return self.root / "report.html"

    def table(self, name: str) -> Path:
        """A table by name: trials, history, modules, alignment."""
        return self.root / f"{name}.parquet"

    def similarity_file(self, layer: int, folder: Path | None = None) -> Path:
        """The matrices of one layer; layer -1 is the combined one."""
        name = "combined.parquet" if layer < 0 else f"layer_{layer}.parquet"
        return (folder or self.similarity) / name

    def stack(self, index: int) -> Path:
        """One stack of finished trials' weights."""
        return self.checkpoints / f"stack_{index:05d}"

    def stack_ids(self, index: int) -> Path:
        """The trial_id of each place in a stack."""
        return self.checkpoints / f"stack_{index:05d}.json"

    def trained_part(self, index: int) -> Path:
        """Rows of one stack's trials after training."""
        return self.parts / f"trained_{index:05d}"

    def analysed_part(self, index: int) -> Path:
        """Matrices, modules and alignment of one stack's trials."""
        return self.parts / f"analysed_{index:05d}"

    def part_table(self, name: str, index: int) -> Path:
        """A table's rows in one part: of its training (trials, history), or of its analysis (modules, alignment)."""
        return getattr(self, f"{KIND_OF_PART[name]}_part")(index) / f"{name}.parquet"

    def stack_indices(self) -> list[int]:
        """Indices of the stacks whose ids are written: those that are whole, if nothing was damaged."""
        return sorted(int(path.stem.rsplit("_", 1)[1]) for path in self.checkpoints.glob("stack_[0-9]*[0-9].json"))

    def part_indices(self, kind: str) -> list[int]:
        """Indices of the whole parts of a kind, ``trained`` or ``analysed``."""
        found = (re.fullmatch(rf"{kind}_([0-9]{{5,12}})", path.name) for path in self.parts.glob(f"{kind}_*"))
        return sorted(int(match[1]) for match in found if match)


def worker_folder(root: Path, number: int) -> Path:
    """The snapshots of one worker; a number is used once."""
    return root / f"worker_{number}"


def worker_folders(root: Path) -> dict[int, Path]:
    """The folders of all workers that there were, by number."""
    found = {path: re.fullmatch(r"worker_(\d+)", path.name) for path in root.glob("worker_*")}
    return {int(match[1]): path for path, match in found.items() if match}
