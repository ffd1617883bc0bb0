"""How to fine-tune BERT_SMALL on IMDB: frozen blocks x dropout x pooling, 12 runs from one encoder.

    python launch.py --mode=sweep --config=configs/sweeps/finetune_12.py --pretrain=wiki_sdpa

Run time and result: none yet, it is made for a GPU. The encoder is any run of runs/pretrain or
(tapt/<exp>) runs/tapt; --config.data.path=<folder> reads local reviews instead of the hub's. Blocks
are frozen for the first half of the epochs.
"""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxattn.config import defaults

IMDB = str(Path(__file__).parents[1] / "recipe_imdb.py")


def get_config() -> ConfigDict:
    """How the sweep is run; what the runs are is in recipe_imdb.py."""
    return defaults()


def get_sweep() -> dict[str, Any]:
    """3 x 2 x 2 runs; to be chosen from by validation macro-F1."""
    return {
        "finetune": {
            "config": IMDB,
            "grid": {
                "finetune.freeze_blocks": [0, 1, 2],
                "head.dropout": [0.1, 0.2],
                "head.pooling": ["cls", "mean"],
            },
        }
    }
