"""A cache that cannot be written to costs time: one warning, and the run goes on."""

import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxattn import cli
from jaxattn.config import TokenizerConfig
from jaxattn.data.corpora.installed import documents
from jaxattn.data.tokens import tokenise
from jaxattn.data.tokens.tokenise import tokenised
from jaxattn.data.tokens.wordpiece import train_wordpiece
from jaxattn.errors import InputError
from jaxattn.files import default_cache, expanded
from jaxattn.startup import settle_environment

TEXTS = ["a warm kettle", "two cold kettles", "the kettle is warm"]


@pytest.fixture
def blocked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that nobody can make, the superuser included: a file stands where it would be."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    return tmp_path / "file" / "jaxattn"


def no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_tokens_are_made_without_a_cache(blocked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenise, "_WORTH_CACHING", 0)
    tokenizer = train_wordpiece(TEXTS, TokenizerConfig(vocab_size=200, min_frequency=1))
    expected = tokenised(tokenizer, TEXTS, None)
    with pytest.warns(UserWarning, match="cannot be written to.*XDG_CACHE_HOME") as told:
        found = tokenised(tokenizer, TEXTS, blocked)
    assert len(told) == 1 and str(blocked) in str(told[0].message)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.offsets, expected.offsets)


def test_tokens_are_held_in_memory_where_no_file_can_be_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokenizer = train_wordpiece(TEXTS, TokenizerConfig(vocab_size=200, min_frequency=1))
    expected = tokenised(tokenizer, TEXTS, None)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    found = tokenised(tokenizer, TEXTS, None)
    np.testing.assert_array_equal(found.ids, expected.ids)
    assert len(tokenised(tokenizer, ["", ""], None).ids) == 0


def test_docstrings_are_read_without_a_cache(blocked: Path, tmp_path: Path) -> None:
    file = tmp_path / "one.py"
    file.write_text("x = 1\n")
    with pytest.warns(UserWarning, match="cannot be written to"):
        found = documents(
            [("one", "one.py", file)],
            lambda path: iter([(1, path.read_text())]),
            cache=blocked,
            name="docs",
            recipe=(),
        )
    assert found == [("one", "one.py", 1, "x = 1\n")]


def test_programs_are_compiled_without_a_cache(blocked: Path) -> None:
    environment = {"XDG_CACHE_HOME": str(blocked.parent)}
    with pytest.warns(UserWarning, match="cannot be written to"):
        settle_environment(environment)
    assert environment["JAX_ENABLE_COMPILATION_CACHE"] == "false"
    assert "JAX_COMPILATION_CACHE_DIR" not in environment


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.warns(UserWarning, match="no home folder.*XDG_CACHE_HOME"):
        assert default_cache() is None
    environment: dict[str, str] = {}
    with pytest.warns(UserWarning, match="no home folder"):
        settle_environment(environment)
    assert environment["JAX_ENABLE_COMPILATION_CACHE"] == "false"
    assert default_cache({"XDG_CACHE_HOME": "/x"}) == Path("/x/jaxattn")


def test_a_command_warns_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from jaxattn.modes import compare

    def run(_: object) -> None:
        for _number in range(2):
            # As libraries do that suppress warnings of their own.
            with warnings.catch_warnings():
                warnings.simplefilter("always")
                default_cache()

    monkeypatch.setattr(compare, "run", run)
    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/elsewhere")
    # As it was, afterwards.
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    for _number in range(2):
        assert cli.run(["compare"]) == 0
        said = capsys.readouterr().err
        assert said.startswith("warning: this user has no home folder")
        assert len(said.splitlines()) == 1


def test_a_home_that_is_not_known_is_named() -> None:
    assert expanded("reviews/a.csv") == Path("reviews/a.csv")
    with pytest.raises(InputError, match="~nobody-of-this-name/x: ~ stands for a home folder"):
        expanded("~nobody-of-this-name/x")
