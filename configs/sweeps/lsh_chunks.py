"""LSH: chunk size x hash rounds x mask, a search on short pretrainings, then the best in full.

    python launch.py --mode=sweep --config=configs/sweeps/lsh_chunks.py

Run time and result: none yet, it is made for a GPU. The search pretrains BERT_SMALL for one epoch
with each setting (3 x 3 x 2) and fine-tunes on IMDB. The setting with the best validation macro-F1
is pretrained for ten epochs and fine-tuned with three seeds: 18 + 18 + 1 + 3 runs. "nomask" is the
variant of the experiment plan: any key of the window, rounds averaged.
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
    """Labels keep the names short: lsh_chunks_search_c64_h4_mask."""
    options = "attention.reformer_lsh"
    lsh = {"attention.type": "reformer_lsh", "data.path": PATHS["wiki"]}
    imdb = {"data.path": PATHS["imdb"]}
    grid = {
        "chunk": {f"c{size}": {f"{options}.chunk_size": size} for size in (32, 64, 128)},
        "hashes": {f"h{rounds}": {f"{options}.num_hashes": rounds} for rounds in (2, 4, 8)},
        "mask": {
            "mask": {f"{options}.mask_within_chunks": True, f"{options}.combine": "logsumexp"},
            "nomask": {f"{options}.mask_within_chunks": False, f"{options}.combine": "mean"},
        },
    }
    return {
        "search": {
            "stage": "pretrain",
            "config": IMDB,
            "options": {**lsh, "train.epochs": 1},
            "grid": grid,
        },
        "found": {"stage": "finetune", "config": IMDB, "options": imdb, "from": "search"},
        "full": {"stage": "pretrain", "config": IMDB, "options": lsh, "best": {"of": "found"}},
        "finetune": {
            "config": IMDB,
            "options": imdb,
            "from": "full",
            "grid": {"train.seed": [0, 1, 2]},
        },
    }
