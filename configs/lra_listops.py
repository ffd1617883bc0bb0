"""ListOps of Long Range Arena (Tay et al. 2020) at the published size.

    python launch.py --mode=finetune --config=configs/lra_listops.py --exp=listops --pretrain=none

Run time and result: none yet, this is made for a GPU. Published accuracy: Transformer 36.37,
Reformer 37.27, Performer 18.01. Published: 6 blocks of width 512, 8 heads, feed-forward 2048, CLS
pooling, batches of 32, 5,000 steps of Adam (beta 2 0.98, decay 0.1) with 1,000 to warm up to a
rate of 0.05 / sqrt(1000) = 1.6e-3; expressions of 500 to 2,000 tokens. Ours: the expressions
(drawn by jaxattn/data/corpora/listops.py, without the parentheses that the authors' reader takes
out), a validation split that is not the test split, [SEP], the cosine after the warm-up, half
precision where the GPU has units for it.
"""

from ml_collections import ConfigDict

from jaxattn.config.presets import long_range_arena


def get_config() -> ConfigDict:
    """--config.attention.type=performer_favor takes another attention."""
    config = long_range_arena("lra_listops", tokens=2000, steps=5000, warmup=1000)
    config.data.name = "listops"
    config.tokenizer.kind = "words"
    config.tokenizer.lowercase = False
    config.train.epochs = 2
    return config
