"""Named types for arrays, keys, trees and rows of a history; no logic."""

from jaxtyping import Array, Key, PyTree

PRNGKey = Key[Array, ""]
Params = PyTree
Examples = PyTree
Row = dict[str, float | int]
TrialValues = PyTree  # hyperparameters of one trial, or of many as columns: by item and by attribute alike
