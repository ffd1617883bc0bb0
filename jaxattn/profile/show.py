"""A profile as tables on the terminal."""

from collections.abc import Sequence

from jaxattn.console import (
    MIB,
    UNKNOWN,
    Column,
    print_table,
    shown,
    significant,
    table,
    terminal,
)
from jaxattn.profile.errors import LayerError
from jaxattn.profile.profile import Profile
from jaxattn.profile.rows import Comparison, Row
from jaxattn.profile.trace import Trace
from jaxattn.profile.variants import FORWARD, FORWARD_BACKWARD, STEP

_MOST_PARTS = 20

_WHAT = {
    FORWARD: "attention,\nforward",
    FORWARD_BACKWARD: "attention,\nforward + backward",
    STEP: "training step",
}


def print_profile(profile: Profile) -> None:
    """Prints costs, crossovers, errors and where the time went, as far as they were measured."""
    environment, model = profile.environment, profile.config["model"]
    width = model["qkv_dim"] // model["num_heads"]
    print(
        f"Profile on {environment['device']}, {environment['precision']}: "
        f"{model['num_layers']} layers, {model['num_heads']} heads of width {width}\n"
    )
    for variant, reason in profile.unavailable.items():
        print(f"{variant} does not work here: {reason}\n")
    _print_attention(profile.rows)
    _print_steps(profile.rows)
    _print_crossovers(profile.crossovers)
    _print_errors(profile.errors, profile.checkpoint)
    _print_traces(profile.traces)


def _print_attention(rows: Sequence[Row]) -> None:
    forward = {(row.name, row.length): row.seconds for row in rows if row.what == FORWARD}
    _print_rows(
        "Attention alone, one layer",
        [row for row in rows if row.what == FORWARD_BACKWARD],
        Column("forward\nms", lambda row: _ms(forward[row.name, row.length])),
        Column("GFLOP\nforward", lambda row: significant(row.attention_flops, times=1e-9)),
        Column("MB moved\nforward", lambda row: significant(row.attention_bytes, times=1e-6)),
    )


def _print_steps(rows: Sequence[Row]) -> None:
    steps = [row for row in rows if row.what == STEP]
    share = Column[Row]("attention's\nshare", lambda row: shown(row.attention_share, ".0%"))
    if steps:
        _print_rows("Training step, whole model", steps, share)


def _print_rows(title: str, rows: Sequence[Row], *more: Column[Row]) -> None:
    """A table of what all kinds of rows have, with some columns of their own."""
    columns: list[Column[Row]] = [
        Column("length", lambda row: shown(row.length)),
        Column("rows", lambda row: shown(row.rows)),
        Column("attention", lambda row: row.name),
        Column("median\nms", lambda row: _ms(row.seconds)),
        Column("quartiles\nms", _quartiles),
        Column("CPU\nms", lambda row: _ms(row.cpu_seconds)),
        Column("repeats", lambda row: str(row.repeats)),
        Column("tokens/s", lambda row: significant(row.tokens_per_second)),
        Column("temporary\nMiB", lambda row: significant(row.temporary_bytes, times=1 / MIB)),
        Column("peak\nMiB", lambda row: significant(row.peak_device_bytes, times=1 / MIB)),
        *more,
        Column("", lambda row: row.note),
    ]
    terminal().print(table(title, columns, rows, only_known=True))


def _ms(seconds: float | None) -> str:
    return significant(seconds, times=1e3)


def _quartiles(row: Row) -> str:
    return UNKNOWN if row.seconds is None else f"{_ms(row.seconds_q1)} to {_ms(row.seconds_q3)}"


def _print_crossovers(comparisons: Sequence[Comparison]) -> None:
    if not comparisons:
        return
    sentences: dict[tuple[str, str], list[str]] = {}
    for one in comparisons:
        sentences.setdefault((one.attention, one.baseline), []).append(_sentence(one))
    print_table(
        "Faster than exact attention, from which length on (in brackets: speed at the longest)",
        ("attention", "baseline", *(_WHAT[w] for w in dict.fromkeys(c.what for c in comparisons))),
        [(*pair, *cells) for pair, cells in sentences.items()],
    )


def _sentence(comparison: Comparison) -> str:
    crossover = comparison.crossover
    speed, longest = crossover.speed_at_longest, crossover.longest
    return crossover.sentence + ("" if speed is None else f" ({speed:.2g}x at {longest:,})")


def _print_errors(errors: Sequence[LayerError], checkpoint: str | None) -> None:
    if not errors:
        return
    print_table(
        f"Against exact attention, on {checkpoint}",
        ("attention", "layer", "output error", "mass kept", "recall of top 8"),
        [
            (
                row.attention,
                str(row.layer),
                *(shown(x, ".4f") for x in (row.output_error, row.mass_kept, row.recall)),
            )
            for row in errors
        ],
    )
    print(
        "Mass kept: of reformer_lsh the exact weight of the pairs it visits; of performer_favor\n"
        "1 - total variation distance between its weights and the exact ones.\n"
    )


def _print_traces(traces: Sequence[Trace]) -> None:
    if not traces:
        return
    parts = [trace.seconds_by_part for trace in traces]
    dearest = {part: max(p[part] for p in parts if part in p) for p in parts for part in p}
    ranked = sorted(dearest, key=lambda part: -dearest[part])[:_MOST_PARTS]
    what, length = traces[0].what.replace("_", " + "), traces[0].length
    print_table(
        f"Where the time goes, ms, threads added up ({what}, {length:,} tokens)",
        ("part", *(trace.attention for trace in traces)),
        [(part, *(_ms(p.get(part)) for p in parts)) for part in ranked],
    )
    print("Open a trace at https://ui.perfetto.dev (Open trace file):")
    for trace in traces:
        print(f"  {trace.perfetto}")
    print(f"or all of them with XProf (pip install xprof): xprof --logdir {traces[0].xprof}\n")
