"""The stages of the comparison on IMDB from outside: their flags, their processes, their runs.

The numbers and paths here come from the environment.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu.imdb_stage import ROOT, TINY, WORK, number, tell, told

CONFIG = "configs/imdb_gpu.py"
NAME = "imdb_gpu"
BATCH = int(number("BATCH", 16 if TINY else 64))
BUCKETS = os.environ.get("BUCKETS", "64,128" if TINY else "256,512")
DETERMINISTIC = bool(number("DETERMINISTIC", 0))
XLA = os.environ.get("XLA", "--xla_gpu_enable_triton_gemm=false")
DATA = Path(os.environ.get("DATA", ROOT / ".imdb"))
RUNS = WORK / "runs"
EXTRA = os.environ.get("EXTRA", "").split()
"""More flags of all stages."""

BEGAN = time.monotonic()


def elapsed() -> float:
    """Seconds since this program began."""
    return time.monotonic() - BEGAN


def flags(mode: str, data: Path, tokenizer: Path | None) -> list[str]:
    """The flags of every stage."""
    given = [
        f"--mode={mode}",
        f"--config={CONFIG}",
        f"--config.data.path={data}",
        f"--config.train.batch_size={BATCH}",
        f"--config.train.deterministic={DETERMINISTIC}",
        f"--config.data.length_buckets={BUCKETS}",
        f"--config.data.max_length={BUCKETS.split(',')[-1]}",
        *EXTRA,
    ]
    if tokenizer is not None:
        given.append(f"--config.tokenizer.path={tokenizer}")
    if TINY:
        given += ["--config.data.max_examples=300", "--config.train.eval_batch_size=32"]
    if TINY and mode == "pretrain":
        sizes = {"num_layers": 2, "hidden_dim": 64, "mlp_dim": 128, "num_heads": 2, "qkv_dim": 64}
        given += [f"--config.model.{name}={size}" for name, size in sizes.items()]
    return given


def environment() -> dict[str, str]:
    """What the stages' processes are given: as jaxattn.startup sets it, and what they share."""
    xla = [os.environ.get("XLA_FLAGS", ""), XLA]
    if DETERMINISTIC:
        xla.append("--xla_gpu_deterministic_ops=true")
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "XLA_FLAGS": " ".join(filter(None, xla)),
        "JAX_DEFAULT_MATMUL_PRECISION": "highest",
        "JAX_COMPILATION_CACHE_DIR": str(WORK / "programs"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
        # All of them have the device open; none takes 75 % of its memory before it needs it.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "GLIBC_TUNABLES": os.environ.get("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"),
        "XDG_CACHE_HOME": str(WORK / "cache"),
        "HF_HUB_OFFLINE": "1",
    }


class Stage:
    """A process that has imported everything, or is about to."""

    def __init__(self, kind: str, attention: str, suffix: str = "") -> None:
        """Starts it; `suffix` tells it from an earlier one of the same run."""
        self.kind, self.attention = kind, attention
        self.name = f"{kind}_{attention}{suffix}"
        self.said = WORK / f"{self.name}.said"
        self.asked = self.left = 0.0
        with self.said.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.gpu.imdb_stage", self.name],
                cwd=ROOT, env=environment(), stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def command(self, *more: str, runs: Path = RUNS) -> None:
        """Gives it its flags."""
        self.asked = elapsed()
        vocabulary = None if self.kind == "finetune" and runs == RUNS else DATA / "tokenizer.json"
        args = flags(self.kind, DATA / "data", vocabulary)
        tell(self.name, "args", [*args, f"--runs={runs}", f"--exp={self.exp}", *more])

    @property
    def exp(self) -> str:
        """Name of the run."""
        return f"{NAME}_{self.attention}"

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return RUNS / self.kind / self.exp

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def told(self, what: str) -> Any:
        """What it said, if it did."""
        return told(self.name, what)

    def has_compiled(self) -> bool:
        """Whether it waits for its turn, or is beyond that."""
        return self.told("ready") is not None or not self.alive

    def has_stepped(self) -> bool:
        """Whether its last step is done, or it has ended without."""
        return self.told("steps") is not None or not self.alive

    def architecture(self) -> list[str]:
        """The flags that make a classifier from random weights like one from this pretraining."""
        import yaml

        try:
            tree = yaml.safe_load((self.folder / "config.yaml").read_text())
        except FileNotFoundError:
            return []
        kind = tree["attention"]["type"]
        sections = {"model": tree["model"], f"attention.{kind}": tree["attention"][kind]}
        return [f"--config.attention.type={kind}"] + [
            f"--config.{section}.{name}={value}"
            for section, options in sections.items()
            for name, value in options.items()
        ]

    @property
    def state(self) -> str:
        """The state of its run."""
        try:
            return str(json.loads((self.folder / "status.json").read_text())["state"])
        except FileNotFoundError:
            return "not begun"

    def stop(self, seconds: float) -> None:
        """Asks it to save and stop, then ends it."""
        if self.alive:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(max(0.1, seconds))
        if self.alive:
            self.process.kill()
            self.process.wait()

    def outcome(self) -> str:
        """What became of it, with the figures of results.json."""
        text = f"{self.name}: {self.state}"
        try:
            results = json.loads((self.folder / "results.json").read_text())
        except FileNotFoundError:
            lines = self.said.read_text(errors="replace").strip().splitlines()
            return f"{text}, exit code {self.process.poll()}: {' | '.join(lines[-6:])[-900:]}"
        cost, validation = results["cost"], results["validation"]
        text += (
            f": {cost['steps']} steps of {1000 * cost['train_seconds'] / cost['steps']:.2f} ms, "
            f"{cost['tokens_per_second']:,.0f} tokens/s, {cost['seconds_per_epoch']:.2f} s an "
            f"epoch, compiled in {cost['compile_seconds']:.1f} s, {cost['peak_memory_MiB']:.0f} "
            f"MiB {cost['peak_memory_kind']}, validation loss {validation['loss']:.4f}"
        )
        if "test" in results:
            text += f", macro-F1 {validation['macro_f1']:.4f}; "
            text += f"test {results['test']['macro_f1']:.4f}"
        return text
