"""What pretraining, TAPT and fine-tuning share: from a task to a finished run."""

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.sharding import Mesh

from jaxattn.config import Config, flatten, from_saved, to_plain
from jaxattn.console import say
from jaxattn.data.tokens.wordpiece import save_tokenizer
from jaxattn.errors import InputError
from jaxattn.evaluate.predict import Trained, trained_by
from jaxattn.ops.programs import Programs
from jaxattn.ops.trees import Params, count_parameters, tree_hash
from jaxattn.runs.events import NAME as EVENTS
from jaxattn.runs.events import last_saved
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.kinds import KINDS
from jaxattn.runs.manifest import METRICS
from jaxattn.runs.publish import write_results
from jaxattn.runs.results import Cost, Results, Stage, tree
from jaxattn.stages import machine
from jaxattn.stages.agreement import require_document
from jaxattn.stages.batches import program_steps, total_steps
from jaxattn.stages.moved import is_moved, refuse_other_data
from jaxattn.stages.on_oom import in_parts_that_fit
from jaxattn.stages.room import require_memory
from jaxattn.stages.task import Outcome, Task
from jaxattn.train.checkpoints import Checkpoints
from jaxattn.train.job import InterruptedRun, Job, Tally
from jaxattn.train.log import RunLog
from jaxattn.train.loop import fit
from jaxattn.train.optimizer import learning_rate_schedule, make_optimizer
from jaxattn.train.precision import first_scale
from jaxattn.train.sharding import BatchPlacement, gathered, place, sharded_step, shardings, whole
from jaxattn.train.state import TrainState, create_state, frozen_of, saved_part, with_frozen
from jaxattn.train.steps import make_train_step, step_draws


def run_stage(
    folder: RunFolder,
    config: Config,
    task: Task,
    mesh: Mesh,
    finish: Callable[[Outcome, Results], Results],
    stop_after: int | None = None,
) -> Results:
    """A whole stage: makes the folder, trains in it, and writes what `finish` adds to the results.

    `stop_after`: see `train`.
    """
    about = machine.describe(config)
    checkpoints = Checkpoints(folder.path / "checkpoints", config.checkpoint.keep)
    parts = None
    if latest := checkpoints.latest():
        # Before anything is written: a run that is refused stays as it was.
        saved = checkpoints.document(latest)
        if is_moved(folder, config):
            refuse_other_data(folder, config, saved, task.document(config))
        require_document(folder, saved)
        parts = saved["tally"].get("accumulation")
    if config.train.on_oom == "halve":
        # The first step gives its arrays away; what is on the host can be begun with again.
        base = task.base and dataclasses.replace(task.base, frozen=jax.device_get(task.frozen))
        task = dataclasses.replace(task, params=jax.device_get(task.params), base=base)
    folder.begin(config, dict(task.saved), {**about, **task.environment})
    with folder.running():
        save_tokenizer(task.tokenizer, folder.path / "tokenizer.json")
        outcome = in_parts_that_fit(
            lambda parts: train(folder, config, task, mesh, about, stop_after, parts),
            config.train, mesh.size, f"{folder.kind} {folder.exp}", parts,
        )  # fmt: skip
        results = finish(outcome, _results(folder, config, task, outcome))
        write_results(folder, config, results)
    return results


def _results(folder: RunFolder, config: Config, task: Task, outcome: Outcome) -> Results:
    """What every training says."""
    stage = Stage.of(folder.kind, folder.exp, config, outcome.best_step, outcome.cost)
    return Results(
        kind=folder.kind,
        exp=folder.exp,
        attention=config.attention.label,
        data=config.data.name,
        data_hash=task.data_hash,
        seed=config.train.seed,
        pretrain=task.origin.run,
        pretrain_hash=task.origin.digest,
        parameters=count_parameters(task.params) + count_parameters(task.frozen),
        best_step=outcome.best_step,
        stopped_step=outcome.stopped_step,
        best_hash=tree_hash(outcome.trained.params),
        cost=outcome.cost,
        stages=(*task.origin.stages, stage),
        compiled_programs=outcome.programs,
        device=machine.device_name(),
    )


def train(
    folder: RunFolder,
    config: Config,
    task: Task,
    mesh: Mesh,
    about: Mapping[str, Any],
    stop_after: int | None = None,
    parts: int | None = None,
) -> Outcome:
    """Trains in `folder`, from its latest checkpoint where there is one.

    Args:
      folder: begun, and marked as running by the caller.
      config: of the run.
      task: what is trained.
      mesh: the devices.
      about: this machine, for the log.
      stop_after: the step after which to save and stop, to repeat part of a run.
      parts: micro-batches of a step, where those of `config` do not fit the memory.

    Raises:
      InputError: the checkpoints are damaged, or from other options or data.
      InterruptedRun: `stop_after` is reached, or a signal arrived.
    """
    stage = f"{folder.kind} {folder.exp}"
    for length, implementation in machine.attention_implementations(config).items():
        say(f"{stage}: {config.attention.label} at length {length}: {implementation}")
    if reason := machine.inexact(config):
        say(f"{stage}: {reason}")
    kind, plan = KINDS[folder.kind], task.plan
    steps = total_steps(config, plan.steps_per_epoch)
    finetune = None if kind.mlm else config.finetune
    optimizer = make_optimizer(config.train, steps, finetune, config.model.num_layers)
    schedule = learning_rate_schedule(config.train, steps)
    draw = step_draws(config)
    state = create_state(
        task.params, optimizer, config.train.seed, first_scale(config.train), task.frozen
    )
    if draw is not None:
        state = dataclasses.replace(state, draws=draw(state))
    state = place(mesh, state)
    checkpoints = Checkpoints(folder.path / "checkpoints", config.checkpoint.keep)
    document = task.document(config)
    state, tally = _resumed(folder, config, checkpoints, document, state)
    tally.accumulation = parts
    if int(state.step) and (elsewhere := machine.differences(folder.environment(), about)):
        say(f"{stage}: begun elsewhere, so other bits may come of it: {'; '.join(elsewhere)}")
    if (done := int(state.step)) or (folder.path / EVENTS).exists():
        what = "resuming" if done else "nothing was saved before; beginning"
        say(f"{stage}: {what} after step {done} of {steps}")
    if done and draw is not None:
        state = dataclasses.replace(state, draws=whole(mesh, draw(state)))
    step_fn = make_train_step(
        gathered(mesh, task.loss),
        optimizer,
        accumulation=parts or config.train.accumulation,
        redraw_interval=config.attention.redraw_interval,
        loss_scale_steps=config.train.loss_scale_steps,
        dropout_prng=config.train.dropout_prng,
    )
    last_step = steps if stop_after is None else stop_after

    def to_evaluate(params: Params, step: int) -> Trained:
        return trained_by(config, whole(mesh, params), step)

    job = Job(
        stage=stage,
        step=Programs(
            sharded_step(step_fn, shardings(mesh, state)), donate=True, place=BatchPlacement(mesh)
        ),
        batch=task.batch,
        learning_rate=lambda step: float(schedule(step)),
        total_steps=steps,
        steps_per_epoch=plan.steps_per_epoch,
        validate_every=config.train.validate_every_steps,
        last_step=last_step,
        program_steps=program_steps(plan, done, last_step),
        prepare=lambda params: task.evaluator.compile(to_evaluate(params, 0)),
        validate=lambda params, step: task.evaluator.metrics(to_evaluate(params, step)),
        select=kind.metric,
        higher_is_better=not kind.mlm,
        patience=finetune.patience if finetune else 0,
        eval_params=(
            (lambda state: optimizer.eval_params(state.opt_state, state.params))
            if optimizer.averages
            else None
        ),
        complete=None if task.base is None else jax.jit(task.base.complete),
        document=document,
        peak_memory=lambda: machine.peak_memory()[0],
        energy=machine.energy_meter(),
        draw=None if draw is None else (lambda state: whole(mesh, draw(state))),
        redraw_interval=config.attention.redraw_interval,
        check=lambda program: require_memory(config, program, parts),
    )
    run_log = RunLog(folder.path, config.log, folder.exp, document["config"])
    run_log.rewind(done)
    run_log.event(
        "resume" if done else "start", step=done, total_steps=steps, machine=about,
        accumulation=parts or config.train.accumulation,
    )  # fmt: skip
    try:
        state, tally = fit(job, state, tally, run_log, config.log, checkpoints, config.checkpoint)
        if stop_after is not None:
            raise InterruptedRun(f"stopped after step {int(state.step)}, as asked")
    except BaseException as error:
        with contextlib.suppress(OSError):
            # Perhaps the disk is full; why the run failed is what has to be told.
            run_log.event("stopped", reason=str(error))
        run_log.close(exit_code=1)
        raise
    cost = _cost(tally, tally.stopped_step or steps, plan.steps_per_epoch)
    run_log.event("finished", programs=job.step.count, best_step=tally.best_step, **tree(cost))
    run_log.close()
    assert tally.best_step is not None
    best = checkpoints.load_params(tally.best_step)
    if job.complete is not None:
        best = job.complete(best, frozen_of(state))
    trained = to_evaluate(best, tally.best_step)
    return Outcome(trained, tally.best_step, tally.stopped_step, job.step.count, cost)


def _resumed(
    folder: RunFolder,
    config: Config,
    checkpoints: Checkpoints,
    document: dict[str, Any],
    state: TrainState,
) -> tuple[TrainState, Tally]:
    """State and tally of the latest checkpoint, or the first ones.

    Raises:
      InputError: the checkpoints are damaged, or not of a run with this document.
    """
    latest = checkpoints.latest()
    if latest is None:
        folder.must_have_saved_nothing()
        return state, Tally()
    _tell_what_is_lost(folder, latest)
    saved = checkpoints.document(latest)
    refuse_other_data(folder, config, saved, document)
    # What was saved before an option existed has its default.
    folder.saved.must_agree(flatten(to_plain(from_saved(saved["config"]))), document["config"])
    if any(saved[name] != document[name] for name in document if name.startswith("base")):
        raise InputError(
            f"{folder.path}: its base {saved['base']} has other parameters than when the "
            "run was begun; begin anew under another --exp"
        )
    loaded: TrainState = checkpoints.load(latest, saved_part(state))
    return with_frozen(loaded, frozen_of(state)), Tally(**saved["tally"])


def _tell_what_is_lost(folder: RunFolder, latest: int) -> None:
    """Warns where a run goes on from an older checkpoint than it has saved, or without its log."""
    step = last_saved(folder.path)
    if step is None:
        return  # a copy of a checkpoint alone
    if step > latest:
        warnings.warn(
            f"{folder.path}: step {step} was saved, and its checkpoint is not whole any more; it "
            f"goes on from step {latest}",
            stacklevel=2,
        )
    if not (folder.path / METRICS).exists():
        warnings.warn(
            f"{folder.path / METRICS}: missing; its rows up to step {latest} are lost",
            stacklevel=2,
        )


def _cost(tally: Tally, steps: int, steps_per_epoch: int) -> Cost:
    epochs = steps / steps_per_epoch
    return Cost(
        steps=steps,
        skipped_steps=tally.skipped,
        steps_per_epoch=steps_per_epoch,
        train_seconds=tally.train_seconds,
        compile_seconds=tally.compile_seconds,
        seconds_per_epoch=tally.train_seconds / epochs,
        tokens_per_second=tally.tokens / max(tally.train_seconds, 1e-9),
        useful_token_share=tally.tokens / max(tally.padded_tokens, 1),
        peak_memory_MiB=tally.peak_memory,
        peak_memory_kind=machine.peak_memory()[1],
        energy_joules_per_epoch=None if tally.energy is None else tally.energy / epochs,
        accumulation=tally.accumulation,
    )
