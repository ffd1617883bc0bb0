"""Cross-validation: which texts are in which fold."""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxattn.config import DataConfig
from jaxattn.data.corpora.folds import fold_numbers, group_fold_numbers
from jaxattn.data.corpora.holdout import text_keys
from jaxattn.data.corpora.splits import load_labelled, load_texts
from jaxattn.errors import InputError


def keys(texts: list[str]) -> np.ndarray:
    return text_keys(texts, 0, "folds")


def test_folds_are_even_in_number_and_in_every_class() -> None:
    labels = ["a"] * 61 + ["b"] * 22 + ["c"] * 4
    found = fold_numbers(keys([f"text {i}" for i in range(87)]), labels, 10)
    for label, least, most in (("a", 6, 7), ("b", 2, 3), ("c", 0, 1)):
        counts = np.bincount(found[np.array(labels) == label], minlength=10)
        assert (counts.min(), counts.max()) == (least, most)
    assert set(np.bincount(found, minlength=10)) == {8, 9}


def test_copies_stay_together_and_order_does_not_matter() -> None:
    texts, labels = [f"text {i % 40}" for i in range(80)], [i % 2 for i in range(80)]
    found = fold_numbers(keys(texts), labels, 5)
    assert (found[:40] == found[40:]).all()
    order = np.random.default_rng(0).permutation(80)
    again = fold_numbers(keys([texts[i] for i in order]), [labels[i] for i in order], 5)
    np.testing.assert_array_equal(again, found[order])


def test_groups_stay_whole_and_even() -> None:
    rng = np.random.default_rng(0)
    groups = [f"site {i}" for i in rng.integers(40, size=600)]
    labels = [group[-1] in "02468" for group in groups]
    found = group_fold_numbers(groups, labels, 0, 4)
    assert all(
        len({int(f) for f, g in zip(found, groups, strict=True) if g == group}) == 1
        for group in set(groups)
    )
    for label in (False, True):
        counts = np.bincount(found[np.array(labels) == label], minlength=4)
        assert counts.max() <= 1.15 * counts.min()
    order = rng.permutation(600)
    again = group_fold_numbers([groups[i] for i in order], [labels[i] for i in order], 0, 4)
    np.testing.assert_array_equal(again, found[order])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """63 labelled texts, and a test split that cross-validation leaves aside."""
    rows = [{"text": f"text {i}", "label": "ab"[i % 3 == 0]} for i in range(63)]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "test.jsonl").write_text(json.dumps({"text": "aside", "label": "a"}))
    return tmp_path


def config(folder: Path, **options: int) -> DataConfig:
    return DataConfig("mine", path=str(folder), **options)


def test_every_text_is_tested_once_and_never_learned_there(folder: Path) -> None:
    tested = []
    for fold in range(5):
        data = config(folder, folds=5, fold=fold)
        corpus, mlm = load_labelled(data), load_texts(data)
        splits = [list(s.texts) for s in (corpus.train, corpus.validation, corpus.test)]
        assert sorted(splits[0] + splits[1] + splits[2]) == sorted(f"text {i}" for i in range(63))
        assert np.bincount(corpus.test.labels).tolist() in ([9, 4], [8, 4], [9, 5], [8, 5])
        assert not set(splits[2]) & {*mlm.train, *mlm.validation}
        tested += splits[2]
    assert sorted(tested) == sorted(f"text {i}" for i in range(63))
    assert list(load_labelled(config(folder)).test.texts) == ["aside"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 1}, "data.folds: found 1, allowed: 0"),
        ({"folds": 5, "fold": 5}, "data.fold: found 5, allowed: 0 to 4"),
        ({"fold": 1}, "0, unless data.folds is given"),
        ({"folds": 100}, "63 labelled training rows have fewer different texts"),
    ],
)
def test_what_is_refused(folder: Path, options: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_labelled(config(folder, **options))
