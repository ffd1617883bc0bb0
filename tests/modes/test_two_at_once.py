"""Starts of one run at the same time: exactly one writes, the others are told."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_exactly_one_writes(tiny_flags: list[str], tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "jaxattn", "--mode=baseline", *tiny_flags),
        *(f"--runs={tmp_path}", "--exp=a"),
    ]
    started = [
        subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(4)
    ]
    said = [process.communicate()[1] for process in started]
    codes = [process.returncode for process in started]
    assert sorted(codes) == [0, 2, 2, 2]
    for code, told in zip(codes, said, strict=True):
        # Who comes when the first has ended finds a run.
        lines = told.splitlines()
        assert (
            code == 0
            or "is being written by process" in lines[-1]
            or ("already exists; add --resume" in lines[-1])
        )
        assert "Traceback" not in told
    assert json.loads((tmp_path / "baseline/a/status.json").read_text())["state"] == "finished"
    assert [path.name for path in (tmp_path / "baseline").iterdir()] == ["a"]
