"""Runs that trained different parts of a model stand beside each other, never for each other."""

from collections.abc import Callable
from pathlib import Path

from jaxattn.report.comparison import Comparison
from jaxattn.report.csv_files import results_rows
from jaxattn.report.page.effects import effects
from jaxattn.report.page.page import page
from jaxattn.report.record import RunRecord
from jaxattn.report.setups import exact_setups

Record = Callable[..., RunRecord]


def run(
    record: Record, exp: str, method: str, f1: float, trained: int, **options: object
) -> RunRecord:
    given = {"peft.r": 8, "peft.n_tokens": 10, "peft.method": method} | {
        f"peft.{name}": value for name, value in options.items()
    }
    counted = {"parameters": 1000, "trainable_parameters": trained, "added_parameters": trained - 9}
    attention = "sdpa" if not exp.startswith("lsh") else "reformer_lsh"
    return record(exp, attention, f1, options=given, pretrain="first", **counted)


def test_methods_are_configurations_of_their_own(record: Record) -> None:
    runs = [
        run(record, "full", "full", 0.9, 1000),
        run(record, "lora", "lora", 0.89, 73),
        run(record, "small", "lora", 0.88, 19, r=1),
        run(record, "prompt", "soft_prompt", 0.7, 41),
    ]
    assert [setup.runs for setup in Comparison(runs).setups] == [(each,) for each in runs]
    other = run(record, "again", "lora", 0.89, 73, n_tokens=3)
    assert len(Comparison([runs[1], other]).setups) == 1
    (group,) = Comparison(runs).groups
    assert ("sdpa", "peft.method") in effects(group.setups)
    assert not any(option == "peft.r" for _, option in effects(group.setups))


def test_a_run_from_before_there_was_a_choice_trained_everything(record: Record) -> None:
    old = record("old", "sdpa", 0.9, pretrain="first")
    assert old.peft == "full"
    assert len(Comparison([old, run(record, "new", "full", 0.9, 1000)]).setups) == 1


def test_the_exact_attention_to_compare_with_trained_as_much(record: Record) -> None:
    runs = [
        run(record, "full", "full", 0.95, 1000),
        run(record, "lora", "lora", 0.89, 73),
        run(record, "lsh_lora", "lora", 0.88, 73),
    ]
    setups = Comparison(runs).setups
    reference = exact_setups(setups).get((setups[2].shape, setups[2].budget))
    assert reference is not None and reference.runs == (runs[1],)


def test_the_table_and_the_page_say_how_much_was_trained(record: Record) -> None:
    runs = [run(record, "full", "full", 0.9, 1000), run(record, "lora", "lora", 0.89, 73)]
    rows = {row["exp"]: row for row in results_rows(Comparison(runs))}
    assert rows["lora"]["peft_method"] == "lora" and rows["lora"]["trainable_parameters"] == 73
    assert rows["lora"]["added_parameters"] == 64 and rows["lora"]["peft_options"].startswith("r=8")
    assert rows["full"]["peft_method"] == "full" and rows["full"]["peft_options"] == ""
    text = page(Comparison(runs), Path("runs"))
    assert "How much was trained" in text and "lora 8" in text and "7.30%" in text
    assert "trained parameters" in text
    assert "How much was trained" not in page(Comparison(runs[:1]), Path("runs"))
