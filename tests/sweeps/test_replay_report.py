"""Which runs of a report are replayed, in which order, and how; the replays are not run here."""

from pathlib import Path

import pytest

from jaxattn import cli
from jaxattn.sweeps import chain

HEADER = "rank,kind,exp,state\n"


@pytest.fixture
def report(tmp_path: Path) -> Path:
    for run in ("finetune/a", "pretrain/p", "baseline/t", "tapt/a"):
        (tmp_path / run).mkdir(parents=True)
    rows = "1,finetune,a,finished\n2,baseline,t,finished\n,finetune,lost,failed\n"
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "results.csv").write_text(
        HEADER + rows + ",pretrain,p,finished\n,tapt,a,finished\n", encoding="utf-8"
    )
    return folder


def test_finished_runs_are_replayed_stage_by_stage_and_compared(
    report: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each in a process of its own; then the replays are compared, never with the originals."""
    called: list[chain.Call] = []
    compared: list[tuple[Path, str]] = []

    def run_stages(calls: list[chain.Call], flags: tuple[str, ...]) -> tuple[int, list[chain.Call]]:
        called.extend([(*flags, *call) for call in calls])
        return 0, []

    monkeypatch.setattr(chain, "run_stages", run_stages)
    monkeypatch.setattr(chain, "compare", lambda runs, log: compared.append((runs, log.wandb)))
    assert cli.run(["--mode=replay", f"--run={report}"]) == 0
    runs = report.parent
    names = ("pretrain/p", "tapt/a", "finetune/a", "baseline/t")
    assert called == [("--mode=replay", f"--run={runs / name}") for name in names]
    assert compared == [(runs / "replays", "off")]


def test_a_replay_that_differs_is_named(
    report: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is that of the replays."""
    monkeypatch.setattr(chain, "run_stages", lambda calls, flags: (1, [calls[2]]))
    monkeypatch.setattr(chain, "compare", lambda runs, log: None)
    assert cli.run(["--mode=replay", f"--run={report}"]) == 1
    assert "finetune/a" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("", "no finished run"),
        ("1,finetune,gone,finished\n", "no such run beside the report"),
        ("1,finetune,../a,finished\n", "no such run beside the report"),
        ("1,other,a,finished\n", "no such run beside the report"),
    ],
)
def test_a_report_without_its_runs_is_refused(
    report: Path, rows: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a sentence, before anything is run."""
    (report / "results.csv").write_text(HEADER + rows, encoding="utf-8")
    assert cli.run(["--mode=replay", f"--run={report}"]) == 2
    assert words in capsys.readouterr().err
