"""Every option, its default and its allowed range, as frozen dataclasses.

Configuration files build an `ml_collections.ConfigDict` from these defaults, command-line flags
override it, and `jaxattn.config.saved` turns it back into a checked, hashable `Config`.
An option is declared here once; nothing else in the package holds a default.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from jaxattn.config.attention import AttentionConfig
from jaxattn.config.checked import Checked, Scope, declared, section
from jaxattn.config.data import DataConfig, TokenizerConfig
from jaxattn.config.model import HeadConfig, ModelConfig
from jaxattn.config.tools import (
    BaselineConfig,
    PlanConfig,
    PredictConfig,
    ProfileConfig,
    RecipeConfig,
    StudyConfig,
    SweepConfig,
)
from jaxattn.config.train import (
    CheckpointConfig,
    FinetuneConfig,
    LogConfig,
    PeftConfig,
    TaptConfig,
    TrainConfig,
)
from jaxattn.errors import InputError, did_you_mean

Section = TypeVar("Section", bound=Checked)


@dataclasses.dataclass(frozen=True)
class Config(Checked):
    """Everything a run depends on."""

    model: ModelConfig = section(ModelConfig, "the encoder", scope=Scope.INHERITED)
    attention: AttentionConfig = section(AttentionConfig, "the attention", scope=Scope.INHERITED)
    head: HeadConfig = section(HeadConfig, "the classification head")
    tokenizer: TokenizerConfig = section(TokenizerConfig, "the vocabulary", scope=Scope.INHERITED)
    data: DataConfig = section(DataConfig, "the corpus")
    train: TrainConfig = section(TrainConfig, "optimisation")
    tapt: TaptConfig = section(TaptConfig, "task-adaptive pretraining")
    finetune: FinetuneConfig = section(FinetuneConfig, "fine-tuning", scope=Scope.COST_FREE)
    peft: PeftConfig = section(PeftConfig, "which parameters fine-tuning trains")
    checkpoint: CheckpointConfig = section(CheckpointConfig, "saving", scope=Scope.BOOKKEEPING)
    log: LogConfig = section(LogConfig, "logging", scope=Scope.BOOKKEEPING)
    baseline: BaselineConfig = section(
        BaselineConfig, "a bag of n-grams to beat", scope=Scope.BOOKKEEPING
    )
    study: StudyConfig = section(StudyConfig, "comparison", scope=Scope.BOOKKEEPING)
    recipe: RecipeConfig = section(RecipeConfig, "the stages of a recipe", scope=Scope.BOOKKEEPING)
    sweep: SweepConfig = section(SweepConfig, "running a grid", scope=Scope.BOOKKEEPING)
    predict: PredictConfig = section(PredictConfig, "using the classifier", scope=Scope.BOOKKEEPING)
    plan: PlanConfig = section(PlanConfig, "looking ahead", scope=Scope.BOOKKEEPING)
    profile: ProfileConfig = section(ProfileConfig, "measuring costs", scope=Scope.BOOKKEEPING)

    def _rules(self) -> None:
        attention, layers = self.attention, self.model.num_layers
        if "performer_favor" in attention.used:
            attention.performer_favor.count(self.model.head_width)
        if self.data.max_length > self.model.max_seq_len:
            raise InputError(
                f"data.max_length: found {self.data.max_length}, allowed: at most "
                f"model.max_seq_len = {self.model.max_seq_len}"
            )
        if self.finetune.freeze_blocks > self.model.num_layers:
            raise InputError(
                f"finetune.freeze_blocks: found {self.finetune.freeze_blocks}, allowed: at most "
                f"model.num_layers = {self.model.num_layers}"
            )
        if self.data.whole_words and self.tokenizer.kind == "bytes":
            raise InputError(
                "data.whole_words: found True, allowed with tokenizer.kind = bytes: False (bytes "
                "do not say where a word begins)"
            )
        if len(attention.pattern) > layers:
            raise InputError(
                f"attention.pattern: found {len(attention.pattern)} attentions, allowed: at most "
                f"model.num_layers = {layers}"
            )
        without = [name for name, own in attention.used.items() if not own.drops_weights]
        if self.model.attention_dropout and without:
            raise InputError(
                f"model.attention_dropout: found {self.model.attention_dropout}, allowed with "
                f"{' and '.join(without)} attention: 0.0 (it has no weights to drop)"
            )
        self._repeats_rules()
        self._peft_rules()

    def _repeats_rules(self) -> None:
        repeats, last = self.study.repeats, declared(DataConfig)["split_seed"].high
        if repeats > 1 and not self.data.folds:
            raise InputError(
                f"study.repeats: found {repeats}, allowed without cross-validation (data.folds = "
                "0): 1; give --config.data.folds=10 to repeat a cross-validation of ten folds"
            )
        # Refused now, not when the last repeat is begun.
        if last is not None and self.data.split_seed + repeats - 1 > last:
            raise InputError(
                f"data.split_seed: found {self.data.split_seed}, allowed with study.repeats = "
                f"{repeats}: at most {last + 1 - repeats}; every repeat takes the next one"
            )

    def _peft_rules(self) -> None:
        method, finetune = self.peft.method, self.finetune
        tokens = self.data.max_length + self.peft.prompt_tokens
        if tokens > self.model.max_seq_len:
            raise InputError(
                f"peft.n_tokens: found {self.peft.n_tokens}, which with data.max_length = "
                f"{self.data.max_length} makes inputs of {tokens} tokens, allowed: at most "
                f"model.max_seq_len = {self.model.max_seq_len}"
            )
        if method != "full" and finetune.freeze_blocks:
            raise InputError(
                f"finetune.freeze_blocks: found {finetune.freeze_blocks}, allowed with "
                f"peft.method = {method}: 0 (all blocks are frozen all the time)"
            )
        without_layers = {
            "head_only": ("backbone_lr_ratio", "layer_decay"),
            "soft_prompt": ("layer_decay",),
        }
        for name in without_layers.get(method, ()):
            if getattr(finetune, name) != 1.0:
                raise InputError(
                    f"finetune.{name}: found {getattr(finetune, name)}, allowed with peft.method = "
                    f"{method}: 1.0 (nothing that is trained is in a block)"
                )


def scope_of(name: str) -> Scope:
    """The scope of an option by its dotted name; of one that no longer exists that of its section.

    Of what stands beside the options of a saved configuration it is RESULT.
    """
    options = declared(Config)
    if name in options:
        return options[name].scope
    section = Config.__dataclass_fields__.get(name.partition(".")[0])
    return section.metadata["scope"] if section and "." in name else Scope.RESULT


def replace(config: Config, values: Mapping[str, object]) -> Config:
    """`config` with the options of `values` ('section.option' -> value) exchanged."""
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *parents, leaf = path.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return _replaced(config, tree, "")


def _replaced(node: Section, values: Mapping[str, object], path: str) -> Section:
    names = [field.name for field in dataclasses.fields(node)]  # type: ignore[arg-type]
    changes: dict[str, object] = {}
    for name, value in values.items():
        where = f"{path}.{name}" if path else name
        if name not in names:
            raise InputError(f"unknown option {where!r}{did_you_mean(name, names)}")
        current = getattr(node, name)
        if isinstance(current, Checked):
            if not isinstance(value, Mapping):
                raise InputError(f"{where}: found {value!r}, expected a section of options")
            value = _replaced(current, value, where)
        elif isinstance(value, Mapping):
            raise InputError(f"{where}: found a section of options, expected one value")
        changes[name] = value
    return dataclasses.replace(node, **changes)  # type: ignore[type-var]
