"""How fast many small networks train, beside PyTorch: ``modjax bench training`` with PyTorch's cases.

    python benchmarks/bench_training.py [--passes 3] [--data-dir D]

Rows go to benchmarks/results/.
"""

import argparse
import importlib.util
from pathlib import Path

import numpy as np

from modjax.bench.harness import Case
from modjax.bench.scheduling import Pixels, load_pixels
from modjax.bench.training import FLOPS, NUM_TRAIN, run_benchmark

RESULTS = Path(__file__).parent / "results"


def torch_cases(pixels: Pixels) -> list[Case]:
    """PyTorch, where it is installed."""
    if importlib.util.find_spec("torch") is None:
        print("PyTorch is not installed: its cases are left out (pip install -e '.[torch]')")
        return []
    import torch_baselines as torch_side

    x = (pixels.x[:NUM_TRAIN].astype(np.float32)) / 255
    y, images = pixels.y[:NUM_TRAIN], pixels.x[:NUM_TRAIN].reshape(-1, 28, 28)
    steps = torch_side.Timing(steps=120)
    rates = np.linspace(0.05, 0.7, 32)
    timed = {
        "PyTorch, tensors, one network": lambda: torch_side.tensor_loop(x, y, timing=steps),
        "PyTorch, torch.func ensemble of 32": lambda: torch_side.stacked_ensemble(
            x, y, 32, timing=torch_side.Timing(steps=40), dropout_rates=rates
        ),
        "PyTorch, DataLoader, one network": lambda: torch_side.data_loader_loop(images, y, timing=steps),
    }
    return [
        Case(name, lambda call=call: call, 1.0, float(NUM_TRAIN * FLOPS), True, {"layout": "PyTorch"})
        for name, call in timed.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passes", type=int, default=3, help="times that every case is timed")
    parser.add_argument("--data-dir", type=Path, help="folder that holds mnist/")
    given = parser.parse_args()
    others = torch_cases(load_pixels(given.data_dir))
    report = run_benchmark(RESULTS, "default", given.data_dir, given.passes, others=others)
    print(f"\n{report.table}\n\n{report.path}")


if __name__ == "__main__":
    main()
