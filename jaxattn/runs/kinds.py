"""The kinds of runs: which stage made a run, what it starts from and what it is judged by."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Kind:
    """A stage, and what its runs have in common.

    Attributes:
      name: that of the mode, and of the folder of its runs.
      parents: the kinds that it may start from.
      config_file: where its options are saved.
      measure: the entry of results.json that a best run is chosen by: never one of the test split.
      decisive: the entry of results.json without which a run has no result.
      mlm: whether its quality is a validation loss; such runs are never ranked.
      encoder: whether it trains an encoder, step by step.
    """

    name: str
    parents: tuple[str, ...] = ()
    config_file: str = "config.yaml"
    measure: str = "validation.macro_f1"
    decisive: str = "test.macro_f1"
    mlm: bool = False
    encoder: bool = True

    @property
    def metric(self) -> str:
        """The metric of the validation split that `measure` is; of an MLM less is better."""
        return self.measure.removeprefix("validation.")


_LOSS = "validation.loss"

KINDS = {
    kind.name: kind
    for kind in (
        Kind("pretrain", measure=_LOSS, decisive=_LOSS, mlm=True),
        Kind("tapt", ("pretrain",), measure=_LOSS, decisive=_LOSS, mlm=True),
        Kind("finetune", ("pretrain", "tapt"), "resolved_config.yaml"),
        Kind("baseline", encoder=False),
    )
}
"""In the order in which one follows from the other."""

STAGES = tuple(name for name, kind in KINDS.items() if kind.encoder)
"""The modes that train an encoder."""

BASELINE_ATTENTIONS = {
    "tfidf": "tfidf+logreg",
    "chars": "chars+logreg",
    "nb": "nb+logreg",
    "svm": "tfidf+svm",
}
"""`baseline.kind` -> what stands in the attention column of such a run."""

BASELINE_LABELS = {
    "tfidf+logreg": "TF-IDF + LogReg",
    "chars+logreg": "characters + LogReg",
    "nb+logreg": "NB-weighted words + LogReg",
    "tfidf+svm": "TF-IDF + SVM",
}
"""What a baseline is called in a report, by its attention column."""

BASELINE_ATTENTION = BASELINE_ATTENTIONS["tfidf"]
"""The baseline that the criteria ask to beat, as the user's documents define it."""

SCRATCH = "none"
"""--pretrain=none: the encoder starts from random weights."""


def called(kind: str, exp: str) -> str:
    """What --pretrain calls a run: `<exp>` is one of runs/pretrain, `tapt/<exp>` one of TAPT."""
    return exp if kind == "pretrain" else f"{kind}/{exp}"
