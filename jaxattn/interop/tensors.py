"""Which parameter of ours is which tensor of theirs, and of what shape."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxattn.config import ModelConfig

Params = dict[str, Any]
"""Nested dicts of float32 arrays."""


class Tensor(NamedTuple):
    """One tensor.

    Attributes:
      ours: its path in our parameters.
      theirs: its name there.
      axes: a letter for each axis, as they have them: V words, N positions, T token types, D hidden
        width, E width of the embeddings, F feed-forward width.
      transposed: whether ours has the axes the other way round: kernels are [in, out] here and
        [out, in] there.
      before: rows that theirs has before ours, which no text reads.
      part, parts: ours is this one of so many equal parts of theirs, one after the other along its
        first axis; `axes` are those of the part.
    """

    ours: tuple[str, ...]
    theirs: str
    axes: str
    transposed: bool = False
    before: int = 0
    part: int = 0
    parts: int = 1

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape that theirs has."""
        first, *others = (sizes[axis] for axis in self.axes)
        return (first * self.parts + self.before, *others)


def sizes(model: ModelConfig, vocab_size: int) -> dict[str, int]:
    """The length of every axis."""
    return {
        "V": vocab_size,
        "N": model.max_seq_len,
        "T": model.token_types,
        "D": model.hidden_dim,
        "E": model.embedding_width,
        "F": model.mlp_dim,
    }


def dense(
    ours: tuple[str, ...],
    theirs: str,
    axes: str,
    *,
    bias: bool = True,
    part: int = 0,
    parts: int = 1,
) -> list[Tensor]:
    """Kernel and bias of a layer with these axes, [out, in]; `part`, `parts`: see `Tensor`."""
    kernel = Tensor((*ours, "kernel"), f"{theirs}.weight", axes, True, part=part, parts=parts)
    shift = Tensor((*ours, "bias"), f"{theirs}.bias", axes[0], part=part, parts=parts)
    return [kernel, shift] if bias else [kernel]


def norm(ours: tuple[str, ...], theirs: str, axis: str = "D", *, bias: bool = True) -> list[Tensor]:
    """Scale and bias of a layer norm."""
    scale = Tensor((*ours, "scale"), f"{theirs}.weight", axis)
    return [scale, Tensor((*ours, "bias"), f"{theirs}.bias", axis)] if bias else [scale]


def embeddings(prefix: str, *, token_types: bool = True, before: int = 0) -> list[Tensor]:
    """The tables and their norm, as BERT's relatives call them; `before`: see `Tensor`."""
    ours, theirs = ("encoder", "embeddings"), f"{prefix}embeddings"
    types = Tensor((*ours, "token_type_table"), f"{theirs}.token_type_embeddings.weight", "TE")
    return [
        Tensor((*ours, "tokens", "embedding"), f"{theirs}.word_embeddings.weight", "VE"),
        Tensor(
            (*ours, "position_table"), f"{theirs}.position_embeddings.weight", "NE", before=before
        ),
        *([types] if token_types else []),
        *norm((*ours, "norm"), f"{theirs}.LayerNorm", "E"),
    ]


def layers(prefix: str, count: int) -> list[Tensor]:
    """The blocks of BERT, and of those that call them as it does."""
    found = []
    for number in range(count):
        ours, theirs = ("encoder", f"blocks_{number}"), f"{prefix}encoder.layer.{number}"
        for name in ("query", "key", "value"):
            found += dense((*ours, "attention", name), f"{theirs}.attention.self.{name}", "DD")
        found += dense((*ours, "attention", "out"), f"{theirs}.attention.output.dense", "DD")
        found += norm((*ours, "attention_norm"), f"{theirs}.attention.output.LayerNorm")
        found += dense((*ours, "mlp", "up"), f"{theirs}.intermediate.dense", "FD")
        found += dense((*ours, "mlp", "down"), f"{theirs}.output.dense", "DF")
        found += norm((*ours, "mlp_norm"), f"{theirs}.output.LayerNorm")
    return found


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
        array = np.asarray(found[tensor.theirs], np.float32)[tensor.before :]
        if tensor.parts > 1:
            array = np.split(array, tensor.parts)[tensor.part]
        node = params
        for name in tensor.ours[:-1]:
            node = node.setdefault(name, {})
        node[tensor.ours[-1]] = np.ascontiguousarray(array.T if tensor.transposed else array)
    return params


def to_theirs(params: Params, wanted: list[Tensor]) -> dict[str, np.ndarray]:
    """Our parameters as their tensors, float32; KeyError where one is not there.

    Rows that ours lacks are zeros.
    """
    found: dict[str, np.ndarray] = {}
    for tensor in sorted(wanted, key=lambda tensor: tensor.part):
        node: Any = params
        for name in tensor.ours:
            node = node[name]
        array = np.asarray(node, np.float32)
        array = array.T if tensor.transposed else array
        if tensor.before:
            rows = np.zeros((tensor.before, *array.shape[1:]), np.float32)
            array = np.concatenate([rows, array])
        if tensor.part:
            array = np.concatenate([found[tensor.theirs], array])
        found[tensor.theirs] = np.ascontiguousarray(array)
    return found
