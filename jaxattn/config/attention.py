"""Options of attention."""

import dataclasses
from collections.abc import Sequence
from itertools import cycle
from typing import ClassVar

from jaxattn.config.checked import MAX_SEQ_LEN, Checked, Scope, option, section
from jaxattn.errors import InputError


@dataclasses.dataclass(frozen=True)
class AttentionOptions(Checked, path="attention."):
    """What the options of every attention tell; one that draws random numbers has an option
    `redraw_interval` beside them."""

    drops_weights: ClassVar[bool] = False
    """Whether it has weights of pairs, which `model.attention_dropout` sets to zero."""


@dataclasses.dataclass(frozen=True)
class SdpaOptions(AttentionOptions, path="attention.sdpa."):
    """Exact scaled dot-product attention."""

    drops_weights: ClassVar[bool] = True
    implementation: str = option(
        "auto",
        "how it is computed: plain XLA, in blocks with memory linear in length, or by cuDNN",
        choices=("auto", "xla", "blockwise", "cudnn"),
    )


@dataclasses.dataclass(frozen=True)
class LshOptions(AttentionOptions, path="attention.reformer_lsh."):
    """Reformer LSH attention (Kitaev et al. 2020)."""

    chunk_size: int = option(64, "positions per chunk", low=1, high=MAX_SEQ_LEN)
    num_hashes: int = option(4, "hash rounds", low=1, high=64)
    mask_within_chunks: bool = option(
        True, "true: only keys of the query's own bucket; false: any key of the window"
    )
    combine: str = option("logsumexp", "how rounds are combined", choices=("logsumexp", "mean"))
    shared_qk: bool = option(
        True, "true: the queries, their length normalised, are the keys; false: keys of their own"
    )
    chunks_before: int = option(1, "preceding chunks a query sees beside its own", low=0, high=16)
    chunks_after: int = option(1, "following chunks a query sees beside its own", low=0, high=16)
    redraw_interval: int = option(1, "training steps between new hash functions", low=1)


@dataclasses.dataclass(frozen=True)
class FavorOptions(AttentionOptions, path="attention.performer_favor."):
    """Performer FAVOR+ attention (Choromanski et al. 2021)."""

    nb_features: int | float | str = option(
        "2x", "random features: a count (128 or '128') or a multiple of the head width ('2x', 0.5)"
    )
    features: str = option(
        "positive",
        "feature map: phi(x) of the paper, the +w/-w pair phi*(x), or FAVOR++'s of least variance",
        choices=("positive", "hyperbolic", "optimal"),
    )
    orthogonal: bool = option(True, "orthogonal blocks of projections, or independent ones")
    dense_masks: bool = option(
        False, "honour masks and biases that depend on the query, at quadratic cost"
    )
    implementation: str = option(
        "auto",
        "how it is computed: by XLA, or by fused kernels on NVIDIA GPUs",
        choices=("auto", "xla", "fused"),
    )
    redraw_interval: int = option(1000, "training steps between new random features", low=1)

    def _rules(self) -> None:
        self.count(64)

    def count(self, head_width: int) -> int:
        """Number of random features for heads of this width."""
        given = self.nb_features
        text = str(given)
        try:
            if text.endswith("x") or "." in text:
                count = round(float(text.removesuffix("x")) * head_width)
            else:
                count = int(text)
        except (ValueError, OverflowError):
            count = 0
        if not 1 <= count <= MAX_SEQ_LEN:
            raise InputError(
                f"{self.PATH}nb_features: found {given!r}, allowed: a count of 1 to {MAX_SEQ_LEN}, "
                "or a multiple of the head width such as '0.5x' or '2x'"
            )
        return count


@dataclasses.dataclass(frozen=True)
class LocalOptions(AttentionOptions, path="attention.local."):
    """Exact attention within a sliding window (Beltagy et al. 2020)."""

    drops_weights: ClassVar[bool] = True
    window: int = option(
        128, "tokens that a query sees beside itself, half of them to either side", low=2,
        high=2 * MAX_SEQ_LEN,
    )  # fmt: skip

    def _rules(self) -> None:
        if self.window % 2:
            raise InputError(f"{self.PATH}window: found {self.window}, allowed: an even number")


ATTENTION_TYPES = ("sdpa", "reformer_lsh", "performer_favor", "local")


SEPARATOR = "-"
"""Between the attentions of a pattern, where they are told as one word."""


def attention_label(kind: str, pattern: Sequence[str]) -> str:
    """What an encoder's attention is called: "sdpa", or "local-local-sdpa" of a pattern."""
    names = tuple(pattern) or (kind,)
    return names[0] if len(set(names)) == 1 else SEPARATOR.join(names)


def attention_names(label: str) -> tuple[str, ...]:
    """The attentions of the layers in turn."""
    return tuple(label.split(SEPARATOR))


def attention_of(label: str) -> dict[str, object]:
    """The options that choose the attention of this label."""
    names = attention_names(label)
    return {"attention.type": names[0], "attention.pattern": names if len(names) > 1 else ()}


@dataclasses.dataclass(frozen=True)
class AttentionConfig(Checked, path="attention."):
    """Which attention the model uses, or which each of its layers, and the options of each."""

    type: str = option("sdpa", "attention of every block", choices=ATTENTION_TYPES)
    pattern: tuple[str, ...] = option(
        (), "attentions of the blocks in turn, from the first on again and again, as in "
        "local,local,sdpa; empty: attention.type in all of them", choices=ATTENTION_TYPES,
    )  # fmt: skip
    allow_change: bool = option(
        False,
        "TAPT and fine-tuning: another attention, or other options of it, than the stage before "
        "had (and another model.attention_dropout); holds for this stage only",
        scope=Scope.STAGE,
    )
    sdpa: SdpaOptions = section(SdpaOptions, "options of sdpa")
    reformer_lsh: LshOptions = section(LshOptions, "options of reformer_lsh")
    performer_favor: FavorOptions = section(FavorOptions, "options of performer_favor")
    local: LocalOptions = section(LocalOptions, "options of local")

    def _rules(self) -> None:
        intervals = self._intervals()
        if len(set(intervals.values())) > 1:
            told = ", ".join(f"{name} every {steps}" for name, steps in intervals.items())
            raise InputError(
                f"attention.pattern: found {self.label}, whose attentions draw random numbers at "
                f"different steps ({told}); allowed: one redraw_interval for all of them"
            )

    def _intervals(self) -> dict[str, int]:
        """Of the attentions in use that draw."""
        return {
            name: options.redraw_interval
            for name, options in self.used.items()
            if hasattr(options, "redraw_interval")
        }

    @property
    def label(self) -> str:
        """As results and reports name it."""
        return attention_label(self.type, self.pattern)

    @property
    def used(self) -> dict[str, AttentionOptions]:
        """Name -> options of every attention that a layer has, each once."""
        return {name: getattr(self, name) for name in self.pattern or (self.type,)}

    @property
    def redraw_interval(self) -> int:
        """Training steps between new random numbers; 1 where nothing is drawn."""
        return max(self._intervals().values(), default=1)

    def of_layers(self, number: int) -> list[tuple[str, AttentionOptions]]:
        """Name and options of the attention of each of so many layers."""
        names = self.pattern or (self.type,)
        return [(name, getattr(self, name)) for name, _ in zip(cycle(names), range(number))]
