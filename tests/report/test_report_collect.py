"""Run folders are read whole; broken ones are failed runs with their cause, never an exception."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jaxattn.errors import InputError
from jaxattn.report.collect import collect
from jaxattn.runs.predictions import NAME, write_predictions

WriteRun = Callable[..., Path]


def test_a_finished_run_is_read_completely(write_run: WriteRun, tmp_path: Path) -> None:
    """Every field of results.json and of the flattened configuration arrives."""
    write_run("a", "reformer_lsh", 0.93)
    (run,) = collect(tmp_path / "runs")
    assert (run.kind, run.exp, run.state, run.reason) == ("finetune", "a", "finished", "")
    assert (run.data, run.data_hash, run.attention) == ("imdb", "abc", "reformer_lsh")
    assert (run.pretrain, run.seed, run.device) == ("wiki", 3, "cpu x")
    assert (run.test_macro_f1, run.test_accuracy, run.test_auroc) == (0.93, 0.91, None)
    assert (run.validation_macro_f1, run.validation_loss) == (0.93, 0.3)
    assert (run.seconds_per_epoch, run.tokens_per_second) == (61.2, 8000.0)
    assert (run.resident_memory_mib, run.device_memory_mib) == (812.0, None)
    assert (run.train_seconds, run.compile_seconds, run.steps) == (200.5, 9.5, 360)
    assert (run.pretrain_seconds, run.parameters, run.best_step) == (4000.0, 1234567, 300)
    assert run.settings["mlp_dim"] == 2048 and run.settings["learning_rate"] == 5e-4
    assert run.attention_options == {"chunk_size": 64}


def test_the_three_kinds_of_root_give_the_same_runs(write_run: WriteRun, tmp_path: Path) -> None:
    """`runs`, one kind's folder and a single run are all accepted."""
    folder = write_run("a")
    write_run("b", kind="pretrain")
    write_run("c", "tfidf+logreg", kind="baseline")
    everything = collect(tmp_path / "runs")
    assert [(run.kind, run.exp) for run in everything] == [
        ("pretrain", "b"),
        ("finetune", "a"),
        ("baseline", "c"),
    ]
    assert collect(tmp_path / "runs" / "finetune") == [everything[1]]
    assert collect(folder) == [everything[1]]
    assert everything[0].validation_loss == 2.5 and everything[0].settings["hidden_dim"] == 512
    assert everything[2].settings["hidden_dim"] is None


def test_a_run_that_was_moved_keeps_its_kind(write_run: WriteRun, tmp_path: Path) -> None:
    """The results name the kind where the folder above does not."""
    moved = tmp_path / "elsewhere" / "c"
    moved.parent.mkdir()
    write_run("c", "tfidf+logreg", kind="baseline").rename(moved)
    (run,) = collect(moved)
    assert (run.kind, run.state) == ("baseline", "finished")


@pytest.mark.parametrize(
    ("name", "content", "cause"),
    [
        ("results.json", None, "results.json: missing"),
        ("results.json", '{"test": {"macro_f1": 0.9', "results.json: not readable JSON"),
        ("results.json", "", "results.json: not readable JSON"),
        ("results.json", "[1]", "results.json: found list, expected an object"),
        ("results.json", "{}", "results.json: test.macro_f1 is missing"),
        ("results.json", '{"test": 3}', "results.json: test.macro_f1 is missing"),
        ("results.json", '{"test": {"macro_f1": NaN}}', "test.macro_f1 is not finite"),
        ("results.json", '{"test": {"macro_f1": "0.9"}}', "expected a number"),
        ("results.json", '{"test": {"macro_f1": true}}', "expected a number"),
        ("results.json", '{"test": {"macro_f1": 1' + "0" * 400 + "}}", "is not finite"),
        ("results.json", '{"test": {"macro_f1": 0.9}, "seed": 1.5}', "expected a whole number"),
        ("results.json", "[" * 100_000, "results.json: not readable JSON"),
        ("results.json", b"\xff\xfe\x00", "results.json: not UTF-8 (byte 0)"),
        ("status.json", None, "status.json: missing"),
        ("status.json", "{", "status.json: not readable JSON"),
        ("status.json", '{"state": "done"}', "state is 'done', expected running, finished"),
        ("resolved_config.yaml", None, "resolved_config.yaml: missing"),
        ("resolved_config.yaml", "a: [1", "resolved_config.yaml: not readable YAML"),
        ("resolved_config.yaml", "a: &a {b: *a}", "resolved_config.yaml: not readable YAML"),
        ("resolved_config.yaml", "!!python/object/apply:os.getcwd []", "not readable YAML"),
        ("resolved_config.yaml", "", "resolved_config.yaml: found no options"),
    ],
)
def test_a_broken_run_is_failed_with_its_cause(
    write_run: WriteRun, tmp_path: Path, name: str, content: str | bytes | None, cause: str
) -> None:
    """Neither crashes the report nor hides the healthy run beside it."""
    folder = write_run("broken")
    write_run("healthy")
    (folder / name).unlink()
    if content is not None:
        data = content if isinstance(content, bytes) else content.encode()
        (folder / name).write_bytes(data)
    broken, healthy = collect(tmp_path / "runs")
    assert (broken.state, healthy.state) == ("failed", "finished")
    assert cause in broken.reason
    assert broken.test_macro_f1 is None


def test_a_folder_in_place_of_a_file_and_folders_that_are_no_runs(
    write_run: WriteRun, tmp_path: Path
) -> None:
    """A damaged run is a failed one; empty and hidden folders and stray files are none."""
    folder = write_run("a")
    (folder / "results.json").unlink()
    (folder / "results.json").mkdir()
    (folder.parent / "empty").mkdir()
    (folder.parent / ".tmp").mkdir()
    (folder.parent / "notes.txt").write_text("x")
    (odd,) = collect(tmp_path / "runs")
    assert odd.state == "failed"
    assert odd.reason == "results.json: found a folder, expected a file"


def test_a_failed_run_keeps_its_reason_and_what_is_known(
    write_run: WriteRun, tmp_path: Path
) -> None:
    """Data, attention and seed come from the configuration when there are no results."""
    folder = write_run("a", "performer_favor", state="failed")
    status = {"state": "failed", "reason": "non-finite loss\nat step 7", "pid": 1}
    (folder / "status.json").write_text(json.dumps(status))
    (run,) = collect(tmp_path / "runs")
    assert (run.state, run.reason) == ("failed", "non-finite loss at step 7")
    assert (run.data, run.attention, run.seed, run.device) == (
        "imdb",
        "performer_favor",
        3,
        "cpu x",
    )


def test_running_is_believed_only_while_the_process_lives(
    write_run: WriteRun, tmp_path: Path
) -> None:
    """A killed run wrote no last word."""
    alive, dead = write_run("alive", state="running"), write_run("dead", state="running")
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    status = {"state": "running", "reason": "", "pid": child.pid}
    (dead / "status.json").write_text(json.dumps(status))
    states = {run.exp: (run.state, run.reason) for run in collect(tmp_path / "runs")}
    assert states["alive"] == ("running", "")
    interrupted = f"process {child.pid} ended without a word"
    assert states["dead"] == ("interrupted", interrupted)
    for pid, state in ((0, "interrupted"), (-1, "interrupted"), (2**62, "interrupted"),
                       (10**30, "failed")):  # fmt: skip
        (alive / "status.json").write_text(json.dumps(status | {"pid": pid}))
        assert collect(alive)[0].state == state


def test_a_root_without_runs_is_refused(tmp_path: Path) -> None:
    """The sentence names the folder."""
    with pytest.raises(InputError, match="no such folder"):
        collect(tmp_path / "typo")
    with pytest.raises(InputError, match="found no run"):
        collect(tmp_path)


def test_a_score_of_before_0_3_is_read_and_set_beside_others_by_today_s_definition(
    write_run: WriteRun, tmp_path: Path
) -> None:
    """A class that is nowhere counted as 0 then: 2/3 of what the definition gives."""
    labels = np.array([0, 1] * 10)
    for exp, score in (("old", 2 / 3), ("new", 1.0), ("other", 0.5)):
        folder = write_run(exp)
        results = json.loads((folder / "results.json").read_text())
        results["test"] |= {"macro_f1": score, "accuracy": 1.0}
        (folder / "results.json").write_text(json.dumps(results))
        write_predictions(folder / NAME, ("a", "b", "never"), labels, np.eye(3)[labels])
    runs = {run.exp: run for run in collect(tmp_path / "runs")}
    assert runs["old"].test_macro_f1 == runs["new"].test_macro_f1 == 1
    assert runs["old"].predictions is not None and runs["other"].predictions is None
    assert runs["other"].state == "failed" and runs["other"].test_macro_f1 is None
    assert runs["other"].reason == (
        "predictions_test.csv: test.macro_f1 is 1.000000 by it, but results.json has 0.500000"
    )
