"""IMDB sentiment on one GPU: BERT_SMALL with each attention, at 512 tokens, next to TF-IDF.

    python launch.py --mode=study --config=configs/imdb_gpu.py --config.data.path=<folder>

Run time and result: not run as written. With 7,150 steps of MLM (benchmarks/gpu/compare_imdb.py,
one H200, five minutes in all) test macro-F1 was 91.0 with sdpa, 89.7 with reformer_lsh, 86.7 with
performer_favor and 89.9 with TF-IDF + LogReg (docs/measurements/2026-11-27-nvidia-h200.md).

The folder holds train.parquet, test.parquet and unsup.parquet with columns text and label (-1:
none). The MLM reads the training and the unlabelled reviews, never the test reviews. Without
--config.tokenizer.path the vocabulary is made from the same texts. benchmarks/gpu/compare_imdb.py
runs the same stages within a number of seconds.
"""

from ml_collections import ConfigDict

from jaxattn.config import defaults, inherit_architecture
from jaxattn.config.presets import set_architecture


def get_config(mode: str) -> ConfigDict:
    """Four blocks of width 512; 1,500 steps of MLM, three epochs of fine-tuning."""
    config = defaults()
    config.data.name = "imdb"
    config.data.hub = "stanfordnlp/imdb"
    config.data.label_names = ("neg", "pos")
    config.data.mlm_splits = ("train", "unsup")
    config.data.max_length = 512
    # Every further length would be two more programs to compile.
    config.data.length_buckets = (256, 512)
    config.train.batch_size = 64
    config.train.eval_batch_size = 128
    config.log.every_steps = 50
    if mode == "finetune":
        inherit_architecture(config)
        config.train.learning_rate = 2e-4
        config.train.epochs = 3
        return config
    set_architecture(config, "bert_small")
    config.tokenizer.vocab_size = 16384
    config.attention.reformer_lsh.num_hashes = 2
    config.train.learning_rate = 1e-3
    config.train.epochs = 100
    config.train.max_steps = 1500
    # Validated and saved at the end alone: the learning rate falls to zero there.
    config.train.validate_every_steps = 1500
    config.checkpoint.every_epochs = 0
    return config
