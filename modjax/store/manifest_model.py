"""Types and bounds of the manifest values that a resumed sweep relies on; other keys are ignored."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from modjax.io.untrusted import is_inside

MAX_SLOTS = 2**20


def _inside(names: dict[str, str]) -> dict[str, str]:
    for name in names:
        if not is_inside(name):
            raise ValueError(f"{name[:60]!r} leads out of the directory")
    return names


Number = Annotated[int, Field(strict=True, ge=1, le=MAX_SLOTS)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class _Population(_Part):
    model_config = ConfigDict(extra="forbid", strict=True)
    lanes: Number
    is_paired: bool
    slots: Number
    num_devices: Number | None = None
    is_fixed: bool = False
    num_threads: Annotated[int, Field(strict=True, ge=1, le=1024)] = 1


class _Layout(_Part):
    population: _Population
    populations: dict[str, _Population] = {}


class _Data(_Part):
    name: str = ""
    checksum: str


class _Precision(_Part):
    dtype: str


class _Device(_Part):
    platform: str = ""
    kind: str = ""


class _Manifest(_Part):
    name: str = ""
    spec_hash: str = ""
    slots: Number
    layout: _Layout
    data: _Data
    precision: _Precision
    packages: dict[str, str] = {}
    device: _Device = _Device()
    layers: dict[str, list[Number]] = {}
    hyperparameters: list[dict[str, Any]] = []
    metrics: list[Annotated[str, Field(pattern=r"^[A-Za-z]\w{0,99}$")]] = []
    analyses: list[str] = []
    extensions: dict[str, Any] = {}
    threads: Annotated[int, Field(strict=True, ge=1)] | None = None
    complete: bool = False
    sums: bool = False
    failed: dict[str, str] = {}
    checksums: Annotated[dict[str, str], AfterValidator(_inside)] = {}
    seconds: Seconds = 0.0
    seconds_by_stage: dict[str, Seconds] = {}
    cpu_seconds: Seconds = 0.0
    worker_cpu_seconds: Seconds = 0.0
    peak_memory_mb: Seconds = 0.0


def content_problem(manifest: Any) -> str | None:
    """Return the first problem of a manifest's content in a few words, or None."""
    try:
        _Manifest.model_validate(manifest)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part)[:40] for part in problem["loc"])
        return f"{where}: {problem['msg'].removeprefix('Value error, ')}"
    return None
