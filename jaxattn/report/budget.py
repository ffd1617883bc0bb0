"""What a run was given to learn from, in words: runs of another budget are not compared."""

from collections.abc import Mapping

from jaxattn.report.record import RunRecord

_BUDGET = {
    "data.max_length": "{} tokens",
    "data.max_examples": "at most {} texts of a split",
    "train.epochs": "{} epochs",
    "train.max_steps": "at most {} steps",
}


def budget(run: RunRecord, mlm: Mapping[str, RunRecord]) -> tuple[str, ...]:
    """Length of texts, epochs, steps, number of texts, and the steps of the stages before.

    Args:
      run: a fine-tuning.
      mlm: what a run that started from it calls a pretraining or TAPT -> that run.
    """
    said = []
    for path, words in _BUDGET.items():
        if value := run.config.get(path):
            phrase = words.format(value)
            said.append(phrase.removesuffix("s") if value == 1 else phrase)
    before: list[str] = []
    name, followed = run.pretrain, set()
    while name and name not in followed:
        followed.add(name)
        origin = mlm.get(name)
        kind = "tapt" if name.startswith("tapt/") else "pretrain"
        steps = f" of {origin.steps} steps" if origin and origin.steps else ""
        before.append(f"{'TAPT' if kind == 'tapt' else 'pretraining'}{steps}")
        name = origin.pretrain if origin else None
    return (*said, "after " + " and ".join(reversed(before)) if before else "from random weights")
