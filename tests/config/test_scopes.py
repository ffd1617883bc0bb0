"""What an option means follows from its declaration; these are the lists that stood elsewhere."""

import dataclasses

import pytest

from jaxattn.config import Config, Scope, of_scope, scope_of
from jaxattn.config.checked import Checked, declared, option, section
from jaxattn.config.editable import ARCHITECTURE
from jaxattn.config.saved import binding_options
from jaxattn.report.setups import in_setup

NAMES = tuple(declared(Config))


def sections(*names: str) -> set[str]:
    """The options of these sections."""
    return {name for name in NAMES if name.split(".")[0] in names}


def having(*scopes: Scope) -> set[str]:
    return set(of_scope(Config, *scopes))


BOOKKEEPING = sections(
    "log", "checkpoint", "study", "recipe", "sweep", "predict", "plan", "profile", "baseline"
) | {"train.on_oom"}
OWN_TO_A_STAGE = {
    "attention.allow_change",
    "tokenizer.extend",
    "tokenizer.extra_tokens",
    "model.extend_positions",
}


def test_what_may_change_when_a_run_goes_on() -> None:
    assert having(Scope.BOOKKEEPING) == BOOKKEEPING
    assert having(Scope.EXACTNESS) == {"train.deterministic"}


def test_what_a_plan_and_the_hash_of_a_recipe_depend_on() -> None:
    assert set(binding_options(Config())) == set(NAMES) - BOOKKEEPING


def test_what_a_later_stage_inherits() -> None:
    assert having(Scope.STAGE) == OWN_TO_A_STAGE
    assert sections("model", "attention", "tokenizer") - OWN_TO_A_STAGE == ARCHITECTURE


def test_what_exports_leave_out() -> None:
    paths = {"data.path", "tokenizer.path", "tokenizer.extra_tokens", "recipe.pretrain_path"}
    assert having(Scope.MACHINE) == paths


def test_what_tells_setups_apart() -> None:
    """The list of old had forgotten `sweep` and `predict`, on which no result of a run depends."""
    apart = {"train.seed", "data.fold", "data.split_seed", "data.path", "tokenizer.path"}
    elsewhere = sections("attention", "peft")
    assert {name for name in NAMES if in_setup(name)} == (
        set(NAMES) - BOOKKEEPING - elsewhere - apart
    )


def test_what_may_be_tuned_for_each_attention() -> None:
    assert having(Scope.TUNED) == {
        "model.max_seq_len",
        "train.epochs",
        "train.max_steps",
        "train.learning_rate",
        "train.warmup_ratio",
        "train.min_lr_ratio",
        "train.weight_decay",
        "head.dropout",
        "model.attention_dropout",
    }


def test_what_costs_neither_time_nor_memory() -> None:
    assert having(Scope.COST_FREE) == sections("finetune") | {
        "data.separator", "data.quotes", "data.header", "data.encoding", "data.first_label",
        "data.no_label",
        "train.seed", "train.learning_rate", "train.schedule", "train.warmup_ratio",
        "train.min_lr_ratio", "train.weight_decay", "train.beta1", "train.beta2", "train.epsilon",
        "train.clip_norm", "head.dropout", "head.pooling", "data.split_seed",
    }  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Inner(Checked):
    plain: int = option(1, "says nothing of its scope")
    path: str = option("", "says it", scope=Scope.MACHINE)


@dataclasses.dataclass(frozen=True)
class Outer(Checked):
    inner: Inner = section(Inner, "a section", scope=Scope.INHERITED)  # noqa: RUF009
    new: int = option(1, "a new option")


def test_an_option_that_says_nothing_is_part_of_the_result() -> None:
    assert declared(Outer)["new"].scope is Scope.RESULT
    assert declared(Inner)["plain"].scope is Scope.RESULT


def test_a_section_says_it_for_its_options() -> None:
    assert of_scope(Outer, Scope.INHERITED) == ("inner.plain", "inner.path")
    assert of_scope(Outer, Scope.MACHINE, Scope.SEED) == ("inner.path",)


@pytest.mark.parametrize(
    ("name", "scope"),
    [
        ("train.seed", Scope.SEED | Scope.COST_FREE),
        ("log.of_another_version", Scope.BOOKKEEPING),
        ("train.of_another_version", Scope.RESULT),
        ("label_names", Scope.RESULT),
        ("log", Scope.RESULT),
    ],
)
def test_the_scope_of_a_saved_name(name: str, scope: Scope) -> None:
    assert scope_of(name) == scope
