"""W&B, offline, and TensorBoard are given the metrics that metrics.csv holds, at its steps."""

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jaxattn.config import Config, LogConfig, replace
from jaxattn.errors import InputError
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.publish import publish_report, write_results
from jaxattn.runs.results import Results
from jaxattn.runs.tracking import TensorBoard, WandbRun
from jaxattn.train.log import RunLog

BLOCK, FULL, LAST = 32768, 1, 4


def log_records(data: bytes) -> Iterator[bytes]:
    """The records of a .wandb file: LevelDB's log format after a header of 7 bytes."""
    place, parts = 7, b""
    while place + 7 <= len(data):
        room = BLOCK - place % BLOCK
        if room < 7:
            place += room
            continue
        length, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (FULL, LAST):
            yield parts
            parts = b""


def offline_records(folder: Path) -> list:
    """All records of the offline runs in a folder, in the order they were written in."""
    import wandb
    from wandb.proto import wandb_internal_pb2

    wandb.teardown()  # its service writes in a process of its own, and ends when all is written
    return [
        wandb_internal_pb2.Record.FromString(record)
        for path in sorted(folder.glob("wandb/offline-run-*/*.wandb"))
        for record in log_records(path.read_bytes())
    ]


def history(records: list) -> list[dict]:
    """The logged values of each step."""
    return [
        {item.key or "/".join(item.nested_key): json.loads(item.value_json)
         for item in record.history.item}
        for record in records
        if record.WhichOneof("record_type") == "history"
    ]  # fmt: skip


def run_ids(records: list) -> set[str]:
    return {r.run.run_id for r in records if r.WhichOneof("record_type") == "run"}


def scalars(folder: Path) -> dict[tuple[str, int], float]:
    """Tag and step -> value, of all event files; the last one written counts."""
    from tensorboardX.proto import event_pb2

    found = {}
    for path in sorted(folder.glob("events.*")):
        data, place = path.read_bytes(), 0
        while place < len(data):
            # Length (8 bytes), its checksum (4), the event, its checksum (4).
            length = int.from_bytes(data[place : place + 8], "little")
            event = event_pb2.Event.FromString(data[place + 12 : place + 12 + length])
            place += length + 16
            for value in event.summary.value:
                found[value.tag, event.step] = value.simple_value
    return found


def write(folder: Path, config: LogConfig, steps: range) -> None:
    log = RunLog(folder, config, "x", {"train.seed": 3})
    for step in steps:
        log.metrics(step, step / 10, "train", {"loss": 2.0 / step, "auroc": None})
    log.close()


def test_a_resumed_run_is_the_same_run_of_wandb(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    folder = tmp_path / "finetune" / "x"
    folder.mkdir(parents=True)
    write(folder, LogConfig(wandb="offline"), range(1, 4))
    time.sleep(1.1)  # W&B calls the folder of an offline run after the second it began in
    write(folder, LogConfig(wandb="offline"), range(3, 6))
    records = offline_records(folder)
    assert run_ids(records) == {"finetune-x"}
    rows = history(records)
    assert [row["_step"] for row in rows] == [1, 2, 3, 3, 4, 5]
    assert rows[0]["train/loss"] == 2.0 and rows[0]["epoch"] == 0.1
    assert "train/auroc" not in rows[0]


def test_a_report_goes_to_wandb_whole(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    report = tmp_path / "runs" / "report"
    report.mkdir(parents=True)
    (report / "summary.csv").write_text("attention,macro_f1\nsdpa,0.5\n")
    (report / "results.csv").write_text("rank\n1\n")
    (report / "index.html").write_text("<!DOCTYPE html><p>Use sdpa")
    publish_report(report, LogConfig(wandb="offline"))
    records = offline_records(report)
    assert run_ids(records) == {"report-runs"}
    keys = {key for row in history(records) for key in row}
    assert any(key.startswith("summary") for key in keys), keys
    assert any(key.startswith("report") for key in keys), keys
    names = {
        entry.path
        for record in records
        if record.WhichOneof("record_type") == "request"
        for entry in record.request.log_artifact.artifact.manifest.contents
    } | {
        entry.path
        for record in records
        if record.WhichOneof("record_type") == "artifact"
        for entry in record.artifact.manifest.contents
    }
    assert {"summary.csv", "results.csv", "index.html"} <= names


def test_nothing_is_published_unasked(tmp_path: Path) -> None:
    publish_report(tmp_path, LogConfig())
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_has_the_steps_of_a_resumed_run_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    folder = tmp_path / "pretrain" / "x"
    folder.mkdir(parents=True)
    write(folder, LogConfig(tensorboard=True), range(1, 4))
    write(folder, LogConfig(tensorboard=True), range(3, 6))
    found = scalars(folder / "tensorboard")
    assert sorted(step for tag, step in found if tag == "train/loss") == [1, 2, 3, 4, 5]
    assert found["train/loss", 4] == pytest.approx(0.5)
    assert found["epoch", 5] == pytest.approx(0.5)
    assert ("train/auroc", 1) not in found


def test_a_missing_tensorboardx_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorboardX", None)
    with pytest.raises(InputError, match="log.tensorboard: tensorboardX is not installed"):
        TensorBoard(tmp_path)


def test_wandb_that_does_not_start_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")

    def refuse(**_: object) -> None:
        raise wandb.errors.CommError("no\nroute")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(InputError, match=r"log\.wandb: Weights & Biases did not start: no route"):
        WandbRun(tmp_path, LogConfig(wandb="online"), "x", "finetune", {})


def test_a_run_that_cannot_be_published_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Offline(Exception):
        """As the client has errors of its own."""

    def refuse(*_: object) -> None:
        raise Offline("no\nroute")

    monkeypatch.setattr("jaxattn.runs.publish.WandbRun", refuse)
    folder = RunFolder(tmp_path, "pretrain", "x")
    config = replace(Config(), {"log.wandb": "online"})
    folder.begin(config, {}, {})
    write_results(folder, config, Results(best_step=3))
    assert folder.results() == Results(best_step=3)
    assert "were not published: no route" in capsys.readouterr().err
