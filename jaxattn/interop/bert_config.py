"""config.json of a Hugging Face BERT as options of our encoder, and back; what differs is refused.

The family that both can compute: exact attention, learned positions, layer norms after the
residuals, exact GELU, biases everywhere, tied output weights (Devlin et al. 2019).
"""

from collections.abc import Mapping
from typing import Any

from jaxattn.config import MAX_SEQ_LEN, Config
from jaxattn.errors import InputError

SIZES = {
    "num_hidden_layers": "model.num_layers",
    "hidden_size": "model.hidden_dim",
    "intermediate_size": "model.mlp_dim",
    "num_attention_heads": "model.num_heads",
    "max_position_embeddings": "model.max_seq_len",
    "type_vocab_size": "model.token_types",
}
"""Their entry -> our option, where the value is the same."""

ONLY: dict[str, tuple[Any, str]] = {
    "hidden_act": ("gelu", "our MLM head has the exact GELU only"),
    "position_embedding_type": ("absolute", "relative positions of that kind are not computed"),
    "is_decoder": (False, "a decoder attends to earlier tokens only"),
    "add_cross_attention": (False, "there is no second input to attend to"),
    "tie_word_embeddings": (True, "our MLM head scores with the token embeddings"),
}
"""Entry -> the value it has where it is left out, and why no other one can be had."""

FAMILY = {
    "attention.type": "sdpa",
    "model.positions": "learned",
    "model.norm": "post",
    "model.activation": "gelu",
    "model.projection_bias": True,
}
"""Our options -> what they are in a BERT."""


def model_options(document: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Our options, dotted name -> value, for their config.json.

    Args:
      document: its contents.
      where: the file, for messages.

    Raises:
      InputError: it is no BERT, or one that computes something else than our encoder.
    """
    kind = document.get("model_type")
    if kind != "bert":
        raise InputError(f"{where}: model_type: found {kind!r}, allowed: 'bert'")
    for name, (only, reason) in ONLY.items():
        if document.get(name, only) != only:
            raise InputError(
                f"{where}: {name}: found {document[name]!r}, allowed: {only!r}; {reason}"
            )
    if "quantization_config" in document:
        raise InputError(f"{where}: quantization_config: quantised weights cannot be imported")
    options: dict[str, Any] = dict(FAMILY)
    for theirs, ours in SIZES.items():
        options[ours] = _whole(document, theirs, where)
    options["model.qkv_dim"] = options["model.hidden_dim"]
    if options["model.hidden_dim"] % options["model.num_heads"]:
        raise InputError(
            f"{where}: num_attention_heads: found {options['model.num_heads']}, which does not "
            f"divide hidden_size = {options['model.hidden_dim']}"
        )
    if options["model.max_seq_len"] > MAX_SEQ_LEN:
        raise InputError(
            f"{where}: max_position_embeddings: found {options['model.max_seq_len']}, allowed: at "
            f"most {MAX_SEQ_LEN}"
        )
    options["model.norm_eps"] = _share(document, "layer_norm_eps", where)
    dropout = _share(document, "hidden_dropout_prob", where)
    for name in ("embedding_dropout", "mlp_dropout", "attention_output_dropout"):
        options[f"model.{name}"] = dropout
    weights = _share(document, "attention_probs_dropout_prob", where)
    options["model.attention_dropout"] = weights
    return options


def vocabulary_size(document: Mapping[str, Any], where: str) -> int:
    """The number of words; raises InputError where it is not told."""
    return _whole(document, "vocab_size", where)


def _whole(document: Mapping[str, Any], name: str, where: str) -> int:
    value = document.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"{where}: {name}: found {value!r}, expected a whole number above 0")
    return value


def _share(document: Mapping[str, Any], name: str, where: str) -> float:
    value = document.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1:
        raise InputError(f"{where}: {name}: found {value!r}, expected a number from 0 to 1")
    return float(value)


def refuse_other_family(config: Config, origin: str) -> None:
    """Raises InputError naming the first option by which a run is no BERT.

    Args:
      config: of the run.
      origin: its name, for the message.
    """
    for path, wanted in FAMILY.items():
        section, name = path.split(".")
        found = getattr(getattr(config, section), name)
        if found != wanted:
            raise InputError(
                f"{origin}: {path}: found {found!r}; a Hugging Face BERT has {wanted!r} and would "
                "compute something else"
            )
    model = config.model
    if model.qkv_dim != model.hidden_dim:
        raise InputError(
            f"{origin}: model.qkv_dim: found {model.qkv_dim}; a Hugging Face BERT has "
            f"model.hidden_dim = {model.hidden_dim}"
        )


def document_of(config: Config, vocab_size: int, pad_id: int) -> dict[str, Any]:
    """Their config.json for a run that `refuse_other_family` lets pass."""
    model = config.model
    return {
        "architectures": ["BertForMaskedLM"],
        "model_type": "bert",
        "vocab_size": vocab_size,
        "hidden_size": model.hidden_dim,
        "num_hidden_layers": model.num_layers,
        "num_attention_heads": model.num_heads,
        "intermediate_size": model.mlp_dim,
        "hidden_act": "gelu",
        "hidden_dropout_prob": model.mlp_dropout,
        "attention_probs_dropout_prob": model.attention_dropout,
        "max_position_embeddings": model.max_seq_len,
        "type_vocab_size": model.token_types or ABSENT_TOKEN_TYPES,
        "layer_norm_eps": model.norm_eps,
        "initializer_range": 0.02,
        "pad_token_id": pad_id,
        "tie_word_embeddings": True,
        "dtype": "float32",
    }


ABSENT_TOKEN_TYPES = 2
"""Rows of zeros that a run without token types is given there, which change nothing."""
