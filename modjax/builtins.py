"""What modjax brings along: one literal table for each kind of record, without JAX.

Spec, tables, command line, plan, figures and report read these tables; nothing else lists hyperparameters, measures or
datasets by name. A new one is a line here and, where it needs code, a file of its own.
"""

import polars as pl

from modjax.records import (
    AnalysisInfo,
    DatasetInfo,
    HyperparameterInfo,
    MeasureInfo,
    NetworkInfo,
    NullInfo,
    PenaltyInfo,
    SearchInfo,
    TaskInfo,
    by_name,
)

HYPERPARAMETERS: dict[str, HyperparameterInfo] = by_name(
    HyperparameterInfo("learning_rate", 1e-3, low=0, low_open=True, scale="log", is_always_hashed=True),
    HyperparameterInfo("l1", 0.0, low=0, scale="log", label="L1 penalty", is_always_hashed=True),
    HyperparameterInfo("l2", 0.0, low=0, scale="log", label="L2 penalty", is_always_hashed=True),
    HyperparameterInfo("dropout", 0.0, low=0, high=1, high_open=True, label="dropout rate", is_always_hashed=True),
    HyperparameterInfo("label_smoothing", 0.0, low=0, high=1, high_open=True),
    HyperparameterInfo("input_noise", 0.0, low=0),
    HyperparameterInfo("momentum", 0.9, low=0, high=1, high_open=True),
    HyperparameterInfo("weight_decay", 0.01, low=0, scale="log"),
    HyperparameterInfo("b1", 0.9, low=0, high=1, high_open=True, label="beta 1"),
    HyperparameterInfo("b2", 0.999, low=0, high=1, high_open=True, label="beta 2"),
    # Static: settings of [training], which select the program. Those of [network] belong to the kind of network.
    HyperparameterInfo("optimizer", "adam", kind="static"),
    HyperparameterInfo("batch_size", 200, low=1, scale="log", kind="static"),
    HyperparameterInfo("max_epochs", 500, low=1, scale="log", kind="static"),
    HyperparameterInfo("num_train", None, low=1, scale="log", label="training examples", kind="static"),
)
# Those that every table of trials has a column for: the hyperparameters of version 0.2.
BASE_HYPERPARAMETERS = tuple(name for name, info in HYPERPARAMETERS.items() if info.is_always_hashed)
OPTIMIZER_HYPERPARAMETERS: dict[str, tuple[str, ...]] = {
    "adam": ("b1", "b2"),
    "adamw": ("b1", "b2", "weight_decay"),
    "sgd": ("momentum",),
}
PENALTIES: dict[str, PenaltyInfo] = by_name(
    PenaltyInfo("l1", "modjax.training.objective:l1_penalty", (HYPERPARAMETERS["l1"],)),
    PenaltyInfo("l2", "modjax.training.objective:l2_penalty", (HYPERPARAMETERS["l2"],)),
)
TASKS: dict[str, TaskInfo] = by_name(
    TaskInfo(
        "classification",
        "modjax.training.objective:classification",
        tuple(HYPERPARAMETERS[name] for name in ("dropout", "label_smoothing", "input_noise")),
    ),
)
MEASURES: dict[str, MeasureInfo] = by_name(
    MeasureInfo(
        "covariance",
        "upstream",
        "modjax.measures.covariance:covariance",
        short="cov",
        closed_form="modjax.measures.chain:COVARIANCE",
        logit_factors=0,
        probes="modjax.measures.probes:COVARIANCE",
    ),
    MeasureInfo(
        "input_jacobian",
        "upstream",
        "modjax.measures.jacobian:input_jacobian",
        title="input Jacobian",
        short="in-Jac",
        closed_form="modjax.measures.chain:INPUT_JACOBIAN",
        logit_factors=0,
        probes="modjax.measures.probes:INPUT_JACOBIAN",
    ),
    MeasureInfo(
        "output_jacobian",
        "downstream",
        "modjax.measures.jacobian:output_jacobian",
        title="output Jacobian",
        short="out-Jac",
        closed_form="modjax.measures.chain:OUTPUT_JACOBIAN",
        logit_factors=2,
        probes="modjax.measures.probes:OUTPUT_JACOBIAN",
    ),
    MeasureInfo(
        "loss_hessian",
        "downstream",
        "modjax.measures.hessian:loss_hessian",
        title="loss Hessian",
        short="Hess",
        needs_labels=True,
        closed_form="modjax.measures.chain:LOSS_HESSIAN",
        logit_factors=2,
        probes="modjax.measures.probes:LOSS_HESSIAN",
    ),
)
# The parameters alone, in combined matrices: no example is looked at.
WEIGHTS = MeasureInfo("weights", "parameters", "modjax.measures.weights:weight_matrix")
NETWORKS: dict[str, NetworkInfo] = by_name(
    NetworkInfo("mlp", "modjax.networks.mlp:build_mlp"),
    NetworkInfo("cnn", "modjax.networks.cnn:build_cnn"),
)
DATASETS: dict[str, DatasetInfo] = by_name(
    DatasetInfo("digits", "modjax.data.datasets:load_digits_dataset", num_classes=10),
    DatasetInfo("mnist", "modjax.data.datasets:load_mnist", num_classes=10),
    DatasetInfo("fashion_mnist", "modjax.data.datasets:load_fashion_mnist", num_classes=10),
)
SEARCHES: dict[str, SearchInfo] = by_name(
    SearchInfo("leiden", "modjax.clustering.leiden:leiden"),
    SearchInfo("leidenalg", "modjax.clustering.leidenalg:leidenalg_search"),
    SearchInfo("spectral", "modjax.clustering.spectral:spectral"),
    SearchInfo("monte_carlo", "modjax.clustering.monte_carlo:monte_carlo"),
    SearchInfo("monte_carlo_svd", "modjax.clustering.authors:monte_carlo_svd"),
)
NULLS: dict[str, NullInfo] = by_name(
    NullInfo("rotation", "modjax.clustering.null_models:rotate", needs_gram=True),
    NullInfo("weight_permutation", "modjax.clustering.null_models:permute_weights"),
    NullInfo("strength_rewiring", "modjax.clustering.null_models:rewire_strengths"),
    NullInfo("hirschberger", "modjax.clustering.null_models:match_covariance", needs_gram=True),
)
ANALYSES: dict[str, AnalysisInfo] = by_name(
    AnalysisInfo(
        "noise_ceiling",
        "noise_ceiling",
        {f"{pair}_{score}": pl.Float64 for pair in ("search", "halves") for score in ("element_centric", "ami")},
        {"layer": pl.Int32, "measure": pl.String, "normalized": pl.Boolean},
        "modjax.analysis.noise_ceiling:noise_ceiling",
    ),
)
