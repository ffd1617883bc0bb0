"""The kinds of runs: which stage made a run, what it starts from and what it is judged by."""

STAGES = ("pretrain", "tapt", "finetune")
"""The modes that train, in the order in which one follows from the other."""

CONFIG_FILES = {
    "pretrain": "config.yaml",
    "tapt": "config.yaml",
    "finetune": "resolved_config.yaml",
    "baseline": "config.yaml",
}

MEASURES = {
    "pretrain": "validation.loss",
    "tapt": "validation.loss",
    "finetune": "validation.macro_f1",
    "baseline": "validation.macro_f1",
}
"""Stage -> the entry of results.json that a best run is chosen by: never one of the test split."""

KINDS = ("pretrain", "tapt", "finetune", "baseline")

MLM_KINDS = ("pretrain", "tapt")
"""Runs whose quality is a validation loss; they are never ranked."""

BASELINE_ATTENTION = "tfidf+logreg"
"""What stands in the attention column of a TF-IDF + logistic regression run."""

SCRATCH = "none"
"""--pretrain=none: the encoder starts from random weights."""
