"""Splits by group: whole novels, whole publishers, whatever the order of the rows."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxattn.config import DataConfig
from jaxattn.data.corpora.holdout import hold_out_groups
from jaxattn.data.corpora.splits import load_labelled, load_texts

ROOT = Path(__file__).parents[2]


def test_whole_groups_near_the_share() -> None:
    rng = np.random.default_rng(0)
    groups = [f"g{i}" for i in rng.integers(0, 60, 3000)]
    label = {f"g{i}": i % 3 for i in range(60)}
    labels = [label[g] for g in groups]
    held = hold_out_groups(groups, labels, 0, "test", 0.1)
    assert not {g for g, h in zip(groups, held, strict=True) if h} & {
        g for g, h in zip(groups, held, strict=True) if not h
    }
    total, taken = Counter(labels), Counter(np.array(labels)[held].tolist())
    # Groups of about 50 fill the hundred that are wanted of each label to within one group.
    assert all(0.05 <= taken[name] / total[name] <= 0.1 for name in total)
    order = rng.permutation(3000)
    again = hold_out_groups([groups[i] for i in order], [labels[i] for i in order], 0, "test", 0.1)
    np.testing.assert_array_equal(again, held[order])
    assert (hold_out_groups(groups, labels, 1, "test", 0.1) != held).any()


def test_large_groups_mixed_groups_and_lone_groups() -> None:
    # Two novels of one author: the smaller is held out; one of another author: kept.
    groups = ["long"] * 30 + ["short"] * 20 + ["only"] * 10
    held = hold_out_groups(groups, ["a"] * 50 + ["b"] * 10, 0, "validation", 0.1)
    assert {g for g, h in zip(groups, held, strict=True) if h} == {"short"} and held.sum() == 20
    # A group with two labels goes with the more frequent one, as a whole.
    groups = ["mixed"] * 5 + [f"x{i}" for i in range(20)] + [f"y{i}" for i in range(20)]
    labels = [0, 0, 0, 1, 1] + [0] * 20 + [1] * 20
    for seed in range(20):
        held = hold_out_groups(groups, labels, seed, "test", 0.3)
        assert held[:5].sum() in (0, 5) and held[25:].sum() == 6


Table = list[dict[str, Any]]


def novels() -> Table:
    """Six authors; each has one to three novels of eight passages and some notes without one."""
    rows = [
        {"text": f"{a} {n} {p}", "label": a, "novel": f"{a}-{n}"}
        for a in range(6)
        for n in range(1 + a % 3)
        for p in range(8)
    ]
    return rows + [{"text": f"note {i}", "label": i % 6, "novel": None} for i in range(12)]


def write(folder: Path, rows: Table, name: str = "train") -> None:
    (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))


def novels_of(texts: Iterable[str]) -> set[tuple[str, ...]]:
    return {tuple(text.split()[:2]) for text in texts if not text.startswith("note")}


def config(folder: Path, **changes: Any) -> DataConfig:
    return DataConfig(name="mine", path=str(folder), group_column="novel", **changes)


@pytest.mark.parametrize("seed", [0, 1])
def test_no_novel_is_in_two_splits(tmp_path: Path, seed: int) -> None:
    write(tmp_path, novels())
    corpus = load_labelled(config(tmp_path, split_seed=seed))
    parts = [corpus.train, corpus.validation, corpus.test]
    found = [novels_of(part.texts) for part in parts]
    assert sum(map(len, found)) == len(set.union(*found)) == 12
    assert sum(len(part.texts) for part in parts) == 96 + 12
    texts = load_texts(config(tmp_path, split_seed=seed))
    assert set(texts.train) == set(corpus.train.texts)
    assert set(texts.validation) == set(corpus.validation.texts)
    write(tmp_path, novels()[::-1])
    assert set(load_labelled(config(tmp_path, split_seed=seed)).test.texts) == set(
        corpus.test.texts
    )


def test_given_splits_are_kept_apart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = novels()
    write(tmp_path, rows)
    write(tmp_path, [row for row in rows if row["novel"] == "5-2"][:3], "test")
    write(tmp_path, [{"text": f"other {i}", "novel": "5-1"} for i in range(4)], "unsup")
    corpus = load_labelled(config(tmp_path))
    assert novels_of(corpus.test.texts) == {("5", "2")} and len(corpus.test.texts) == 3
    assert ("5", "2") not in novels_of([*corpus.train.texts, *corpus.validation.texts])
    assert "8 training rows left out whose 'novel' is in the test split" in caplog.text
    # Texts for the MLM from another split, when their novel is held out for validation.
    texts = load_texts(config(tmp_path, mlm_splits=("train", "unsup")))
    held = novels_of(corpus.validation.texts)
    assert ("other 0" in texts.train) == (("5", "1") not in held)
    assert not novels_of(texts.train) & held


def test_unlabelled_texts_are_held_out_in_groups(tmp_path: Path) -> None:
    write(tmp_path, [{k: v for k, v in row.items() if k != "label"} for row in novels()])
    texts = load_texts(config(tmp_path))
    assert texts.validation and not novels_of(texts.train) & novels_of(texts.validation)
    assert len(texts.train) + len(texts.validation) == 108


def test_the_hash_seed_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path, novels())
    script = (
        "import sys; from jaxattn.config import DataConfig; "
        "from jaxattn.data.corpora.splits import load_labelled; "
        "c = load_labelled(DataConfig('mine', sys.argv[1], group_column='novel')); "
        "print([list(p.texts) for p in (c.train, c.validation, c.test)])"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)], capture_output=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(printed) == 1
