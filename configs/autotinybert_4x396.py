"""AutoTinyBERT 4 x 396 with exact attention, pretrained on Wikipedia.

    python launch.py --config=configs/autotinybert_4x396.py --mode=pretrain --exp=wiki_tiny_4x396

RUNTIME_4x396
"""

from ml_collections import ConfigDict

from jaxattn.presets import wikipedia_pretraining


def get_config() -> ConfigDict:
    """The published shape; --config.attention.type=performer_favor takes another attention."""
    return wikipedia_pretraining("autotinybert_4x396")
