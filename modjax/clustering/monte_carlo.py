"""The paper's Monte Carlo moves: single units choose their modules at random, better modules more often."""

import numpy as np

from modjax.clustering.compiled import compiled
from modjax.clustering.moves import LEAST_GAIN, count_links, gain_matrix, move
from modjax.clustering.partition import canonical
from modjax.clustering.spectral import spectral

MOVES = 5000
ENTROPY = 0.15  # nats
LEAST_LOG_TEMPERATURE, MOST_LOG_TEMPERATURE = np.log(1e-6), np.log(1e6)  # in units of Q
HALVINGS = 40


def monte_carlo(adjacency: np.ndarray, resolution: float, restarts: int | None, seed: int) -> np.ndarray:
    """Return the best labels met in 5,000 Gibbs moves of single units, starting from the spectral partition.

    In each move a unit drawn at random goes to one of the modules, or to a new one, with probability
    exp(Q_m / T) / sum exp(Q / T), where T is such that the entropy of the choice is 0.15 nats. Options that were not
    chosen count as met, too.

    Args:
        adjacency: ``[units units]`` of living units, at least two.
        resolution: g of :func:`modjax.modularity`.
        restarts: Number of runs of 5,000 moves, of which the best is kept; None is one, as in the paper.
        seed: Same seed, same labels.

    References:
        Lange, Rolnick & Kording, TMLR 2022, section 2.3 (their code recomputes Q for each option; here each option's
        gain is known beforehand and a move costs O(units)). They start from other splits:
        :func:`modjax.clustering.authors.monte_carlo_svd`.
    """
    start = canonical(spectral(adjacency, resolution, None, 0)).astype(np.int64)
    return best_of_runs(adjacency, resolution, start, restarts, seed)


def best_of_runs(
    adjacency: np.ndarray, resolution: float, start: np.ndarray, restarts: int | None, seed: int
) -> np.ndarray:
    """Return the best labels met in runs of 5,000 moves from a partition.

    Args:
        adjacency: ``[units units]`` of living units.
        resolution: g of :func:`modjax.modularity`.
        start: Labels 0 to count - 1, none missing.
        restarts: Number of runs; None is one.
        seed: Same seed, same labels.
    """
    gains, trace = gain_matrix(adjacency, resolution), np.empty((MOVES, 3))
    runs = [
        gibbs_moves(gains, start.copy(), ENTROPY, np.random.default_rng([seed, run]), trace)
        for run in range(1 if restarts is None else restarts)
    ]
    return max(runs, key=lambda run: run[1])[0]


@compiled
def gibbs_moves(gains, labels, entropy, rng, trace):
    """Return the best labels met in ``len(trace)`` moves, and their Q minus that of the start.

    Each row of ``trace`` is filled with the temperature, the entropy in nats, and the gain in Q of the chosen state.
    """
    num_units = len(labels)
    sizes = np.zeros(num_units + 1, np.int64)
    links = np.zeros((num_units + 1, num_units))
    count = count_links(gains, labels, sizes, links)
    options = np.empty(num_units + 1)
    best_labels, best, value = labels.copy(), 0.0, 0.0
    for step in range(len(trace)):
        i = rng.integers(0, num_units)
        own = labels[i]
        num_options = count if sizes[own] == 1 else count + 1  # a new module is no change for a lone unit
        for m in range(num_options):
            options[m] = links[m, i] - links[own, i]
        top = np.argmax(options[:num_options])
        if value + options[top] > best + LEAST_GAIN:
            best = value + options[top]
            best_labels[:] = labels
            best_labels[i] = top
        temperature, reached = choose_temperature(options[:num_options], entropy)
        target = draw(options[:num_options], temperature, rng)
        value += options[target]
        count = move(gains, labels, sizes, links, count, i, target)
        trace[step, 0], trace[step, 1], trace[step, 2] = temperature, reached, value
    return best_labels, best


@compiled
def choose_temperature(options, entropy):
    """Return the temperature at which the softmax of the options has the entropy, by bisection, and that entropy."""
    low, high = LEAST_LOG_TEMPERATURE, MOST_LOG_TEMPERATURE
    if softmax_entropy(options, np.exp(low)) > entropy:  # several options are equally good
        return np.exp(low), softmax_entropy(options, np.exp(low))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if softmax_entropy(options, np.exp(middle)) < entropy:
            low = middle
        else:
            high = middle
    return np.exp(low), softmax_entropy(options, np.exp(low))


@compiled
def softmax_entropy(options, temperature):
    """Return the entropy of the softmax of ``options / temperature``, in nats."""
    top = options.max()
    total, weighted = 0.0, 0.0
    for option in options:
        exponent = (option - top) / temperature
        if exponent > -700:  # smaller ones underflow
            weight = np.exp(exponent)
            total += weight
            weighted += weight * exponent
    return np.log(total) - weighted / total


@compiled
def draw(options, temperature, rng):
    """Draw an option's index, with probability proportional to ``exp(option / temperature)``."""
    top = options.max()
    weights = np.exp(np.maximum((options - top) / temperature, -700.0))
    rest = rng.random() * weights.sum()
    for m in range(len(options)):
        rest -= weights[m]
        if rest < 0:
            return m
    return int(np.argmax(options))  # rounding may leave a rest
