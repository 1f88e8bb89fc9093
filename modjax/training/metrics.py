"""Metrics of ONE network: losses and accuracies over a split, norms of its weights."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from modjax.data.batches import take
from modjax.training.objective import Task, l1_norm, l2_norm, weights
from modjax.types import Examples, Params, TrialValues

EVALUATION_BATCH = 1000
SPARSE_BELOW = 1e-3


def evaluate_means(
    task: Task, params: Params, hyperparams: TrialValues, examples: Examples, indices: Int[Array, " examples"]
) -> dict[str, Float[Array, ""]]:
    """Return every sum of ``task.evaluate`` over ``examples[indices]``, divided by the count; batch by batch."""
    num_examples = indices.shape[0]
    batch_size = min(EVALUATION_BATCH, num_examples)
    steps = num_examples // batch_size

    def sums(batch_indices: Int[Array, " batch"]) -> dict[str, Array]:
        return jax.tree.map(jnp.asarray, task.evaluate(params, hyperparams, take(examples, batch_indices)))

    whole = jax.lax.map(sums, indices[: steps * batch_size].reshape(steps, batch_size))
    totals = jax.tree.map(lambda values: jnp.sum(values, 0), whole)
    if steps * batch_size < num_examples:  # the rest, which is no whole batch
        totals = jax.tree.map(jnp.add, totals, sums(indices[steps * batch_size :]))
    count = totals.pop("count")
    return {name: total / count for name, total in totals.items()}


def weight_norms(params: Params) -> dict[str, Float[Array, ""]]:
    """Return norms over weights only: ``l1_norm``, ``l2_norm``, ``nuclear_norm``, ``sparsity``.

    l1_norm = sum |W|; l2_norm = sum W^2; nuclear_norm = sum of singular values, summed over layers; sparsity = share of
    |W| < 1e-3: the definitions of the paper's authors. Weights that are not finite give NaN.
    """
    matrices = [weight.reshape(-1, weight.shape[-1]) for weight in weights(params)]
    magnitudes = jnp.concatenate([jnp.abs(matrix).ravel() for matrix in matrices])
    return {
        "l1_norm": l1_norm(params),
        "l2_norm": l2_norm(params),
        "nuclear_norm": jnp.sum(jnp.stack([jnp.linalg.svd(matrix, compute_uv=False).sum() for matrix in matrices])),
        "sparsity": jnp.mean(magnitudes < SPARSE_BELOW),
    }
