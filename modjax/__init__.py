"""modjax: train many small networks at once and ask whether their hidden units form functional modules.

Public names are loaded when they are first used (PEP 562): importing ``modjax`` imports neither JAX nor anything else
that is slow, so that a worker process that only searches for modules never pays for them.

Example:
    >>> import modjax as mj
    >>> network = mj.mlp(2, (3,), 2)
    >>> [hidden.shape for hidden in network.apply(network.init(0), [[0.0, 1.0]]).hidden]
    [(1, 3)]
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

_HOME_OF = {
    "MEASURES": "modjax.names",
    "UPSTREAM": "modjax.names",
    "DOWNSTREAM": "modjax.names",
    "Dataset": "modjax.data.datasets",
    "load_dataset": "modjax.data.datasets",
    "Network": "modjax.networks.base",
    "Output": "modjax.networks.base",
    "cnn": "modjax.networks.cnn",
    "from_linen": "modjax.networks.adapters",
    "from_nnx": "modjax.networks.adapters",
    "mlp": "modjax.networks.mlp",
    "mlp_params": "modjax.networks.mlp",
    "cross_similarity": "modjax.measures.cross",
    "similarity": "modjax.measures.similarity",
    "similarity_by_class": "modjax.measures.similarity",
    "adjacency": "modjax.measures.normalize",
    "Partition": "modjax.clustering.partition",
    "find_modules": "modjax.clustering.search",
    "modularity": "modjax.clustering.modularity",
    "alignment": "modjax.clustering.alignment",
    "transfer_modularity": "modjax.clustering.transfer",
    "alignment_null": "modjax.clustering.alignment_null",
    "agreement_matrix": "modjax.clustering.consensus",
    "consensus_modules": "modjax.clustering.consensus",
    "Consensus": "modjax.clustering.consensus",
    "joint_modules": "modjax.clustering.joint",
    "JointModules": "modjax.clustering.joint",
    "adjusted_p": "modjax.clustering.null_models",
    "modularity_null": "modjax.clustering.null_models",
    "NullSummary": "modjax.clustering.null_models",
    "match_units": "modjax.clustering.overlap",
    "resolution_profile": "modjax.clustering.resolution",
    "ResolutionProfile": "modjax.clustering.resolution",
    "participation_coefficient": "modjax.clustering.roles",
    "within_module_zscore": "modjax.clustering.roles",
    "adjacency_spearman": "modjax.clustering.transfer",
    "Task": "modjax.training.objective",
    "classification": "modjax.training.objective",
    "TrainConfig": "modjax.training.config",
    "Hyperparams": "modjax.training.config",
    "Population": "modjax.training.train",
    "train": "modjax.training.train",
    "SweepSpec": "modjax.spec.spec",
    "load_spec": "modjax.spec.spec",
    "Sweep": "modjax.store.sweep",
    "open_sweep": "modjax.store.sweep",
    "load_params": "modjax.store.weights",
    "run_sweep": "modjax.sweep.pipeline",
    "EngineOptions": "modjax.engines.base",
    "Claims": "modjax.report.claims",
    "claims": "modjax.report.claims",
    "export_sweep": "modjax.export.trackers",
    "plan_sweep": "modjax.estimate.plan",
    "Plan": "modjax.estimate.plan",
    "watch_sweep": "modjax.sweep.status",
    "Status": "modjax.sweep.status",
    "verify_sweep": "modjax.integrity.verify",
}

__all__ = sorted(_HOME_OF)  # pyright: ignore[reportUnsupportedDunderAll]

if TYPE_CHECKING:
    from modjax.clustering.alignment import alignment as alignment
    from modjax.clustering.alignment_null import alignment_null as alignment_null
    from modjax.clustering.consensus import Consensus as Consensus
    from modjax.clustering.consensus import agreement_matrix as agreement_matrix
    from modjax.clustering.consensus import consensus_modules as consensus_modules
    from modjax.clustering.joint import JointModules as JointModules
    from modjax.clustering.joint import joint_modules as joint_modules
    from modjax.clustering.modularity import modularity as modularity
    from modjax.clustering.null_models import NullSummary as NullSummary
    from modjax.clustering.null_models import adjusted_p as adjusted_p
    from modjax.clustering.null_models import modularity_null as modularity_null
    from modjax.clustering.overlap import match_units as match_units
    from modjax.clustering.partition import Partition as Partition
    from modjax.clustering.resolution import ResolutionProfile as ResolutionProfile
    from modjax.clustering.resolution import resolution_profile as resolution_profile
    from modjax.clustering.roles import participation_coefficient as participation_coefficient
    from modjax.clustering.roles import within_module_zscore as within_module_zscore
    from modjax.clustering.search import find_modules as find_modules
    from modjax.clustering.transfer import adjacency_spearman as adjacency_spearman
    from modjax.clustering.transfer import transfer_modularity as transfer_modularity
    from modjax.data.datasets import Dataset as Dataset
    from modjax.data.datasets import load_dataset as load_dataset
    from modjax.engines.base import EngineOptions as EngineOptions
    from modjax.estimate.plan import Plan as Plan
    from modjax.estimate.plan import plan_sweep as plan_sweep
    from modjax.export.trackers import export_sweep as export_sweep
    from modjax.integrity.verify import verify_sweep as verify_sweep
    from modjax.measures.cross import cross_similarity as cross_similarity
    from modjax.measures.normalize import adjacency as adjacency
    from modjax.measures.similarity import similarity as similarity
    from modjax.measures.similarity import similarity_by_class as similarity_by_class
    from modjax.names import DOWNSTREAM as DOWNSTREAM
    from modjax.names import MEASURES as MEASURES
    from modjax.names import UPSTREAM as UPSTREAM
    from modjax.networks.adapters import from_linen as from_linen
    from modjax.networks.adapters import from_nnx as from_nnx
    from modjax.networks.base import Network as Network
    from modjax.networks.base import Output as Output
    from modjax.networks.cnn import cnn as cnn
    from modjax.networks.mlp import mlp as mlp
    from modjax.networks.mlp import mlp_params as mlp_params
    from modjax.report.claims import Claims as Claims
    from modjax.report.claims import claims as claims
    from modjax.spec.spec import SweepSpec as SweepSpec
    from modjax.spec.spec import load_spec as load_spec
    from modjax.store.sweep import Sweep as Sweep
    from modjax.store.sweep import open_sweep as open_sweep
    from modjax.store.weights import load_params as load_params
    from modjax.sweep.pipeline import run_sweep as run_sweep
    from modjax.sweep.status import Status as Status
    from modjax.sweep.status import watch_sweep as watch_sweep
    from modjax.training.config import Hyperparams as Hyperparams
    from modjax.training.config import TrainConfig as TrainConfig
    from modjax.training.objective import Task as Task
    from modjax.training.objective import classification as classification
    from modjax.training.train import Population as Population
    from modjax.training.train import train as train


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'modjax' has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
