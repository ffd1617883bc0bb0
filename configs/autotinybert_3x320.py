"""AutoTinyBERT 3 x 320 with exact attention, pretrained on Wikipedia.

    python launch.py --config=configs/autotinybert_3x320.py --mode=pretrain --exp=wiki_tiny_3x320

12,061,850 parameters with a vocabulary of 30,522. Run time and result: none yet, this has not been
run to the end; it is made for a GPU.
"""

from ml_collections import ConfigDict

from jaxattn.config.presets import wikipedia_pretraining


def get_config() -> ConfigDict:
    """The published shape; --config.attention.type=performer_favor takes another attention."""
    return wikipedia_pretraining("autotinybert_3x320")
