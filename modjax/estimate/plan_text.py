"""Text of a plan."""

from pathlib import Path

from modjax.estimate.plan import Plan
from modjax.estimate.sizes import matrix_units, size_text
from modjax.spec.setup import output_paths
from modjax.sweep.progress import duration_text


def plan_text(plan: Plan) -> list[str]:
    """Return lines of text about a plan: trials, files, layout, programs, memory, disk, epochs, time."""
    spec, data, num_trials = plan.setup.spec, plan.setup.data, plan.setup.trials.height
    num_matrices = num_trials * len(matrix_units(plan.setup)) * len(spec.similarity.measures)
    examples = f"{len(data.x_train)} training and {len(data.x_test)} test examples of {spec.dataset}"
    layout, temporary = plan.layout, plan.disk["while training"]
    kept = {name: size for name, size in plan.disk.items() if name != "while training"}
    kind = "sharing batches" if layout.is_paired else "in slots"
    lines = [
        f"{num_trials} trials, {num_matrices} similarity matrices, {examples}. A sweep writes:",
        "  " + "  ".join(output_paths(Path("DIR"))),
        f"layout: {plan.slots} trials at a time {kind} ({layout.lanes} lanes, {layout.num_threads} threads, "
        f"{layout.slots} slots each)",
        f"programs: {'; '.join(plan.programs)}",
        f"memory: {size_text(plan.device_bytes)} on each device, {size_text(plan.host_bytes)} in this machine",
        f"disk: {size_text(sum(kept.values()))} ("
        + ", ".join(f"{name} {size_text(size)}" for name, size in kept.items())
        + f"), and {size_text(temporary)} while it trains",
        f"epochs a trained trial: {plan.epochs.typical:.0f} ({plan.epochs.low:.0f} to {plan.epochs.high:.0f}); "
        f"{plan.epochs.why}",
    ]
    if plan.seconds is None or plan.measured is None:
        lines.append("time on this machine: not probed")
    else:
        low, typical, high = (duration_text(seconds) for seconds in plan.seconds)
        stages = ", ".join(f"{name} {seconds:.0f}" for name, seconds in plan.stages.items())
        lines.append(f"time on this machine: about {typical} ({low} to {high}), by a short run of each step")
        lines.append(f"  of the {plan.seconds[1]:.0f} s: {stages}")
        each = 1e3 * plan.measured.trial_epoch
        lines.append(f"  {plan.num_trained} trials x {plan.epochs.typical:.0f} epochs x {each:.3g} ms a trial-epoch")
    for name, (seconds, files) in plan.elsewhere.items():
        what = "training, similarity, module searches"
        lines.append(f"elsewhere: {duration_text(seconds)} on {name}: {what}, by {', '.join(files)}")
    return lines
