"""What --mode=plan predicts, against what a run of the same configuration records."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jaxattn import cli
from jaxattn.config import Config, replace
from jaxattn.console import GIB
from jaxattn.data.batches.masking import Masking, num_slots
from jaxattn.data.batches.order import mlm_batch, singly
from jaxattn.data.tokens.arrays import SpecialIds, TokenArray
from jaxattn.errors import InputError
from jaxattn.model.heads import MlmModel, init_mlm
from jaxattn.ops.programs import Programs, compiled
from jaxattn.ops.trees import count_parameters
from jaxattn.plan.programs import PlannedSteps, Timing, other_batch
from jaxattn.plan.times import epoch_seconds, length_rows
from jaxattn.plan.workload import Subject, Workload, subject_of, workload_of
from jaxattn.profile.memory import Memory, MemoryParts
from jaxattn.profile.synthetic_step import synthetic_step
from jaxattn.train.optimizer import make_optimizer
from jaxattn.train.state import create_state
from jaxattn.train.steps import make_train_step, mlm_loss

ROOT = Path(__file__).parents[2]
TINY = replace(
    Config(),
    {
        "model.num_layers": 1,
        "model.hidden_dim": 16,
        "model.mlp_dim": 32,
        "model.num_heads": 2,
        "model.qkv_dim": 16,
        "train.batch_size": 4,
    },
)


def subject(*argv: str) -> Subject:
    request = cli.parse(argv)
    assert request is not None
    return subject_of(request)


def shapes(tree: Any) -> Any:
    return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


@pytest.mark.parametrize("task", ["mlm", "classification"])
def test_abstract_and_real_arguments_have_the_same_shapes(task: str) -> None:
    step = synthetic_step(TINY, task=task, batch_size=4, length=24, vocab_size=50)
    state, batch = step.concrete(seed=3)
    assert shapes(state) == shapes(step.state)
    assert shapes(batch) == shapes(step.batch)
    assert batch["mask"].all()
    assert batch["ids"].min() >= 0
    assert batch["ids"].max() < 50
    if task == "mlm":
        # 15 % of the 22 tokens that are not special, in slots for 15 % of 24.
        assert batch["weights"].sum(axis=1).tolist() == [3.0] * 4
        assert batch["positions"].shape == (4, 4)


def test_the_synthetic_step_is_the_program_of_training() -> None:
    """Its text before compiling is that of a step put together by hand, on a real batch."""
    vocab_size, length = 50, 24
    config = replace(TINY, {"train.accumulation": 2, "train.remat": True})
    model = MlmModel(config, vocab_size)
    optimizer = make_optimizer(config.train, 1000)
    step = make_train_step(
        mlm_loss(model), optimizer, accumulation=2, redraw_interval=1, loss_scale_steps=1
    )
    rng = np.random.default_rng(0)
    tokens = TokenArray.from_rows([rng.integers(5, 50, n, np.int32) for n in (20, 9, 24, 11)])
    batch = mlm_batch(
        tokens, singly(np.arange(4)), length, slots=num_slots(length, 0.15), packed=False,
        masking=Masking(0.15, vocab_size, SpecialIds(0, 1, 2, 3, 4)), seed=0, epoch=0,
    )  # fmt: skip
    state = create_state(init_mlm(model, 0), optimizer, 0)
    by_hand = Programs(step, donate=True).lower(state, batch).as_text()
    made = synthetic_step(config, task="mlm", batch_size=4, length=length, vocab_size=vocab_size)
    assert made.lower().as_text() == by_hand


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"task": "mlm", "batch_size": 3}, "train.accumulation"),
        ({"task": "nsp", "batch_size": 4}, "nsp"),
    ],
)
def test_what_is_no_step_is_refused(options: dict, words: str) -> None:
    config = replace(TINY, {"train.accumulation": 2})
    with pytest.raises(InputError, match=words):
        synthetic_step(config, length=8, vocab_size=50, **options)


def test_an_epoch_adds_up() -> None:
    timings = {32: Timing(0.5, 8, 4.0), 64: Timing(1.0, 4, 6.0), 128: Timing(None, 0, None)}
    rows = length_rows(timings, {32: 3, 64: 2, 128: 1}, batch_size=8)
    assert [row["seconds_per_step"] for row in rows] == [0.5, 1.0, 2.0]
    assert [row["how"] for row in rows] == ["timed", "4 rows timed", "by tokens, from 64"]
    assert [row["tokens_per_second"] for row in rows] == [512.0] * 3
    assert epoch_seconds(rows) == 3 * 0.5 + 2 * 1.0 + 2.0
    assert epoch_seconds(length_rows(timings, None, batch_size=8)) is None


def test_the_second_batch_size_is_one_that_training_takes() -> None:
    for batch, accumulation, other in ((64, 1, 32), (5, 1, 2), (1, 1, 2), (12, 4, 4), (4, 4, 8)):
        train = {"train.batch_size": batch, "train.accumulation": accumulation}
        assert other_batch(replace(Config(), train)) == other


@pytest.mark.parametrize(
    ("attention", "rows"),
    [("performer_favor", {32: 64, 64: 16, 512: 4}), ("sdpa", {32: 64, 64: 8, 512: 0})],
)
def test_what_takes_too_long_is_timed_in_part(
    attention: str, rows: dict[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A millisecond a token, ten seconds left: a third of them for each of three lengths."""

    def timed(self: PlannedSteps, length: int, rows: int) -> Timing:
        return Timing(0.001 * 64 * length, rows, 0.0)

    monkeypatch.setattr(PlannedSteps, "_timed", timed)
    monkeypatch.setattr(PlannedSteps, "left", lambda self, share=1.0: 10.0)
    config = replace(Config(), {"attention.type": attention, "train.batch_size": 64})
    planned = PlannedSteps(config, "mlm", Workload(50, 2, None, False, ""))
    found = planned.timings([32, 64, 512], 1.0)
    assert {length: timing.rows for length, timing in found.items()} == rows
    assert found[32].seconds == pytest.approx(2.048)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def planned(tiny_flags: list[str], runs: Path) -> list[str]:
    """The flags of a run that was planned, then run."""
    flags = [*tiny_flags, f"--runs={runs}", "--exp=x"]
    flags += ["--config.data.length_buckets=32", "--config.train.epochs=1"]
    plan = ["--mode=plan", "--config.plan.seconds=0", "--config.plan.memory_gb=0.001"]
    assert cli.run([*flags, *plan]) == 0
    assert cli.run([*flags, "--mode=pretrain"]) == 0
    return flags


def plan_of(runs: Path, name: str = "plan.json") -> dict:
    return json.loads((runs / "plan" / "pretrain" / "x" / name).read_text())


def test_a_plan_holds_the_parts_of_memory(planned: list[str], runs: Path) -> None:
    plan = plan_of(runs)
    memory = plan["memory"]
    assert memory["parameters"] == memory["gradients"] == 4 * plan["parameters"]
    assert memory["optimizer"] == 8 * plan["parameters"] + 4  # two moments, one counter
    assert memory["batch"] >= 16 * 32 * 5  # ids and mask
    assert memory["total"] == sum(value for name, value in memory.items() if name != "total")
    given, *devices = plan["devices"]
    assert given["usable"] == int(0.75 * int(0.001 * GIB))
    assert given["fits"] == (memory["total"] <= given["usable"])
    assert all(device["fits"] for device in devices)
    assert all(device["largest_batch"] > plan["batch_size"] for device in devices)


def test_the_plan_is_checked_against_the_run(
    planned: list[str], runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (runs / "plan" / "pretrain" / "x" / "plan.json").read_bytes()
    assert cli.run(["--mode=plan", f"--run={runs / 'pretrain' / 'x'}"]) == 0
    said = capsys.readouterr()
    assert "recorded / predicted" in said.out
    assert "resident memory" in said.out
    assert "made before" in said.err
    assert (runs / "plan" / "pretrain" / "x" / "plan.json").read_bytes() == before
    figures = {row["name"]: row for row in plan_of(runs, "check.json")["figures"]}
    for name in ("parameters", "steps per epoch", "steps"):
        assert figures[name]["predicted"] == figures[name]["recorded"]
        assert figures[name]["ratio"] == 1.0
    for name in ("seconds per epoch", "seconds of training", "seconds of compiling"):
        assert figures[name]["recorded"] > 0
        assert figures[name]["ratio"] > 0
    assert figures["memory MiB"]["recorded"] > 0
    assert figures["memory MiB"]["ratio"] is None


def test_a_run_of_other_options_is_not_compared(planned: list[str], runs: Path) -> None:
    from jaxattn.config import binding_options
    from jaxattn.plan.plan import check

    folder = subject(*planned, "--mode=plan").folder
    saved = folder.saved.config()[0]
    longer = binding_options(replace(saved, {"train.epochs": 9, "plan.seconds": 1.0}))
    checked = check(plan_of(runs), folder, longer)
    assert checked["figures"] == []
    assert "train.epochs = 9" in checked["notes"][0]
    same = binding_options(replace(saved, {"plan.seconds": 1.0, "log.every_steps": 1}))
    assert check(plan_of(runs), folder, same)["figures"]


def test_fine_tuning_is_planned_from_its_pretraining(planned: list[str], runs: Path) -> None:
    flags = [flag for flag in planned if flag != "--exp=x"]
    tuned = subject(*flags, "--mode=plan", "--pretrain=x")
    assert (tuned.folder.kind, tuned.folder.exp, tuned.task) == (
        "finetune", "base", "classification",
    )  # fmt: skip
    found = workload_of(tuned)
    assert found.counted
    assert found.steps_per_epoch == -(-120 // 16)
    assert found.num_classes == 2
    assert found.vocab_size == plan_of(runs)["workload"]["vocab_size"]


def test_tapt_is_planned_as_the_mlm_on_the_task(planned: list[str], runs: Path) -> None:
    flags = [flag for flag in planned if flag != "--exp=x"]
    again = subject(*flags, "--mode=plan", "--pretrain=x", "--stage=tapt")
    assert (again.folder.kind, again.task) == ("tapt", "mlm")
    found = workload_of(again)
    assert found.counted
    assert found.steps_per_epoch == plan_of(runs)["steps_per_epoch"]
    assert found.vocab_size == plan_of(runs)["workload"]["vocab_size"]


def test_a_large_corpus_is_sampled(tiny_flags: list[str], tmp_path: Path) -> None:
    flags = [*tiny_flags, "--mode=plan", f"--runs={tmp_path}"]
    whole = workload_of(subject(*flags))
    found = workload_of(subject(*flags, "--config.plan.sample_texts=60"))
    assert whole.counted
    assert not found.counted
    assert "60 of 120 texts" in found.origin
    assert whole.steps_per_epoch is not None
    assert found.steps_per_epoch is not None
    assert abs(found.steps_per_epoch - whole.steps_per_epoch) <= 2
    assert found.vocab_size == 150


def test_without_the_data_the_steps_are_unknown(tiny_flags: list[str], tmp_path: Path) -> None:
    flags = [*tiny_flags, "--mode=plan", f"--runs={tmp_path}", "--config.data.path=/nowhere"]
    found = workload_of(subject(*flags))
    assert found.steps is None
    assert found.steps_per_epoch is None
    assert found.vocab_size == 150
    assert "/nowhere" in found.origin


def test_a_configuration_is_asked_for_the_stage_that_is_planned() -> None:
    flags = ["--mode=plan", f"--config={ROOT / 'configs' / 'pydocs_quick.py'}"]
    assert subject(*flags).config.train.max_steps == 100
    assert subject(*flags).folder.exp == "pydocs_quick"
    tuned = subject(*flags, "--pretrain=none")
    assert tuned.config.train.max_steps == 520
    assert tuned.folder.kind == "finetune"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], ["--config", "--run"]),
        (["--run=nowhere"], ["nowhere", "not a run folder"]),
        (["--run=runs/pretrain/nothing"], ["no such pretrain run"]),
        (["--config=configs/base.py", "--run=runs/pretrain/x"], ["not both"]),
        (["--config=configs/base.py", "--pretrain=nothing"], ["no such pretrain run"]),
        (["--config=configs/base.py", "--stage=tapt"], ["--stage=tapt", "--pretrain"]),
        (["--config=configs/base.py", "--stage=tatp"], ["--stage", "did you mean 'tapt'"]),
        (["--config=configs/base.py", "--config.plan.timed_steps=0"], ["plan.timed_steps"]),
    ],
)
def test_bad_calls_are_told_in_one_sentence(
    argv: list[str],
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    argv = [arg.replace("configs/", f"{ROOT}/configs/") for arg in argv]
    monkeypatch.chdir(tmp_path)
    assert cli.run(["--mode=plan", *argv]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    for word in words:
        assert word in error


@pytest.mark.slow
@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize("attention", ["sdpa", "reformer_lsh", "performer_favor"])
def test_16k_tokens_of_a_bert_small_step_fit_in_16_gb(attention: str, remat: bool) -> None:
    """Batch 2, bfloat16: compiled on abstract arrays, so that nothing is allocated."""
    options = {
        "attention.type": attention,
        "model.max_seq_len": 16_384,
        "train.precision": "bfloat16",
        "train.remat": remat,
    }
    if attention == "sdpa":
        options["attention.sdpa.implementation"] = "blockwise"
    config = replace(Config(), options)
    step = synthetic_step(config, task="mlm", batch_size=2, length=16_384, vocab_size=30_522)
    assert 25e6 < count_parameters(step.state.params) < 30e6
    program = compiled(step.lower())
    memory = Memory.of(program)
    assert memory is not None
    total = MemoryParts.of(memory, step.state.params, step.state.opt_state).total
    print(f"{attention}, remat {remat}: {total / GIB:.2f} GiB")
    assert total < 16 * GIB
