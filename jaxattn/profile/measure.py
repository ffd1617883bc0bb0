"""What a profile measures: attentions alone and whole training steps, at every length."""

import dataclasses
import functools
import threading
import time
from collections.abc import Sequence

import jax

from jaxattn.config import Config
from jaxattn.console import say
from jaxattn.profile.bench import Bench, Key, Measured, Task
from jaxattn.profile.synthetic_step import States, synthetic_step
from jaxattn.profile.timing import Program
from jaxattn.profile.variants import (
    FORWARD,
    FORWARD_BACKWARD,
    STEP,
    Shape,
    Variant,
    attention_program,
    random_inputs,
    variants,
    why_unavailable,
)
from jaxattn.stages.machine import available_memory, cpu_cores

CPU_LENGTHS = (512, 1024, 2048, 4096)

LENGTHS = (512, 1024, 2048, 4096, 8192, 16384)
"""Where `profile.lengths` is empty, on a CPU and elsewhere."""

TOKENS = 16384
"""Of a batch where `profile.tokens` is 0 and the device is no CPU."""

_ATTENTION_SHARE = 0.5
"""Share of `profile.seconds` for the attentions alone, if steps are measured as well."""

_SLACK = 1.25
"""What is predicted is taken this many times: compiling and first runs vary."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """All that was measured.

    Attributes:
      measured: attentions alone by length, then steps by length.
      shapes: length -> sizes of the attention.
      programs: what can be run again, by `Task.key`.
      unavailable: name of a variant -> why it does not work here.
    """

    measured: list[Measured]
    shapes: dict[int, Shape]
    programs: dict[Key, Program]
    unavailable: dict[str, str]


def shapes_of(config: Config) -> dict[int, Shape]:
    """Length -> sizes of the attention that is measured at it."""
    cpu = jax.devices()[0].platform == "cpu"
    lengths = config.profile.lengths or (CPU_LENGTHS if cpu else LENGTHS)
    tokens = config.profile.tokens or (1 if cpu else TOKENS)
    model = config.model
    distance = model.relative_max_distance if model.positions == "relative" else 0
    return {
        length: Shape(
            rows=max(tokens // length, 1),
            length=length,
            heads=model.num_heads,
            head_width=model.head_width,
            dtype=config.train.precision,
            relative_distance=distance,
        )
        for length in lengths
    }


def measure(config: Config) -> Outcome:
    """Measures everything that `config.profile` asks for, as far as its time allows."""
    began = time.perf_counter()
    shapes = shapes_of(config)
    available, unavailable = [], {}
    for variant in variants(config.profile.attentions, config.attention):
        if reason := why_unavailable(variant, shapes[min(shapes)]):
            unavailable[variant.name] = reason
        else:
            available.append(variant)
    bench = Bench(config.profile.repeats, cpu_cores(), available_memory)
    alone = [_attention_tasks(config, available, shape) for shape in shapes.values()]
    share = _ATTENTION_SHARE if config.profile.step else 1.0
    _run_groups(bench, alone, began + share * config.profile.seconds)
    if config.profile.step:
        states = States(config.train.seed)
        steps = [_step_tasks(config, available, shape, states) for shape in shapes.values()]
        _run_groups(bench, steps, began + config.profile.seconds)
    return Outcome(bench.measured, shapes, bench.programs, unavailable)


def _run_groups(bench: Bench, groups: Sequence[Sequence[Task]], deadline: float) -> None:
    """Measures one length after the other; each has what it needs, and a part of what is spare."""
    for place, group in enumerate(groups):
        rest = groups[place:]
        left = deadline - time.perf_counter()
        needs = [_SLACK * bench.needed_seconds(tasks) for tasks in rest]
        part = group[0].length / sum(tasks[0].length for tasks in rest)
        # Nothing is known before the first group: it takes what it needs.
        spare = (left - sum(needs)) * part if place else left
        subject = "training step" if group[0].what == STEP else "attention"
        say(f"profile: {subject}, {group[0].length:,} tokens")
        bench.run(group, min(left, needs[0] + max(spare, 0.0)))


def _attention_tasks(config: Config, measured: Sequence[Variant], shape: Shape) -> list[Task]:
    """Forward, and forward with gradients, of all attentions on the same inputs."""
    lock = threading.Lock()
    made = functools.cache(lambda: random_inputs(shape, config.train.seed))

    def prepare(variant: Variant, what: str) -> Program:
        with lock:
            inputs = made()
        return attention_program(variant, what, inputs)

    return [
        Task(
            variant,
            what,
            shape.rows,
            shape.length,
            variant.cost(shape)[0],
            functools.partial(prepare, variant, what),
        )
        for what in (FORWARD, FORWARD_BACKWARD)
        for variant in measured
    ]


def _step_tasks(
    config: Config, measured: Sequence[Variant], shape: Shape, states: States
) -> list[Task]:
    """The whole training step with each attention."""
    model, tokens = config.model, shape.rows * shape.length
    weights = 4 * model.hidden_dim * model.qkv_dim
    weights += (3 if model.mlp_gate else 2) * model.hidden_dim * model.mlp_dim
    # A multiply-add counts as two, and the backward pass as two forward passes.
    dense = 6 * model.num_layers * weights * tokens

    def prepare(variant: Variant) -> Program:
        step = synthetic_step(
            step_config(config, variant),
            task=config.profile.task,
            batch_size=shape.rows,
            length=shape.length,
            vocab_size=config.tokenizer.vocab_size,
        )
        return step.program(states, ready=True)

    return [
        Task(
            variant,
            STEP,
            shape.rows,
            shape.length,
            dense + 3 * model.num_layers * variant.cost(shape)[0],
            functools.partial(prepare, variant),
        )
        for variant in measured
    ]


def step_config(config: Config, variant: Variant) -> Config:
    """`config` with this attention, undivided batches, and room for the longest length."""
    longest = max(config.model.max_seq_len, *shapes_of(config))
    attention = {"type": variant.attention, variant.attention: variant.options}
    return dataclasses.replace(
        config,
        attention=dataclasses.replace(config.attention, **attention),
        model=dataclasses.replace(config.model, max_seq_len=longest),
        train=dataclasses.replace(config.train, accumulation=1),
    )
