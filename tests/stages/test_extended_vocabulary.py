"""TAPT and fine-tuning with new words in an inherited vocabulary."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from jaxattn import cli
from jaxattn.data.tokens.wordpiece import load_tokenizer
from jaxattn.train.checkpoints import Checkpoints

STILL = ["--config.train.max_steps=1", "--config.train.learning_rate=1e-12"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def flags(tiny_flags: list[str], runs: Path) -> list[str]:
    more = ["--config.data.length_buckets=32", "--config.tokenizer.vocab_size=100"]
    return [*tiny_flags, *more, "--config.train.epochs=1", f"--runs={runs}"]


@pytest.fixture(scope="module")
def pretrained(flags: list[str], runs: Path) -> Path:
    assert cli.run([*flags, "--mode=pretrain", "--exp=p"]) == 0
    return runs / "pretrain" / "p"


@pytest.fixture(scope="module")
def adapted(flags: list[str], runs: Path, pretrained: Path) -> Path:
    more = ["--config.tokenizer.extend=3", *STILL]
    assert cli.run([*flags, *more, "--mode=tapt", "--exp=t", "--pretrain=p"]) == 0
    return runs / "tapt" / "t"


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def table(folder: Path) -> np.ndarray:
    step = read(folder / "results.json")["best_step"]
    params = Checkpoints(folder / "checkpoints", keep=1).load_params(step)
    return params["encoder"]["embeddings"]["tokens"]["embedding"]


def vocabulary(folder: Path) -> dict[str, int]:
    return load_tokenizer(folder / "tokenizer.json", True).get_vocab()


def test_new_words_are_appended_and_reported(pretrained: Path, adapted: Path) -> None:
    old, new = vocabulary(pretrained), vocabulary(adapted)
    assert len(new) == len(old) + 3
    assert {token: new[token] for token in old} == old
    report = read(adapted / "results.json")["vocabulary"]
    assert (report["size_before"], report["size_after"]) == (len(old), len(new))
    assert report["tokens_per_text_after"] < report["tokens_per_text_before"]
    assert report["unknown_share_after"] <= report["unknown_share_before"]


def test_the_checkpoint_grows_with_them(pretrained: Path, adapted: Path) -> None:
    """The rate is so small that the parameters are those of the start."""
    old, new = table(pretrained), table(adapted)
    assert new.shape == (len(old) + 3, old.shape[1])
    np.testing.assert_allclose(new[: len(old)], old, atol=1e-9)
    before = load_tokenizer(pretrained / "tokenizer.json", True)
    words = {number: word for word, number in vocabulary(adapted).items()}
    whole = [number for number in range(len(old), len(new)) if not words[number].startswith("##")]
    assert whole
    for number in whole:
        pieces = before.encode(words[number], add_special_tokens=False).ids
        assert len(pieces) > 1
        np.testing.assert_allclose(new[number], old[pieces].mean(0), atol=1e-7)


def test_fine_tuning_inherits_the_extended_vocabulary_and_may_extend_it_again(
    flags: list[str], runs: Path, adapted: Path
) -> None:
    call = [*flags, "--mode=finetune", "--pretrain=tapt/t"]
    assert cli.run([*call, "--exp=f"]) == 0
    same = runs / "finetune" / "f"
    assert (same / "tokenizer.json").read_bytes() == (adapted / "tokenizer.json").read_bytes()
    assert read(same / "results.json")["vocabulary"] is None
    words = runs / "words.txt"
    words.write_text("kittens\nveterinary\n")
    assert cli.run([*call, "--exp=g", f"--config.tokenizer.extra_tokens={words}"]) == 0
    further = runs / "finetune" / "g"
    size = len(vocabulary(adapted))
    assert vocabulary(further)["kittens"] == size
    assert len(table(further)) == size + 2
    assert cli.run(["--mode=eval", "--exp=g", f"--runs={runs}"]) == 0


def test_resume_and_replay_need_not_learn_again(
    flags: list[str], runs: Path, adapted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["--mode=replay", f"--run={adapted}"]) == 0
    assert "results equal those of" in capsys.readouterr().out
    copy = runs / "tapt" / "again"
    shutil.copytree(adapted, copy)
    wanted = read(copy / "results.json")
    (copy / "results.json").unlink()
    status = copy / "status.json"
    status.write_text(status.read_text().replace("finished", "interrupted"))
    assert cli.run(["--mode=tapt", "--exp=again", f"--runs={runs}", "--resume"]) == 0
    found = read(copy / "results.json")
    for name in ("best_hash", "vocabulary", "validation", "validation_at_start"):
        assert found[name] == wanted[name]


def test_a_vocabulary_of_its_own_is_not_extended(
    flags: list[str], runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [*flags, "--config.tokenizer.extend=5", "--exp=no"]
    for mode in (["--mode=pretrain"], ["--mode=finetune", "--pretrain=none"]):
        assert cli.run([*argv, *mode]) == 2
        assert "tokenizer.extend: found 5" in capsys.readouterr().err
    assert not (runs / "pretrain" / "no").exists()
