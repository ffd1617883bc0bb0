"""Every option at its default: BERT_SMALL with exact attention on the built-in corpus.

    python launch.py --mode=pretrain --config=configs/base.py --exp=bert_small

Run time and result: not run to the end; it is made to be changed, and is too large for a CPU.
The options are described in jaxattn/config/. A file of your own begins like this one and assigns
what it changes, `config.attention.type = "reformer_lsh"`; a flag changes one option of a file,
`--config.train.learning_rate=3e-4`. If get_config has a parameter, it is given the --mode.
"""

from ml_collections import ConfigDict

from jaxattn.config import defaults


def get_config() -> ConfigDict:
    """The defaults."""
    return defaults()
