"""The main job: every stage in a process of its own, then one comparison."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from jaxattn import cli
from jaxattn.config import ATTENTION_TYPES, Config, StudyConfig, attention_of, replace
from jaxattn.sweeps.chain import Call
from jaxattn.sweeps.study import (
    Start,
    baseline_calls,
    chosen_for,
    lossless,
    lossless_exchanges,
    of_folds,
    published_calls,
    study_calls,
)

ROOT = Path(__file__).parents[2]

BASELINES = [("--mode=baseline", f"--exp=x_{kind}") for kind in ("tfidf", "chars", "nb", "svm")]


@pytest.fixture(scope="module")
def tiny_flags(tiny_flags: list[str]) -> list[str]:
    """With one length alone: half as many programs."""
    return [*tiny_flags, "--config.data.length_buckets=32"]


def test_stages_follow_from_the_attentions() -> None:
    calls = study_calls("x", StudyConfig(attentions=("sdpa", "reformer_lsh")))
    assert [call[:2] for call in calls] == [
        ("--mode=pretrain", "--exp=x_sdpa"),
        ("--mode=finetune", "--exp=x_sdpa"),
        ("--mode=pretrain", "--exp=x_reformer_lsh"),
        ("--mode=finetune", "--exp=x_reformer_lsh"),
        *BASELINES,
    ]


def test_tapt_comes_between_where_it_is_asked_for() -> None:
    same = "--config.attention.type=performer_favor"
    own = "x_performer_favor"
    assert study_calls("x", StudyConfig(attentions=("performer_favor",), tapt=True))[1:3] == [
        ("--mode=tapt", f"--exp={own}", f"--pretrain={own}", same),
        ("--mode=finetune", f"--exp={own}", f"--pretrain=tapt/{own}", same),
    ]


def test_cross_validation_is_a_study_for_each_fold() -> None:
    def calls(name: str) -> list[Call]:
        return study_calls(name, StudyConfig(attentions=("sdpa",), baselines=("tfidf",)))

    assert of_folds(calls, "x", ()) == calls("x")
    assert [(call[1], call[-1]) for call in of_folds(calls, "x", range(2))] == [
        ("--exp=x_fold0_sdpa", "--config.data.fold=0"),
        ("--exp=x_fold0_sdpa", "--config.data.fold=0"),
        ("--exp=x_fold0_tfidf", "--config.data.fold=0"),
        ("--exp=x_fold1_sdpa", "--config.data.fold=1"),
        ("--exp=x_fold1_sdpa", "--config.data.fold=1"),
        ("--exp=x_fold1_tfidf", "--config.data.fold=1"),
    ]


def test_each_repeat_of_a_cross_validation_has_a_cut_of_its_own() -> None:
    def calls(name: str) -> list[Call]:
        return baseline_calls(name, StudyConfig(baselines=("tfidf",)))

    assert [(call[1], *call[-2:]) for call in of_folds(calls, "x", range(2), range(5, 7))] == [
        (
            f"--exp=x_repeat{repeat}_fold{fold}_tfidf",
            f"--config.data.split_seed={cut}",
            f"--config.data.fold={fold}",
        )
        for repeat, cut in ((0, 5), (1, 6))
        for fold in range(2)
    ]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Call]:
    """The calls of studies, none of which is run."""
    calls: list[Call] = []

    def run_stages(given: list[Call], flags: list[str]) -> tuple[int, list[Call]]:
        calls.extend(given)
        return 2, []

    monkeypatch.setattr("jaxattn.sweeps.study.run_stages", run_stages)
    return calls


def test_a_fold_that_a_flag_names_is_run_alone(called: list[Call], tmp_path: Path) -> None:
    """As on several machines; without folds the flag means nothing."""
    flags = ["--mode=study", "--config=configs/hyperpartisan_folds.py", f"--runs={tmp_path}"]
    flags += ["--config.study.attentions=sdpa", "--config.study.baselines=svm,tfidf"]
    cli.run([*flags, "--config.data.fold=3"])
    name = "--exp=hyperpartisan_fold3"
    assert [call[1] for call in called] == [f"{name}_{k}" for k in ("sdpa", "sdpa", "svm", "tfidf")]
    assert {call[-1] for call in called} == {"--config.data.fold=3"}
    called.clear()
    cli.run(flags)
    assert {call[-1] for call in called} == {f"--config.data.fold={fold}" for fold in range(10)}
    called.clear()
    cli.run([*flags, "--config.data.folds=0", "--config.data.fold=0"])
    assert called[0][1] == "--exp=hyperpartisan_sdpa"
    called.clear()
    cli.run([*flags, "--config.data.fold=3", "--config.study.repeats=2"])
    assert [call[1] for call in called[::4]] == [
        "--exp=hyperpartisan_repeat0_fold3_sdpa", "--exp=hyperpartisan_repeat1_fold3_sdpa",
    ]  # fmt: skip
    assert {call[-2:] for call in called} == {
        (f"--config.data.split_seed={seed}", "--config.data.fold=3") for seed in (0, 1)
    }


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            ["--config.study.repeats=3", "--config.data.folds=0"],
            "study.repeats: found 3, allowed without cross-validation (data.folds = 0): 1; "
            "give --config.data.folds=10",
        ),
        (["--config.study.repeats=0"], "study.repeats: found 0, allowed: at least 1"),
        (
            ["--config.study.repeats=3", f"--config.data.split_seed={2**32 - 2}"],
            "data.split_seed: found 4294967294, allowed with study.repeats = 3: at most 4294967293",
        ),
    ],
)
def test_repeats_that_cannot_be(
    called: list[Call],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    words: str,
) -> None:
    """Nothing is run before all of the study can be."""
    study = ["--mode=study", "--config=configs/hyperpartisan_folds.py", f"--runs={tmp_path}"]
    assert cli.run([*study, *flags]) == 2
    assert words in capsys.readouterr().err and not called


def test_the_kind_of_baseline_is_what_a_study_varies(
    called: list[Call], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was left out without a word."""
    flags = ["--mode=study", "--config=configs/sst5.py", f"--runs={tmp_path}"]
    assert cli.run([*flags, "--config.baseline.kind=nb"]) == 2
    assert "give --config.study.baselines=nb" in capsys.readouterr().err and not called


BERT = replace(
    Config(), {"model.attention_dropout": 0.1, "model.positions": "learned", "model.norm": "post"}
)


THREE = ("sdpa", "reformer_lsh", "performer_favor")


def test_a_published_encoder_is_exchanged_adapted_and_fine_tuned() -> None:
    start = Start("bert", BERT, frozenset({"data.path"}))
    study = StudyConfig(adapt_steps=50, attentions=THREE)
    exact, *others = published_calls("x", study, start)
    same = {"--config.model.attention_dropout=0.0", "--config.attention.allow_change=True"}
    assert exact[:3] == ("--mode=finetune", "--exp=x_sdpa", "--pretrain=bert")
    assert set(exact[3:]) == same
    for attention, (tapt, finetune) in zip(
        ("reformer_lsh", "performer_favor"), (others[:2], others[2:4]), strict=True
    ):
        assert tapt[:3] == ("--mode=tapt", f"--exp=x_{attention}", "--pretrain=bert")
        chosen = {*same, f"--config.attention.type={attention}"}
        if attention == "reformer_lsh":
            chosen.add("--config.attention.reformer_lsh.shared_qk=False")
        assert chosen <= set(tapt)
        assert "--config.train.max_steps=50" in tapt
        assert f"--pretrain=tapt/x_{attention}" in finetune
        assert chosen <= set(finetune)
        assert not any("train." in flag for flag in finetune)
    assert [call[:2] for call in others[4:]] == BASELINES


def test_without_steps_it_is_fine_tuned_at_once_and_flags_count() -> None:
    given = frozenset({"model.attention_dropout", "attention.reformer_lsh.shared_qk"})
    study = StudyConfig(adapt_steps=0, attentions=THREE)
    calls = published_calls("x", study, Start("bert", BERT, given))
    assert [call[:2] for call in calls] == [
        ("--mode=finetune", "--exp=x_sdpa"),
        ("--mode=finetune", "--exp=x_reformer_lsh"),
        ("--mode=finetune", "--exp=x_performer_favor"),
        *BASELINES,
    ]
    assert not any("shared_qk" in flag or "dropout" in flag for call in calls for flag in call)


def test_an_exchange_that_loses_nothing_takes_no_steps() -> None:
    """Texts of one chunk: LSH with keys of its own is exact; a window holds one token more."""
    short, middle, long = (
        replace(Config(), {"data.max_length": n, "attention.reformer_lsh.chunk_size": 64})
        for n in (64, 65, 66)
    )
    alike = lossless_exchanges(short, frozenset())
    assert alike == {"sdpa", "reformer_lsh", "local"}
    assert lossless_exchanges(middle, frozenset()) == {"sdpa", "local"}
    assert lossless_exchanges(long, frozenset()) == {"sdpa"}
    own = frozenset({"attention.reformer_lsh.shared_qk"})
    assert lossless_exchanges(short, own) == lossless(short) == {"sdpa", "local"}
    start = Start("bert", BERT, frozenset(), alike)
    study = StudyConfig(attentions=(*THREE, "local-sdpa", "local-performer_favor"))
    calls = [call[:2] for call in published_calls("x", study, start)]
    for exact in ("reformer_lsh", "local-sdpa"):
        assert ("--mode=tapt", f"--exp=x_{exact}") not in calls
        assert ("--mode=finetune", f"--exp=x_{exact}") in calls
    for another in ("performer_favor", "local-performer_favor"):
        assert ("--mode=tapt", f"--exp=x_{another}") in calls


def test_what_repeats_exact_attention_is_left_out_unless_it_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    short = replace(Config(), {"data.max_length": 65})
    kept = chosen_for(short, lossless(short))
    assert kept.attentions == THREE
    assert "local is left out: of texts of at most 65 tokens" in capsys.readouterr().err
    named = replace(short, {"study.attentions": ("local", "sdpa")})
    assert chosen_for(named, lossless(named)) == named.study
    long = replace(Config(), {"data.max_length": 66})
    assert chosen_for(long, lossless(long)).attentions == ATTENTION_TYPES
    own = "sdpa-local-local"
    assert chosen_for(long, lossless(long), own).attentions == (own, *ATTENTION_TYPES)
    assert chosen_for(named, lossless(named), own) == named.study


def test_patterns_are_chosen_by_their_label() -> None:
    calls = study_calls("x", StudyConfig(attentions=("local-local-sdpa",)))
    pattern = "--config.attention.pattern=local,local,sdpa"
    for call in calls[:2]:
        assert call[1] == "--exp=x_local-local-sdpa"
        assert {"--config.attention.type=local", pattern} <= set(call)
    before = replace(BERT, attention_of("local-local-sdpa") | {"attention.local.window": 8})
    start = Start("bert", before, frozenset())
    nothing = {"model.attention_dropout": 0.0, "attention.allow_change": True}
    assert start.exchange("local-local-sdpa") == nothing
    assert not start.is_changed("local-local-sdpa") and start.is_changed("sdpa")
    one = {"attention.type": "sdpa", "attention.pattern": ()}
    assert start.exchange("sdpa") == one | nothing
    both = Start("bert", BERT, frozenset()).exchange("reformer_lsh-sdpa")
    assert both["attention.reformer_lsh.shared_qk"] is False


def test_tapt_is_for_all_of_them_where_it_is_asked_for() -> None:
    calls = published_calls("x", StudyConfig(tapt=True), Start("bert", BERT, frozenset()))
    assert [call[0] for call in calls[:-4]] == ["--mode=tapt", "--mode=finetune"] * 4
    assert not any("max_steps" in flag for call in calls for flag in call)


def test_from_random_weights_nothing_is_adapted() -> None:
    calls = published_calls("x", StudyConfig(), Start("none", None, frozenset()))
    assert calls[0] == (
        "--mode=finetune", "--exp=x_sdpa", "--pretrain=none", "--config.attention.type=sdpa",
    )  # fmt: skip
    assert [call[0] for call in calls] == ["--mode=finetune"] * 4 + ["--mode=baseline"] * 4


def study(*flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "launch.py", "--mode=study", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_study_ends_with_the_table_and_goes_on_where_it_stopped(
    tiny_flags: list[str], tmp_path: Path
) -> None:
    flags = [
        *tiny_flags,
        f"--runs={tmp_path}",
        "--exp=s",
        "--config.study.attentions=performer_favor",
    ]
    flags.append("--config.study.baselines=tfidf,chars")
    first = study(*flags)
    assert first.returncode == 0, first.stderr
    assert "tfidf+logreg" in first.stdout and "chars+logreg" in first.stdout
    assert "results.csv" in first.stdout
    with open(tmp_path / "report" / "results.csv", newline="") as file:
        runs = {(row["kind"], row["exp"]) for row in csv.DictReader(file)}
    baselines = {("baseline", "s_tfidf"), ("baseline", "s_chars")}
    assert (
        runs == {("pretrain", "s_performer_favor"), ("finetune", "s_performer_favor")} | baselines
    )
    again = study(*flags)
    assert again.returncode == 2
    assert "already exists" in again.stderr
    assert "Traceback" not in again.stderr
    resumed = study(*flags, "--resume")
    assert resumed.returncode == 0
    assert resumed.stderr.count("is finished already") == 4


def test_a_failed_pretraining_leaves_the_rest_of_the_study(
    tiny_flags: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The run diverges within an epoch; the baseline is fitted and compared all the same."""
    flags = [*tiny_flags, f"--runs={tmp_path}", "--exp=s", "--config.study.attentions=sdpa"]
    flags.append("--config.study.baselines=tfidf")
    wild = ["--config.train.learning_rate=10", "--config.train.clip_norm=1e30"]
    wild += ["--config.train.weight_decay=1e6", "--config.train.epochs=400"]
    assert cli.run(["--mode=study", *flags, *wild]) == 1
    said = capfd.readouterr()
    assert "its pretraining failed" in said.err
    assert "nan" in said.out or "inf" in said.out
    assert "tfidf+logreg" in said.out
