"""The words of specs and tables, in one place and without JAX: the names of the built-in records, and all others."""

from modjax import builtins

MEASURES = tuple(builtins.MEASURES)
WEIGHTS = builtins.WEIGHTS.name  # a fifth measure, of the parameters alone: in combined matrices
UPSTREAM = tuple(name for name, info in builtins.MEASURES.items() if info.family == "upstream")
DOWNSTREAM = tuple(name for name, info in builtins.MEASURES.items() if info.family == "downstream")
HYPERPARAMETERS = builtins.BASE_HYPERPARAMETERS
DATASETS = tuple(builtins.DATASETS)
NETWORK_KINDS = tuple(builtins.NETWORKS)
SEARCH_METHODS = tuple(builtins.SEARCHES)
NULL_KINDS = tuple(builtins.NULLS)
NULL_SEARCHES = ("quick", "method")  # the null's own search, or that of the modules, as in version 0.2
ACTIVATIONS = ("relu", "leaky_relu", "linear", "tanh", "gelu")
PIECEWISE_LINEAR = ("relu", "leaky_relu", "linear")
OPTIMIZERS = tuple(builtins.OPTIMIZER_HYPERPARAMETERS)
SCHEDULES = ("plateau", "constant", "cosine", "warmup_cosine")
STOPPED = "stopped"  # the status of a trial that successive halving left behind
ALL = "all"  # the batch size of full-batch training
KEPT_WEIGHTS = ("best", "last")
MATMUL_PRECISIONS = ("float32", "tf32", "bf16")
QUALITY_FUNCTIONS = ("modularity", "cpm", "rber", "surprise")
ESTIMATORS = ("exact", "probes")
NUM_PROBES = 16  # of each example, where nothing else is asked for
SPLITS = ("train", "test")
COMBINED_LAYER = -1
MAX_SEED = 2**32 - 1
MAX_COUNT = 10**9  # counters on the device are 32-bit integers


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
        raise ValueError(f"Unknown {what} {name!r}. Available: {', '.join(known) or 'none'}.")
    return name
