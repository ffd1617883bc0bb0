"""A further attention needs three places: a folder, a class of options with its field, a line."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FUNCTION = '''
"""The mean of all visible values."""

import jax.numpy as jnp

from jaxattn.attention.inputs import Cost, hide


def toy(q, k, v, inputs, options):
    """Every query gets the same."""
    mask = inputs.seen.key_mask
    count = v.shape[1] if mask is None else mask.sum(1)[:, None, None, None]
    mean = hide(v, mask).sum(1, keepdims=True) / jnp.maximum(count, 1) * options.factor
    return jnp.broadcast_to(mean, v.shape).astype(q.dtype)


def cost(options, length, head_width):
    """Sums the values."""
    return Cost(length * head_width, 2 * length * head_width)
'''

EDITS = {
    "config/attention.py": [
        (
            "ATTENTION_TYPES = (",
            "@dataclasses.dataclass(frozen=True)\n"
            'class ToyOptions(AttentionOptions, path="attention.toy."):\n'
            '    """Options of toy."""\n\n'
            '    factor: float = option(1.0, "by which the mean is multiplied")\n\n\n'
            "ATTENTION_TYPES = (",
        ),
        ('"performer_favor", "local")', '"performer_favor", "local", "toy")'),
        (
            "    local: LocalOptions = section(",
            '    toy: ToyOptions = section(ToyOptions, "options of toy")\n'
            "    local: LocalOptions = section(",
        ),
    ],
    "attention/__init__.py": [
        (
            "\n_OPS: tuple",
            "\nfrom jaxattn.attention.toy import attention as toy\n"
            "from jaxattn.config.attention import ToyOptions\n\n_OPS: tuple",
        ),
        (
            "_OPS: tuple[AttentionOp[Any], ...] = (",
            "_OPS: tuple[AttentionOp[Any], ...] = (\n"
            '    AttentionOp("toy", toy.toy, ToyOptions, toy.cost, self_attention=True),',
        ),
    ],
}


@pytest.mark.slow
def test_a_new_attention_is_trained_planned_measured_and_reported(
    tmp_path: Path, tiny_flags: list[str]
) -> None:
    shutil.copytree(ROOT / "jaxattn", tmp_path / "jaxattn")
    folder = tmp_path / "jaxattn" / "attention" / "toy"
    folder.mkdir()
    (folder / "__init__.py").write_text('"""The toy."""\n')
    (folder / "attention.py").write_text(FUNCTION)
    for name, edits in EDITS.items():
        path = tmp_path / "jaxattn" / name
        text = path.read_text()
        for old, new in edits:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        path.write_text(text)

    def run(*argv: str) -> str:
        command = [sys.executable, "-m", "jaxattn", *argv]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    own = [*tiny_flags, "--config.attention.type=toy", "--config.attention.toy.factor=0.5"]
    hybrid = ["--config.model.num_layers=2", "--config.attention.pattern=toy,sdpa"]
    assert "toy" in run("plan", "--exp=a", *own, "--config.plan.seconds=1")
    run("pretrain", "--exp=a", *own)
    run("finetune", "--exp=a", "--pretrain=a", *own)
    run("finetune", "--exp=b", "--pretrain=none", *own, *hybrid)
    told = run("compare")
    assert "toy" in told and "toy-sdpa" in told
    results = json.loads((tmp_path / "runs" / "finetune" / "a" / "results.json").read_text())
    assert results["stages"][-1]["attention_options"] == {"factor": 0.5}
    measured = [*own, "--config.profile.attentions=toy,sdpa", "--config.profile.lengths=16,32"]
    assert "toy" in run("profile", *measured)
