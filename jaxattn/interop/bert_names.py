"""Which parameter of ours is which tensor of a Hugging Face BERT, and of what shape."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxattn.config import ModelConfig

ENCODER, MLM_HEAD, POOLER = "encoder", "MLM head", "pooler"
"""The parts of a checkpoint; each is there whole or not at all."""

WORD_EMBEDDINGS = "bert.embeddings.word_embeddings.weight"

OUTPUT_BIAS = "cls.predictions.bias"

Params = dict[str, Any]
"""Nested dicts of float32 arrays."""


class Tensor(NamedTuple):
    """One tensor.

    Attributes:
      ours: its path in our parameters.
      theirs: its name there.
      axes: a letter for each axis, as they have them: V words, N positions, T token types, D hidden
        width, F feed-forward width.
      transposed: whether ours has the axes the other way round: kernels are [in, out] here and
        [out, in] there.
    """

    ours: tuple[str, ...]
    theirs: str
    axes: str
    transposed: bool = False

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape that theirs has."""
        return tuple(sizes[axis] for axis in self.axes)


def _dense(ours: tuple[str, ...], theirs: str, axes: str) -> list[Tensor]:
    return [
        Tensor((*ours, "kernel"), f"{theirs}.weight", axes, transposed=True),
        Tensor((*ours, "bias"), f"{theirs}.bias", axes[0]),
    ]


def _norm(ours: tuple[str, ...], theirs: str) -> list[Tensor]:
    return [
        Tensor((*ours, "scale"), f"{theirs}.LayerNorm.weight", "D"),
        Tensor((*ours, "bias"), f"{theirs}.LayerNorm.bias", "D"),
    ]


def _block(number: int) -> list[Tensor]:
    ours, theirs = ("encoder", f"blocks_{number}"), f"bert.encoder.layer.{number}"
    found = []
    for name in ("query", "key", "value"):
        found += _dense((*ours, "attention", name), f"{theirs}.attention.self.{name}", "DD")
    found += _dense((*ours, "attention", "out"), f"{theirs}.attention.output.dense", "DD")
    found += _norm((*ours, "attention_norm"), f"{theirs}.attention.output")
    found += _dense((*ours, "mlp", "up"), f"{theirs}.intermediate.dense", "FD")
    found += _dense((*ours, "mlp", "down"), f"{theirs}.output.dense", "DF")
    return found + _norm((*ours, "mlp_norm"), f"{theirs}.output")


def tensors(num_layers: int) -> dict[str, list[Tensor]]:
    """The tensors of every part, for so many blocks."""
    embeddings = ("encoder", "embeddings")
    encoder = [
        Tensor((*embeddings, "tokens", "embedding"), WORD_EMBEDDINGS, "VD"),
        Tensor((*embeddings, "position_table"), "bert.embeddings.position_embeddings.weight", "ND"),
        Tensor(
            (*embeddings, "token_type_table"), "bert.embeddings.token_type_embeddings.weight", "TD"
        ),
        *_norm((*embeddings, "norm"), "bert.embeddings"),
    ]
    for number in range(num_layers):
        encoder += _block(number)
    head = "cls.predictions.transform"
    mlm = [
        *_dense(("transform",), f"{head}.dense", "DD"),
        *_norm(("norm",), head),
        Tensor(("output_bias",), OUTPUT_BIAS, "V"),
    ]
    pooler = _dense(("pooler",), "bert.pooler.dense", "DD")
    return {ENCODER: encoder, MLM_HEAD: mlm, POOLER: pooler}


def sizes(model: ModelConfig, vocab_size: int) -> dict[str, int]:
    """The length of every axis."""
    return {
        "V": vocab_size,
        "N": model.max_seq_len,
        "T": model.token_types,
        "D": model.hidden_dim,
        "F": model.mlp_dim,
    }


def flatten_names(params: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The paths of all arrays, their parts joined by "/"."""
    found = []
    for name, value in params.items():
        inner = isinstance(value, Mapping)
        found += flatten_names(value, f"{prefix}{name}/") if inner else [prefix + name]
    return found


def to_ours(found: Mapping[str, np.ndarray], wanted: list[Tensor]) -> Params:
    """Their tensors as our nested parameters, float32."""
    params: Params = {}
    for tensor in wanted:
        array = np.asarray(found[tensor.theirs], np.float32)
        node = params
        for name in tensor.ours[:-1]:
            node = node.setdefault(name, {})
        node[tensor.ours[-1]] = np.ascontiguousarray(array.T if tensor.transposed else array)
    return params


def to_theirs(params: Params, wanted: list[Tensor]) -> dict[str, np.ndarray]:
    """Our parameters as their tensors, float32; KeyError where one is not there."""
    found = {}
    for tensor in wanted:
        node: Any = params
        for name in tensor.ours:
            node = node[name]
        array = np.asarray(node, np.float32)
        found[tensor.theirs] = np.ascontiguousarray(array.T if tensor.transposed else array)
    return found
