"""Traces: names of parts, times of nested operations, and a real recording."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from jaxattn.profile.timing import Program
from jaxattn.profile.trace import (
    named,
    part,
    read_events,
    record,
    scopes,
    seconds_by_part,
    write_events,
)

STEP = "jit(train_step)/jvp(MlmModel)/encoder/blocks_3"
BACK = "jit(train_step)/transpose(jvp(MlmModel))/encoder/blocks_0"


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (f"{STEP}/attention/qkv/rope/mul", "attention/qkv"),
        (f"{STEP}/attention/reformer_lsh/vmap(hash)/jit(floor_divide)/rem",
         "attention/reformer_lsh/hash"),
        (f"{STEP}/attention/reformer_lsh/vmap(sort)/jit(argsort)/sort",
         "attention/reformer_lsh/sort"),
        (f"{BACK}/attention/reformer_lsh/vmap()/while/body/closed_call/checkpoint/attend/dot",
         "attention/reformer_lsh/attend, backward"),
        (f"{BACK}/mlp/mlp/down/dot_general", "mlp/down, backward"),
        (f"{STEP}/mlp/mlp/erfc", "mlp"),
        ("jit(train_step)/jvp(MlmModel)/mlm_head/erfc", "mlm_head"),
        ("jit(train_step)/optimizer/mul;jit(train_step)", "optimizer"),
        (f"{STEP}/attention/sdpa/sdpa_blockwise/attend/while", "attention/sdpa/attend"),
        (f"{BACK}/attention/sdpa/sdpa_xla/top_backward/dot", "attention/sdpa/top, backward"),
        ("jit(f)/reformer_lsh/combine/add", "reformer_lsh/combine"),
        ("jit(train_step)/div", "other"),
        ("", "other"),
    ],
)  # fmt: skip
def test_parts_are_named_after_the_scopes(scope: str, expected: str) -> None:
    assert part(scope) == expected


HLO = """HloModule jit_step
ENTRY %main.5 (a: f32[8]) -> f32[8] {
  %a = f32[8]{0} parameter(0)
  %dot.1 = f32[8]{0} multiply(%a, %a), metadata={op_name="jit(step)/mlp/up/mul"}
  %copy.2 = f32[8]{0} copy(%dot.1)
  ROOT %copy.3 = f32[8]{0} copy(%copy.2)
}
"""


def test_copies_belong_to_what_they_copy() -> None:
    found = scopes(HLO)
    assert found == dict.fromkeys(["dot.1", "copy.2", "copy.3"], "jit(step)/mlp/up/mul")


def event(operation: str, start: float, duration: float, thread: int = 1) -> dict:
    return {
        "ph": "X", "pid": 1, "tid": thread, "ts": start, "dur": duration, "name": operation,
        "args": {"hlo_op": operation},
    }  # fmt: skip


def test_a_loop_does_not_count_what_runs_in_it() -> None:
    hlo = "\n".join(
        f'  %{name} = f32[] add(), metadata={{op_name="jit(f)/{scope}/add"}}'
        for name, scope in (("while.1", "sort"), ("dot.1", "attend"), ("dot.2", "hash"))
    )
    events = [
        event("while.1", 0.0, 100.0),
        event("dot.1", 10.0, 30.0),
        event("dot.1", 40.0, 30.0),
        event("dot.2", 120.0, 8.0),
        event("dot.2", 0.0, 50.0, thread=2),
        {"ph": "X", "pid": 1, "tid": 1, "ts": 0.0, "dur": 5.0, "name": "ThunkExecutor"},
    ]
    kept = named(events, hlo)
    assert [one["name"] for one in kept][:2] == ["sort: while.1", "attend: dot.1"]
    assert len(kept) == 5
    # Microseconds of two runs as seconds of one.
    expected = {"attend": 30e-6, "hash": 29e-6, "sort": 20e-6}
    assert seconds_by_part(kept) == pytest.approx(expected)
    assert list(seconds_by_part(kept)) == list(expected)


def test_a_recording_holds_a_perfetto_file_with_the_named_parts(tmp_path: Path) -> None:
    @jax.jit
    def step(x: jax.Array) -> jax.Array:
        with jax.named_scope("attend"):
            x = x @ x
        with jax.named_scope("mlp"):
            return jnp.sort(x, axis=0)

    x = jnp.ones((128, 128))
    compiled = step.lower(x).compile()
    raw = record(Program(compiled, lambda: compiled(x), 0.0), tmp_path, "one")
    record(Program(compiled, lambda: compiled(x), 0.0), tmp_path, "two")
    # What XProf reads: <folder>/plugins/profile/<session>/*.xplane.pb.
    assert raw == tmp_path / "plugins" / "profile" / "one" / "perfetto_trace.json.gz"
    assert {path.parent.name for path in tmp_path.rglob("*.xplane.pb")} == {"one", "two"}
    events = named(read_events(raw), compiled.as_text())
    write_events(events, tmp_path / "named.json.gz")
    assert read_events(tmp_path / "named.json.gz") == events
    seconds = seconds_by_part(events)
    assert {"attend", "mlp"} <= set(seconds)
    assert all(value > 0 for value in seconds.values())
