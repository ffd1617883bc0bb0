"""What is said of classes before training, on made-up counts."""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxattn.config import DataConfig
from jaxattn.data.corpora.class_checks import class_warnings, copy_warnings, order_warnings
from jaxattn.data.corpora.splits import Examples, LabelledCorpus, load_labelled
from jaxattn.errors import InputError


def examples(counts: list[int], prefix: str = "text") -> Examples:
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    return Examples([f"{prefix} {i}" for i in range(len(labels))], labels)


def corpus(
    names: tuple[str, ...],
    train: list[int],
    validation: list[int] | None = None,
    test: list[int] | None = None,
) -> LabelledCorpus:
    full = [1] * len(names)
    return LabelledCorpus(
        examples(train), examples(validation or full, "v"), examples(test or full, "t"), names
    )


def test_nothing_is_said_of_even_classes() -> None:
    assert class_warnings(corpus(("a", "b"), [20, 30])) == []


def test_absent_rare_and_dominating_classes() -> None:
    found = class_warnings(corpus(("a", "b", "c"), [5, 190, 1], [1, 1, 0], [1, 1, 0]))
    assert found[0] == "class 'c' has no text in validation and test"
    assert "class 'c' has one training text only" in found
    assert "class 'a' has 5 training texts only" in found
    assert found[-1].startswith("96.9% of the training texts are of class 'b'")
    assert len(found) == 4


def test_a_sentence_stays_short_whatever_the_names() -> None:
    names = tuple(f"{i} {'long ' * 100}" for i in range(200))
    for warning in class_warnings(corpus(names, [2] * 200)):
        assert len(warning) < 400 and "195 more" in warning


@pytest.mark.parametrize(
    ("names", "train", "scores"),
    [
        ([f"{i / 4:g}" for i in range(2, 40)], [3] * 38, True),  # IELTS-like bands
        ([str(i) for i in range(0, 100, 3)], [50] * 34, True),  # points with gaps
        ([str(i) for i in range(18, 60)], [40] * 42, True),  # ages
        ([str(i) for i in range(77)], [130] * 77, False),  # numbers of classes
        ([str(i) for i in range(1, 6)], [100] * 5, False),  # stars
        ([f"{i / 2:g}" for i in range(1, 11)], [100] * 10, False),  # half stars
        ([f"topic {i}" for i in range(50)], [30] * 50, False),
        (["nan", "inf", *map(str, range(30))], [30] * 32, False),
    ],
)
def test_labels_that_look_like_numbers_to_be_predicted(
    names: list[str], train: list[int], scores: bool
) -> None:
    said = " ".join(class_warnings(corpus(tuple(names), train)))
    assert ("look like numbers to be predicted" in said) == scores


def test_rows_in_the_order_of_their_classes() -> None:
    train = examples([20, 20])
    assert "in the order of their classes" in order_warnings(train)[0]
    mixed = Examples(train.texts, train.labels[np.random.default_rng(0).permutation(40)])
    assert order_warnings(mixed) == []


def test_copies_between_training_and_the_others() -> None:
    train, validation = Examples(["a", "b", "c"], np.zeros(3)), Examples(["x"], np.zeros(1))
    test = Examples(["a", "z", "a"], np.zeros(3))
    (said,) = copy_warnings(LabelledCorpus(train, validation, test, ("0", "1")))
    assert said.startswith("2 of 3 test texts are in the training split too")


@pytest.mark.parametrize("copies", [1, 2])
def test_a_text_a_class_is_refused_with_the_reason(tmp_path: Path, copies: int) -> None:
    rows = [{"text": f"words {i}", "label": f"name {i}"} for i in range(12)] * copies
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(InputError, match="every class has one text only") as error:
        load_labelled(DataConfig("mine", path=str(tmp_path)))
    assert "data.label_column" in str(error.value) and "12 different labels" in str(error.value)
    assert ("copies aside" in str(error.value)) == (copies == 2)


def test_a_held_out_split_has_its_share_of_every_class(tmp_path: Path) -> None:
    """Also of a class of a twentieth, and of one with three texts."""
    counts = {"common": 380, "rare": 20, "few": 3}
    rows = [
        {"text": f"{label} {i}", "label": label} for label, n in counts.items() for i in range(n)
    ]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = load_labelled(DataConfig("mine", path=str(tmp_path)))
    shares = {
        name: dict(zip(found.label_names, np.bincount(split.labels).tolist(), strict=True))
        for name, split in (("test", found.test), ("validation", found.validation))
    }
    assert shares["test"] == {"common": 38, "few": 1, "rare": 2}
    assert shares["validation"] == {"common": 34, "few": 1, "rare": 2}
