"""The vocabulary of a stage: its own, inherited, or inherited and extended."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxattn.config import Config
from jaxattn.console import say
from jaxattn.data.tokens.extend import extended, origins, refuse_extension, usage
from jaxattn.data.tokens.vocabularies import new_tokenizer
from jaxattn.data.tokens.wordpiece import load_tokenizer
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.kinds import SCRATCH
from jaxattn.stages.origin import source_of


@dataclasses.dataclass(frozen=True)
class StageVocabulary:
    """A tokenizer, and how it came from that of the stage before.

    Attributes:
      tokenizer: of this stage.
      origins: for each token that the stage before did not have, the ids of its pieces there.
      report: for results.json: sizes, tokens a text needs and share of [UNK], before and after;
        None where the vocabulary was not extended.
    """

    tokenizer: Any
    origins: list[list[int]]
    report: dict[str, float] | None


def stage_vocabulary(
    folder: RunFolder, config: Config, runs: Path, pretrain: str, texts: Sequence[str]
) -> StageVocabulary:
    """The vocabulary of the run in `folder`; new tokens are learned on `texts`.

    Raises:
      InputError: it is to be extended and cannot be.
    """
    if pretrain == SCRATCH:
        refuse_extension(config.tokenizer)
        return StageVocabulary(make_tokenizer(folder, config, list(texts)), [], None)
    before = source_tokenizer(config, runs, pretrain)
    asked = bool(config.tokenizer.extend or config.tokenizer.extra_tokens)
    own = folder.path / "tokenizer.json"
    if own.exists():
        after = load_tokenizer(own, config.tokenizer.lowercase)
    elif asked:
        after = extended(before, texts, config.tokenizer)
    else:
        after = before
    if not asked:
        return StageVocabulary(after, origins(before, after), None)
    report = {
        f"{name}_{when}": value
        for when, tokenizer in (("before", before), ("after", after))
        for name, value in (("size", tokenizer.get_vocab_size()), *usage(tokenizer, texts).items())
    }
    say(
        f"vocabulary: {report['size_before']:,} -> {report['size_after']:,}; tokens a text "
        f"{report['tokens_per_text_before']:.1f} -> {report['tokens_per_text_after']:.1f}, [UNK] "
        f"{report['unknown_share_before']:.2%} -> {report['unknown_share_after']:.2%}"
    )
    return StageVocabulary(after, origins(before, after), report)


def make_tokenizer(folder: RunFolder, config: Config, texts: Sequence[str]) -> Any:
    """The run's tokenizer: the saved one, that of `tokenizer.path`, or one made from `texts`."""
    saved = folder.path / "tokenizer.json"
    if saved.exists():
        return load_tokenizer(saved, config.tokenizer.lowercase)
    if config.tokenizer.path:
        return load_tokenizer(config.tokenizer.path, config.tokenizer.lowercase)
    if config.tokenizer.kind != "bytes":
        say(f"making a vocabulary ({config.tokenizer.kind}) from {len(texts):,} texts")
    return new_tokenizer(texts, config.tokenizer)


def source_tokenizer(config: Config, runs: Path, pretrain: str) -> Any:
    """The tokenizer of the earlier stage."""
    path = source_of(runs, pretrain)[0].path / "tokenizer.json"
    return load_tokenizer(path, config.tokenizer.lowercase)


def inherited_tokenizer(folder: RunFolder, config: Config, runs: Path, pretrain: str) -> Any:
    """The tokenizer of the earlier stage; None for a run that has, or makes, one of its own."""
    if pretrain == SCRATCH or (folder.path / "tokenizer.json").exists():
        return None
    return source_tokenizer(config, runs, pretrain)
