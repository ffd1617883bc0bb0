"""What a family of published encoders is: all that importing and exporting know of it."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from jaxattn.config import Config, ModelConfig
from jaxattn.interop.tensors import Tensor

ENCODER, MLM_HEAD, POOLER = "encoder", "MLM head", "pooler"
"""The parts of a checkpoint; each is there whole or not at all."""

Parts = dict[str, list[Tensor]]
"""Part -> its tensors."""


@dataclasses.dataclass(frozen=True)
class ClassifierHead:
    """How `transformers` classifies with a model of the family, by its first token.

    Attributes:
      pooler: the value of `head.pooler` that computes the same.
      dropout: their entry of config.json for `head.dropout`.
      tensors: of the pooler and of the last layer; axis C are the classes.
    """

    pooler: str
    dropout: str
    tensors: tuple[Tensor, ...]


@dataclasses.dataclass(frozen=True)
class Family:
    """One architecture of `transformers`, as options and parameters of our encoder.

    Attributes:
      name: as messages call it.
      model_types: `model_type` of config.json -> how the names of its classes begin.
      prefix: what models around the encoder add to the names of its tensors.
      inner: how these names begin without it.
      sizes: their entry -> our option, where the value is the same whole number.
      shares: their entry -> our options of the same value, a share of 1; the first is exported.
      only: their entry -> the value it has where it is left out, and why no other can be had.
      options: our options -> what they are in this family.
      constants: entries of an exported config.json that are always the same.
      tensors: (options of the model, rows of the position table before ours) -> their tensors.
      needless: tensors that are left out.
      tied: tensors that are copies of others.
      classifier: the head of its *ForSequenceClassification.
      token_types: rows of zeros that an exported run without token types is given, which change
        nothing; 0: the family has none.
      embedding_width: their entry for the width of the embeddings; "": it is that of the layers.
      positions_from_pad: whether the position of the first token is `pad_token_id` + 1, not 0.
      frame_ids: entries of an exported config.json with ids of special tokens, and whose.
      word_pieces: whether its vocabularies are of word pieces only.
      converter: the class, after the beginning of its name, that reads all tensors of a pickle.
      read, write: what of config.json no table above can say: (its contents, the file for messages)
        -> our options, InputError for what cannot be had; and (our configuration, the run for
        messages) -> their entries, InputError for what they could not compute.
    """

    name: str
    model_types: Mapping[str, str]
    prefix: str
    inner: tuple[str, ...]
    sizes: Mapping[str, str]
    shares: Mapping[str, tuple[str, ...]]
    only: Mapping[str, tuple[Any, str]]
    options: Mapping[str, Any]
    constants: Mapping[str, Any]
    tensors: Callable[[ModelConfig, int], Parts]
    needless: tuple[str, ...]
    tied: Mapping[str, str]
    classifier: ClassifierHead
    token_types: int = 0
    embedding_width: str = ""
    positions_from_pad: bool = False
    frame_ids: tuple[tuple[str, str], ...] = ()
    word_pieces: bool = True
    converter: str = "ForMaskedLM"
    read: Callable[[Mapping[str, Any], str], dict[str, Any]] = lambda document, where: {}
    write: Callable[[Config, str], dict[str, Any]] = lambda config, origin: {}

    def first_position(self, pad_id: int) -> int:
        """Rows of their position table that no token of a text ever has: those before ours."""
        return pad_id + 1 if self.positions_from_pad else 0
