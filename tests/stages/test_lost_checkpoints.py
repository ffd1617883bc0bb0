"""A run that is to go on begins at step 0 only where nothing was ever saved, and loses nothing."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from jaxattn import cli
from jaxattn.classifier.check import examined
from jaxattn.errors import InputError
from jaxattn.runs.events import last_saved
from jaxattn.train import log
from jaxattn.train.checkpoints import Checkpoints


@pytest.fixture(scope="module")
def trained(tiny_flags: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretraining that stopped after its first epoch."""
    runs = tmp_path_factory.mktemp("lost")
    flags = [*tiny_flags, "--config.train.epochs=1", f"--runs={runs}", "--exp=a"]
    assert cli.run(["--mode=pretrain", *flags]) == 0
    folder = runs / "pretrain" / "a"
    for name in ("results.json", "manifest.json"):
        (folder / name).unlink()
    status = folder / "status.json"
    status.write_text(status.read_text().replace("finished", "interrupted"))
    (folder / "notes").mkdir()
    (folder / "notes" / "mine.txt").write_text("a person wrote this")
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of it, to be broken."""
    return Path(shutil.copytree(trained, tmp_path / "runs" / "pretrain" / "a"))


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "status.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def resume(run: Path) -> int:
    return cli.run(["--mode=pretrain", f"--runs={run.parents[1]}", "--exp=a", "--resume"])


def without_manifests(run: Path) -> None:
    for manifest in run.glob("checkpoints/*/manifest.json"):
        manifest.unlink()


def without_checkpoints(run: Path) -> None:
    shutil.rmtree(run / "checkpoints")


@pytest.mark.parametrize("lose", [without_manifests, without_checkpoints])
def test_what_was_saved_and_is_gone_is_missed(
    run: Path, lose: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    lose(run)
    before = contents(run)
    assert resume(run) == 2
    said = capsys.readouterr().err
    assert f"found no finished checkpoint, but step {last_saved(run)} was saved" in said
    assert contents(run) == before


def test_where_nothing_was_saved_it_begins_and_says_so(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without_checkpoints(run)
    events = run / "events.jsonl"
    events.write_text(events.read_text().splitlines()[0] + '\n{"event": "che')
    assert last_saved(run) is None
    assert resume(run) == 0
    assert "nothing was saved before; beginning after step 0 of" in capsys.readouterr().err


def test_a_call_that_is_refused_takes_nothing_away(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with Weights & Biases that does not start, before anything was saved."""
    without_checkpoints(run)
    (run / "events.jsonl").unlink()
    before = contents(run)

    def refused(*_: object) -> None:
        raise InputError("no key")

    monkeypatch.setattr(log, "trackers", refused)
    assert resume(run) == 2
    assert contents(run) == before
    flags = [f"--runs={run.parents[1]}", "--exp=b", f"--config={run / 'config.yaml'}"]
    assert cli.run(["--mode=pretrain", *flags]) == 2
    assert not run.with_name("b").exists()


@pytest.mark.filterwarnings("default:.*(are lost|not whole)")
def test_what_is_lost_is_told(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It went on from the checkpoint before, and without the rows of its log, and said nothing."""
    latest = last_saved(run)
    assert latest is not None
    checkpoints = Checkpoints(run / "checkpoints", keep=1)
    document = checkpoints.document(latest)
    document["tally"]["best_step"] = 1
    checkpoints.save(1, {"params": checkpoints.load_params(latest)}, document, best_step=1)
    (checkpoints.folder / f"step_{latest:08d}" / "manifest.json").unlink()
    (run / "metrics.csv").unlink()
    missing = {finding.file for finding in examined(run)["pretrain/a"] if not finding.good}
    assert missing >= {"metrics.csv", f"checkpoints/step_{latest:08d}"}

    def stop(*_: object) -> None:
        raise InputError("told by now")

    monkeypatch.setattr(Checkpoints, "load", stop)
    assert resume(run) == 2
    said = capsys.readouterr().err
    assert f"step {latest} was saved, and its checkpoint is not whole any more" in said
    assert "metrics.csv: missing; its rows up to step 1 are lost" in said
