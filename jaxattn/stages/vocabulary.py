"""The vocabulary of a stage: its own, inherited, or inherited and extended."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxattn.config import Config
from jaxattn.console import say
from jaxattn.data.tokens.extend import extended, origins, refuse_extension, usage
from jaxattn.data.tokens.vocabularies import new_tokenizer
from jaxattn.data.tokens.wordpiece import load_tokenizer
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.kinds import SCRATCH
from jaxattn.runs.manifest import TOKENIZER
from jaxattn.stages.origin import source_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclasses.dataclass(frozen=True)
class StageVocabulary:
    """A tokenizer, and how it came from that of the stage before.

    Attributes:
      tokenizer: of this stage.
      origins: for each token that the stage before did not have, the ids of its pieces there.
      report: for results.json: sizes, tokens a text needs and share of [UNK], before and after;
        None where the vocabulary was not extended.
    """

    tokenizer: "Tokenizer"
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
    saved = folder.tokenizer_path.exists()
    after = tokenizer_of(folder, config) if saved else before
    if not (config.tokenizer.extend or config.tokenizer.extra_tokens):
        return StageVocabulary(after, origins(before, after), None)
    if not saved:
        after = extended(before, texts, config.tokenizer)
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


def known_tokenizer(
    folder: RunFolder, config: Config, runs: Path, pretrain: str = SCRATCH
) -> "Tokenizer | None":
    """The tokenizer that a run need not learn from texts; None where it has to.

    It is the one that is saved with the run; that of the earlier stage; that of `tokenizer.path`;
    or bytes.
    """
    if folder.tokenizer_path.exists():
        return tokenizer_of(folder, config)
    if pretrain != SCRATCH:
        return source_tokenizer(config, runs, pretrain)
    if config.tokenizer.path:
        options = config.tokenizer
        return load_tokenizer(options.path, options.lowercase, options.strip_accents)
    return new_tokenizer([], config.tokenizer) if config.tokenizer.kind == "bytes" else None


def make_tokenizer(folder: RunFolder, config: Config, texts: Sequence[str]) -> "Tokenizer":
    """The tokenizer of a run that begins from nothing, learned from `texts` where none is known."""
    known = known_tokenizer(folder, config, folder.runs)
    if known is not None:
        return known
    say(f"making a vocabulary ({config.tokenizer.kind}) from {len(texts):,} texts")
    return new_tokenizer(texts, config.tokenizer)


def source_tokenizer(config: Config, runs: Path, pretrain: str) -> "Tokenizer":
    """The tokenizer of the earlier stage."""
    return tokenizer_of(source_of(runs, pretrain)[0], config)


def tokenizer_of(folder: RunFolder, config: Config) -> "Tokenizer":
    """The tokenizer that is saved with a run; InputError where it is not as it was."""
    if manifest := folder.manifest:
        manifest.require([TOKENIZER])
    return load_tokenizer(folder.tokenizer_path, config.tokenizer.lowercase)
