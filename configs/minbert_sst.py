"""SST-5 as the minBERT course trains it: a pretrained BERT, fine-tuned whole or with it frozen.

    python launch.py --mode=import --input=<bert-base-uncased> --exp=bert
    python launch.py --mode=finetune --config=configs/minbert_sst.py --exp=sst --pretrain=bert \
      --config.data.path=<folder>
    python launch.py --mode=minbert --exp=sst

The folder holds the course's files in either of its forms. Settings: lr 1e-5 (whole) or 1e-3
(frozen), 10 epochs, batches of 64, dropout 0.3 before the last layer, AdamW of its own definition
without decay; from the defaults of classifier.py of CS224N's default project (CMU's first version
had batches of 80 and 5 epochs, and torch's AdamW). Chosen is by dev macro-F1, there by accuracy.
The frozen backbone ("last-linear-layer") has three options more, 12 being the number of blocks:

      --config.finetune.freeze_blocks=12 --config.finetune.freeze_share=1.0 \
      --config.finetune.freeze_pooler=true --config.train.learning_rate=1e-3

References for bert-base-uncased (dev / test accuracy): frozen 0.391 / 0.403, whole 0.515 / 0.526.
Run time and result with it: none, its weights were not to be had here (docs/interop.md has a run
with a small one).
"""

from ml_collections import ConfigDict

from jaxattn.config.presets import minbert


def get_config(mode: str) -> ConfigDict:
    """The course's settings for fine-tuning; 150 steps of MLM for --mode=pretrain and tapt."""
    return minbert(mode, "sst5", batch_size=64)
