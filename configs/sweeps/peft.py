"""How little can be trained: full, head, soft prompts, adapters and LoRA, from one pretraining.

    python launch.py --mode=sweep --config=configs/sweeps/peft.py --config.sweep.parallel=2
    python launch.py --mode=compare

9 runs: one encoder, then prompts of 1 and 10 tokens, adapters of width 1 and 8, LoRA of rank 1 and
8, the head alone, and everything. On docstrings by default; --config.data.name=imdb or
--config.data.path=<folder> takes other texts. Run time and result: docs/peft.md.
"""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxattn.config import defaults

PYDOCS = str(Path(__file__).parents[1] / "pydocs_quick.py")


def get_config() -> ConfigDict:
    """How the sweep is run; what the runs are is in pydocs_quick.py."""
    return defaults()


def get_sweep() -> dict[str, Any]:
    """The fewer parameters a method trains, the larger the rate it needs."""
    methods: dict[str, dict[str, Any]] = {"full": {}, "head_only": {"train.learning_rate": 1e-2}}
    for name, option, values, rate in (
        ("soft_prompt", "peft.n_tokens", (1, 10), 3e-2),
        ("adapter", "peft.bottleneck", (1, 8), 5e-3),
        ("lora", "peft.r", (1, 8), 5e-3),
    ):
        for value in values:
            methods[f"{name}_{value}"] = {option: value, "train.learning_rate": rate}
    grid = {
        label: {"peft.method": label.rstrip("_0123456789"), **options}
        for label, options in methods.items()
    }
    return {
        # Room for the prompts: with rope no parameter depends on it.
        "pretrain": {"config": PYDOCS, "options": {"model.max_seq_len": 512}},
        "finetune": {"config": PYDOCS, "from": "pretrain", "grid": {"method": grid}},
    }
