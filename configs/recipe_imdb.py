"""The published recipe on IMDB: Wikipedia, TAPT on the reviews, fine-tuning.

    python launch.py --mode=recipe --config=configs/recipe_imdb.py --exp=imdb

Not run yet: it is made for a GPU. Published for this recipe (one A100, BERT_SMALL, RoPE, bf16, one
seed): test macro-F1 92.86 with exact attention, 92.98 with LSH of 4 hashes, 91.64 with FAVOR+ of
256 features. Published were 600,000 articles, most of them cut at 128 tokens; here 200,000 at 512.
Local files: --config.recipe.pretrain_path=<wiki folder> --config.data.path=<imdb folder>. With a
pretrained run at hand: --pretrain=<exp> --config.recipe.stages=tapt,finetune.
"""

from ml_collections import ConfigDict

from jaxattn.config import defaults, inherit_architecture
from jaxattn.config.presets import wikipedia_pretraining


def get_config(mode: str) -> ConfigDict:
    """10 epochs at 5e-4, then TAPT 15 at 2e-4, then 8 at 3e-5; batches of 64."""
    if mode in ("recipe", "study", "pretrain"):
        return wikipedia_pretraining("bert_small")
    config = defaults()
    inherit_architecture(config)
    config.data.name = "imdb"
    config.data.hub = "stanfordnlp/imdb"
    config.data.label_names = ("neg", "pos")
    config.train.batch_size = 64
    config.train.epochs, config.train.learning_rate = (15, 2e-4) if mode == "tapt" else (8, 3e-5)
    return config
