"""One flipped bit in any file of a finished run is noticed, or changes nothing that is told."""

import dataclasses
import json
import os
import shutil
import stat
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save

from jaxattn import cli
from jaxattn.classifier.check import examined
from jaxattn.classifier.classifier import Classifier
from jaxattn.classifier.load import load_classifier, open_classifier
from jaxattn.errors import InputError
from jaxattn.report.collect import collect
from jaxattn.report.comparison import Comparison
from jaxattn.report.record import RunRecord
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.manifest import Manifest
from jaxattn.runs.signed import write_signed
from tests.earlier_version import unsigned

CONFIG = "resolved_config.yaml"


@pytest.fixture(scope="module")
def runs(tiny_flags: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished fine-tuning, a baseline, and two other fine-tunings to take files from."""
    runs = tmp_path_factory.mktemp("bundle") / "runs"
    fast = [*tiny_flags, f"--runs={runs}", "--config.train.epochs=1", "--pretrain=none"]
    assert cli.run(["finetune", "--exp=a", *fast]) == 0
    assert cli.run(["baseline", "--exp=b", *fast[:-1]]) == 0
    return runs


@pytest.fixture
def copy(runs: Path, tmp_path: Path) -> Path:
    """The runs, to be damaged."""
    return shutil.copytree(runs, tmp_path / "runs")


def flipped(path: Path, seed: int) -> None:
    """One bit of the byte in the middle, or anywhere for a seed above 0."""
    data, rng = bytearray(path.read_bytes()), np.random.default_rng(seed)
    place = int(rng.integers(len(data))) if seed else len(data) // 2
    data[place] ^= 1 << int(rng.integers(8))
    path.write_bytes(bytes(data))


def loaded(runs: Path) -> Classifier | None:
    """The classifier; None where that is refused in a sentence."""
    try:
        return load_classifier(RunFolder(runs, "finetune", "a"))
    except InputError as error:
        assert str(error).count("\n") == 0
        return None


def answers_the_same(one: Classifier, other: Classifier) -> bool:
    """Whether both have the same bits of everything that an answer depends on."""
    pairs = zip(
        jax.tree.leaves(one.trained.params), jax.tree.leaves(other.trained.params), strict=True
    )
    return (
        all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in pairs)
        and np.array_equal(*(jax.random.key_data(c.trained.attention_key) for c in (one, other)))
        and (one.config.model, one.config.attention, one.config.head, one.config.predict)
        == (other.config.model, other.config.attention, other.config.head, other.config.predict)
        and one.config.data.max_length == other.config.data.max_length
        and one.config.data.clean == other.config.data.clean
        and one.label_names == other.label_names
        and one.tokenizer.to_str() == other.tokenizer.to_str()
    )


def told(record: RunRecord) -> dict[str, Any]:
    """What a comparison uses of a run."""
    fields = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
    predictions = fields.pop("predictions")
    arrays = (predictions.labels, predictions.predicted, predictions.probabilities)
    free = ("log.", "checkpoint.", "study.", "recipe.", "sweep.", "plan.", "profile.", "baseline.")
    config = {k: v for k, v in fields.pop("config").items() if not k.startswith(free)}
    del fields["folder"]
    return fields | {"arrays": [a.tolist() for a in arrays]} | config


FILES = [
    "tokenizer.json", "results.json", "predictions_test.csv", "metrics.csv", "events.jsonl",
    "environment.json", "status.json", "manifest.json", CONFIG,
]  # fmt: skip


def test_these_are_all_files_of_a_run(runs: Path) -> None:
    found = {path.name for path in (runs / "finetune" / "a").iterdir()}
    assert found == {*FILES, "checkpoints"}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_noticed_or_harmless(runs: Path, copy: Path, name: str, seed: int) -> None:
    """By who uses the classifier, and by who compares."""
    flipped(copy / "finetune" / "a" / name, seed)
    before, after = load_classifier(RunFolder(runs, "finetune", "a")), loaded(copy)
    assert after is None or answers_the_same(before, after)
    (was,), (found,) = (collect(root / "finetune" / "a") for root in (runs, copy))
    assert found.state == "failed" or told(found) == told(was)
    if found.state == "failed":
        assert found.reason and found.test_macro_f1 is None


@pytest.mark.parametrize("seed", range(2))
def test_a_flipped_bit_in_a_checkpoint_is_noticed(runs: Path, copy: Path, seed: int) -> None:
    step = json.loads((runs / "finetune/a/results.json").read_text())["best_step"]
    folder = copy / "finetune" / "a"
    (checkpoint,) = (p for p in (folder / "checkpoints").iterdir() if p.name.endswith(f"{step}"))
    files = [path for path in sorted(checkpoint.rglob("*")) if path.is_file()]
    assert len(files) > 5
    before = loaded(runs)
    assert before is not None
    for path in files:
        data = path.read_bytes()
        if not data:
            continue
        flipped(path, seed)
        after = loaded(copy)
        assert after is None or answers_the_same(before, after), path
        assert any(not each.good for each in examined(folder)["finetune/a"]), path
        path.write_bytes(data)


@pytest.mark.parametrize("name", ["tfidf_model.npz", "tfidf_model.json", "tfidf_terms.txt"])
def test_a_baseline_whose_model_changed_is_not_ranked(copy: Path, name: str) -> None:
    flipped(copy / "baseline" / "b" / name, 0)
    (record,) = collect(copy / "baseline")
    assert (record.state, record.reason) == ("failed", f"{name}: changed since it was finished")
    assert cli.run(["check", f"--run={copy / 'baseline' / 'b'}"]) == 1


def edit(path: Path, change: Callable[[Any], None]) -> None:
    """Changes the entries of a JSON or YAML file."""
    text = path.read_text()
    tree = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    change(tree)
    path.write_text(json.dumps(tree) if path.suffix == ".json" else yaml.safe_dump(tree))


def swap_labels(tree: Any) -> None:
    tree["label_names"] = tree["label_names"][::-1]


def max_pooling(tree: Any) -> None:
    tree["head.pooling"] = "max"


@pytest.mark.parametrize("manifest", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize("change", [swap_labels, max_pooling])
def test_other_options_are_refused(
    copy: Path, change: Callable[[Any], None], manifest: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Inverted labels and other probabilities, exit code 0, once."""
    folder = copy / "finetune" / "a"
    if not manifest:
        unsigned(folder)
    edit(folder / CONFIG, change)
    lines = copy / "lines.txt"
    lines.write_text("a kitten\n")
    for mode in (["predict", f"--input={lines}"], ["eval"]):
        assert cli.run([*mode, "--exp=a", f"--runs={copy}"]) == 2
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert CONFIG in said and ("label_names" in said or "head.pooling" in said)
    assert cli.run(["check", f"--run={folder}"]) == 1


@pytest.mark.parametrize("manifest", [True, False], ids=["signed", "unsigned"])
def test_another_tokenizer_is_refused(copy: Path, manifest: bool) -> None:
    folder = copy / "finetune" / "a"
    if not manifest:
        unsigned(folder)
    text = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(text.replace('"kitten"', '"puppy"', 1))
    with pytest.raises(InputError, match="tokenizer.json"):
        load_classifier(RunFolder(copy, "finetune", "a"))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(InputError, match="tokenizer.json"):
        load_classifier(RunFolder(copy, "finetune", "a"))


@pytest.mark.parametrize("manifest", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize("value", [0.123, 7.5, -1])
@pytest.mark.parametrize("metric", ["macro_f1", "accuracy"])
def test_other_results_are_never_ranked(
    copy: Path, metric: str, value: float, manifest: bool
) -> None:
    folder = copy / "finetune" / "a"
    if not manifest:
        unsigned(folder)

    def change(tree: Any) -> None:
        tree["test"][metric] = value

    edit(folder / "results.json", change)
    rows = {row.record.exp: row for row in Comparison(collect(copy)).ranking}
    assert (rows["a"].rank, rows["b"].rank) == (None, 1)
    assert "results.json" in rows["a"].record.reason


@pytest.mark.parametrize("manifest", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize(
    ("old", "new"),
    [("\n5,", "\n7,"), (",0.", ",1."), ("\n9,cats", "\n9,cows"), (",p_cats", ",p_cows")],
)
def test_other_predictions_are_never_ranked(copy: Path, old: str, new: str, manifest: bool) -> None:
    folder = copy / "finetune" / "a"
    if not manifest:
        unsigned(folder)
    path = folder / "predictions_test.csv"
    text = path.read_text()
    path.write_text(text.replace(old, new, 1))
    assert path.read_text() != text or old == "\n9,cats"
    (record,) = collect(folder)
    assert path.read_text() == text or record.state == "failed"


def lose_rows(text: str) -> str:
    return "".join(text.splitlines(keepends=True)[:-2])


def half_a_row(text: str) -> str:
    return text[:-9]


def words(text: str) -> str:
    return text + "all,is,well,here,or,so,it,seems,to,me\n"


def nothing(text: str) -> str:
    return "\0" * len(text)


@pytest.mark.parametrize("manifest", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize("damage", [lose_rows, half_a_row, words, nothing])
def test_metrics_that_lost_rows_are_noticed(
    copy: Path, damage: Callable[[str], str], manifest: bool
) -> None:
    """Without a manifest whole rows may be missing; nothing says how many there were."""
    folder = copy / "finetune" / "a"
    if not manifest:
        unsigned(folder)
    path = folder / "metrics.csv"
    path.write_text(damage(path.read_text()))
    (record,) = collect(folder)
    noticed = manifest or damage is not lose_rows
    assert (record.state == "failed") is noticed
    assert not noticed or record.reason.startswith("metrics.csv: ")
    assert cli.run(["check", f"--run={folder}"]) == int(noticed)


@pytest.mark.parametrize("seed", range(3))
def test_a_flipped_bit_of_an_evaluation_is_noticed(copy: Path, seed: int) -> None:
    folder = copy / "finetune" / "a"
    speed = [{"batch_size": 1, "median_ms": 4.25, "texts_per_second": 235.0}]
    report = {"device": RunFolder.at(folder).results().device, "speed": speed}
    path = folder / "evaluation.json"
    write_signed(path, report)
    assert collect(folder)[0].latency == {1: (4.25, 235.0)}
    assert cli.run(["check", f"--run={folder}"]) == 0
    flipped(path, seed)
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        assert collect(folder)[0].latency in ({}, {1: (4.25, 235.0)})
    (finding,) = [each for each in examined(folder)[f"finetune/{folder.name}"]
                  if each.file == "evaluation.json"]  # fmt: skip
    assert not finding.good
    # Of a version before.
    path.write_text(json.dumps(report))
    assert cli.run(["check", f"--run={folder}"]) == 0


@pytest.mark.parametrize("name", ["../../baseline/b/results.json", "/etc/hostname"])
def test_a_manifest_speaks_of_its_own_folder_alone(copy: Path, name: str) -> None:
    folder = copy / "finetune" / "a"
    manifest = Manifest.read(folder)
    assert manifest is not None
    dataclasses.replace(manifest, files={name: "0" * 64}).write()
    (record,) = collect(folder)
    assert record.state == "failed" and "expected one in the folder" in record.reason


LOST = [
    "tokenizer.json", "results.json", "predictions_test.csv", "metrics.csv", "events.jsonl",
    "environment.json", "status.json", "manifest.json", CONFIG, "checkpoints", "best",
]  # fmt: skip


@pytest.mark.parametrize("name", LOST)
def test_a_file_that_is_gone_is_missed(
    runs: Path, copy: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The best checkpoint without its manifest was passed over for the latest, without a word."""
    folder = copy / "finetune" / "a"
    step = RunFolder.at(folder).results().best_step
    path = folder / (name if name != "best" else f"checkpoints/step_{step:08d}/manifest.json")
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    assert cli.run(["check", f"--run={folder}"]) == 1
    before = load_classifier(RunFolder(runs, "finetune", "a"))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*of unknown state")
        after = loaded(copy)
    assert after is None or answers_the_same(before, after)
    (record,) = collect(folder)
    assert record.state == "failed"
    if name not in ("status.json", "checkpoints", "best"):
        resume = ["finetune", "--exp=a", f"--runs={copy}", "--resume"]
        assert cli.run(resume) == 2
    capsys.readouterr()


def test_a_run_that_was_moved_is_used_where_it_stands(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(runs / "finetune" / "a", tmp_path / "backup" / "mine 2")
    texts = tmp_path / "texts.csv"
    texts.write_text("text\na cat\n")
    answers = []
    for run in (runs / "finetune" / "a", folder):
        capsys.readouterr()
        assert cli.run(["predict", f"--run={run}", f"--input={texts}"]) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1] and "cat" in answers[0]
    assert cli.run(["check", f"--run={folder}"]) == 0


@pytest.mark.parametrize("name", ["checkpoints", "resolved_config.yaml", "results.json"])
def test_links_in_a_circle_end(copy: Path, name: str) -> None:
    path = copy / "finetune" / "a" / name
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(path)
    (copy / "finetune" / "circle").symlink_to(copy / "finetune" / "circle")
    assert cli.run(["check", f"--run={copy / 'finetune' / 'a'}"]) == 1
    assert loaded(copy) is None
    assert {record.exp for record in collect(copy)} == {"a", "b"}


def test_a_manifest_of_no_checkpoint_is_told(copy: Path) -> None:
    folder = copy / "finetune" / "a" / "checkpoints" / "step_99999999"
    folder.mkdir()
    (folder / "manifest.json").write_text('{"format": 1}')
    assert cli.run(["check", f"--run={folder.parents[1]}"]) == 1


def test_comments_logging_and_the_place_of_the_data_are_the_user_s(copy: Path) -> None:
    folder = copy / "finetune" / "a"
    path = folder / CONFIG
    text = path.read_text().replace("log.wandb: 'off'", "log.wandb: offline")
    path.write_text(f"# mine\n{text}".replace("data.path: ", "data.path: /elsewhere"))
    assert loaded(copy) is not None
    assert collect(folder)[0].state == "finished"
    assert cli.run(["check", f"--run={folder}"]) == 0


def test_whole_runs_are_whole(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("finetune/a", "baseline/b"):
        assert cli.run(["check", f"--run={runs / folder}"]) == 0
        said = capsys.readouterr().out
        assert "results.json" in said and said.rstrip().endswith(": whole")
    assert cli.run(["check", f"--run={runs}"]) == 0
    assert capsys.readouterr().out.rstrip().endswith("2 of 2 runs are whole")
    assert cli.run(["check", f"--run={runs / 'nothing'}"]) == 2
    assert "no such folder" in capsys.readouterr().err


@pytest.fixture(scope="module")
def exported(runs: Path) -> Iterator[Path]:
    """Under a umask that lets nobody else read."""
    before = os.umask(0o077)
    try:
        folder = runs.parent / "model"
        assert cli.run(["export", "--exp=a", f"--output={folder}", f"--runs={runs}"]) == 0
    finally:
        os.umask(before)
    yield folder


def test_an_export_follows_the_umask(exported: Path) -> None:
    assert stat.S_IMODE(exported.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in exported.iterdir()} == {0o600}


@pytest.mark.parametrize("seed", range(2))
def test_a_flipped_bit_of_an_export_is_noticed(exported: Path, tmp_path: Path, seed: int) -> None:
    """README.md is for its author to complete; programs are for classify.py and `check`."""
    before = open_classifier(exported, {})
    for path in sorted(exported.iterdir()):
        folder = shutil.copytree(exported, tmp_path / path.name)
        flipped(folder / path.name, seed)
        try:
            after = open_classifier(folder, {})
        except InputError as error:
            assert path.name in str(error) or path.name == "manifest.json"
        else:
            assert answers_the_same(before, after), path.name
        good = cli.run(["check", f"--run={folder}"]) == 0
        assert good is (path.name == "README.md") or path.name == "config.yaml"


def as_integers(weights: dict[str, np.ndarray], name: str) -> None:
    weights[name] = (100 * weights[name]).astype(np.int32)


def as_halves(weights: dict[str, np.ndarray], name: str) -> None:
    weights[name] = weights[name].astype(np.float16)


def not_a_number(weights: dict[str, np.ndarray], name: str) -> None:
    weights[name][0, 0] = np.nan


def fewer_rows(weights: dict[str, np.ndarray], name: str) -> None:
    weights[name] = weights[name][:-1].copy()


def another_name(weights: dict[str, np.ndarray], name: str) -> None:
    weights[f"{name}s"] = weights.pop(name)


def too_large(weights: dict[str, np.ndarray], name: str) -> None:
    weights[name][:] = 3e38


DAMAGES = [as_integers, as_halves, not_a_number, fewer_rows, another_name, too_large]


@pytest.mark.parametrize("manifest", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_other_weights_give_one_sentence(
    exported: Path,
    tmp_path: Path,
    damage: Callable[[dict[str, np.ndarray], str], None],
    manifest: bool,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """With jaxattn, and with classify.py alone, which needs the manifest."""
    folder = shutil.copytree(exported, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    damage(weights, "classifier/kernel")
    (folder / "model.safetensors").write_bytes(save(weights))
    if not manifest:
        unsigned(folder)
    lines = tmp_path / "lines.txt"
    lines.write_text("a kitten\n")
    assert cli.run(["predict", f"--run={folder}", f"--input={lines}"]) == 2
    said = capfd.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1
    if damage in (as_integers, fewer_rows, another_name) and manifest:
        done = classify(folder)
        assert (done.returncode, done.stdout) == (2, "")
        assert "classifier/kernel is" in done.stderr and len(done.stderr.splitlines()) == 1


def classify(folder: Path) -> subprocess.CompletedProcess[str]:
    """What the script of the folder says of a text."""
    argv = [sys.executable, "-I", str(folder / "classify.py"), "a kitten"]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def test_classify_refuses_what_changed(exported: Path, tmp_path: Path) -> None:
    """The files it uses; README.md and config.yaml are none."""
    assert classify(exported).returncode == 0
    for name in (
        "model.safetensors", "model.stablehlo", "program.json", "tokenizer.json", "manifest.json",
    ):  # fmt: skip
        folder = shutil.copytree(exported, tmp_path / name)
        flipped(folder / name, 0)
        done = classify(folder)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), name
        (folder / name).unlink()
        assert classify(folder).stderr.startswith(f"classify.py: {name}: No such file")


@pytest.mark.parametrize("name", ["manifest.json", "model.safetensors", "config.yaml"])
def test_an_export_that_lost_a_file_is_not_whole(exported: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(exported, tmp_path / "model")
    (folder / name).unlink()
    assert cli.run(["check", f"--run={folder}"]) == 1
    with pytest.raises(InputError, match=name):
        open_classifier(folder, {})


def test_an_older_export_is_read(exported: Path, tmp_path: Path) -> None:
    folder = unsigned(shutil.copytree(exported, tmp_path / "model"))
    assert answers_the_same(open_classifier(exported, {}), open_classifier(folder, {}))
    assert cli.run(["check", f"--run={folder}"]) == 0
