"""One run as the reports see it: what it was, what it reached and what it cost."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxattn.config import attention_names
from jaxattn.runs.kinds import BASELINE_LABELS, KINDS
from jaxattn.runs.predictions import Predictions

SETTINGS = {
    "num_layers": "model.num_layers",
    "hidden_dim": "model.hidden_dim",
    "mlp_dim": "model.mlp_dim",
    "num_heads": "model.num_heads",
    "qkv_dim": "model.qkv_dim",
    "positions": "model.positions",
    "max_length": "data.max_length",
    "batch_size": "train.batch_size",
    "epochs": "train.epochs",
    "learning_rate": "train.learning_rate",
}
"""Column of results.csv -> option of the saved configuration."""

PEFT_OPTIONS = {
    "soft_prompt": ("n_tokens", "prompt_init"),
    "adapter": ("bottleneck", "placement"),
    "lora": ("r", "alpha", "dropout", "targets"),
}
"""Method of fine-tuning -> its own options, the one that sets its size first."""


RANKED_BY = {
    "test_macro_f1": "test_macro_f1",
    "test_accuracy": "test_accuracy",
    "test_weighted_f1": "test_weighted_f1",
    "test_auroc": "test_auroc",
    "validation_macro_f1": "validation_macro_f1",
    "time_per_epoch": "seconds_per_epoch",
    "train_seconds": "train_seconds",
    "max_gpu_mem_MiB": "device_memory_mib",
    "peak_rss_MiB": "resident_memory_mib",
    "parameters": "parameters",
}
"""Column of results.csv that runs can be ranked by -> field of `RunRecord`."""

COSTS = ("time_per_epoch", "train_seconds", "max_gpu_mem_MiB", "peak_rss_MiB", "parameters")
"""Those of which less is better; seconds and bytes of different devices are ranked apart."""


def distils(exchange: Mapping[str, Any] | None) -> bool:
    """Whether `attention_change` of results.json is of a stage that distilled the encoder."""
    return exchange is not None and exchange.get("objective") == "distill"


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """One run. What a run does not know (yet) is None; qualities are shares of 1, never percent.

    `state` is finished, failed, interrupted or running; `reason` says why it is not finished. Only
    a finished run carries qualities and costs. `implementation` says how attention was computed for
    the longest inputs: xla, blockwise, cudnn or fused. `config`: 'section.option' -> value.
    `pretrain` is the run it started from, tapt/<exp> for a TAPT run; `stages` are all stages to it,
    with their attentions; `pretrain_seconds` are those of all stages before it. `exchange`: of a
    TAPT that exchanged the attention, what that lost and what training regained. `predictions` are
    those on the test split; where they are None, `predictions_fault` says why. `environment` is
    what environment.json says, {} where that cannot be read. `latency`: size of a batch -> its
    milliseconds and texts per second, where --mode=eval has measured them.
    """

    folder: Path
    kind: str
    exp: str
    state: str
    reason: str
    data: str | None = None
    data_hash: str | None = None
    attention: str | None = None
    pretrain: str | None = None
    seed: int | None = None
    device: str | None = None
    implementation: str | None = None
    test_macro_f1: float | None = None
    test_accuracy: float | None = None
    test_weighted_f1: float | None = None
    test_auroc: float | None = None
    validation_macro_f1: float | None = None
    validation_loss: float | None = None
    best_step: int | None = None
    parameters: int | None = None
    trainable_parameters: int | None = None
    added_parameters: int | None = None
    seconds_per_epoch: float | None = None
    train_seconds: float | None = None
    compile_seconds: float | None = None
    steps: int | None = None
    pretrain_seconds: float | None = None
    stages: str | None = None
    exchange: Mapping[str, Any] | None = dataclasses.field(default=None, repr=False)
    tokens_per_second: float | None = None
    peak_memory_mib: float | None = None
    memory_kind: str | None = None
    joules_per_epoch: float | None = None
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    environment: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    predictions: Predictions | None = dataclasses.field(default=None, repr=False)
    predictions_fault: str = ""
    latency: Mapping[int, tuple[float, float]] = dataclasses.field(default_factory=dict, repr=False)

    @property
    def finished(self) -> bool:
        """Whether the run ended well and its results could be read."""
        return self.state == "finished"

    @property
    def is_mlm(self) -> bool:
        """Whether the run trained the MLM and has no classification results."""
        return KINDS[self.kind].mlm

    @property
    def distilled(self) -> bool:
        """Whether the run is a TAPT that gave the encoder back what an exchange had lost."""
        return distils(self.exchange)

    @property
    def first_words(self) -> str:
        """ ", first 60 words" of a baseline that reads no more of a text; "" of others."""
        words = self.config.get("baseline.words") if self.kind == "baseline" else 0
        return f", first {words} words" if words else ""

    @property
    def label(self) -> str:
        """The attention as reports call it, a baseline by its name."""
        attention = self.attention or ""
        return BASELINE_LABELS.get(attention, attention) + self.first_words

    @property
    def settings(self) -> dict[str, Any]:
        """The columns of `SETTINGS`; all None for a baseline, which has no such model."""
        known = {} if self.kind == "baseline" else self.config
        return {name: known.get(path) for name, path in SETTINGS.items()}

    @property
    def peft(self) -> str | None:
        """What a fine-tuning trained; None for runs of other kinds.

        Before there was a choice it was everything.
        """
        if self.kind != "finetune":
            return None
        method = self.config.get("peft.method")
        return method if isinstance(method, str) else "full"

    @property
    def peft_options(self) -> dict[str, Any]:
        """The options of that method alone, the one that sets its size first."""
        names = PEFT_OPTIONS.get(self.peft or "full", ())
        return {name: self.config.get(f"peft.{name}") for name in names}

    @property
    def peft_label(self) -> str | None:
        """Method and size: full, lora 8, adapter 1."""
        sizes = [str(value) for value in self.peft_options.values()][:1]
        return None if self.peft is None else " ".join((self.peft, *sizes))

    @property
    def attention_options(self) -> dict[str, Any]:
        """The options of the attention that was used, without those of the other kinds.

        Of several in turn each with the name of its attention before it.
        """
        label = str(self.attention)
        used = {*attention_names(label)}
        left_out = f"attention.{label}." if len(used) == 1 else "attention."
        return {
            path.removeprefix(left_out): value
            for path, value in self.config.items()
            if any(path.startswith(f"attention.{name}.") for name in used)
        }

    @property
    def milliseconds_a_text(self) -> float | None:
        """Latency of one text alone; None where it was not measured."""
        return self.latency[1][0] if 1 in self.latency else None

    @property
    def device_memory_mib(self) -> float | None:
        """Peak accelerator memory, MiB; None where resident memory was measured instead."""
        return self.peak_memory_mib if self.memory_kind == "device" else None

    @property
    def resident_memory_mib(self) -> float | None:
        """Peak resident memory of the process, MiB; None where a device's was measured."""
        return self.peak_memory_mib if self.memory_kind == "resident" else None
