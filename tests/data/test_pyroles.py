"""The corpus of sentence roles, on a made-up site-packages folder and on the installed packages."""

import dataclasses
import time
from collections import Counter
from pathlib import Path

import pytest

from jaxattn.config import Config, replace
from jaxattn.data.corpora import pyroles
from jaxattn.data.corpora.installed import SPLITS, split_of
from jaxattn.data.corpora.known import filled_in
from jaxattn.data.corpora.splits import load_labelled, load_task_texts
from jaxattn.data.read.rows import Rows
from jaxattn.errors import InputError

DOC = '''"""The {a} of {b} in a summary.

The {a} of {b} has its extended words.

Parameters
----------
x : int
    The {a} of {b} goes in here.

Returns
-------
y : int
    The {a} of {b} comes out here.

Raises
------
ValueError
    If the {a} of {b} is wrong.

Notes
-----
The {a} of {b} is noted down here.

Examples
--------
The {a} of {b} is tried out here.

>>> f(1)
"""
'''

ROLES = ("examples", "explanation", "parameters", "results", "summary")


def write(folder: Path, path: str, text: str) -> None:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def named(number: int) -> str:
    letters = "".join(chr(ord("a") + int(digit)) for digit in f"{number:03}")
    return DOC.format(a=f"thing{letters}", b=f"other{letters}")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    site = tmp_path / "site"
    write(site, "alpha/__init__.py", "raise RuntimeError('this package is never imported')\n")
    for i in range(60):
        write(site, f"alpha/m{i:02}.py", named(i))
        write(site, f"beta/core/m{i:02}.py", f"def f():\n    pass\nadd_doc(f, {named(100 + i)})\n")
    return site


def read(site: Path, cache: Path | None = None) -> dict[str, Rows]:
    return pyroles.read_pyroles(["beta", "alpha"], [str(site)], cache)


def test_classes_and_splits_by_file(site: Path) -> None:
    splits = read(site)
    assert list(splits) == [*SPLITS, "unlabelled"]
    unlabelled = splits.pop("unlabelled")
    assert set(unlabelled.labels) == {None}
    assert {*splits["train"].texts} < {*unlabelled.texts}
    others = [text for text in unlabelled.texts if text not in {*splits["train"].texts}]
    assert all("is wrong" in text for text in others) and len(others) == len(unlabelled) / 7
    for name, rows in splits.items():
        assert set(rows.labels) == set(ROLES)
        for unit, _ in rows.places:
            package, _, path = unit.removesuffix(" line").partition("/")
            assert package in ("alpha", "beta") and split_of(path) == name
    texts = [text for rows in splits.values() for text in rows.texts]
    assert len(set(texts)) == len(texts) == 120 * 6  # without "raises"
    labels = dict(zip(texts, (x for rows in splits.values() for x in rows.labels), strict=True))
    of_first = {label for text, label in labels.items() if "thingaaa" in text}
    assert of_first == set(ROLES)
    assert labels["The thingaaa of otheraaa has its extended words"] == "explanation"
    assert labels["The thingaaa of otheraaa is noted down here"] == "explanation"


def test_the_place_of_installation_does_not_matter(site: Path, tmp_path: Path) -> None:
    before = read(site)
    other = tmp_path / "elsewhere" / "lib"
    other.parent.mkdir()
    site.rename(other)
    assert read(other) == before


def test_copies_stay_in_one_split(site: Path) -> None:
    path = next(p for p in (f"n{i}.py" for i in range(99)) if split_of(p) == "test")
    before = read(site)["test"]
    # Exact copies, another number and another case: no new sentence.
    write(site, f"beta/{path}", named(3) + "x = 1\n" + f"y = {named(4)}".replace("The", "THE 3"))
    assert read(site)["test"] == before
    # What is nearly a training sentence is left out, what is another stays.
    shared = "one two three four five six seven eight nine ten"
    (train,) = [p for p in (f"n{i}.py" for i in range(3)) if split_of(p) == "train"][:1]
    doc = '"""{} {}.\n\nNotes\n-----\n{} {}.\n"""\n'
    write(site, f"alpha/{train}", doc.format(shared, "eleven", "Here is another", shared))
    write(site, f"beta/{path}", doc.format(shared, "else", "This one has words of its", "own"))
    added = {*read(site)["test"].texts} - {*before.texts}
    assert added == {"This one has words of its own"}


def test_a_sentence_of_two_roles_is_left_out(site: Path) -> None:
    for name, body in (("note", "Notes\n-----\n"), ("error", "Raises\n------\nE\n    ")):
        text = f"Both summary and {name} have these very words"
        write(site, "alpha/both.py", f'"""{text}.\n\n{body}{text}.\n"""\n')
        splits = read(site)
        assert not any(text in splits[name].texts for name in SPLITS)


def test_the_largest_class_is_cut(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read(site)
    monkeypatch.setattr(pyroles, "LARGEST", {"train": 90, "validation": 500, "test": 5})
    cut = read(site)
    assert cut["validation"] == whole["validation"] and cut["unlabelled"] == whole["unlabelled"]
    assert Counter(cut["train"].labels)["explanation"] == 90
    assert Counter(cut["test"].labels) == dict.fromkeys(ROLES, 5)
    kept = [text for text in whole["test"].texts if text in set(cut["test"].texts)]
    assert kept == list(cut["test"].texts)


def test_missing_packages(site: Path) -> None:
    with pytest.raises(InputError, match=r"of alpha, gamma, and found none of gamma; install"):
        pyroles.read_pyroles(["alpha", "gamma"], [str(site)])


def test_cache_follows_the_files(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    first = read(site, cache)
    monkeypatch.setattr(pyroles, "_with_sections", lambda file: pytest.fail("parsed again"))
    assert read(site, cache) == first
    monkeypatch.undo()
    write(site, "alpha/new.py", named(999))
    texts = {text for rows in read(site, cache).values() for text in rows.texts}
    assert "The thingjjj of otherjjj in a summary" in texts


def test_formatted_and_broken_files_are_passed_over(site: Path) -> None:
    before = read(site)
    write(site, "alpha/broken.py", "def (:\n" + named(500))
    write(site, "alpha/pieces.py", f"f{named(501)[:-4]}{{x}}\n" + '"""\n')
    assert read(site) == before


def test_the_installed_packages() -> None:
    data = filled_in(replace(Config(), {"data.name": "pyroles"}), frozenset()).data
    assert data.max_length == 64
    start = time.perf_counter()
    corpus = load_labelled(data)
    print(f"pyroles: {time.perf_counter() - start:.1f} s")
    assert corpus.label_names == ROLES
    splits = dict(zip(SPLITS, (corpus.train, corpus.validation, corpus.test), strict=True))
    for name, split in splits.items():
        counts = Counter(split.labels.tolist())
        assert set(counts) == set(range(5))
        assert 0.5 * pyroles.LARGEST[name] < min(counts.values())
        assert max(counts.values()) <= pyroles.LARGEST[name]
        lengths = [len(text.split()) for text in split.texts]
        assert min(lengths) >= 6 and max(lengths) <= 60
        assert not any(mark in text for text in split.texts for mark in (">>>", "`"))
    words = {name: {pyroles._words(text) for text in split.texts} for name, split in splits.items()}
    assert sum(map(len, words.values())) == sum(len(split.texts) for split in splits.values())
    assert not words["train"] & (words["validation"] | words["test"])
    texts = load_task_texts(data)
    assert list(texts.train) == list(corpus.train.texts)
    more = load_task_texts(dataclasses.replace(data, mlm_splits=("unlabelled",)))
    assert len(more.train) > 25_000
    assert list(more.validation) == list(corpus.validation.texts)
    learned = {pyroles._words(text) for text in more.train}
    assert words["train"] < learned and not learned & (words["validation"] | words["test"])
