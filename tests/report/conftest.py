"""Records and run folders to report on."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from jaxattn.report.record import RunRecord
from jaxattn.runs.predictions import Predictions

Guesses = Callable[..., Predictions]
Record = Callable[..., RunRecord]
WriteRun = Callable[..., Path]

OPTIONS = {
    "model.num_layers": 4,
    "model.hidden_dim": 512,
    "model.mlp_dim": 2048,
    "model.num_heads": 8,
    "model.qkv_dim": 512,
    "model.positions": "rope",
    "attention.reformer_lsh.chunk_size": 64,
    "data.max_length": 512,
    "train.batch_size": 64,
    "train.epochs": 3,
    "train.learning_rate": 5e-4,
}


@pytest.fixture
def guesses() -> Guesses:
    """Builds predictions on 300 texts of two classes that are right in about `share` of them."""

    def build(share: float, seed: int = 0, names: Sequence[str] = ("neg", "pos")) -> Predictions:
        labels = np.random.default_rng(99).integers(len(names), size=300)
        rng = np.random.default_rng(seed)
        right = rng.random(300) < share
        predicted = np.where(right, labels, (labels + 1) % len(names))
        probabilities = np.full((300, len(names)), 0.3 / (len(names) - 1))
        probabilities[np.arange(300), predicted] = 0.7
        return Predictions(tuple(names), labels, predicted, probabilities)

    return build


@pytest.fixture
def record() -> Record:
    """Builds a finished fine-tuning record; keywords replace fields, `options` options."""

    def build(
        exp: str,
        attention: str,
        f1: float | None,
        seconds: float | None = 100.0,
        memory: float | None = 1000.0,
        *,
        options: Mapping[str, object] | tuple[()] = (),
        **fields: Any,
    ) -> RunRecord:
        kind = fields.pop("kind", "finetune")
        values = {
            "state": "finished",
            "reason": "",
            "data": "imdb",
            "data_hash": "aaaa",
            "seed": 0,
            "device": "cpu",
            "test_macro_f1": f1,
            "test_accuracy": f1,
            "validation_macro_f1": f1,
            "seconds_per_epoch": seconds,
            "peak_memory_mib": memory,
            "memory_kind": "resident",
        } | fields
        config = OPTIONS | {"attention.type": attention, "train.seed": values["seed"]}
        if kind == "baseline":
            config = {}
        return RunRecord(
            folder=Path("runs") / kind / exp,
            kind=kind,
            exp=exp,
            attention=attention,
            config=config | dict(options),
            **values,
        )

    return build


@pytest.fixture
def write_run(tmp_path: Path) -> WriteRun:
    """Writes a whole run folder under tmp_path/runs; returns it, to be broken by the test."""

    def write(
        exp: str,
        attention: str = "sdpa",
        f1: float = 0.9,
        *,
        kind: str = "finetune",
        state: str = "finished",
        **result: object,
    ) -> Path:
        folder = tmp_path / "runs" / kind / exp
        folder.mkdir(parents=True)
        status = {"state": state, "reason": "", "pid": os.getpid()}
        (folder / "status.json").write_text(json.dumps(status))
        options = OPTIONS | {"attention.type": attention, "data.name": "imdb", "train.seed": 3}
        if kind == "finetune":
            tree = options | {"pretrain": "wiki"}
            (folder / "resolved_config.yaml").write_text(yaml.safe_dump(tree))
        else:
            nested: dict = {}
            for path, value in options.items():
                *parents, leaf = path.split(".")
                node = nested
                for parent in parents:
                    node = node.setdefault(parent, {})
                node[leaf] = value
            (folder / "config.yaml").write_text(yaml.safe_dump(nested))
        (folder / "environment.json").write_text(json.dumps({"device": "cpu x", "seed": 3}))
        quality = {"accuracy": 0.91, "macro_f1": f1, "weighted_f1": f1, "auroc": None, "loss": 0.3}
        results = {
            "kind": kind,
            "exp": exp,
            "attention": attention,
            "data": "imdb",
            "data_hash": "abc",
            "seed": 3,
            "pretrain": None if kind == "baseline" else "wiki",
            "parameters": 1234567,
            "best_step": 300,
            "validation": {"loss": 2.5} if kind == "pretrain" else quality,
            "cost": {
                "seconds_per_epoch": 61.2,
                "tokens_per_second": 8000.0,
                "peak_memory_MiB": 812.0,
                "peak_memory_kind": "resident",
                "train_seconds": 200.5,
                "compile_seconds": 9.5,
                "steps": 360,
            },
            "pretrain_cost": {"train_seconds": 4000.0},
            "device": "cpu x",
        } | ({} if kind == "pretrain" else {"test": quality})
        if state == "finished":
            (folder / "results.json").write_text(json.dumps(results | result))
        return folder

    return write
