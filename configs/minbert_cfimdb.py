"""CFIMDB as the minBERT course trains it: a pretrained BERT, fine-tuned whole or with it frozen.

    python launch.py --mode=import --input=<bert-base-uncased> --exp=bert
    python launch.py --mode=finetune --config=configs/minbert_cfimdb.py --exp=cfimdb \
      --pretrain=bert --config.data.path=<folder>
    python launch.py --mode=minbert --exp=cfimdb

As configs/minbert_sst.py (where the options of the frozen backbone are), in batches of 8 and up to
512 tokens. Never start from an encoder that was trained on IMDB: the originals of these texts are
there with the opposite label. Reference for bert-base-uncased: 0.966 (dev, whole). Run time and
result with it: none, its weights were not to be had here.
"""

from ml_collections import ConfigDict

from jaxattn.config.presets import minbert


def get_config(mode: str) -> ConfigDict:
    """The course's settings for fine-tuning; 150 steps of MLM for --mode=pretrain and tapt."""
    return minbert(mode, "cfimdb", batch_size=8)
