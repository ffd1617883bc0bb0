"""An encoder of ModernBERT's kind from nothing: pretrained, fine-tuned, and one of theirs."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from jaxattn import cli

CONFIG = """
from jaxattn.config_io import defaults, inherit_architecture
from jaxattn.config.presets import set_modern

def get_config(mode):
    config = defaults()
    config.data.name, config.data.path = "animals", {path!r}
    config.data.max_length, config.data.length_buckets = 32, (32,)
    config.train.batch_size, config.train.max_steps, config.train.learning_rate = 16, 4, 1e-2
    config.tokenizer.vocab_size = 120
    config.head.pooling, config.head.pooler = "cls", "gelu_norm"
    if mode == "finetune":
        inherit_architecture(config)
        return config
    for name, size in dict(num_layers=3, hidden_dim=16, mlp_dim=24, num_heads=2, qkv_dim=16,
                           max_seq_len=32).items():
        config.model[name] = size
    set_modern(config)
    config.attention.local.window = 8
    return config
"""


def test_it_is_pretrained_fine_tuned_and_loaded_by_transformers(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    config, runs, back = tmp_path / "modern.py", tmp_path / "runs", tmp_path / "back"
    config.write_text(CONFIG.format(path=str(corpus)))
    given = [f"--config={config}", f"--runs={runs}"]
    assert cli.run(["pretrain", "--exp=m", *given]) == 0
    capsys.readouterr()
    assert cli.run(["finetune", "--exp=f", "--pretrain=m", *given]) == 0
    assert "the pooler is that of the MLM head before" in capsys.readouterr().err
    results = json.loads((runs / "finetune" / "f" / "results.json").read_text())
    assert results["attention"] == "sdpa-local-local"
    texts = [json.loads(line)["text"] for line in (corpus / "test.jsonl").read_text().splitlines()]
    with open(tmp_path / "texts.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["text"], *([text] for text in texts)])
    out = tmp_path / "out.csv"
    asked = [f"--input={tmp_path / 'texts.csv'}", f"--output={out}", f"--runs={runs}"]
    assert cli.run(["predict", "--exp=f", *asked]) == 0
    with open(out, encoding="utf-8") as file:
        found = [[float(row["p_cats"]), float(row["p_dogs"])] for row in csv.DictReader(file)]
    assert cli.run(["export_bert", "--exp=f", f"--output={back}", f"--runs={runs}"]) == 0
    model = transformers.AutoModelForSequenceClassification.from_pretrained(back).eval()
    assert type(model).__name__ == "ModernBertForSequenceClassification"
    words = transformers.AutoTokenizer.from_pretrained(back)
    batch = words(texts, truncation=True, max_length=32, padding=True, return_tensors="pt")
    with torch.no_grad():
        wanted = model(**batch).logits.softmax(-1).numpy()
    np.testing.assert_allclose(found, wanted, atol=2e-4)
