"""Texts of your own from a published encoder: every attention in it, next to TF-IDF.

    python launch.py --mode=study --config=configs/published.py --pretrain=<folder or hub id> \
      --config.data.path=<folder>

--pretrain is a Hugging Face folder, an id of the hub as google-bert/bert-base-uncased, or a run.
Each attention takes the place of the encoder's; where it differs it is adapted on the training
texts (study.adapt_steps, without labels), then all are fine-tuned alike. A corpus known by name
brings its classes and lengths along: --config.data.name=sst5. One stage alone:

    python launch.py --mode=finetune --config=configs/published.py --exp=mine --pretrain=minilm \
      --config.data.path=<folder>

Run time and result: none yet on a corpus of this size; configs/pyroles_minilm.py is the same study
made small, with its results (docs/measurements/2026-11-27-sentence-roles.md).
"""

from ml_collections import ConfigDict

from jaxattn.config import defaults, inherit_architecture


def get_config(mode: str) -> ConfigDict:
    """Fine-tuning at 5e-5 for three epochs, adapting at 1e-4."""
    config = defaults()
    config.train.batch_size = 32
    config.train.eval_batch_size = 64
    config.train.schedule = "linear"
    config.train.warmup_ratio = 0.1
    config.train.epochs = 3
    config.train.learning_rate = 5e-5
    if mode == "tapt":
        config.train.learning_rate = 1e-4
    if mode in ("tapt", "finetune"):
        inherit_architecture(config)
    return config
