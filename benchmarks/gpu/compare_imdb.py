"""IMDB with each attention on one GPU within a number of seconds, and the report of it.

Beforehand, on any machine (a minute and a half): the vocabulary, and the TF-IDF baseline, which
needs no GPU. Then the comparison, where there is a GPU:

    python benchmarks/gpu/compare_imdb.py --prepare <folder of Parquet files> .imdb
    OUT=<folder> python benchmarks/gpu/compare_imdb.py

The trainings are ordinary runs of configs/imdb_gpu.py; TINY=1 rehearses all of it on a CPU. What is
not ordinary is when they do what:

- Every stage is a process that imports its modules at once and is given its flags later. It reads,
  tokenises and compiles while another stage trains, and begins its steps when it is told to: so
  one stage at a time trains. The classifiers, whose time per epoch is compared, begin when no stage
  is compiling any more (QUIET=0: before); those of attentions that are still being pretrained are
  compiled ahead, from random weights, so that their programs are in the cache (AHEAD=0: not).
- Steps: all attentions pretrain for as many steps, as PRETRAIN_SECONDS allow them on average by
  STEP_MS. The first attention is timed; where it is much slower than that, all are begun anew with
  fewer steps. The epochs of fine-tuning (EPOCHS at most) follow from the measured steps and from
  what is left of BUDGET.
- What is too slow all the same is asked to stop: a classifier goes on from a pretraining that was
  stopped. What is not finished when BUDGET ends is left out of the report.

In OUT, written anew after each attention: log.txt, stages.txt (what the stages said), runs.tar.gz
(the run folders without checkpoints and vocabulary), results.csv, summary.csv, index.html,
quality_vs_cost.png.
"""

import contextlib
import fcntl
import importlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CONFIG = "configs/imdb_gpu.py"
NAME = "imdb_gpu"


def number(name: str, default: float) -> float:
    """A number from the environment."""
    return float(os.environ.get(name, default))


TINY = bool(number("TINY", 0))
BUDGET = number("BUDGET", 600 if TINY else 235)
ATTENTIONS = os.environ.get("ATTENTIONS", "sdpa reformer_lsh performer_favor").split()
# Milliseconds of a pretraining step, about: 64 rows of 365 places on average.
GUESS = "sdpa=16 reformer_lsh=30 performer_favor=20"
STEP_MS = {
    name: float(ms)
    for name, ms in (
        entry.split("=")
        for entry in os.environ.get(
            "STEP_MS", "sdpa=300 reformer_lsh=400 performer_favor=400" if TINY else GUESS
        ).split()
    )
}
PRETRAIN_SECONDS = number("PRETRAIN_SECONDS", 3 if TINY else 24)
EPOCHS = int(number("EPOCHS", 1 if TINY else 3))
BATCH = int(number("BATCH", 16 if TINY else 64))
BUCKETS = os.environ.get("BUCKETS", "64,128" if TINY else "256,512")
DETERMINISTIC = bool(number("DETERMINISTIC", 0))
QUIET = bool(number("QUIET", 1))
AHEAD = bool(number("AHEAD", 1))
XLA = os.environ.get("XLA", "--xla_gpu_enable_triton_gemm=false")
DATA = Path(os.environ.get("DATA", ROOT / ".imdb"))
OUT = Path(os.environ.get("OUT", "/tmp/compare_imdb_out"))
WORK = Path(os.environ.get("WORK", "/tmp/compare_imdb"))
EXTRA = os.environ.get("EXTRA", "").split()
"""More flags of all stages."""

RUNS = WORK / "runs"
START, TAIL, FINISH = (5.0, 1.0, 5.0) if TINY else (15.0, 9.0, 14.0)
"""Seconds that a classifier takes until it is compiled, after its last step, and the report."""
TIMED = (2, 4) if TINY else (30, 90)
"""Steps between which the time of one is taken."""
TRAINING_TEXTS = 270 if TINY else 22_500

BEGAN = time.monotonic()


def elapsed() -> float:
    """Seconds since this program began."""
    return time.monotonic() - BEGAN


def say(text: str) -> None:
    """A line on standard output and in log.txt."""
    line = f"[{elapsed():6.1f} s] {text}"
    print(line, flush=True)
    with (OUT / "log.txt").open("a") as file:
        file.write(line + "\n")


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


# --- a stage


def stage(name: str) -> int:
    """One stage: imports, waits for `<name>.args`, and runs them as `jaxattn` would."""
    began = time.monotonic()
    import jax

    cli = importlib.import_module("jaxattn.cli")
    for mode in ("pretrain", "finetune"):
        importlib.import_module(f"jaxattn.modes.{mode}")
    jax.devices()
    hooks(name)
    write(name, "imported", True)
    print(f"{name}: imported in {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)
    args = None
    while args is None:
        time.sleep(0.05)
        if os.getppid() == 1:
            return 1
        args = read(name, "args")
    sys.argv = ["jaxattn", *args]
    return cli.run(args)


def hooks(name: str) -> None:
    """Has the steps of this process wait for their turn, and texts be tokenised once."""
    loop = importlib.import_module("jaxattn.train.loop")
    encoding = importlib.import_module("jaxattn.data.tokens.encode")
    feed, tokenised = loop.feed, encoding.tokenised

    def in_turn(batch: Any, start: int, stop: int, *rest: Any) -> Iterator[Any]:
        write(name, "ready", stop)
        while read(name, "go") is None:
            time.sleep(0.01)
        began = 0.0
        for count, fed in enumerate(feed(batch, start, stop, *rest)):
            if count == TIMED[0]:
                began = time.monotonic()
            if count == TIMED[1]:
                write(name, "ms", 1000 * (time.monotonic() - began) / (TIMED[1] - TIMED[0]))
            yield fed
        write(name, "steps", stop)

    def one_at_a_time(*args: Any, **keywords: Any) -> Any:
        with (WORK / "tokens.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return tokenised(*args, **keywords)

    loop.feed, encoding.tokenised = in_turn, one_at_a_time  # type: ignore[attr-defined]


def write(name: str, what: str, value: Any) -> None:
    """Tells the other side something: the file is there when it is whole."""
    target = WORK / f"{name}.{what}"
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.write_text(json.dumps(value))
    temporary.replace(target)


def read(name: str, what: str) -> Any:
    """What was told; None where nothing was yet."""
    try:
        return json.loads((WORK / f"{name}.{what}").read_text())
    except FileNotFoundError:
        return None


# --- all stages


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
                [sys.executable, str(Path(__file__).resolve()), "--stage", self.name],
                cwd=ROOT, env=environment(), stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def command(self, *more: str, runs: Path = RUNS) -> None:
        """Gives it its flags."""
        self.asked = elapsed()
        vocabulary = None if self.kind == "finetune" and runs == RUNS else DATA / "tokenizer.json"
        args = flags(self.kind, DATA / "data", vocabulary)
        write(self.name, "args", [*args, f"--runs={runs}", f"--exp={self.exp}", *more])

    @property
    def exp(self) -> str:
        """Name of the run."""
        return f"{NAME}_{self.attention}"

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def told(self, what: str) -> Any:
        """What it said, if it did."""
        return read(self.name, what)

    def architecture(self) -> list[str]:
        """The flags that make a classifier from random weights like one from this pretraining."""
        import yaml

        try:
            tree = yaml.safe_load((RUNS / self.kind / self.exp / "config.yaml").read_text())
        except FileNotFoundError:
            return []
        model, attention = tree["model"], tree["attention"]
        chosen = {f"model.{name}": value for name, value in model.items()}
        chosen["attention.type"] = attention["type"]
        own = attention[attention["type"]]
        chosen |= {f"attention.{self.attention}.{name}": value for name, value in own.items()}
        return [f"--config.{name}={value}" for name, value in chosen.items()]

    @property
    def state(self) -> str:
        """The state of its run."""
        try:
            path = RUNS / self.kind / self.exp / "status.json"
            return str(json.loads(path.read_text())["state"])
        except FileNotFoundError:
            return "not begun"

    def stop(self, seconds: float = 8.0) -> None:
        """Asks it to save and stop, then ends it."""
        if self.alive:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(max(0.1, min(seconds, BUDGET - elapsed())))
        if self.alive:
            self.process.kill()
            self.process.wait()

    def outcome(self) -> str:
        """What became of it, with the figures of results.json."""
        path = RUNS / self.kind / self.exp / "results.json"
        text = f"{self.name}: {self.state}"
        if not path.exists():
            lines = self.said.read_text(errors="replace").strip().splitlines()
            return f"{text}, exit code {self.process.poll()}: {' | '.join(lines[-6:])[-900:]}"
        found = json.loads(path.read_text())
        cost = found["cost"]
        ms = 1000 * cost["train_seconds"] / cost["steps"]
        text += (
            f": {cost['steps']} steps of {ms:.2f} ms, {cost['tokens_per_second']:,.0f} tokens/s, "
            f"{cost['seconds_per_epoch']:.2f} s an epoch, compiled in {cost['compile_seconds']:.1f}"
            f" s, {cost['peak_memory_MiB']:.0f} MiB {cost['peak_memory_kind']}, validation "
        )
        validation = found["validation"]
        text += f"loss {validation['loss']:.4f}"
        if "test" in found:
            text += f", macro-F1 {validation['macro_f1']:.4f}; test {found['test']['macro_f1']:.4f}"
        return text


class OutOfTime(Exception):
    """The budget has ended."""


def wait(until: Callable[[], bool], deadline: float = math.inf) -> bool:
    """Waits; False where `deadline` (seconds since the beginning) came first."""
    while not until():
        if elapsed() > BUDGET - FINISH:
            raise OutOfTime
        if elapsed() > deadline:
            return False
        time.sleep(0.02)
    return True


def steps_for(milliseconds: dict[str, float]) -> int:
    """Pretraining steps that all attentions together can do in their seconds."""
    together = sum(milliseconds[name] for name in ATTENTIONS) / 1000
    steps = PRETRAIN_SECONDS * len(ATTENTIONS) / together
    return max(8, int(steps) // 50 * 50 if steps > 100 else int(steps))


class Comparison:
    """All stages; they are ended when it is left."""

    def __init__(self) -> None:
        """Starts nothing yet."""
        self.expected = dict(STEP_MS)
        self.steps = steps_for(self.expected)
        self.start = START
        self.epochs: list[str] | None = None
        self.stages: dict[tuple[str, str], Stage] = {}
        self.ahead: dict[str, Stage] = {}
        self.report: subprocess.Popen[bytes] | None = None

    def pretraining(self, attention: str) -> Stage:
        """The pretraining with this attention."""
        return self.stages["pretrain", attention]

    def classifier(self, attention: str) -> Stage:
        """The classifier with this attention."""
        return self.stages["finetune", attention]

    def run(self) -> None:
        """Everything, in turn."""
        self.pretrain_all()
        for place, attention in enumerate(ATTENTIONS):
            stage = self.pretraining(attention)
            if place:
                self.until_ready(stage)
                self.go(stage)
            # The speeds of two are known, or there are no more.
            if place == min(1, len(ATTENTIONS) - 1):
                self.decide(ATTENTIONS[place:])
            self.watch(stage)
        wait(lambda: self.advance() and all(self.classifier(a).asked for a in ATTENTIONS))
        for attention in ATTENTIONS:
            self.classify(attention)

    def pretrain_all(self) -> None:
        """Begins all, and anew with fewer steps where the first is much slower than expected."""
        first = self.begin_pretraining("")
        for attention in ATTENTIONS:
            self.stages["finetune", attention] = Stage("finetune", attention)
        self.until_ready(first)
        ms = self.go(first)
        slower = 0.0 if ms is None else ms / STEP_MS[first.attention]
        if slower < 1.6 or self.steps <= 8:
            return
        self.expected = {name: value * slower for name, value in STEP_MS.items()}
        self.steps = steps_for(self.expected)
        say(f"that is {slower:.1f} times what was expected: anew")
        for attention in ATTENTIONS:
            stage = self.pretraining(attention)
            stage.stop(0)
            shutil.rmtree(RUNS / "pretrain" / stage.exp, ignore_errors=True)
        first = self.begin_pretraining("_again")
        self.until_ready(first)
        self.go(first)

    def begin_pretraining(self, suffix: str) -> Stage:
        """Starts the pretrainings, the first one before the others; that one."""
        say(f"{self.steps} steps of pretraining each, by {self.expected} ms")
        for attention in ATTENTIONS:
            stage = self.stages["pretrain", attention] = Stage("pretrain", attention, suffix)
            stage.command(
                f"--config.attention.type={attention}",
                f"--config.train.max_steps={self.steps}",
                f"--config.train.validate_every_steps={self.steps}",
            )
            if attention == ATTENTIONS[0]:
                wait(lambda s=stage: s.told("imported") or not s.alive, elapsed() + 12)
        return self.pretraining(ATTENTIONS[0])

    def until_ready(self, stage: Stage) -> None:
        """Waits until everything of a stage is compiled."""
        wait(lambda: self.advance() and (stage.told("ready") is not None or not stage.alive))
        say(f"{stage.name}: ready, or ended; {elapsed() - stage.asked:.1f} s after its command")

    def go(self, stage: Stage) -> float | None:
        """Lets its steps begin, and waits until they are timed."""
        write(stage.name, "go", True)
        return self.timed(stage)

    def timed(self, stage: Stage) -> float | None:
        """Milliseconds of its steps."""
        wait(lambda: stage.told("ms") is not None or not stage.alive or bool(stage.told("steps")))
        ms = stage.told("ms")
        if ms is not None:
            self.expected[stage.attention] = ms
            say(f"{stage.name}: {ms:.2f} ms a step")
        return ms

    def watch(self, stage: Stage) -> None:
        """Waits for the steps of a pretraining; asks it to stop where they take too long."""
        share = self.steps * self.expected[stage.attention] / 1000
        limit = elapsed() + max(1.5 * share + 5, PRETRAIN_SECONDS)
        ended = lambda: stage.told("steps") is not None or not stage.alive  # noqa: E731
        if not wait(lambda: self.advance() and ended(), limit):
            say(f"{stage.name}: asked to stop")
            stage.stop()

    def advance(self) -> bool:
        """Commands the classifiers that can be commanded; always True."""
        if self.epochs is not None:
            self.command_classifiers(self.epochs)
            for stage in self.ahead.values():
                if stage.alive and stage.told("ready") is not None:
                    say(f"{stage.name}: {elapsed() - stage.asked:.1f} s; the programs are kept")
                    stage.stop(0)
        return True

    def decide(self, pretraining: list[str]) -> None:
        """Settles the epochs of fine-tuning, once; `pretraining`: what has its steps before it."""
        if self.epochs is not None:
            return
        ahead = sum(self.steps * self.expected[name] / 1000 + 1 for name in pretraining)
        per_epoch = -(-TRAINING_TEXTS // BATCH)
        epoch = sum(per_epoch * self.expected[name] / 1000 + 2 for name in ATTENTIONS)
        left = BUDGET - elapsed() - ahead - self.start - TAIL * len(ATTENTIONS) - FINISH
        epochs = 0.9 * left / epoch
        say(
            f"fine-tuning: an epoch of all takes {epoch:.0f} s, {left:.0f} s are left: "
            f"{epochs:.2f} epochs"
        )
        if epochs >= 1:
            self.epochs = [f"--config.train.epochs={min(EPOCHS, int(epochs))}"]
        else:
            steps = max(8, int(max(epochs, 0.1) * per_epoch))
            self.epochs = ["--config.train.epochs=1", f"--config.train.max_steps={steps}"]
        if not AHEAD:
            return
        for attention in pretraining:
            architecture = self.pretraining(attention).architecture()
            if architecture:
                self.ahead[attention] = stage = Stage("finetune", attention, "_ahead")
                more = ["--pretrain=none", *architecture, *self.epochs]
                stage.command(*more, runs=WORK / "compiled_ahead")

    def command_classifiers(self, epochs: list[str]) -> None:
        """Gives their flags to those whose pretraining has ended and left something."""
        for attention in ATTENTIONS:
            before, stage = self.pretraining(attention), self.classifier(attention)
            ahead = self.ahead.get(attention)
            # Its programs are about to be in the cache; compiling them twice would take longer.
            compiling = ahead is not None and ahead.alive and elapsed() < ahead.asked + 2 * START
            if stage.asked or before.alive or compiling:
                continue
            say(before.outcome())
            stage.asked = elapsed()
            if before.state in ("finished", "interrupted"):
                stage.command(f"--pretrain={before.exp}", *epochs)
            else:
                stage.stop(0)

    def classify(self, attention: str) -> None:
        """Trains and tests a classifier."""
        stage = self.classifier(attention)
        self.until_ready(stage)
        if QUIET:
            alike = [*(self.classifier(name) for name in ATTENTIONS), *self.ahead.values()]
            quiet = lambda: all(s.told("ready") is not None or not s.alive for s in alike)  # noqa: E731
            wait(lambda: self.advance() and quiet())
        if stage.alive:
            self.go(stage)
        wait(lambda: stage.told("steps") is not None or not stage.alive)
        steps = elapsed()
        wait(lambda: not stage.alive)
        say(f"{stage.outcome()}; {elapsed() - steps:.1f} s after its last step")
        self.hand_over()

    def hand_over(self) -> None:
        """Writes the report and takes everything to OUT, in a process of its own."""
        if self.report is None or self.report.poll() is not None:
            self.report = subprocess.Popen(
                ["nice", "-n", "15", sys.executable, str(Path(__file__).resolve()), "--report"],
                cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip

    def end(self) -> None:
        """Ends all processes."""
        stages = [*self.stages.values(), *self.ahead.values()]
        for stage in stages:
            if stage.alive and stage.asked:
                stage.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 5
        for stage in stages:
            while stage.alive and stage.asked and time.monotonic() < deadline:
                time.sleep(0.05)
            stage.stop(0)
        if self.report is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.report.wait(3)
            if self.report.poll() is None:
                self.report.kill()


def report(show: bool) -> None:
    """`--mode=compare` over all runs, then everything to OUT."""
    told = subprocess.run(
        [sys.executable, "-m", "jaxattn", "--mode=compare", f"--runs={RUNS}"],
        cwd=ROOT, env=environment() | {"JAX_PLATFORMS": "cpu"}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    if show:
        print(told.stdout + told.stderr[-2000:], flush=True)
    with (OUT / "stages.txt").open("w") as file:
        for said in sorted(WORK.glob("*.said"), key=lambda path: path.stat().st_mtime):
            file.write(f"== {said.stem}\n{said.read_text(errors='replace')[-100_000:]}\n")
        file.write(f"== compare\n{told.stdout}\n{told.stderr}\n")
    for name in ("results.csv", "summary.csv", "index.html", "quality_vs_cost.png"):
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(RUNS / "report" / name, OUT / name)

    def kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        left_out = {"checkpoints", "tokenizer.json", "tfidf_model.npz", "tfidf_terms.txt"}
        return None if left_out & set(Path(entry.name).parts) else entry

    packed = OUT / ".runs.tar.gz"
    with tarfile.open(packed, "w:gz", compresslevel=6) as archive:
        archive.add(RUNS, "runs", filter=kept)
    packed.replace(OUT / "runs.tar.gz")


def main() -> int:
    """All of it; 0 if every classifier was finished."""
    OUT.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(WORK, ignore_errors=True)
    RUNS.mkdir(parents=True)
    if (DATA / "baseline").is_dir():
        shutil.copytree(DATA / "baseline", RUNS / "baseline")
    comparison = Comparison()
    # The machine's time may be up before ours.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        comparison.run()
    except OutOfTime:
        say("the time is up")
        for stage in comparison.stages.values():
            if stage.alive and stage.asked:
                say(f"not finished: {stage.name}: {stage.state}")
    finally:
        comparison.end()
        report(show=True)
        say("done")
    finished = [comparison.classifier(name).state == "finished" for name in ATTENTIONS]
    return 0 if all(finished) else 1


def prepare(source: Path, target: Path) -> None:
    """Makes what the comparison starts from: the Parquet files, a vocabulary, the baseline."""
    from jaxattn import cli
    from jaxattn.data.corpora.splits import load_texts
    from jaxattn.data.tokens.vocabularies import new_tokenizer
    from jaxattn.data.tokens.wordpiece import save_tokenizer

    (target / "data").mkdir(parents=True, exist_ok=True)
    for name in ("train", "test", "unsup"):
        shutil.copyfile(source / f"{name}.parquet", target / "data" / f"{name}.parquet")
    request = cli.parse(flags("pretrain", target / "data", None))
    assert request is not None
    config = request.resolved()
    print("making the vocabulary", flush=True)
    save_tokenizer(
        new_tokenizer(load_texts(config.data).train, config.tokenizer), target / "tokenizer.json"
    )
    baseline = flags("baseline", target / "data", None)
    sys.exit(cli.run([*baseline, f"--exp={NAME}_tfidf", f"--runs={target}"]))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--stage", name]:
            sys.exit(stage(name))
        case ["--report"]:
            report(show=False)
        case ["--prepare", source, target]:
            prepare(Path(source), Path(target))
        case []:
            sys.exit(main())
        case _:
            sys.exit(__doc__)
