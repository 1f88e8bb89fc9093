"""Where workers of a cluster can run, how many cores each has, and the message about waiting ones. Does not import Ray.

A placement is where a worker can run; a worker group holds the workers that do run.
"""

from typing import Any, NamedTuple

from modjax.integrity.directory import FORK

# Share of a CPU core that Ray reserves for a trainer's core or for a search, so that searches run beside the training
# of the next epochs, as they do on one machine; searches run at low priority.
CORE_SHARE = 0.5
NAMED_WORKERS = 8


class Placement(NamedTuple):
    """Where a worker can run: a node, and its share of the node's CPUs and GPUs."""

    node: str
    num_cpus: float
    num_gpus: float


def placements_of(nodes: list[dict[str, Any]], is_gpu: bool, cores: int | None) -> list[Placement]:
    """Return the placements on all nodes that are alive: one per GPU, or one per ``cores`` CPU cores.

    Without ``cores`` a worker gets all cores of its node. Ray does not say which resources other jobs hold: a worker
    may have to wait for its placement.

    Example:
        >>> nodes = [{"NodeID": "a", "Alive": True, "Resources": {"CPU": 4.0}}, {"NodeID": "b", "Alive": False}]
        >>> placements_of(nodes, False, 2)
        [Placement(node='a', num_cpus=1.0, num_gpus=0), Placement(node='a', num_cpus=1.0, num_gpus=0)]
    """
    placements = []
    for node in nodes:
        if not node["Alive"]:
            continue
        cpus, gpus = (int(node["Resources"].get(name, 0)) for name in ("CPU", "GPU"))
        if is_gpu:
            placements += [Placement(node["NodeID"], CORE_SHARE * min(1, cpus / gpus), 1) for _ in range(gpus)]
        elif cpus:
            each = cores or cpus
            placements += [Placement(node["NodeID"], CORE_SHARE * each, 0) for _ in range(cpus // each)]
    return placements


def cores_of_workers(asked: int | None, begun: int | None, nodes: list[dict[str, Any]]) -> int:
    """Return the CPU cores per worker: as many as asked for, as the sweep was begun with, or as the smallest node has.

    Args:
        asked: Number the user asked for; None leaves it open.
        begun: Number of threads that the sweep's trials were trained with so far; None for a new sweep.
        nodes: Nodes of the cluster, as Ray describes them.

    Raises:
        ValueError: The remaining trials would not be computed bit for bit like those the sweep already has.

    Example:
        >>> nodes = [{"Alive": True, "Resources": {"CPU": 4.0}}, {"Alive": True, "Resources": {"CPU": 2.0}}]
        >>> cores_of_workers(None, None, nodes), cores_of_workers(None, 3, nodes), cores_of_workers(1, None, nodes)
        (2, 3, 1)
    """
    counts = [int(node["Resources"].get("CPU", 0)) for node in nodes if node["Alive"]]
    how_begun = f"the sweep was begun with {begun} CPU threads a worker, which its numbers depend on"
    if begun is not None and asked not in (None, begun):
        raise ValueError(
            f"{how_begun}; --cores-per-worker asks for {asked}. Go on with --cores-per-worker {begun}, {FORK}."
        )
    most = max(counts, default=0)
    if begun is not None and begun > most:
        raise ValueError(
            f"{how_begun}; no node of the Ray cluster has more than {most} cores. Use nodes that have {begun}, {FORK}."
        )
    return asked or begun or min((count for count in counts if count), default=1)


def waiting_text(placements: dict[int, Placement]) -> str:
    """Return a message that says which workers wait, by number, and for what.

    Example:
        >>> waiting_text({3: Placement("a", 1.0, 0), 4: Placement("a", 1.0, 0)})
        'workers 3, 4 are waiting for free cores on 1 node'
    """
    numbers = [str(number) for number in sorted(placements)]
    who = ", ".join(numbers[:NAMED_WORKERS])
    if len(numbers) > NAMED_WORKERS:
        who += f" and {len(numbers) - NAMED_WORKERS} more"
    who = f"worker {who} is" if len(numbers) == 1 else f"workers {who} are"
    num_nodes = len({placement.node for placement in placements.values()})
    what = "free GPUs" if any(placement.num_gpus for placement in placements.values()) else "free cores"
    return f"{who} waiting for {what} on {num_nodes} node{'' if num_nodes == 1 else 's'}"
