"""An exchange of the attention is told with what it cost, and is no part of the budget."""

import io
from collections.abc import Callable

import pytest

from jaxattn.report.comparison import Comparison
from jaxattn.report.exchange import Exchange, exchanges
from jaxattn.report.page.page import page
from jaxattn.report.record import RunRecord
from jaxattn.report.terminal import print_comparison
from jaxattn.runs.predictions import Predictions

Guesses = Callable[..., Predictions]
Record = Callable[..., RunRecord]

CHANGE = {
    "from": "sdpa",
    "to": "performer_favor",
    "objective": "distill",
    "loss_before": 0.0,
    "loss_changed": 0.4,
    "loss_trained": 0.1,
    "regained": 0.75,
}


@pytest.fixture
def tapt(record: Record) -> Record:
    def build(**change: object) -> RunRecord:
        return record(
            "f", "performer_favor", None, kind="tapt", pretrain="bert", steps=300,
            train_seconds=61.0, exchange=CHANGE | change, validation_loss=None,
        )  # fmt: skip

    return build


def test_it_is_told_in_a_sentence(tapt: Record) -> None:
    (exchange,) = exchanges([tapt()])
    assert exchange.sentence == (
        "f: performer_favor in place of sdpa: distance of the hidden states, a share of their "
        "size: 0.000 before, 0.400 at the exchange, 0.100 after 300 steps (61 s), 75% of what was "
        "lost."
    )


@pytest.mark.parametrize("change", [{"from": None}, {"objective": "<b>"}, {"regained": "much"}])
def test_a_run_folder_may_say_anything(tapt: Record, change: dict[str, object]) -> None:
    assert Exchange.of(tapt(**change)) is None


def test_runs_of_before_there_was_a_choice_had_the_mlm(tapt: Record) -> None:
    run = tapt()
    old = {name: value for name, value in CHANGE.items() if name != "objective"}
    object.__setattr__(run, "exchange", old)
    assert exchanges([run])[0].objective == "mlm"


def test_distilled_runs_stand_beside_the_encoder_they_are_from(
    record: Record, guesses: Guesses, tapt: Record
) -> None:
    exact = record("e", "sdpa", 0.8, pretrain="bert", predictions=guesses(0.8))
    favor = record("f", "performer_favor", 0.8, pretrain="tapt/f", predictions=guesses(0.8, 1))
    comparison = Comparison([tapt(), exact, favor])
    (group,) = comparison.groups
    assert {setup.attention for setup in group.setups} == {"sdpa", "performer_favor"}
    assert group.exact(next(s for s in group.setups if s.attention != "sdpa")) is not None
    shown = io.StringIO()
    print_comparison(comparison, shown)
    assert exchanges(comparison.records)[0].sentence in shown.getvalue()
    html = page(comparison, exact.folder.parents[1])
    assert "Exchanges of the attention" in html
    assert "sdpa to performer_favor" in html


def test_adapting_with_the_mlm_is_another_budget(
    record: Record, guesses: Guesses, tapt: Record
) -> None:
    exact = record("e", "sdpa", 0.8, pretrain="bert", predictions=guesses(0.8))
    favor = record("f", "performer_favor", 0.8, pretrain="tapt/f", predictions=guesses(0.8, 1))
    assert len(Comparison([tapt(objective="mlm"), exact, favor]).groups) == 2
