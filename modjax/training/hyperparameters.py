"""The hyperparameters that the functions of one trial receive: a read-only mapping, by item and by attribute alike."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax


class Reads(Mapping):  # not Mapping[str, Any], whose items a checker of types would read
    """Values that remember which of them were read; all of them, where they were looked at as a tree.

    Args:
        values: One trial's values.
    """

    def __init__(self, values: "HyperparamValues") -> None:
        self._values, self.names = values, set[str]()

    def __getitem__(self, name: str) -> Any:
        self.names.add(name)
        return self._values[name]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        self.names.add(name)
        return getattr(self._values, name)

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def get(self, name: str, default: Any = None) -> Any:
        """Return a given value, or the default of the caller."""
        self.names.add(name)
        return self._values.get(name, default)

    def __iter__(self) -> Iterator[str]:
        self.names.update(self._values)
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


jax.tree_util.register_pytree_node(
    Reads,
    lambda reads: (({name: reads[name] for name in reads},), None),
    lambda _, values: Reads(HyperparamValues(*values)),
)


@jax.tree_util.register_pytree_with_keys_class
class HyperparamValues(Mapping[str, Any]):
    """Values by name: traced ones, which are the leaves of this tree, and constants that all trials share.

    Names that are not given have their defaults, by item and by attribute; ``in``, ``get`` and iteration know the given
    ones alone.

    Args:
        values: Traced values: scalars in a trial's functions, ``[trials]`` columns outside.
        constants: Values of names that are not given: defaults, and static settings as plain Python values.

    Example:
        >>> hyperparams = HyperparamValues({"l1": 0.5}, {"l1": 0.0, "l2": 0.0})
        >>> hyperparams["l1"], hyperparams.l2, "l2" in hyperparams, dict(hyperparams)
        (0.5, 0.0, False, {'l1': 0.5})
    """

    def __init__(self, values: Mapping[str, Any], constants: Mapping[str, Any] | None = None) -> None:
        object.__setattr__(self, "_values", dict(values))
        object.__setattr__(self, "_constants", dict(constants or {}))

    @property
    def constants(self) -> Mapping[str, Any]:
        """Values of names that are not given."""
        return self._constants

    def __getitem__(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        if name in self._constants:
            return self._constants[name]
        raise KeyError(f"there is no hyperparameter {name!r}; given: {', '.join(self._values) or 'none'}")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # asked for by copy and pickle before there are values
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(error.args[0]) from None

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"hyperparameters are read-only; {name!r} cannot be set")

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def get(self, name: str, default: Any = None) -> Any:
        """Return a given value, or the default of the caller."""
        return self._values.get(name, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"HyperparamValues({self._values!r})"

    def tree_flatten_with_keys(self) -> tuple[tuple, tuple]:
        """Return the values with their names, and the names and constants, for JAX."""
        children = tuple((jax.tree_util.DictKey(name), value) for name, value in self._values.items())
        return children, (tuple(self._values), tuple(self._constants.items()))

    @classmethod
    def tree_unflatten(cls, static: tuple, children: Any) -> "HyperparamValues":
        """Return the mapping of given leaves, for JAX."""
        names, constants = static
        return cls(dict(zip(names, children, strict=True)), dict(constants))
