"""Texts of your own, from nothing, on a GPU: as own.py, with BERT_SMALL and more steps.

    jaxattn study --data=reviews.csv
    python launch.py --mode=study --config=configs/own_gpu.py --config.data.path=reviews.csv \
        --config.data.name=reviews

The first takes these settings where JAX would use an NVIDIA GPU with 12 GB or more, and those of
own.py elsewhere; --config=own beside --data says that it shall be those in any case.

Run time and result: not run as written. Architecture and learning rates are those of imdb_gpu.py,
whose results docs/measurements/2026-11-27-nvidia-h200.md has: there 7,150 steps of MLM took about
a minute for each attention on an H200.
"""

from ml_collections import ConfigDict

from jaxattn.config.presets import quick_study, set_architecture


def get_config(mode: str) -> ConfigDict:
    """Four blocks of width 512; asked once for every stage, as `mode`."""
    config = quick_study(
        mode,
        max_seq_len=1024,
        epochs={"pretrain": 100, "tapt": 20, "finetune": 4},
        steps={"pretrain": 5000, "tapt": 1000, "finetune": 10_000},
    )
    if mode == "finetune":
        config.train.learning_rate = 2e-4
    elif mode != "tapt":
        set_architecture(config, "bert_small")
    return config
