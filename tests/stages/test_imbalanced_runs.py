"""Fine-tuning on few texts of one class: what it takes, refuses and says."""

import json
from pathlib import Path

import pytest

from jaxattn import cli
from jaxattn.config import Config, replace
from jaxattn.errors import InputError


@pytest.fixture
def imbalanced(tmp_path: Path) -> Path:
    """A folder with 57 texts of one class and 3 of another; one test text is trained on."""
    for split, common, rare in (("train", 57, 3), ("validation", 8, 2), ("test", 8, 2)):
        rows = [{"text": f"{split} garden {i}", "label": "common"} for i in range(common)]
        rows += [{"text": f"{split} whisker {i}", "label": "rare"} for i in range(rare)]
        if split == "test":
            rows[0]["text"] = "train garden 0"
        lines = "\n".join(map(json.dumps, rows))
        (tmp_path / "texts").mkdir(exist_ok=True)
        (tmp_path / "texts" / f"{split}.jsonl").write_text(lines)
    return tmp_path / "texts"


def test_a_run_with_all_of_it_says_what_it_met(
    imbalanced: Path, tmp_path: Path, tiny_flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [
        *tiny_flags, "--mode=finetune", "--exp=x", "--pretrain=none", f"--runs={tmp_path}",
        f"--config.data.path={imbalanced}", "--config.train.epochs=1",
        "--config.data.length_buckets=32", "--config.train.learning_rate=1e-9",
    ]  # fmt: skip
    assert cli.run([*flags, "--config.finetune.class_weights=common=1,rar=9"]) == 2
    assert (
        "no class 'rar' (the classes are 'common' and 'rare'); did you mean 'rare'?"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "finetune").exists()
    flags += [
        "--config.finetune.class_weights=common=1,rare=9",
        "--config.finetune.sampling=balanced",
        "--config.finetune.focal_gamma=2",
    ]
    assert cli.run(flags) == 0
    said = capsys.readouterr().err
    assert "look at: 1 of 10 test texts is in the training split too" in said
    assert "look at: class 'rare' has 3 training texts only" in said
    assert "look at: 95.0% of the training texts are of class 'common'" in said
    results = json.loads((tmp_path / "finetune" / "x" / "results.json").read_text())
    # Next to nothing is learned: of two classes one is predicted, or both.
    notes = results.get("notes", [])
    for note in notes:
        assert f"look at: {note}" in said
    predicted = [sum(column) for column in zip(*results["confusion"], strict=True)]
    assert (0 in predicted) == any("on test it predicts one class only" in note for note in notes)
    assert cli.run(["--mode=eval", "--exp=x", f"--runs={tmp_path}"]) == 0
    printed = capsys.readouterr().out
    assert all(f"look at: {note}" in printed for note in notes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_weights": "balancd"}, "did you mean 'balanced'"),
        ({"class_weights": "a=1,b"}, "in which 'b' is no weight"),
        ({"class_weights": "a=0"}, "in which 'a=0' is no weight"),
        ({"class_weights": "a=inf"}, "no weight"),
        ({"class_weights": "=2"}, "no weight"),
        ({"class_weights": "a=1,a=2"}, "class 'a' has two weights"),
        ({"class_weights": "balanced", "sampling": "balanced"}, "favour rare classes twice"),
        ({"focal_gamma": 2.0, "label_smoothing": 0.1}, "one of the two above 0"),
        ({"focal_gamma": -1.0}, "0.0 to 10.0"),
        ({"sampling": "even"}, "natural, balanced"),
    ],
)
def test_what_is_refused(options: dict[str, str | float], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        replace(Config(), {f"finetune.{name}": value for name, value in options.items()})
    assert len(str(error.value)) < 400
