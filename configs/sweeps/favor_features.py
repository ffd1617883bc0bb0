"""How many random features FAVOR+ needs, and which map: a search, then the best of it in full.

    python launch.py --mode=sweep --config=configs/sweeps/favor_features.py

Run time and result: none yet, it is made for a GPU. The search pretrains BERT_SMALL for one epoch
with each setting (6 x 2) and fine-tunes on IMDB. The setting with the best validation macro-F1 is
pretrained for ten epochs and fine-tuned with three seeds: 12 + 12 + 1 + 3 runs.
"""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxattn.config import defaults

IMDB = str(Path(__file__).parents[1] / "recipe_imdb.py")
PATHS = {"wiki": "", "imdb": ""}
"""Folders of local files; empty: the hub."""


def get_config() -> ConfigDict:
    """How the sweep is run; what the runs are is in recipe_imdb.py."""
    return defaults()


def get_sweep() -> dict[str, Any]:
    """Features as multiples of the head width: 8 to 256 for heads of 64."""
    favor = {"attention.type": "performer_favor", "data.path": PATHS["wiki"]}
    imdb = {"data.path": PATHS["imdb"]}
    grid = {
        "attention.performer_favor.features": ["positive", "hyperbolic"],
        "features": {
            f"m{multiple}": {"attention.performer_favor.nb_features": multiple}
            for multiple in ("0.125x", "0.25x", "0.5x", "1x", "2x", "4x")
        },
    }
    return {
        "search": {
            "stage": "pretrain",
            "config": IMDB,
            "options": {**favor, "train.epochs": 1},
            "grid": grid,
        },
        "found": {"stage": "finetune", "config": IMDB, "options": imdb, "from": "search"},
        "full": {"stage": "pretrain", "config": IMDB, "options": favor, "best": {"of": "found"}},
        "finetune": {
            "config": IMDB,
            "options": imdb,
            "from": "full",
            "grid": {"train.seed": [0, 1, 2]},
        },
    }
