"""ModernBERT (Warner et al. 2024) and Ettin: exact attention in a window in most layers, no biases.

Rotary positions with a base of their own in the layers of the window, GeGLU, layer norms before
each layer but the first, whose place one of the embeddings takes. Queries, keys and values are one
tensor there, and so are both projections of the feed-forward layer. Their dropout of the
feed-forward layer stands before its last projection, ours after it (it is 0 in what is published).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxattn.config import Config, ModelConfig
from jaxattn.errors import InputError
from jaxattn.interop.family import ENCODER, MLM_HEAD, ClassifierHead, Family, Parts
from jaxattn.interop.tensors import Tensor, dense, norm

_PREFIX = "model."

_LAYERS = {"full_attention": "sdpa", "sliding_attention": "local"}
"""Their kinds of layers -> our attentions."""

_BASES = {
    "full_attention": ("global_rope_theta", "model.rope_base", 160_000.0),
    "sliding_attention": ("local_rope_theta", "model.local_rope_base", 10_000.0),
}
"""Kind of layers -> the base of their rotary positions: older entry, our option, default."""


def _layer(number: int) -> list[Tensor]:
    ours, theirs = ("encoder", f"blocks_{number}"), f"{_PREFIX}layers.{number}"
    found = norm((*ours, "attention_norm"), f"{theirs}.attn_norm", bias=False) if number else []
    for part, name in enumerate(("query", "key", "value")):
        found += dense(
            (*ours, "attention", name), f"{theirs}.attn.Wqkv", "DD", bias=False, part=part, parts=3
        )
    found += dense((*ours, "attention", "out"), f"{theirs}.attn.Wo", "DD", bias=False)
    found += norm((*ours, "mlp_norm"), f"{theirs}.mlp_norm", bias=False)
    for part, name in enumerate(("up", "gate")):
        found += dense(
            (*ours, "mlp", name), f"{theirs}.mlp.Wi", "FD", bias=False, part=part, parts=2
        )
    return found + dense((*ours, "mlp", "down"), f"{theirs}.mlp.Wo", "DF", bias=False)


def _tensors(model: ModelConfig, before: int) -> Parts:
    tables = ("encoder", "embeddings")
    encoder = [
        Tensor(
            (*tables, "tokens", "embedding"), f"{_PREFIX}embeddings.tok_embeddings.weight", "VE"
        ),
        *norm((*tables, "norm"), f"{_PREFIX}embeddings.norm", bias=False),
    ]
    for number in range(model.num_layers):
        encoder += _layer(number)
    mlm = [
        *dense(("transform",), "head.dense", "DD", bias=False),
        *norm(("norm",), "head.norm", bias=False),
        Tensor(("output_bias",), "decoder.bias", "V"),
    ]
    final = norm(("encoder", "final_norm"), f"{_PREFIX}final_norm", bias=False)
    return {ENCODER: encoder + final, MLM_HEAD: mlm}


def _read(document: Mapping[str, Any], where: str) -> dict[str, Any]:
    kinds = _kinds(document, where)
    window = document.get("local_attention", 128)
    if not isinstance(window, int) or isinstance(window, bool) or window < 2:
        raise InputError(f"{where}: local_attention: found {window!r}, expected a window of tokens")
    options: dict[str, Any] = {
        "attention.type": _LAYERS[kinds[0]],
        "attention.pattern": _shortest([_LAYERS[kind] for kind in kinds]),
        # They see half of it to either side, rounded down.
        "attention.local.window": window // 2 * 2,
    }
    for kind, (entry, ours, default) in _BASES.items():
        options[ours] = _base(document, kind, entry, default, where)
    return options


def _kinds(document: Mapping[str, Any], where: str) -> list[str]:
    """The kind of every layer; InputError for one that is not known."""
    layers, kinds = document["num_hidden_layers"], document.get("layer_types")
    if kinds is None:
        every = document.get("global_attn_every_n_layers", 3)
        if not isinstance(every, int) or isinstance(every, bool) or every < 1:
            raise InputError(
                f"{where}: global_attn_every_n_layers: found {every!r}, expected a whole number"
            )
        full, sliding = _LAYERS
        kinds = [sliding if number % every else full for number in range(layers)]
    listed = isinstance(kinds, list) and len(kinds) == layers
    if not listed or any(kind not in _LAYERS for kind in kinds):
        raise InputError(
            f"{where}: layer_types: found {kinds!r}, expected {' or '.join(_LAYERS)} for each of "
            f"{layers} layers"
        )
    return list(kinds)


def _shortest(names: Sequence[str]) -> tuple[str, ...]:
    """The shortest pattern that, again and again, gives these names; empty where all are one."""
    if len(set(names)) == 1:
        return ()
    lengths = range(1, len(names) + 1)
    length = next(n for n in lengths if all(x == names[i % n] for i, x in enumerate(names)))
    return tuple(names[:length])


def _base(document: Mapping[str, Any], kind: str, entry: str, default: float, where: str) -> float:
    """The base of the rotary positions of a kind of layers, by either form of config.json."""
    place, found = entry, document.get(entry)
    parameters = document.get("rope_parameters")
    if isinstance(parameters, Mapping) and isinstance(parameters.get(kind), Mapping):
        own = parameters[kind]
        place = f"rope_parameters.{kind}"
        if own.get("rope_type", "default") != "default":
            raise InputError(
                f"{where}: {place}.rope_type: found {own['rope_type']!r}, allowed: 'default'; "
                "other rotary positions are not computed"
            )
        found = own.get("rope_theta", found)
    if found is None:
        # Without one of its own the window has that of the others.
        no_own = entry == "local_rope_theta" and entry in document
        found = document.get("global_rope_theta", default) if no_own else default
    if not isinstance(found, int | float) or isinstance(found, bool) or found < 1:
        raise InputError(f"{where}: {place}: found {found!r}, expected a number of at least 1")
    return float(found)


def _write(config: Config, origin: str) -> dict[str, Any]:
    model, attention = config.model, config.attention
    kinds = {ours: theirs for theirs, ours in _LAYERS.items()}
    names = [name for name, _ in attention.of_layers(model.num_layers)]
    if others := sorted(set(names) - kinds.keys()):
        raise InputError(
            f"{origin}: attention.pattern: found {others[0]} in a layer; a Hugging Face ModernBERT "
            f"has {' or '.join(kinds)} and would compute something else"
        )
    bases = {"full_attention": model.rope_base}
    bases["sliding_attention"] = model.local_rope_base or model.rope_base
    return {
        "layer_types": [kinds[name] for name in names],
        "local_attention": attention.local.window,
        "rope_parameters": {
            kind: {"rope_theta": base, "rope_type": "default"} for kind, base in bases.items()
        },
    }


_NO_BIAS = "published ModernBERTs have none, and none are read"

MODERNBERT = Family(
    name="ModernBERT",
    model_types={"modernbert": "ModernBert"},
    prefix=_PREFIX,
    inner=("embeddings.", "layers.", "final_norm."),
    sizes={
        "num_hidden_layers": "model.num_layers",
        "hidden_size": "model.hidden_dim",
        "intermediate_size": "model.mlp_dim",
        "num_attention_heads": "model.num_heads",
        "max_position_embeddings": "model.max_seq_len",
    },
    shares={
        "norm_eps": ("model.norm_eps",),
        "embedding_dropout": ("model.embedding_dropout",),
        "mlp_dropout": ("model.mlp_dropout",),
        "attention_dropout": ("model.attention_dropout", "model.attention_output_dropout"),
    },
    only={
        "hidden_activation": ("gelu", "our MLM head has the exact GELU only"),
        "classifier_activation": ("gelu", "our MLM head has the exact GELU only"),
        "norm_bias": (False, _NO_BIAS),
        "attention_bias": (False, _NO_BIAS),
        "mlp_bias": (False, _NO_BIAS),
        "classifier_bias": (False, _NO_BIAS),
        "decoder_bias": (True, "our MLM head has a bias for every word"),
        "tie_word_embeddings": (True, "our MLM head scores with the token embeddings"),
    },
    options={
        "model.embedding_dim": 0,
        "model.positions": "rope",
        "model.rope_scale": 1.0,
        "model.token_types": 0,
        "model.norm": "pre",
        "model.norm_bias": False,
        "model.embedding_norm": True,
        "model.activation": "gelu",
        "model.mlp_gate": True,
        "model.mlp_bias": False,
        "model.projection_bias": False,
        "model.transform_bias": False,
    },
    constants={
        "hidden_activation": "gelu", "classifier_activation": "gelu", "classifier_pooling": "cls",
        "norm_bias": False, "attention_bias": False, "mlp_bias": False, "classifier_bias": False,
        "decoder_bias": True,
    },
    tensors=_tensors,
    needless=(),
    tied={"decoder.weight": f"{_PREFIX}embeddings.tok_embeddings.weight"},
    classifier=ClassifierHead(
        "gelu_norm",
        "classifier_dropout",
        (
            *dense(("pooler",), "head.dense", "DD", bias=False),
            *norm(("pooler_norm",), "head.norm", bias=False),
            *dense(("classifier",), "classifier", "CD"),
        ),
    ),
    frame_ids=(
        ("bos_token_id", "cls"), ("cls_token_id", "cls"), ("eos_token_id", "sep"),
        ("sep_token_id", "sep"),
    ),
    word_pieces=False,
    read=_read,
    write=_write,
)  # fmt: skip
