"""How far the approximations are from exact attention on what a trained encoder computes."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import freeze
from jaxtyping import PyTree

from jaxattn.attention import ATTENTIONS
from jaxattn.classifier.load import load_classifier
from jaxattn.config import Config
from jaxattn.data.batches.order import classification_batch
from jaxattn.data.corpora.splits import load_labelled, load_texts
from jaxattn.data.tokens.arrays import special_ids
from jaxattn.data.tokens.encode import encode
from jaxattn.errors import InputError
from jaxattn.evaluate.predict import trained_by
from jaxattn.model.encoder import Encoder
from jaxattn.profile.fidelity import LayerInputs, fidelity, layer_inputs
from jaxattn.profile.variants import EXACT
from jaxattn.request import Request
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.kinds import SCRATCH
from jaxattn.stages.origin import pinned, pretrained_params, source_of
from jaxattn.stages.vocabulary import tokenizer_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LONGEST = 512
"""Tokens of a text; all weights of a row of this length still fit in little memory."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The best checkpoint of a run: its encoder, and the run's validation texts."""

    run: RunFolder
    config: Config
    tokenizer: "Tokenizer"
    encoder_params: PyTree
    attention_key: jax.Array
    texts: Sequence[str]


def load_checkpoint(request: Request) -> Checkpoint | None:
    """The checkpoint of --exp (fine-tuned) or --pretrain; None where neither is given.

    Raises:
      InputError: both are given, there is no such run, or its data cannot be read.
    """
    if request.exp and request.pretrain:
        raise InputError("--mode=profile takes a checkpoint of --exp or of --pretrain, not of both")
    if request.exp:
        folder = RunFolder(request.runs, "finetune", request.exp)
        classifier = load_classifier(folder)
        if classifier.config.peft.prompt_tokens:
            raise InputError(
                f"{folder.path} has a soft prompt; the error is told on texts alone, so give a run "
                "of another peft.method"
            )
        texts = load_labelled(classifier.config.data).validation.texts
        trained, tokenizer, config = classifier.trained, classifier.tokenizer, classifier.config
    elif request.pretrain:
        if request.pretrain == SCRATCH:
            raise InputError(f"--pretrain={SCRATCH}: an encoder that was trained is needed")
        folder, _ = source_of(request.runs, request.pretrain)
        config, _ = folder.saved.config()
        source = pinned(request.runs, request.pretrain)
        _, step = source_of(request.runs, source)
        trained = trained_by(config, pretrained_params(request.runs, source), step or 0)
        tokenizer = tokenizer_of(folder, config)
        texts = load_texts(config.data).validation
    else:
        return None
    return Checkpoint(
        folder, config, tokenizer, trained.params["encoder"], trained.attention_key, texts
    )


@dataclasses.dataclass(frozen=True)
class LayerError:
    """The `Fidelity` of one attention in one layer, counted from 1."""

    attention: str
    layer: int
    shares_qk: bool
    output_error: float
    mass_kept: float
    recall: float


def errors_by_layer(checkpoint: Checkpoint, options: Config) -> list[LayerError]:
    """One row for each approximation of `options.profile.attentions` and layer.

    Seen are the longest validation texts, cut at `LONGEST` tokens: there is most to lose.
    """
    key = checkpoint.attention_key
    layers = _inputs(checkpoint, options.profile.texts)
    table = []
    for attention in options.profile.attentions:
        if attention == EXACT:
            continue
        shares = ATTENTIONS[attention].shares_qk and layers[0].k is None
        by_layer = fidelity(attention, getattr(options.attention, attention), layers, key)
        for number, layer in enumerate(by_layer, start=1):
            table.append(LayerError(attention, number, shares, **dataclasses.asdict(layer)))
    return table


def _inputs(checkpoint: Checkpoint, count: int) -> list[LayerInputs]:
    """What the attention layers get for the longest texts."""
    config, tokenizer = checkpoint.config, checkpoint.tokenizer
    longest = sorted(checkpoint.texts, key=len, reverse=True)[:count]
    tokens, _ = encode(tokenizer, longest, min(config.data.max_length, LONGEST))
    length, pad = int(tokens.lengths.max()), special_ids(tokenizer).pad
    batch = classification_batch(tokens, None, np.arange(len(tokens)), length, pad)
    # The parameters are float32, and so is everything here: what is left is the approximation.
    adapters = config.peft.adapter_widths if checkpoint.run.kind == "finetune" else {}
    vocab_size = tokenizer.get_vocab_size()
    encoder = Encoder(config, vocab_size, jnp.float32, adapters=freeze(adapters))
    return layer_inputs(
        encoder,
        checkpoint.encoder_params,
        jnp.asarray(batch["ids"]),
        jnp.asarray(batch["mask"]),
        checkpoint.attention_key,
    )
