"""SST-5, whole sentences: a small encoder with each attention on a CPU, next to TF-IDF.

    python launch.py --mode=study --config=configs/sst5.py --config.data.path=<folder>

The folder holds sst_train, sst_dev and sst_test in any format, the course's own files too.
References for a published BERT (dev / test accuracy): frozen 0.391 / 0.403, fine-tuned 0.515 /
0.526. The sweep minbert.py reached 0.394 / 0.413 with exact attention, TF-IDF 0.388 / 0.408
(docs/measurements/2026-11-21-cpu-minbert.md).
"""

from ml_collections import ConfigDict

from jaxattn.config.presets import quick_classification


def get_config(mode: str) -> ConfigDict:
    """Two blocks of width 128, 64 tokens; 150 steps of MLM, 4 epochs of fine-tuning."""
    return quick_classification(mode, "sst5", 64, batch_size=64, epochs=4)
