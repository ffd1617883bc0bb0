"""Hyperpartisan news by article, cross-validated: with 645 texts one test split says little.

    python launch.py --mode=study --config=configs/hyperpartisan_folds.py \
        --config.data.path=<folder>

Ten folds, each a study of its own (MLM, fine-tuning, baselines) whose test texts are those of the
fold; the report puts the predictions of all folds together. Without --config.data.path the hub is
read. --config.data.group_column=url keeps the articles of a publisher in one fold. Run time and
result: of TF-IDF and of a published encoder in docs/results.md; of these small ones none yet.
"""

from ml_collections import ConfigDict

from jaxattn.config.presets import quick_classification


def get_config(mode: str) -> ConfigDict:
    """As hyperpartisan.py, with every article in the test split of one fold."""
    config = quick_classification(mode, "hyperpartisan", 2048, batch_size=8, epochs=10)
    config.data.folds = 10
    return config
