"""Options of attention."""

import dataclasses
from typing import Any, ClassVar

from jaxattn.config.checked import MAX_SEQ_LEN, Checked, Scope, option, section
from jaxattn.errors import InputError


@dataclasses.dataclass(frozen=True)
class SdpaOptions(Checked, path="attention.sdpa."):
    """Exact scaled dot-product attention."""

    redraw_interval: ClassVar[int] = 1
    implementation: str = option(
        "auto",
        "how it is computed: plain XLA, in blocks with memory linear in length, or by cuDNN",
        choices=("auto", "xla", "blockwise", "cudnn"),
    )


@dataclasses.dataclass(frozen=True)
class LshOptions(Checked, path="attention.reformer_lsh."):
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
class FavorOptions(Checked, path="attention.performer_favor."):
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


ATTENTION_TYPES = ("sdpa", "reformer_lsh", "performer_favor")


@dataclasses.dataclass(frozen=True)
class AttentionConfig(Checked, path="attention."):
    """Which attention the whole model uses, and the options of each."""

    type: str = option("sdpa", "attention of every block", choices=ATTENTION_TYPES)
    allow_change: bool = option(
        False,
        "TAPT and fine-tuning: another attention, or other options of it, than the stage before "
        "had (and another model.attention_dropout); holds for this stage only",
        scope=Scope.STAGE,
    )
    sdpa: SdpaOptions = section(SdpaOptions, "options of sdpa")
    reformer_lsh: LshOptions = section(LshOptions, "options of reformer_lsh")
    performer_favor: FavorOptions = section(FavorOptions, "options of performer_favor")

    @property
    def options(self) -> Any:
        """The options of the chosen attention."""
        return getattr(self, self.type)
