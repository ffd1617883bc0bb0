"""--data: what is found out about a person's own texts, and the flags it stands for."""

import csv
import shlex
from pathlib import Path

import pytest

from jaxattn import cli
from jaxattn.config import Config, replace
from jaxattn.config.presets import architecture_options
from jaxattn.data.corpora.own import guess_length, look_at
from jaxattn.errors import InputError
from jaxattn.gpu import Gpu

ROWS = [
    [n, f"the {n}th kettle was {('cold', 'warm')[n % 2]} in time for tea", ("bad", "good")[n % 2]]
    for n in range(60)
]


def write(path: Path, header: list[str], rows: list[list[object]] = ROWS) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def test_a_file_tells_columns_and_length(tmp_path: Path) -> None:
    file = write(tmp_path / "my reviews.csv", ["id", "review", "sentiment"])
    own = look_at(str(file), {}, labelled=True)
    assert own.options == {
        "data.name": "my_reviews",
        "data.path": str(file),
        "data.text_column": "review",
        "data.label_column": "sentiment",
        "data.max_length": "32",
        "study.attentions": "sdpa,performer_favor",
    }
    assert own.said[1] == "text: review; label: sentiment; up to 32 tokens"
    assert "--config.data.text_column=review" in own.flags({"data.name"})
    assert not any("data.name" in flag for flag in own.flags({"data.name"}))


def test_flags_settle_what_is_uncertain(tmp_path: Path) -> None:
    rows = [[f"{text} too", f"{text} again", label] for _, text, label in ROWS]
    file = str(write(tmp_path / "r.csv", ["one", "two", "kind"], rows))
    with pytest.raises(InputError, match=r"the text is taken from .*--config\.data\.text_column"):
        look_at(file, {}, labelled=True)
    own = look_at(file, {"data.text_column": "two", "data.max_length": "256"}, labelled=True)
    assert own.options["data.label_column"] == "kind"
    assert "study.attentions" not in own.options


def test_no_labels_is_an_answer(tmp_path: Path) -> None:
    file = str(write(tmp_path / "r.csv", ["id", "text"], [row[:2] for row in ROWS]))
    with pytest.raises(InputError, match=r"looks like a label .*data\.label_column= for"):
        look_at(file, {}, labelled=True)
    own = look_at(file, {"data.label_column": ""}, labelled=True)
    assert own.options["data.label_column"] == "" and own.options["data.text_column"] == "text"


def test_other_data_beside_it_are_refused(tmp_path: Path) -> None:
    file = str(write(tmp_path / "r.csv", ["text", "label"], [row[1:] for row in ROWS]))
    for option in ("data.path", "data.hub"):
        with pytest.raises(InputError, match=f"--config.{option}=other: give one of them"):
            look_at(file, {option: "other"}, labelled=True)
    # What was printed may be given again beside it.
    assert look_at(file, {"data.path": file}, labelled=True).options["data.path"] == file


@pytest.mark.parametrize("name", ["a b.csv", "it's.csv", 'a,"b" $x;.csv', "(1, 2).csv"])
def test_the_printed_flags_can_be_typed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / name, ["the text, as sent", "my label"], [row[1:] for row in ROWS])
    column = "--config.data.label_column=my label"
    assert cli.run(["data", f"--data={name}", column, "--config=imdb", "--dry_run"]) == 0
    printed = capsys.readouterr().err.rpartition("stands for: ")[2]
    request = cli.parse(["data", "--config=imdb", column, *shlex.split(printed)])
    assert request is not None
    data = request.resolved().data
    assert data.path == name and data.text_column == "the text, as sent"
    # The lengths of the file's buckets do not end with the one that was found.
    assert data.max_length == 32 and data.length_buckets == ()
    # A study hands them on as they are.
    again = cli.parse(["data", *request.config_args])
    assert again is not None and again.resolved().data == data


def test_a_name_that_is_known_brings_no_classes_along(tmp_path: Path) -> None:
    file = write(tmp_path / "imdb.csv", ["text", "label"], [row[1:] for row in ROWS])
    assert look_at(str(file), {}, labelled=True).options["data.name"] == "my_imdb"


def test_a_folder_is_told_by_its_training_table(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", ["text", "label"], [row[1:] for row in ROWS])
    write(tmp_path / "test.csv", ["text", "label"], [row[1:] for row in ROWS])
    own = look_at(str(tmp_path), {}, labelled=True)
    assert own.options["data.path"] == str(tmp_path)
    assert own.said[0] == f"{tmp_path}: train: train.csv; test: test.csv"


def test_the_hub_and_nothing() -> None:
    assert look_at("stanfordnlp/sst2", {}, labelled=True).options == {
        "data.name": "sst2", "data.hub": "stanfordnlp/sst2"
    }  # fmt: skip
    with pytest.raises(InputError, match="--data: there is no file or folder nothing.csv"):
        look_at("nothing.csv", {}, labelled=True)


def test_what_it_stands_for_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "reviews.csv", ["review", "sentiment"], [row[1:] for row in ROWS])
    assert cli.run(["study", "--data=reviews.csv", "--dry_run"]) == 0
    said = capsys.readouterr().err
    assert "stands for: --config=own --config.data.name=reviews" in said
    assert not (tmp_path / "runs").exists()
    assert cli.run(["study", "--data", "reviews.csv", "--pretrain=x/y", "--dry_run"]) == 0
    assert "--config=published" in capsys.readouterr().err
    assert cli.run(["finetune", "--exp=x", "--dry_run"]) == 2
    assert "give --data" in capsys.readouterr().err


def test_the_encoder_is_one_that_fits_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "reviews.csv", ["review", "sentiment"], [row[1:] for row in ROWS])
    study = ["study", "--data=reviews.csv", "--dry_run"]
    assert cli.run(study) == 0
    said = capsys.readouterr().err
    assert "no GPU: an encoder of two blocks" in said and "stands for: --config=own " in said
    monkeypatch.setattr("jaxattn.commandline.encoder.first_gpu", lambda _: Gpu("NVIDIA H200", 150))
    assert cli.run(study) == 0
    said = capsys.readouterr().err
    assert "NVIDIA H200, 150 GB: BERT_SMALL" in said and "stands for: --config=own_gpu " in said
    # A file that is named counts, and so does an encoder to begin with.
    for given in ("--config=own", "--pretrain=x/y", "--pretrain=none"):
        assert cli.run([*study, given]) == 0
        said = capsys.readouterr().err
        assert "BERT_SMALL" not in said and "two blocks" not in said and "own_gpu" not in said


@pytest.mark.parametrize(
    ("stage", "rate", "steps"), [("pretrain", 1e-3, 5000), ("finetune", 2e-4, 10_000)]
)
def test_on_a_gpu_it_is_bert_small_and_flags_count(stage: str, rate: float, steps: int) -> None:
    request = cli.parse(["--mode=" + stage, "--config=own_gpu", "--config.model.num_layers=3"])
    assert request is not None
    before = replace(Config(), architecture_options("bert_small") | {"model.num_layers": 3})
    config = request.resolved(before if stage == "finetune" else None)
    sizes = config.model.num_layers, config.model.hidden_dim, config.model.mlp_dim
    assert sizes == (3, 512, 2048)
    assert (config.train.learning_rate, config.train.max_steps) == (rate, steps)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--dry_run=true"], "stands for"),
        (["--dry_run", "--config.data.max_length=long"], "--config.data.max_length=long: "),
        (["--dry_run", "--config.train.sed=1"], "did you mean 'train.seed'?"),
        (["--dry_run", "--config.train.learning_rate=-3"], "train.learning_rate: found -3.0"),
        (["--dry_run", "--data="], "--data: found '', allowed: a file, folder or hub id"),
    ],
)
def test_a_dry_run_refuses_what_the_mode_would(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "reviews.csv", ["review", "sentiment"], [row[1:] for row in ROWS])
    assert cli.run(["study", "--data=reviews.csv", *flags]) == (0 if "stands" in words else 2)
    assert words in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_line_is_parsed_without_a_look_at_the_texts() -> None:
    request = cli.parse(["finetune", "--data=nothing.csv", "--nodry_run", "--pretrain=a/b"])
    assert request is not None
    assert request.config_args == ("--config=published",)
    assert cli.run(["finetune", "--dry_run=false"]) == 2


def test_the_whole_run_is_not_of_other_texts(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["plan", "--run=runs/finetune/x", "--data=reviews.csv"]) == 2
    assert "--run and --data: give one of them" in capsys.readouterr().err


def test_the_data_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "reviews.csv", ["review", "sentiment"], [row[1:] for row in ROWS])
    assert cli.run(["data", "--data=reviews.csv"]) == 0
    assert "good" in capsys.readouterr().out
    assert (tmp_path / "runs/data/reviews/report.json").exists()


def test_a_baseline_needs_no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "reviews.csv", ["review", "sentiment"], [row[1:] for row in ROWS])
    assert cli.run(["baseline", "--data=reviews.csv"]) == 0
    saved = (tmp_path / "runs/baseline/reviews/config.yaml").read_text()
    assert "text_column: review" in saved and "path: reviews.csv" in saved


def test_lengths_hold_nearly_all_texts() -> None:
    assert guess_length([]) == 128
    assert guess_length(["two words"] * 100) == 32
    assert guess_length(["word " * 80] * 95 + ["word " * 5000] * 5) == 1024
    assert guess_length(["word " * 80] * 99 + ["word " * 5000]) == 128
    assert guess_length(["字" * 200] * 10) == 256


def test_folders_of_texts_need_no_columns(tmp_path: Path) -> None:
    for label in ("ham", "spam"):
        (tmp_path / "mails" / label).mkdir(parents=True)
        for n in range(12):
            (tmp_path / "mails" / label / f"{n}.txt").write_text(f"{label} " * 60 + str(n))
    own = look_at(str(tmp_path / "mails"), {}, labelled=True)
    assert own.options["data.max_length"] == "128"
    assert own.options["data.label_column"] == "label"
