"""Configurations that come with the program are found by name, in a checkout and in a wheel."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from jaxattn import cli
from jaxattn.config.flags import config_file, shipped
from jaxattn.errors import InputError

ROOT = Path(__file__).parents[2]


def test_every_file_has_a_name() -> None:
    assert set(shipped().values()) == set((ROOT / "configs").rglob("*.py"))
    assert {"imdb", "sweeps/quick"} <= shipped().keys()


@pytest.mark.parametrize("given", ["imdb", "configs/imdb", "configs/imdb.py"])
def test_they_are_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert config_file(given) == str(ROOT / "configs" / "imdb.py")
    request = cli.parse(["--mode=pretrain", f"--config={given}", "--config.train.seed=3"])
    assert request is not None
    config = request.resolved()
    assert (config.data.name, config.train.seed) == ("imdb", 3)


def test_a_path_comes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "imdb").write_text("")
    (tmp_path / "sst5").mkdir()
    assert config_file("imdb") == "imdb"
    assert config_file("imdb:finetune") == "imdb:finetune"
    assert config_file("sst5") == str(ROOT / "configs" / "sst5.py")


@pytest.mark.parametrize("given", ["imbd", "imdb.py", "imbd.py"])
def test_an_unknown_name_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    """A file that is not there is not silently another of the same name."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"no such file.*sweeps/quick.*did you mean 'imdb'\?"):
        config_file(given)


def test_a_wheel_works_alone(tmp_path: Path) -> None:
    pytest.importorskip("setuptools")
    source, site, empty = tmp_path / "source", tmp_path / "site", tmp_path / "empty"
    for folder in ("jaxattn", "configs"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, source / folder, ignore=ignored)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = "import setuptools.build_meta as b; b.build_wheel('.')"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    with zipfile.ZipFile(next(source.glob("*.whl"))) as wheel:
        wheel.extractall(site)
    assert (site / "jaxattn" / "py.typed").is_file()
    for folder in ("jaxattn", "configs"):
        for path in (ROOT / folder).rglob("*.py"):
            installed = path.relative_to(ROOT)
            installed = "jaxattn" / installed if folder == "configs" else installed
            assert (site / installed).read_text() == path.read_text()

    empty.mkdir()
    command = [sys.executable, "-m", "jaxattn", "--mode=new", "--exp=x", "--config=lsh_small"]
    environment = os.environ | {"PYTHONPATH": str(site)}
    subprocess.run(command, cwd=empty, env=environment, check=True, capture_output=True)
    assert "type: reformer_lsh" in (empty / "runs" / "pretrain" / "x" / "config.yaml").read_text()
