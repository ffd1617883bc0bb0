"""--mode=tapt: the MLM again on a task's texts, from a pretrained checkpoint.

Task-adaptive pretraining (Gururangan et al. 2020). Encoder and MLM head go on from the checkpoint;
optimizer and schedule begin anew.
"""

from pathlib import Path

from jaxattn.config import Config
from jaxattn.data.task_texts import load_task_texts
from jaxattn.errors import InputError
from jaxattn.modes.attention_change import attention_change
from jaxattn.modes.pretrain import SCRATCH, MlmStart, train_mlm
from jaxattn.modes.request import Request
from jaxattn.modes.run_folder import RunFolder
from jaxattn.modes.stage_vocabulary import stage_vocabulary
from jaxattn.modes.starting_point import (
    POOLER,
    begun_or_new,
    source_of,
    stages_before,
    unchanged_params,
)
from jaxattn.train.carry_over import carried_over
from jaxattn.train.extend_positions import tiled
from jaxattn.train.grow_vocabulary import grown


def run(request: Request) -> None:
    """Goes on with the MLM in runs/tapt/<exp>/."""
    folder = RunFolder(request.runs, "tapt", request.needed("exp", "imdb_lsh"))
    if request.pretrain == SCRATCH:
        raise InputError(
            f"--pretrain={SCRATCH}: TAPT starts from a pretrained run; --mode=pretrain trains "
            "from random weights"
        )
    begun = begun_or_new(request, folder, "wiki_lsh")
    if begun is not None:
        tapt(folder, begun[0], request.runs, begun[1])


def tapt(
    folder: RunFolder, config: Config, runs: Path, pretrain: str, stop_after: int | None = None
) -> None:
    """Trains in `folder` from `pretrain` (name@step), or goes on where it stopped.

    `stop_after`: see `train`.
    """
    corpus = load_task_texts(config.data)
    vocabulary = stage_vocabulary(folder, config, runs, pretrain, corpus.train)
    found, digest = unchanged_params(folder, runs, pretrain)
    # That of an imported BERT: the MLM has none, fine-tuning finds it where it was imported.
    found = {name: value for name, value in found.items() if name != POOLER}
    first = tiled(grown(found, vocabulary.origins), config.model.max_seq_len)
    start = MlmStart(
        params=lambda fresh: carried_over(fresh, first, pretrain),
        change=attention_change(config, source_of(runs, pretrain)[0].saved_config()[0], first),
        extra={"pretrain": pretrain, "pretrain_hash": digest},
        results={
            "pretrain": pretrain.partition("@")[0],
            "pretrain_hash": digest,
            "vocabulary": vocabulary.report,
        },
        stages=stages_before(runs, pretrain),
    )
    train_mlm(folder, config, corpus, vocabulary.tokenizer, start, stop_after)
