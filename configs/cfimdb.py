"""CFIMDB, rewritten reviews: a small encoder with each attention on a CPU, next to TF-IDF.

    python launch.py --mode=study --config=configs/cfimdb.py --config.data.path=<folder>

The folder holds cfimdb_train, cfimdb_dev and cfimdb_test. Never start from an encoder that was
fine-tuned on IMDB: the originals of these texts are there with the opposite label. Reference:
0.966 (dev). The sweep minbert.py reached 0.927 with exact attention, TF-IDF 0.894
(docs/measurements/2026-11-21-cpu-minbert.md).
"""

from ml_collections import ConfigDict

from jaxattn.config.presets import quick_classification


def get_config(mode: str) -> ConfigDict:
    """Two blocks of width 128, 512 tokens; 150 steps of MLM, 4 epochs of fine-tuning."""
    return quick_classification(mode, "cfimdb", 512, batch_size=16, epochs=4)
