"""What README and docs show works: commands are parsed, links lead somewhere, Python is run."""

import re
import shlex
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxattn import cli

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def commands(page: Path) -> list[list[str]]:
    """The calls of the program in fenced and in indented blocks, as lists of arguments."""
    text = page.read_text()
    indented = re.findall(r"^    (\S(?:[^\n]*\\\n)*[^\n]*)", FENCE.sub("", text), re.MULTILINE)
    blocks = [body for language, body in FENCE.findall(text) if language in ("bash", "")]
    lines = "\n".join([*blocks, *indented]).replace("\\\n", " ").splitlines()
    calls = []
    for line in lines:
        words = re.sub(r"<[^<>]*>", "placeholder", line)
        for part in words.split("|"):
            match = re.match(r"\s*(?:jaxattn|python launch\.py) (.*)", part)
            if match:
                calls.append(shlex.split(match[1], comments=True))
    return calls


CALLS = [(named(page), call) for page in PAGES for call in commands(page)]


def test_there_are_commands_to_try() -> None:
    assert len(CALLS) > 30
    assert sum(page == "README.md" for page, _ in CALLS) >= 9


@pytest.mark.parametrize(("page", "call"), CALLS, ids=[f"{p}: {' '.join(c)}" for p, c in CALLS])
def test_a_command_is_understood(
    page: str, call: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    cli.parse(call)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a classifier under the name that the examples use."""
    folder = tmp_path_factory.mktemp("examples")
    golden = ROOT / "tests" / "golden" / "v0_1_0" / "runs" / "finetune" / "clf_reformer_lsh"
    shutil.copytree(golden, folder / "runs" / "finetune" / "imdb_lsh")
    return folder


@pytest.mark.parametrize("page", ["README.md", "docs/serving.md"])
def test_python_runs(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    blocks = [
        body for language, body in FENCE.findall((ROOT / page).read_text()) if language == "python"
    ]
    assert blocks
    q = jnp.asarray(np.random.default_rng(0).normal(size=(2, 16, 2, 8)), jnp.float32)
    texts = ["the puppy", "a kitten"]
    for body in blocks:
        names = {"q": q, "k": q, "v": q, "mask": jnp.ones((2, 16), bool), "key": jax.random.key(0)}
        exec(body, names | {"texts": texts, "generator": iter(texts)})


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 160


def test_pages_that_the_code_names_are_there() -> None:
    for folder in ("configs", "jaxattn", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            for page in re.findall(r"docs/[\w./-]+\.md", path.read_text()):
                assert (ROOT / page).exists(), f"{path.name} names {page}"
