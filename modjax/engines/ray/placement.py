"""Where workers of a cluster can be, how many cores each has, and what is said of those that wait; no Ray in here."""

from typing import Any, NamedTuple

from modjax.integrity.directory import FORK

# Of a CPU core a trainer is counted as one half and a search as the other, so that searches run beside the training of
# the next epochs, as they do on one machine; searches run at low priority.
CORE_SHARE = 0.5
NAMED_WORKERS = 8


class Placement(NamedTuple):
    """Where a worker can be."""

    node: str
    num_cpus: float
    num_gpus: float


def placements_of(nodes: list[dict[str, Any]], is_gpu: bool, cores: int | None) -> list[Placement]:
    """Placement for workers: one for each GPU; or for so many cores, all of a node where None.

    Ray does not say what other jobs hold of a node: a worker may have to wait there.

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
    """CPU cores of each worker: asked for, or what the sweep was begun with, or all of the smallest node.

    Args:
        asked: By the user; None leaves it open.
        begun: Threads that the sweep's trials were trained with so far; None for a new sweep.
        nodes: Of the cluster, as Ray tells of them.

    Raises:
        ValueError: Trials to come would not have the bits of those that the sweep has.

    Example:
        >>> nodes = [{"Alive": True, "Resources": {"CPU": 4.0}}, {"Alive": True, "Resources": {"CPU": 2.0}}]
        >>> cores_of_workers(None, None, nodes), cores_of_workers(None, 3, nodes), cores_of_workers(1, None, nodes)
        (2, 3, 1)
    """
    counts = [int(node["Resources"].get("CPU", 0)) for node in nodes if node["Alive"]]
    told = f"the sweep was begun with {begun} CPU threads a worker, which its numbers depend on"
    if begun is not None and asked not in (None, begun):
        raise ValueError(f"{told}; --cores-per-worker asks for {asked}. Go on with --cores-per-worker {begun}, {FORK}.")
    most = max(counts, default=0)
    if begun is not None and begun > most:
        raise ValueError(
            f"{told}; no node of the Ray cluster has more than {most} cores. Use nodes that have {begun}, {FORK}."
        )
    return asked or begun or min((count for count in counts if count), default=1)


def waiting_text(placements: dict[int, Placement]) -> str:
    """Which workers wait, by number, and for what.

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
