"""Problems of a spec in one line: what was expected, and what came."""

from typing import Any

from pydantic import BaseModel, ValidationError

MAX_SHOWN = 5


def problems_in(error: ValidationError, model: type[BaseModel]) -> str:
    """Return the problems of a spec's values in one line.

    Args:
        error: Error of pydantic.
        model: Model of the spec, whose sections say which keys are allowed.
    """
    # A list with a bad item also counts as too short; only the item is reported.
    errors = error.errors(include_url=False)
    problems = [
        _describe(problem, model) for problem in errors if problem["type"] != "too_short" or not problem["input"]
    ]
    return "; ".join(problems[:MAX_SHOWN] + [f"and {len(problems) - MAX_SHOWN} more"] * (len(problems) > MAX_SHOWN))


def _describe(problem: Any, model: type[BaseModel]) -> str:
    """Return one pydantic error as ``key: what is allowed; got what``."""
    # Names of validators and tuple types in the location mean nothing to the author of a spec.
    location = [
        part for part in problem["loc"] if not (isinstance(part, str) and part.startswith(("function-", "tuple[")))
    ]
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".") or "spec"
    message = problem["msg"].removeprefix("Value error, ").rstrip(".")
    if problem["type"] in ("model_type", "tuple_type"):
        message = "must be a table" if problem["type"] == "model_type" else "must be a list"
    if problem["type"] == "extra_forbidden":
        section = _section(model, str(location[0])) if len(location) > 1 else model
        allowed = f"; allowed: {', '.join(section.model_fields)}" if section else ""
        return f"{where}: unknown key{allowed}"
    if problem["type"] == "missing":
        return f"{where}: missing"
    if problem["type"] == "value_error" or isinstance(problem["input"], dict):
        return f"{where}: {message}"
    got = repr(problem["input"])
    return f"{where}: {message}; got {got if len(got) < 60 else got[:57] + '...'}"


def _section(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    """Return the model of a section, or of the items of a list of sections."""
    annotation: Any = model.model_fields[name].annotation
    candidates = (annotation, *getattr(annotation, "__args__", ()))
    return next((kind for kind in candidates if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
