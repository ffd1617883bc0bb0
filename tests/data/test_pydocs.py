"""The built-in corpus, on a made-up site-packages folder and on the real one."""

import time
from collections import Counter
from pathlib import Path

import pytest

from jaxattn.config import DataConfig
from jaxattn.data.corpora import pydocs
from jaxattn.data.corpora.splits import load_labelled, load_texts
from jaxattn.data.read.rows import Rows
from jaxattn.errors import InputError

LONG = " ".join(f"word{i}" for i in range(30))


def write(folder: Path, path: str, text: str) -> None:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    site = tmp_path / "site"
    write(site, "alpha/__init__.py", "raise RuntimeError('this package is never imported')\n")
    for i in range(60):
        write(site, f"alpha/m{i:02}.py", f'"""Alpha {i} {LONG}."""\n')
        write(site, f"beta/core/m{i:02}.py", f'def f():\n    """Beta {i} {LONG}."""\n')
    return site


def texts_of(splits: dict[str, Rows]) -> list[str]:
    return [text for rows in splits.values() for text in rows.texts]


def test_splits_by_file(site: Path) -> None:
    splits = pydocs.read_pydocs(["beta", "alpha"], [str(site)])
    assert sum(map(len, splits.values())) == 120
    assert len(set(texts_of(splits))) == 120
    for package in ("alpha", "beta"):
        counts = [rows.labels.count(package) for rows in splits.values()]
        assert sum(counts) == 60 and counts[0] > 40 and min(counts) >= 1
    files = [{place for place, _ in rows.places} for rows in splits.values()]
    assert not (files[0] & files[1] or files[0] & files[2] or files[1] & files[2])
    assert splits["train"].place(0).startswith("alpha/m")


def test_the_place_of_installation_does_not_matter(site: Path, tmp_path: Path) -> None:
    before = pydocs.read_pydocs(["alpha", "beta"], [str(site)])
    other = tmp_path / "elsewhere" / "lib"
    other.parent.mkdir()
    site.rename(other)
    assert pydocs.read_pydocs(["beta", "alpha"], [str(other)]) == before


def test_which_docstrings_count(site: Path) -> None:
    write(
        site,
        "alpha/many.py",
        f'''"""Module {LONG}."""
import os
if os:
    class A:
        """Class {LONG}

            indented.
        """
        async def f(self):
            def g():
                """Inner {LONG}."""
            """No docstring {LONG}."""
else:
    try:
        pass
    except ValueError:
        def h():
            "Handler {LONG}."
def short():
    """{LONG.rpartition(" ")[0]}"""
def copy():
    """Alpha 7 {LONG}."""
''',
    )
    write(site, "alpha/broken.py", f'def (:\n    """Broken {LONG}."""\n')
    found = texts_of(pydocs.read_pydocs(["alpha", "beta"], [str(site)]))
    new = {text.split()[0]: text for text in found if text.split()[0] not in ("Alpha", "Beta")}
    assert set(new) == {"Module", "Class", "Inner", "Handler"}
    assert new["Class"] == f"Class {LONG}\n\nindented."
    assert found.count(f"Alpha 7 {LONG}.") == 1


def test_namespace_packages_lie_in_several_folders(site: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        write(tmp_path, f"site{number}/orb/part{number}/a.py", f'"""Orb {number} {LONG}."""\n')
    path = [str(site), str(tmp_path / "site1"), str(tmp_path / "site2")]
    splits = pydocs.read_pydocs(["alpha", "orb"], path)
    assert Counter(label for rows in splits.values() for label in rows.labels)["orb"] == 2


def test_missing_packages(site: Path, caplog: pytest.LogCaptureFixture) -> None:
    pydocs.read_pydocs(["alpha", "beta", "gamma"], [str(site)])
    assert "no docstrings of gamma (not installed)" in caplog.text
    with pytest.raises(InputError, match="two or more of these packages: alpha, gamma"):
        pydocs.read_pydocs(["alpha", "gamma"], [str(site)])


def test_cache_follows_the_files(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    first = pydocs.read_pydocs(["alpha", "beta"], [str(site)], cache)
    (kept,) = cache.iterdir()
    monkeypatch.setattr(pydocs, "_docstrings", lambda file: pytest.fail("parsed again"))
    assert pydocs.read_pydocs(["alpha", "beta"], [str(site)], cache) == first
    monkeypatch.undo()
    kept.write_text("damaged", encoding="utf-8")
    assert pydocs.read_pydocs(["alpha", "beta"], [str(site)], cache) == first
    write(site, "alpha/new.py", f'"""New {LONG}."""\n')
    changed = pydocs.read_pydocs(["alpha", "beta"], [str(site)], cache)
    assert f"New {LONG}." in texts_of(changed)
    # A folder that cannot be made is no error.
    with pytest.warns(UserWarning, match="no folder cannot be written to"):
        again = pydocs.read_pydocs(["alpha", "beta"], [str(site)], kept / "no folder")
    assert again == changed


def test_the_installed_packages() -> None:
    start = time.perf_counter()
    corpus = load_labelled(DataConfig())
    print(f"pydocs: {time.perf_counter() - start:.1f} s")
    assert {"jax", "numpy", "scipy", "sklearn"} <= set(corpus.label_names)
    assert list(corpus.label_names) == sorted(corpus.label_names)
    splits = (corpus.train, corpus.validation, corpus.test)
    total = sum(len(split.texts) for split in splits)
    assert 5_000 < total < 40_000
    assert len({text for split in splits for text in split.texts}) == total
    for split, share in zip(splits, (0.8, 0.1, 0.1), strict=True):
        assert len(split.texts) / total == pytest.approx(share, abs=0.03)
        assert set(split.labels.tolist()) == set(range(len(corpus.label_names)))
        assert min(len(text.split()) for text in split.texts) >= 30
    texts = load_texts(DataConfig())
    assert texts.train == corpus.train.texts and texts.validation == corpus.validation.texts
