"""An encoder of ModernBERT's kind with as many parameters as BERT_SMALL, pretrained on Wikipedia.

    python launch.py --config=configs/modern_small.py --mode=pretrain --exp=wiki_modern

Exact attention in every third block, in a window of 128 tokens in the others; GeGLU, no biases.
28,376,890 parameters with a vocabulary of 30,522. Run time and result: none yet, this has not been
run to the end; it is made for a GPU. A small encoder of this kind beside the ordinary one:
docs/measurements/2026-11-28-local-attention.md.
"""

from ml_collections import ConfigDict

from jaxattn.config.presets import set_modern, wikipedia_pretraining


def get_config() -> ConfigDict:
    """The recipe of configs/sdpa_small.py; --config.data.path=<folder> reads local files."""
    config = wikipedia_pretraining("modern_small")
    set_modern(config)
    return config
