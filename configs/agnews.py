"""AG News, four topics: a small encoder with each attention on a CPU, next to TF-IDF.

    python launch.py --mode=study --config=configs/agnews.py --config.data.path=<folder>

Without --config.data.path the hub's fancyzhx/ag_news is read. The longest of its texts have some
250 tokens; 512 are published for it, 128 hold all of 95 in 100. Run time and result: none yet.
"""

from ml_collections import ConfigDict

from jaxattn.config.presets import quick_classification


def get_config(mode: str) -> ConfigDict:
    """Two blocks of width 128, 128 tokens; 150 steps of MLM, 2 epochs of fine-tuning."""
    return quick_classification(mode, "agnews", 128, batch_size=64, epochs=2)
