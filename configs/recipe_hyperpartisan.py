"""The published recipe on Hyperpartisan news, 4096 tokens: Wikipedia, TAPT, fine-tuning.

    python launch.py --mode=recipe --config=configs/recipe_hyperpartisan.py --exp=hyperpartisan \
        --config.recipe.pretrain_path=<wiki folder> --config.data.path=<folder>

Not run yet: it is made for a GPU. Published for this recipe (one A100, BERT_SMALL, RoPE, bf16, one
seed): test macro-F1 64.55 with exact attention, 65.37 with LSH of 2 hashes, 59.30 with FAVOR+ of
256 features. The folder holds the articles by article, as text and label. The length of TAPT is
not published; here pieces of 512 tokens, as in pretraining.
"""

from ml_collections import ConfigDict

from jaxattn.config import defaults, inherit_architecture
from jaxattn.config.presets import wikipedia_pretraining


def get_config(mode: str) -> ConfigDict:
    """10 epochs at 5e-4, then TAPT 6 at 2e-4, then 7 at 2e-5; batches of 64."""
    if mode in ("recipe", "study", "pretrain"):
        return wikipedia_pretraining("bert_small")
    config = defaults()
    inherit_architecture(config)
    config.data.name = "hyperpartisan"
    config.model.max_seq_len = 4096
    config.train.batch_size = 64
    if mode == "tapt":
        config.train.epochs, config.train.learning_rate = 6, 2e-4
        return config
    config.data.max_length = 4096
    config.train.accumulation = 4
    config.train.epochs, config.train.learning_rate = 7, 2e-5
    return config
