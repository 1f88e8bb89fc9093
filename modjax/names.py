"""The words of a spec and of the tables, in one place and without JAX.

The registries that hold the code behind these names live in their packages; a test holds each against its tuple here.
"""

from importlib import import_module
from typing import Any

MEASURES = ("covariance", "input_jacobian", "output_jacobian", "loss_hessian")
WEIGHTS = "weights"  # a fifth measure, of the parameters alone: in combined matrices
UPSTREAM = ("covariance", "input_jacobian")
DOWNSTREAM = ("output_jacobian", "loss_hessian")
DATASETS = ("digits", "mnist", "fashion_mnist")
NETWORK_KINDS = ("mlp", "cnn")
ACTIVATIONS = ("relu", "leaky_relu", "linear", "tanh", "gelu")
PIECEWISE_LINEAR = ("relu", "leaky_relu", "linear")
OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("plateau", "constant")
KEPT_WEIGHTS = ("best", "last")
MATMUL_PRECISIONS = ("float32", "tf32", "bf16")
SEARCH_METHODS = ("leiden", "leidenalg", "spectral", "monte_carlo")
NULL_KINDS = ("weight_permutation", "strength_rewiring")
QUALITY_FUNCTIONS = ("modularity", "cpm", "rber", "surprise")
HYPERPARAMETERS = ("learning_rate", "l1", "l2", "dropout")
SPLITS = ("train", "test")
COMBINED_LAYER = -1
MAX_SEED = 2**32 - 1
MAX_COUNT = 10**9  # counters on the device are 32-bit integers


def resolve(reference: str) -> Any:
    """What ``"module:name"`` names, imported now: tables can name code that is slow to import.

    Example:
        >>> resolve("math:sqrt")(9.0)
        3.0
    """
    module, name = reference.split(":")
    return getattr(import_module(module), name)


def one_of(name: str, known: tuple[str, ...], what: str) -> str:
    """Return ``name`` if it is known, else say what is.

    Raises:
        ValueError: ``name`` is not in ``known``.

    Example:
        >>> one_of("jacobain", MEASURES, "measure")
        Traceback (most recent call last):
        ValueError: Unknown measure 'jacobain'. Available: covariance, input_jacobian, output_jacobian, loss_hessian.
    """
    if name not in known:
        raise ValueError(f"Unknown {what} {name!r}. Available: {', '.join(known)}.")
    return name
