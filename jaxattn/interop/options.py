"""config.json of a published encoder as options of ours, and back; what differs is refused."""

from collections.abc import Mapping
from typing import Any

from jaxattn.config import MAX_SEQ_LEN, Config
from jaxattn.data.tokens.arrays import SpecialIds
from jaxattn.errors import InputError
from jaxattn.interop.families import MODEL_TYPES
from jaxattn.interop.family import Family


def model_type_of(document: Mapping[str, Any], where: str) -> str:
    """Their `model_type`; raises InputError where it is of no family that can be imported.

    Args:
      document: the contents of config.json.
      where: the file, for messages.
    """
    found = document.get("model_type")
    if not isinstance(found, str) or found not in MODEL_TYPES:
        allowed = ", ".join(map(repr, MODEL_TYPES))
        raise InputError(f"{where}: model_type: found {found!r}, allowed: {allowed}")
    return found


def model_options(document: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Our options, dotted name -> value, for their config.json.

    Args:
      document: its contents.
      where: the file, for messages.

    Raises:
      InputError: it is of no family, or computes something else than our encoder.
    """
    family = MODEL_TYPES[model_type_of(document, where)]
    for name, (only, reason) in family.only.items():
        if document.get(name, only) != only:
            raise InputError(
                f"{where}: {name}: found {document[name]!r}, allowed: {only!r}; {reason}"
            )
    if "quantization_config" in document:
        raise InputError(f"{where}: quantization_config: quantised weights cannot be imported")
    options: dict[str, Any] = dict(family.options)
    for theirs, ours in family.sizes.items():
        options[ours] = _whole(document, theirs, where)
    options["model.qkv_dim"] = options["model.hidden_dim"]
    if family.embedding_width:
        width = _whole(document, family.embedding_width, where)
        # There is a layer between them where they differ.
        options["model.embedding_dim"] = 0 if width == options["model.hidden_dim"] else width
    called = {ours: theirs for theirs, ours in family.sizes.items()}
    if options["model.hidden_dim"] % options["model.num_heads"]:
        raise InputError(
            f"{where}: {called['model.num_heads']}: found {options['model.num_heads']}, which does "
            f"not divide {called['model.hidden_dim']} = {options['model.hidden_dim']}"
        )
    if options["model.max_seq_len"] > MAX_SEQ_LEN:
        raise InputError(
            f"{where}: {called['model.max_seq_len']}: found {options['model.max_seq_len']}, "
            f"allowed: at most {MAX_SEQ_LEN}"
        )
    before = family.first_position(pad_id(document, family, where))
    if options["model.max_seq_len"] <= before:
        raise InputError(
            f"{where}: {called['model.max_seq_len']}: found {options['model.max_seq_len']}, "
            f"expected more than {before}: positions count from pad_token_id + 1"
        )
    options["model.max_seq_len"] -= before
    for theirs, several in family.shares.items():
        options |= dict.fromkeys(several, _share(document, theirs, where))
    return options | family.read(document, where)


def pad_id(document: Mapping[str, Any], family: Family, where: str) -> int:
    """The id from which positions count; 0 in a family where they count from 0.

    Raises InputError where it is needed and not told.
    """
    if not family.positions_from_pad:
        return 0
    value = document.get("pad_token_id", 1)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InputError(
            f"{where}: pad_token_id: found {value!r}, expected the id of the padding token, from "
            "which the positions count"
        )
    return value


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


def refuse_other_architecture(config: Config, family: Family, origin: str) -> None:
    """Raises InputError naming the first option by which a run is not of the family.

    Args:
      config: of the run.
      family: that it is to be exported as.
      origin: its name, for the message.
    """
    for path, wanted in family.options.items():
        found = _option(config, path)
        if found != wanted:
            raise InputError(
                f"{origin}: {path}: found {found!r}; a Hugging Face {family.name} has {wanted!r} "
                "and would compute something else"
            )
    model = config.model
    if model.qkv_dim != model.hidden_dim:
        raise InputError(
            f"{origin}: model.qkv_dim: found {model.qkv_dim}; a Hugging Face {family.name} has "
            f"model.hidden_dim = {model.hidden_dim}"
        )


def _option(config: Config, path: str) -> Any:
    section, name = path.split(".")
    return getattr(getattr(config, section), name)


def document_of(
    config: Config, model_type: str, vocab_size: int, special: SpecialIds, origin: str
) -> dict[str, Any]:
    """Their config.json for a run that `refuse_other_architecture` lets pass.

    Raises InputError naming `origin`, the run, where the family has no entry for what it computes.
    """
    family = MODEL_TYPES[model_type]
    entries = {theirs: _option(config, ours) for theirs, ours in family.sizes.items()}
    entries |= {theirs: _option(config, several[0]) for theirs, several in family.shares.items()}
    called = {ours: theirs for theirs, ours in family.sizes.items()}
    entries[called["model.max_seq_len"]] += family.first_position(special.pad)
    if family.token_types and not config.model.token_types:
        entries[called["model.token_types"]] = family.token_types
    if family.embedding_width:
        entries[family.embedding_width] = config.model.embedding_width
    entries |= {theirs: getattr(special, whose) for theirs, whose in family.frame_ids}
    return {
        "architectures": [f"{family.model_types[model_type]}ForMaskedLM"],
        "model_type": model_type,
        "vocab_size": vocab_size,
        **entries,
        **family.constants,
        **family.write(config, origin),
        "initializer_range": 0.02,
        "pad_token_id": special.pad,
        "tie_word_embeddings": True,
        "dtype": "float32",
    }
