"""Three attentions, two seeds, on the docstrings of installed packages: a sweep for a laptop.

    python launch.py --mode=sweep --config=configs/sweeps/quick.py

13 runs: 6 pretrained, 6 fine-tuned, 1 baseline: 26 minutes on 2 busy CPU cores. Test macro-F1: sdpa
79.8, reformer_lsh 79.0, performer_favor 77.2, TF-IDF + LogReg 84.1, with two cells lost on purpose
(docs/measurements/2026-11-21-cpu-sweep.md).
"""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxattn.config import defaults

PYDOCS = str(Path(__file__).parents[1] / "pydocs_quick.py")


def get_config() -> ConfigDict:
    """How the sweep is run; what the runs are is in the file of each group."""
    return defaults()


def get_sweep() -> dict[str, Any]:
    """Each pretrained encoder is fine-tuned with its own seed."""
    grid = {"attention.type": ["sdpa", "reformer_lsh", "performer_favor"], "train.seed": [0, 1]}
    return {
        "pretrain": {"config": PYDOCS, "grid": grid},
        "finetune": {"config": PYDOCS, "from": "pretrain"},
        "baseline": {"config": PYDOCS},
    }
