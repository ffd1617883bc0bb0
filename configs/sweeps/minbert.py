"""SST-5 and CFIMDB from one pretrained encoder, by all five methods of fine-tuning.

    python launch.py --mode=sweep --config=configs/sweeps/minbert.py --pretrain=<run> \
      --config.data.path=<folder>
    python launch.py --mode=compare

12 runs: full, head alone, prompt of 10, adapter of width 8, LoRA of rank 8, and the baseline, for
each task. The folder holds sst_* and cfimdb_*; the encoder must not have been fine-tuned on IMDB.
Run time and result: docs/measurements/2026-11-21-cpu-minbert.md.
"""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxattn.config import defaults

CONFIGS = Path(__file__).parents[1]
RATES = {"full": 1e-3, "head_only": 1e-2, "soft_prompt": 3e-2, "adapter": 5e-3, "lora": 5e-3}
"""Those of configs/sweeps/peft.py: the fewer parameters a method trains, the larger."""
ROOM = {"data.max_length": 448, "data.length_buckets": (128, 256, 448)}
"""For the prompt, in an encoder of 512 tokens."""


def get_config() -> ConfigDict:
    """How the sweep is run; what the runs are is in sst5.py and cfimdb.py."""
    return defaults()


def get_sweep() -> dict[str, Any]:
    """Mean pooling, as everywhere in these configurations but those of the course."""
    grid = {
        method: {"peft.method": method, "train.learning_rate": rate}
        for method, rate in RATES.items()
    }
    groups: dict[str, Any] = {}
    for task in ("sst5", "cfimdb"):
        config = str(CONFIGS / f"{task}.py")
        options = ROOM if task == "cfimdb" else {}
        both = {"config": config, "options": options}
        groups[task] = {"stage": "finetune", "grid": {"method": grid}, **both}
        groups[f"{task}_tfidf"] = {"stage": "baseline", **both}
    return groups
