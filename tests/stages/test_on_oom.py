"""A step that does not fit: the same batch in more micro-batches, recorded, the same every time."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import pytest

from jaxattn import cli
from jaxattn.config import Config, TrainConfig, replace
from jaxattn.errors import InputError
from jaxattn.report.collect import collect
from jaxattn.runs.folder import RunFolder
from jaxattn.stages import training
from jaxattn.stages.again import repeat, replay
from jaxattn.stages.finetune import finetune
from jaxattn.stages.on_oom import in_parts_that_fit
from jaxattn.stages.room import DoesNotFit
from jaxattn.train.checkpoints import Checkpoints
from jaxattn.train.job import InterruptedRun
from jaxattn.train.log import RunLog

XLA = "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 34359738368 bytes."


@pytest.fixture
def fewest(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes the memory one that steps in fewer than so many micro-batches do not fit."""

    def limit(number: int) -> None:
        def check(config: Config, _: object, parts: int | None = None) -> None:
            if (parts or config.train.accumulation) < number:
                raise DoesNotFit("train.batch_size: does not fit")

        monkeypatch.setattr(training, "require_memory", check)

    return limit


@pytest.fixture
def run(tmp_path: Path, tiny_flags: list[str], capsys: pytest.CaptureFixture[str]) -> Any:
    """Fine-tunes `exp` for four steps with these options; exit code and what was said."""

    def call(exp: str, *options: str, pretrain: str = "none") -> tuple[int, str]:
        few = ["--config.data.length_buckets=32", "--config.train.max_steps=4",
               "--config.checkpoint.every_steps=2", "--config.train.validate_every_steps=2",
               "--config.train.batch_size=8", "--config.log.every_steps=1"]  # fmt: skip
        flags = [*tiny_flags, *few, f"--runs={tmp_path}"]
        if pretrain != "none":
            assert cli.run(["pretrain", f"--exp={pretrain}", *flags]) == 0
        flags += [f"--config.{option}" for option in options]
        code = cli.run(["finetune", f"--exp={exp}", f"--pretrain={pretrain}", *flags])
        return code, capsys.readouterr().err

    return call


def results(runs: Path, exp: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((runs / "finetune" / exp / "results.json").read_text())
    return found


def test_it_goes_on_in_more_parts_as_if_they_had_been_asked_for(
    run: Any, fewest: Callable[[int], None], tmp_path: Path
) -> None:
    fewest(4)
    code, said = run("stops")
    assert code == 2 and "train.batch_size: does not fit" in said
    code, said = run("halved", "train.on_oom=halve")
    assert code == 0, said
    for parts in (2, 4):
        assert f"finetune halved: out of memory; going on with train.accumulation={parts}" in said
    assert run("asked", "train.accumulation=4")[0] == 0
    halved, asked = results(tmp_path, "halved"), results(tmp_path, "asked")
    assert halved["best_hash"] == asked["best_hash"] and halved["test"] == asked["test"]
    assert halved["cost"]["accumulation"] == 4 and "accumulation" not in asked["cost"]
    # They cost the same, so they are compared as the same.
    records = {record.exp: record for record in collect(tmp_path)}
    assert {records[exp].config["train.accumulation"] for exp in ("halved", "asked")} == {4}
    # Where there is more memory it is computed as it was, not as its options say.
    fewest(1)
    folder = RunFolder(tmp_path, "finetune", "halved")
    assert replay(folder).differing == []
    assert repeat(folder, 0).differing == []


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_step_that_fails_later_goes_on_from_the_checkpoint(
    run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, method: str
) -> None:
    """What is trained and what is frozen were given away by the first step."""
    write, failed = RunLog.metrics, []

    def short_once(self: RunLog, step: int, *given: Any, **named: Any) -> None:
        if step == 3 and not failed and (tmp_path / "finetune").exists():
            failed.append(step)
            raise jax.errors.JaxRuntimeError(XLA)
        write(self, step, *given, **named)

    monkeypatch.setattr(RunLog, "metrics", short_once)
    options = ("train.on_oom=halve", f"peft.method={method}")
    code, said = run("later", *options, pretrain="none" if method == "full" else "p")
    assert code == 0, said
    assert "going on with train.accumulation=2" in said and "resuming after step 2 of 4" in said
    lines = (tmp_path / "finetune" / "later" / "events.jsonl").read_text().splitlines()
    begun = [event for event in map(json.loads, lines) if event["event"] in ("start", "resume")]
    assert [(each["step"], each["accumulation"]) for each in begun] == [(0, 1), (2, 2)]
    assert results(tmp_path, "later")["cost"]["accumulation"] == 2


def test_what_is_resumed_keeps_its_parts(
    tmp_path: Path, tiny_flags: list[str], fewest: Callable[[int], None]
) -> None:
    request = cli.parse(["finetune", "--exp=h", "--pretrain=none", *tiny_flags])
    assert request is not None
    options = {"train.max_steps": 4, "train.on_oom": "halve", "train.batch_size": 8,
               "data.length_buckets": (32,), "train.precision": "float32"}  # fmt: skip
    config = replace(request.resolved(), options)
    fewest(2)
    folder = RunFolder(tmp_path, "finetune", "h")
    with pytest.raises(InterruptedRun):
        finetune(folder, config, tmp_path, "none", stop_after=2)
    fewest(1)
    finetune(folder, config, tmp_path, "none")
    assert results(tmp_path, "h")["cost"]["accumulation"] == 2
    checkpoints = Checkpoints(folder.path / "checkpoints", keep=1)
    assert checkpoints.document(checkpoints.steps()[-1])["tally"]["accumulation"] == 2


def test_where_no_more_parts_help_the_error_is_told() -> None:
    train, tried = TrainConfig(batch_size=12, on_oom="halve"), []

    def attempt(parts: int | None) -> None:
        tried.append(parts)
        raise DoesNotFit("no")

    with pytest.raises(DoesNotFit):
        in_parts_that_fit(attempt, train, 2, "x", None)
    assert tried == [None, 2, 6]
    with pytest.raises(InputError, match="other"):
        in_parts_that_fit(lambda _: (_ for _ in ()).throw(InputError("other")), train, 1, "x", None)
