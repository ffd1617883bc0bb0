"""The schedule of the comparison on IMDB: which stage compiles and which trains, and for how long.

compare_imdb.py says what it is after.
"""

import math
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.gpu.imdb_process import BATCH, RUNS, Stage, elapsed
from benchmarks.gpu.imdb_stage import TINY, WORK, number, tell

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
QUIET = bool(number("QUIET", 1))
AHEAD = bool(number("AHEAD", 1))
OUT = Path(os.environ.get("OUT", "/tmp/compare_imdb_out"))

START, TAIL, FINISH = (5.0, 1.0, 5.0) if TINY else (15.0, 9.0, 14.0)
"""Seconds that a classifier takes until it is compiled, after its last step, and the report."""
TRAINING_TEXTS = 270 if TINY else 22_500


def say(text: str) -> None:
    """A line on standard output and in log.txt."""
    line = f"[{elapsed():6.1f} s] {text}"
    print(line, flush=True)
    with (OUT / "log.txt").open("a") as file:
        file.write(line + "\n")


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

    def __init__(self, hand_over: Callable[[], None]) -> None:
        """Starts nothing yet; `hand_over` is called after each classifier."""
        self.hand_over = hand_over
        self.expected = dict(STEP_MS)
        self.steps = steps_for(self.expected)
        self.start = START
        self.epochs: list[str] | None = None
        self.stages: dict[tuple[str, str], Stage] = {}
        self.ahead: dict[str, Stage] = {}

    def pretraining(self, attention: str) -> Stage:
        """The pretraining with this attention."""
        return self.stages["pretrain", attention]

    def classifier(self, attention: str) -> Stage:
        """The classifier with this attention."""
        return self.stages["finetune", attention]

    def run(self) -> None:
        """Everything, in turn."""
        self.pretrain_all()
        for number_before, attention in enumerate(ATTENTIONS):
            stage = self.pretraining(attention)
            if number_before:
                self.until_ready(stage)
                self.go(stage)
            # The speeds of two are known, or there are no more.
            if number_before == min(1, len(ATTENTIONS) - 1):
                self.decide(ATTENTIONS[number_before:])
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
                self.until_imported(stage)
        return self.pretraining(ATTENTIONS[0])

    def until_imported(self, stage: Stage) -> None:
        """Waits for the imports of a stage: those of others would slow them down."""
        wait(lambda: bool(stage.told("imported")) or not stage.alive, elapsed() + 12)

    def until_ready(self, stage: Stage) -> None:
        """Waits until everything of a stage is compiled."""
        wait(lambda: self.advance() and stage.has_compiled())
        say(f"{stage.name}: ready, or ended; {elapsed() - stage.asked:.1f} s after its command")

    def go(self, stage: Stage) -> float | None:
        """Lets its steps begin, and waits until they are timed: milliseconds of one."""
        tell(stage.name, "go", True)
        wait(lambda: stage.told("ms") is not None or stage.has_stepped())
        ms: float | None = stage.told("ms")
        if ms is not None:
            self.expected[stage.attention] = ms
            say(f"{stage.name}: {ms:.2f} ms a step")
        return ms

    def watch(self, stage: Stage) -> None:
        """Waits for the steps of a pretraining; asks it to stop where they take too long."""
        share = self.steps * self.expected[stage.attention] / 1000
        limit = elapsed() + max(1.5 * share + 5, PRETRAIN_SECONDS)
        if not wait(lambda: self.advance() and stage.has_stepped(), limit):
            say(f"{stage.name}: asked to stop")
            stage.stop(min(8.0, BUDGET - elapsed()))

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
            wait(lambda: self.advance() and all(other.has_compiled() for other in alike))
        if stage.alive:
            self.go(stage)
        wait(stage.has_stepped)
        steps = elapsed()
        wait(lambda: not stage.alive)
        say(f"{stage.outcome()}; {elapsed() - steps:.1f} s after its last step")
        self.hand_over()

    def end(self) -> None:
        """Ends all processes."""
        stages = [*self.stages.values(), *self.ahead.values()]
        asked = [stage for stage in stages if stage.alive and stage.asked]
        for stage in asked:
            stage.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 5
        while any(stage.alive for stage in asked) and time.monotonic() < deadline:
            time.sleep(0.05)
        for stage in stages:
            stage.stop(0)
