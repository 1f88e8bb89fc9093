"""Engines by name: each is one class, given here as ``"module:name"`` and imported on first use."""

from modjax.engines.base import Engine, EngineOptions
from modjax.names import one_of
from modjax.records import resolve
from modjax.spec.spec import SweepSpec

ENGINES = {"local": "modjax.engines.local:LocalEngine", "ray": "modjax.engines.ray.engine:RayEngine"}


def as_options(engine: str | EngineOptions) -> EngineOptions:
    """Return options, with a bare engine name standing for that engine's defaults."""
    return EngineOptions(engine) if isinstance(engine, str) else engine


def check_options(options: EngineOptions) -> None:
    """Raise unless the engine is available and accepts its options.

    Raises:
        ValueError: An unknown engine, a missing Ray package, or options of another engine.

    Example:
        >>> check_options(EngineOptions("local", workers=2))
        Traceback (most recent call last):
        ValueError: workers is an option of engine 'ray'; got engine 'local'.
    """
    resolve(ENGINES[one_of(options.name, tuple(ENGINES), "engine")]).check(options)


def check_spec(options: EngineOptions, spec: SweepSpec) -> None:
    """Raise unless the engine can run a spec.

    Raises:
        ValueError: If it cannot; the message says why.
    """
    resolve(ENGINES[options.name]).check_spec(spec)


def open_engine(options: EngineOptions, threads: int | None = None) -> Engine:
    """Start an engine; for Ray, connect to the cluster.

    Args:
        options: Name and options of the engine.
        threads: Number of CPU threads that the sweep's trials were trained with so far; None for a new sweep.

    Raises:
        OSError: No cluster at the address.
        RuntimeError: No node of the cluster has room for a worker.
        ValueError: The remaining trials would be trained with a different number of threads than the earlier ones.
    """
    return resolve(ENGINES[options.name])(options, threads)
