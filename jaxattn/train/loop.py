"""The training loop: steps, logging, validation, checkpoints, and stopping cleanly."""

import dataclasses
import math
import signal
import time

import jax

from jaxattn.config import CheckpointConfig, LogConfig
from jaxattn.signals import stop_requests
from jaxattn.train.checkpoints import Checkpoints
from jaxattn.train.feed import feed
from jaxattn.train.job import InterruptedRun, Job, NonFiniteError, Tally
from jaxattn.train.log import Progress, RunLog
from jaxattn.train.precision import SMALLEST
from jaxattn.train.state import TrainState, saved_part


def _due(done: int, every: int) -> bool:
    return every > 0 and done % every == 0


class _Loop:
    """The moving parts of one call of `fit`."""

    def __init__(
        self,
        job: Job,
        tally: Tally,
        run_log: RunLog,
        log_every: int,
        checkpoints: Checkpoints,
        saving: CheckpointConfig,
    ) -> None:
        self.job, self.tally, self.log, self.log_every = job, tally, run_log, log_every
        self.checkpoints, self.saving = checkpoints, saving
        self.pending: tuple[int, dict[str, jax.Array]] | None = None
        self.saved_at = time.monotonic()
        self.last_loss = math.nan
        self.energy_before = 0.0

    def collect(self) -> None:
        """Fetches the sums of the step before, while the device works on the next."""
        if self.pending is None:
            return
        done, device_sums = self.pending
        self.pending = None
        sums = {name: float(value) for name, value in jax.device_get(device_sums).items()}
        if sums.get("skipped"):
            self.skip(done, sums["loss_scale"])
        else:
            for name in ("loss", "grad_norm"):
                if not math.isfinite(sums[name]):
                    raise NonFiniteError(f"{name} is {sums[name]} in step {done}")
            self.tally.add(sums)
            self.last_loss = sums["loss"] / max(sums["count"], 1.0)
        if done % self.log_every == 0 or done == self.job.total_steps:
            values = self.tally.drain() | {"learning_rate": self.job.learning_rate(done - 1)}
            self.log.metrics(done, done / self.job.steps_per_epoch, "train", values)

    def begin_energy(self) -> None:
        """From here on the energy used is that of training steps."""
        if self.job.energy is not None:
            self.energy_before = self.job.energy()

    def end_energy(self) -> None:
        """Adds what was used since `begin_energy`."""
        if self.job.energy is not None:
            used = self.job.energy() - self.energy_before
            self.tally.energy = (self.tally.energy or 0.0) + used

    def skip(self, done: int, loss_scale: float) -> None:
        """Notes a step that overflowed in float16; `loss_scale` is that of the next."""
        self.tally.skipped += 1
        self.log.event("skipped", step=done, loss_scale=loss_scale)
        if loss_scale < SMALLEST:
            raise NonFiniteError(
                f"the loss or its gradients overflow float16 in step {done}, whatever they are "
                f"scaled by (down to {SMALLEST:g})"
            )

    def run_validation(self, done: int, state: TrainState, progress: Progress) -> bool:
        """Validates; True when this is the best state so far."""
        values = self.job.validate(self.job.evaluated(state), done)
        self.log.metrics(done, done / self.job.steps_per_epoch, "validation", values)
        value = values[self.job.select]
        if value is None or not math.isfinite(value):
            raise NonFiniteError(f"validation {self.job.select} is {value} after step {done}")
        best = self.tally.best_value
        better = best is None or (value > best if self.job.higher_is_better else value < best)
        if better:
            self.tally.best_step, self.tally.best_value = done, value
        shown = "  ".join(f"{name} {v:.4f}" for name, v in values.items() if v is not None)
        progress.say(
            f"{self.job.stage}: epoch {done / self.job.steps_per_epoch:.3g}  validation {shown}"
            f"{'  (best so far)' if better else ''}"
        )
        return better

    def save(self, done: int, state: TrainState) -> None:
        self.tally.peak_memory = max(self.tally.peak_memory, self.job.peak_memory())
        document = self.job.document | {"tally": dataclasses.asdict(self.tally)}
        evaluated = None if self.job.eval_params is None else self.job.eval_params(state)
        self.checkpoints.save(done, saved_part(state), document, self.tally.best_step, evaluated)
        self.log.event("checkpoint", step=done)
        self.saved_at = time.monotonic()

    def out_of_patience(self, done: int) -> bool:
        """Whether the best validation is as many epochs ago as `patience` says."""
        best = self.tally.best_step
        since = done - (done if best is None else best)
        return 0 < self.job.patience * self.job.steps_per_epoch <= since

    def save_due(self, done: int) -> bool:
        if done == self.job.last_step or _due(done, self.saving.every_steps):
            return True
        minutes = self.saving.every_minutes
        if minutes and time.monotonic() - self.saved_at >= 60 * minutes:
            return True
        return _due(done, self.saving.every_epochs * self.job.steps_per_epoch)


def _compile_ahead(job: Job, state: TrainState, progress: Progress, stop: list[int]) -> float:
    """Compiles all programs of the run; the seconds that those of the steps took.

    Raises InterruptedRun between two of them as soon as a signal is in `stop`.
    """
    began = time.monotonic()
    count = len(job.program_steps)
    for number, step in enumerate(job.program_steps, 1):
        batch = job.batch(step)
        if not job.step.has(batch):
            length = batch["ids"].shape[1]
            progress.say(f"{job.stage}: compiling program {number} of {count}: length {length}")
            job.check(job.step.compile(state, batch))
            _stop_between(stop, int(state.step))
    seconds = time.monotonic() - began
    progress.say(f"{job.stage}: compiling the programs of validation")
    job.prepare(job.evaluated(state))
    _stop_between(stop, int(state.step))
    return seconds


def _stop_between(stop: list[int], done: int) -> None:
    """Raises InterruptedRun where a signal arrived and nothing has been done since `done`."""
    if stop:
        name, where = signal.Signals(stop[0]).name, f"after step {done}" if done else "at the start"
        raise InterruptedRun(f"{name} {where}; there is nothing to save")


def fit(
    job: Job,
    state: TrainState,
    tally: Tally,
    run_log: RunLog,
    logging: LogConfig,
    checkpoints: Checkpoints,
    saving: CheckpointConfig,
) -> tuple[TrainState, Tally]:
    """Runs from `state.step` to `job.last_step`; validates when it is due and at the end.

    `tally` is that of the checkpoint `state` is from, or a new one. A run that has stopped early
    stays where it is.

    Raises:
      NonFiniteError: a NaN or infinite loss or gradient; that state is never saved.
      InterruptedRun: a signal of `STOPPING` arrived; the state was saved first.
    """
    loop = _Loop(job, tally, run_log, logging.every_steps, checkpoints, saving)
    start = int(state.step)
    end = job.last_step if tally.stopped_step is None else start
    with stop_requests() as stop, Progress(job.stage, job.total_steps) as progress:
        if start < end:
            tally.compile_seconds += _compile_ahead(job, state, progress, stop)
        batches = feed(job.batch, start, end, job.step.place)
        upcoming = next(batches, None)
        loop.begin_energy()
        for step in range(start, end):
            assert upcoming is not None
            began = time.monotonic()
            batch, tokens = upcoming
            if not job.step.has(batch):
                waited = time.monotonic()
                progress.say(f"{job.stage}: compiling for length {batch['ids'].shape[1]}")
                job.check(job.step.compile(state, batch))
                compiling = time.monotonic() - waited
                tally.compile_seconds += compiling
                began += compiling
            if job.draw is not None and step > start and step % job.redraw_interval == 0:
                state = dataclasses.replace(state, draws=job.draw(state))
            state, sums = job.step(state, batch)
            upcoming = next(batches, None)
            loop.collect()
            done = step + 1
            loop.pending = (done, sums)
            tally.tokens += tokens
            tally.padded_tokens += batch["mask"].size
            # Decided once: time and signals may change the answer from one line to the next.
            stopping = bool(stop)
            saving_now = stopping or loop.save_due(done)
            validating = job.validation_due(done)
            pausing = validating or saving_now
            if pausing:
                loop.collect()
                loop.end_energy()
            tally.train_seconds += time.monotonic() - began
            # The first loss is known one step late; until then there is nothing to show.
            if not math.isnan(loop.last_loss):
                rate = tally.tokens / max(tally.train_seconds, 1e-9)
                progress.update(done, loop.last_loss, rate)
            better = validating and loop.run_validation(done, state, progress)
            if validating and done < job.total_steps and loop.out_of_patience(done):
                tally.stopped_step = done
                progress.say(f"{job.stage}: stopped early, best after step {tally.best_step}")
            if better or saving_now or tally.stopped_step:
                loop.save(done, state)
            if stopping:
                name = signal.Signals(stop[0]).name
                raise InterruptedRun(f"{name} after step {done}; the state is saved")
            if tally.stopped_step:
                break
            if pausing:
                loop.begin_energy()
        if stop:
            # It came while the last state was saved.
            name = signal.Signals(stop[0]).name
            raise InterruptedRun(f"{name} after step {int(state.step)}; the state is saved")
    return state, tally
