"""What pretraining and fine-tuning share: from a loss and a batch plan to a finished run."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh

from jaxattn.config import Config, FinetuneConfig, flatten, replace, to_plain
from jaxattn.console import say
from jaxattn.data.batches.order import BatchPlan
from jaxattn.data.batches.packing import PackedPlan
from jaxattn.errors import InputError
from jaxattn.evaluate.predict import Trained, trained_by
from jaxattn.ops.programs import Programs
from jaxattn.ops.trees import count_parameters, tree_hash
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.results import Cost, tree
from jaxattn.stages import machine
from jaxattn.stages.batches import program_steps, total_steps
from jaxattn.stages.machine import energy_meter
from jaxattn.train.checkpoints import Checkpoints
from jaxattn.train.feed import NumpyBatch
from jaxattn.train.job import InterruptedRun, Job, Tally
from jaxattn.train.log import RunLog
from jaxattn.train.loop import fit
from jaxattn.train.optimizer import learning_rate_schedule, make_optimizer
from jaxattn.train.precision import first_scale
from jaxattn.train.sharding import BatchPlacement, gathered, place, sharded_step, shardings, whole
from jaxattn.train.state import create_state, frozen_of, saved_part, with_frozen
from jaxattn.train.steps import LossFn, make_train_step, step_draws


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A finished training: what the best checkpoint holds, and what it took.

    `stopped_step` is the step after which it was stopped early, or None. `parameters` are all, the
    frozen ones too.
    """

    trained: Trained
    best_step: int
    stopped_step: int | None
    parameters: int
    programs: int
    cost: Cost


@dataclasses.dataclass(frozen=True)
class Base:
    """What a run that trains a part of the parameters adds it to.

    Attributes:
      reference: the checkpoint it is from, name@step.
      frozen: the other parameters.
      complete: (trained, frozen) -> the parameters of the model.
    """

    reference: str
    frozen: Any
    complete: Callable[[Any, Any], Any]

    def document(self) -> dict[str, str]:
        """What every checkpoint of the run says of it."""
        return {"base": self.reference, "base_hash": tree_hash(self.frozen)}


def train(
    folder: RunFolder,
    config: Config,
    *,
    stage: str,
    loss_fn: LossFn,
    params: Any,
    plan: BatchPlan | PackedPlan,
    batch: Callable[[int], NumpyBatch],
    prepare: Callable[[Trained], None],
    validate: Callable[[Trained], dict[str, float | None]],
    select: str,
    higher_is_better: bool,
    tokenizer_json: str,
    data_hash: str,
    mesh: Mesh,
    finetune: FinetuneConfig | None = None,
    base: Base | None = None,
    stop_after: int | None = None,
) -> Outcome:
    """Trains in `folder`, from its latest checkpoint where there is one.

    Args:
      folder: begun, and marked as running by the caller.
      config: of the run.
      stage: shown in the progress.
      loss_fn: params, batch, rngs, deterministic -> sums.
      params: those that are trained, at step 0.
      plan: of the training examples.
      batch: step -> batch.
      prepare: compiles what `validate` needs.
      validate: gives the metrics.
      select: the metric that picks the best checkpoint.
      higher_is_better: its direction.
      tokenizer_json: kept in every checkpoint.
      data_hash: kept too; a run is not continued on other data.
      mesh: the devices.
      finetune: freezing, rates of the layers and patience; None: pretraining.
      base: the parameters that are not trained; None: all are.
      stop_after: the step after which to save and stop, to repeat part of a run.

    Raises:
      InputError: the checkpoints are damaged, or from other options or data.
      InterruptedRun: `stop_after` is reached, or a signal arrived.
    """
    for length, implementation in machine.attention_implementations(config).items():
        say(f"{stage}: {config.attention.type} at length {length}: {implementation}")
    if reason := machine.inexact(config):
        say(f"{stage}: {reason}")
    settings = flatten(to_plain(config))
    steps = total_steps(config, plan.steps_per_epoch)
    optimizer = make_optimizer(config.train, steps, finetune, config.model.num_layers)
    schedule = learning_rate_schedule(config.train, steps)
    frozen = None if base is None else base.frozen
    kept = {} if base is None else base.document()
    state = create_state(params, optimizer, config.train.seed, first_scale(config.train), frozen)
    draw = step_draws(config)
    if draw is not None:
        state = dataclasses.replace(state, draws=draw(state))
    state = place(mesh, state)
    parameters = count_parameters(params) + count_parameters(frozen)
    checkpoints = Checkpoints(folder.path / "checkpoints", config.checkpoint.keep)
    tally, done = Tally(), 0
    latest = checkpoints.latest()
    if latest is not None:
        document = checkpoints.document(latest)
        if document["data_hash"] != data_hash:
            raise InputError(f"{folder.path}: the data have changed since the run was begun")
        # What was saved before an option existed has its default.
        begun_with = flatten(to_plain(replace(Config(), document["config"])))
        folder.must_agree(begun_with, settings)
        if any(document[name] != found for name, found in kept.items()):
            raise InputError(
                f"{folder.path}: its base {document['base']} has other parameters than when the "
                "run was begun; begin anew under another --exp"
            )
        loaded = checkpoints.load(latest, saved_part(state))
        state, done = with_frozen(loaded, frozen_of(state)), latest
        if draw is not None:
            state = dataclasses.replace(state, draws=whole(mesh, draw(state)))
        tally = Tally(**document["tally"])
        say(f"{stage}: resuming after step {latest} of {steps}")
    step_fn = make_train_step(
        gathered(mesh, loss_fn),
        optimizer,
        accumulation=config.train.accumulation,
        redraw_interval=config.attention.options.redraw_interval,
        loss_scale_steps=config.train.loss_scale_steps,
    )
    last_step = steps if stop_after is None else stop_after

    def to_evaluate(params: Any, step: int) -> Trained:
        return trained_by(config, whole(mesh, params), step)

    job = Job(
        stage=stage,
        step=Programs(
            sharded_step(step_fn, shardings(mesh, state)), donate=True, place=BatchPlacement(mesh)
        ),
        batch=batch,
        learning_rate=lambda step: float(schedule(step)),
        total_steps=steps,
        steps_per_epoch=plan.steps_per_epoch,
        validate_every=config.train.validate_every_steps,
        last_step=last_step,
        program_steps=program_steps(plan, done, last_step),
        prepare=lambda params: prepare(to_evaluate(params, 0)),
        validate=lambda params, step: validate(to_evaluate(params, step)),
        select=select,
        higher_is_better=higher_is_better,
        patience=finetune.patience if finetune else 0,
        eval_params=(
            (lambda state: optimizer.eval_params(state.opt_state, state.params))
            if optimizer.averages
            else None
        ),
        complete=None if base is None else jax.jit(base.complete),
        document={"config": settings, "tokenizer": tokenizer_json, "data_hash": data_hash} | kept,
        peak_memory=lambda: machine.peak_memory()[0],
        energy=energy_meter(),
        draw=None if draw is None else (lambda state: whole(mesh, draw(state))),
        redraw_interval=config.attention.options.redraw_interval,
    )
    run_log = RunLog(folder.path, config.log, folder.exp, settings)
    run_log.rewind(done)
    about = machine.describe(config)
    run_log.event("resume" if done else "start", step=done, total_steps=steps, machine=about)
    try:
        state, tally = fit(job, state, tally, run_log, config.log, checkpoints, config.checkpoint)
        if stop_after is not None:
            raise InterruptedRun(f"stopped after step {int(state.step)}, as asked")
    except BaseException as error:
        run_log.event("stopped", reason=str(error))
        run_log.close(exit_code=1)
        raise
    steps = tally.stopped_step or steps
    cost = Cost(
        steps=steps,
        skipped_steps=tally.skipped,
        steps_per_epoch=plan.steps_per_epoch,
        train_seconds=tally.train_seconds,
        compile_seconds=tally.compile_seconds,
        seconds_per_epoch=tally.train_seconds / steps * plan.steps_per_epoch,
        tokens_per_second=tally.tokens / max(tally.train_seconds, 1e-9),
        useful_token_share=tally.tokens / max(tally.padded_tokens, 1),
        peak_memory_MiB=tally.peak_memory,
        peak_memory_kind=machine.peak_memory()[1],
        energy_joules_per_epoch=(
            None if tally.energy is None else tally.energy / steps * plan.steps_per_epoch
        ),
    )
    run_log.event("finished", programs=job.step.count, best_step=tally.best_step, **tree(cost))
    run_log.close()
    assert tally.best_step is not None
    best = checkpoints.load_params(tally.best_step)
    if job.complete is not None:
        best = job.complete(best, frozen_of(state))
    best = to_evaluate(best, tally.best_step)
    return Outcome(best, tally.best_step, tally.stopped_step, parameters, job.step.count, cost)
