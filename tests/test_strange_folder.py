"""A folder of somebody else as the current one: its modules are not imported."""

import os
import subprocess
import sys
from pathlib import Path

from jaxattn.sweeps.local import COMMAND


def test_modules_of_the_current_folder_are_not_ours(tmp_path: Path) -> None:
    """In a folder of somebody else, `python -m jaxattn` and what a sweep starts import our jax."""
    for name in ("jax", "numpy", "yaml", "rich", "flax"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('run')")
    root = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    for command in ((sys.executable, "-m", "jaxattn"), COMMAND):
        done = subprocess.run(
            [*command, "--mode=predict", "--exp=absent"],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 2 and "absent: no such finetune run" in done.stderr
