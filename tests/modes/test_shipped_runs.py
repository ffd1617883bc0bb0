"""Every configuration that comes with the program is run: pretrained, fine-tuned, two steps each.

As it is written but for sizes: one narrow block, short texts, small batches. Optimizer, schedule,
attention, positions, head, corpus and splits are the file's own.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxattn import cli
from jaxattn.config import Config, DataConfig

ROOT = Path(__file__).parents[2]

# Once they are made small, each of these is one of the others.
ALIKE = ("autotinybert_4x396", "autotinybert_4x432", "autotinybert_5x564", "imdb_gpu", "sdpa_small")
CONFIGS = [
    pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.stem in ALIKE else [])
    for path in sorted((ROOT / "configs").glob("*.py"))
]

SMALL = {
    "data.max_length": 32,
    "data.length_buckets": "32,",
    "train.batch_size": 8,
    "train.eval_batch_size": 8,
    "train.max_steps": 2,
    "train.epochs": 1,
    "train.validate_every_steps": 0,
    "attention.reformer_lsh.chunk_size": 8,
    "attention.performer_favor.nb_features": 16,
}

NARROW = {
    "model.num_layers": 1,
    "model.hidden_dim": 16,
    "model.mlp_dim": 32,
    "model.num_heads": 2,
    "model.qkv_dim": 16,
    "model.max_seq_len": 32,
    "tokenizer.vocab_size": 300,
}


def flags(options: dict[str, Any]) -> list[str]:
    return [f"--config.{name}={value}" for name, value in options.items()]


def configured(mode: str, given: list[str], inherited: Config | None = None) -> Config:
    request = cli.parse([f"--mode={mode}", *given])
    assert request is not None
    return request.resolved(inherited)


def write_corpus(folder: Path, data: DataConfig, splits: set[str]) -> None:
    """Files that a corpus with these options could be: its classes, columns and file names."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    names: Sequence[str] = data.label_names or ("no", "yes")
    for split in sorted(splits):
        rows = []
        for index in range(40 if split == "train" else 16):
            label = names[index % len(names)]
            words = rng.choice(["film", "good", "bad", "long", "war", "peace"], 12).tolist()
            row = {data.text_column: f"{label} {' '.join(words)}", "label": label}
            row |= {column: f"{split}{index}" for column in (data.group_column,) if column}
            rows.append(json.dumps(row) + "\n")
        part = f"{data.file_part}-" if data.file_part else ""
        (folder / f"{part}{split}.jsonl").write_text("".join(rows))


@pytest.mark.parametrize("path", CONFIGS)
def test_it_runs(path: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    given = [f"--config={path}", f"--config.data.path={tmp_path / 'data'}", *flags(SMALL)]
    # As few blocks as hold all attentions of a pattern.
    layers = max(1, len(configured("pretrain", given).attention.pattern))
    narrow = [*given, *flags(NARROW | {"model.num_layers": layers})]
    described = path.read_text().split('"""')[1]
    classifies = any(f"--mode={mode}" in described for mode in ("finetune", "study", "recipe"))
    from_nothing = "--pretrain=none" in described
    first = configured("pretrain", narrow)
    later = first
    if classifies:
        later = configured("finetune", narrow if from_nothing else given, first)
    splits = {"train", "validation", "test", *first.data.mlm_splits}
    write_corpus(tmp_path / "data", later.data, splits)
    results = []
    if not from_nothing:
        assert cli.run(["pretrain", "--exp=a", f"--runs={runs}", *narrow]) == 0
        results.append(runs / "pretrain" / "a" / "results.json")
    if classifies:
        start = ["--pretrain=none", *narrow] if from_nothing else ["--pretrain=a", *given]
        assert cli.run(["finetune", "--exp=a", f"--runs={runs}", *start]) == 0
        results.append(runs / "finetune" / "a" / "results.json")
    assert results
    for file in results:
        measured = json.loads(file.read_text())
        assert np.isfinite((measured.get("test") or measured["validation"])["loss"])
