"""A published encoder as a run to start from."""

import dataclasses
from typing import Any

from jaxattn.config import Config, flatten, to_plain
from jaxattn.console import say
from jaxattn.data.tokens.wordpiece import save_tokenizer
from jaxattn.interop.family import MLM_HEAD, POOLER
from jaxattn.interop.hub import Fetched
from jaxattn.interop.published import Published
from jaxattn.model.heads import MlmModel, init_mlm
from jaxattn.ops.trees import count_parameters, tree_hash
from jaxattn.runs.folder import IMPORTED_FROM, RunFolder
from jaxattn.runs.kinds import SCRATCH
from jaxattn.runs.results import Cost, Results, Stage
from jaxattn.stages import machine
from jaxattn.stages.origin import stages_before
from jaxattn.train.checkpoints import Checkpoints
from jaxattn.train.job import Tally

STEP = 0
"""Of the only checkpoint: nothing was trained here."""


def import_published(
    folder: RunFolder, config: Config, published: Published, source: Fetched
) -> None:
    """Writes the run: configuration, tokenizer, one checkpoint, results with the provenance."""
    params, vocab_size = _whole(published, config), published.tokenizer.get_vocab_size()
    folder.begin(config, {IMPORTED_FROM: source.origin}, machine.describe(config))
    with folder.running():
        save_tokenizer(published.tokenizer, folder.path / "tokenizer.json")
        document = {
            "config": flatten(to_plain(config)),
            "tokenizer": published.tokenizer.to_str(),
            "data_hash": None,
            "tally": vars(Tally(best_step=STEP)),
        }
        checkpoints = Checkpoints(folder.path / "checkpoints", keep=1)
        checkpoints.save(STEP, {"params": params}, document, STEP)
        # What its pretraining took is not known, and on what data.
        origin = Stage.of(folder.kind, folder.exp, config, STEP, Cost())
        folder.write_results(
            Results(
                kind=folder.kind,
                exp=folder.exp,
                attention=config.attention.label,
                parameters=count_parameters(params),
                best_step=STEP,
                best_hash=tree_hash(params),
                imported={
                    **source.provenance(),
                    "model_type": published.model_type,
                    "sha256": published.hashes,
                    "parts": list(published.parts),
                    "new": [MLM_HEAD] if MLM_HEAD not in published.parts else [],
                    "left_out": list(published.left_out),
                },
                cost=Cost(),
                stages=(dataclasses.replace(origin, data=None, model_type=published.model_type),),
                tokenizer={"vocabulary": vocab_size},
                device=machine.device_name(),
            )
        )
    model = config.model
    say(
        f"imported: {folder.path}: {model.num_layers} blocks of width {model.hidden_dim}, "
        f"{vocab_size:,} words, {model.max_seq_len} positions; {', '.join(published.parts)}"
    )
    if published.left_out:
        say(f"left out, not needed here: {', '.join(published.left_out)}")
    if POOLER in published.parts:
        say("fine-tuning uses the pooler with head.pooling=cls and head.pooler=bert")


def model_type_of(folder: RunFolder) -> str:
    """The `model_type` of `transformers` that a run goes back to: that of the import it began with.

    Where it began with none, or with one of a version that knew no other, "modernbert" for an
    encoder that looks like one, else "bert".
    """
    if folder.results_path.exists() and (stages := folder.results().stages):
        first: Stage | None = stages[0]
    else:
        before = SCRATCH if folder.kind == "pretrain" else folder.pretrained_from()
        first = None if before == SCRATCH else stages_before(folder.runs, before)[0]
    if first and first.model_type:
        return first.model_type
    return "modernbert" if folder.saved.config()[0].model.embedding_norm else "bert"


def _whole(published: Published, config: Config) -> dict[str, Any]:
    """The parameters, with a new MLM head where the folder has none."""
    if MLM_HEAD in published.parts:
        return published.params
    say("the folder has no MLM head: a new one is added, with random weights; TAPT trains it")
    model = MlmModel(config, published.tokenizer.get_vocab_size())
    fresh = init_mlm(model, config.train.seed)
    return {**fresh, **published.params}
