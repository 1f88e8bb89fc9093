"""Named types for arrays, keys and trees; no logic."""

from jaxtyping import Array, Key, PyTree

PRNGKey = Key[Array, ""]
Params = PyTree
Examples = PyTree
