"""The experiment plan: 3 attentions x 5 architectures pretrained, each on 3 data sets: 45 results.

    python launch.py --mode=sweep --config=configs/sweeps/pretrain_15x3.py

Run time and result: none yet, it is made for a GPU, best for several of them:
--config.sweep.parallel=4 --config.sweep.devices=0,1,2,3. 15 encoders pretrained on Wikipedia, 45
adapted (TAPT), 45 fine-tuned, and the baseline on each data set: 108 runs. PATHS says where local
files are.
"""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxattn.config import defaults
from jaxattn.config.presets import ARCHITECTURES, architecture_options

CONFIGS = Path(__file__).parents[1]
TASKS = ("imdb", "hyperpartisan", "arxiv")
PATHS = {"wiki": "", "imdb": "", "hyperpartisan": "", "arxiv": ""}
"""Folders of local files; empty: the hub."""


def get_config() -> ConfigDict:
    """How the sweep is run; what the runs are is in the recipes."""
    return defaults()


def get_sweep() -> dict[str, Any]:
    """Fine-tuning goes on with the data set of its TAPT."""
    names = [name for name in ARCHITECTURES if name.startswith(("bert", "autotinybert"))]
    tasks = {
        task: {"config": str(CONFIGS / f"recipe_{task}.py"), "data.path": PATHS[task]}
        for task in TASKS
    }
    return {
        "pretrain": {
            "config": tasks["imdb"]["config"],
            "options": {"data.path": PATHS["wiki"]},
            "grid": {
                "attention.type": ["sdpa", "reformer_lsh", "performer_favor"],
                "architecture": {name: architecture_options(name) for name in names},
            },
        },
        "tapt": {"from": "pretrain", "grid": {"task": tasks}},
        "finetune": {"from": "tapt"},
        "baseline": {"grid": {"task": tasks}},
    }
