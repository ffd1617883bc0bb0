"""Topic of a whole paper, 8 classes: long documents on a CPU, next to TF-IDF.

    python launch.py --mode=study --config=configs/neurips.py --config.data.path=<folder>

The folder holds train, dev and test files with text and label. An epoch of
fine-tuning with FAVOR+ took 20 minutes on 2 busy CPU cores, and one is far too few
(docs/measurements/2026-11-21-cpu-long-documents.md).
"""

from ml_collections import ConfigDict

from jaxattn.config.presets import quick_classification


def get_config(mode: str) -> ConfigDict:
    """Two blocks of width 128, 8,192 tokens; 150 steps of MLM, 4 epochs of fine-tuning."""
    return quick_classification(mode, "neurips_topics", 8192, batch_size=4, epochs=4)
