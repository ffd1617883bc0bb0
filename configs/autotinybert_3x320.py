"""AutoTinyBERT 3 x 320 with exact attention, pretrained on Wikipedia.

    python launch.py --config=configs/autotinybert_3x320.py --mode=pretrain --exp=wiki_tiny_3x320

RUNTIME_3x320
"""

from ml_collections import ConfigDict

from jaxattn.presets import wikipedia_pretraining


def get_config() -> ConfigDict:
    """The published shape; --config.attention.type=performer_favor takes another attention."""
    return wikipedia_pretraining("autotinybert_3x320")
