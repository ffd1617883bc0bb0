"""Who wrote these 3,000 words, 33 authors: where reading far pays, on a CPU, next to TF-IDF.

    python launch.py --mode=study --config=configs/novels.py --config.data.path=<folder>

The folder holds train.parquet and test.parquet with text, label and novel; of authors with two
novels one is held out whole for validation. An epoch of fine-tuning with FAVOR+ took 12 minutes on
2 busy CPU cores, and one is far too few (docs/measurements/2026-11-21-cpu-long-documents.md).
"""

from ml_collections import ConfigDict

from jaxattn.config.presets import quick_classification


def get_config(mode: str) -> ConfigDict:
    """Two blocks of width 128, 4,096 tokens; 150 steps of MLM, 8 epochs of fine-tuning."""
    return quick_classification(mode, "novels", 4096, batch_size=8, epochs=8)
