"""Engines by name: each is one class, given here as ``"module:name"`` and imported on first use."""

from modjax.engines.base import Engine, EngineOptions
from modjax.names import one_of
from modjax.records import resolve

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


def check_stopping(options: EngineOptions, is_halving: bool) -> None:
    """Raise unless the engine can stop trials by successive halving, if the spec asks for it.

    Raises:
        ValueError: Its workers do not see one another's trials.
    """
    if is_halving and not resolve(ENGINES[options.name]).compares_trials:
        raise ValueError(
            f"training.stopping compares all trials at every rung, which engine {options.name!r} does not; use "
            "--engine local, or leave stopping out."
        )


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
