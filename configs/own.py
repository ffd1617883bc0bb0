"""Texts of your own, with nothing to write: what --data=<file, folder or hub id> begins with.

    jaxattn study --data=reviews.csv
    python launch.py --mode=study --config=configs/own.py --config.data.path=reviews.csv \
        --config.data.name=reviews

The second leaves columns and length at their defaults, and without its last flag runs and report
call the texts pydocs. An encoder that two CPU cores can train is pretrained on the texts and
fine-tuned, with every attention, beside the baselines. A published encoder is better where there is
one:

    jaxattn study --data=reviews.csv --pretrain=google-bert/bert-base-uncased

Everything can be changed by flags, as --config.train.epochs=5. On a GPU the first takes own_gpu.py.

Run time: 3 minutes for 300 reviews of one line on 2 CPU cores shared with other work.
"""

from ml_collections import ConfigDict

from jaxattn.config.presets import quick_study


def get_config(mode: str) -> ConfigDict:
    """Two blocks of width 128; asked once for every stage, as `mode`."""
    return quick_study(
        mode,
        max_seq_len=1024,
        epochs={"pretrain": 20, "tapt": 20, "finetune": 4},
        # They take minutes on two cores; an epoch of more than 32,000 texts is cut short.
        steps={"pretrain": 300, "tapt": 100, "finetune": 1000},
    )
