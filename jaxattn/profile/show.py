"""A profile as tables on the terminal."""

from collections.abc import Callable, Sequence
from typing import Any

from jaxattn.console import print_table
from jaxattn.profile.rows import Row, name
from jaxattn.profile.variants import FORWARD, FORWARD_BACKWARD, STEP

_MIB = 2**20

_MOST_PARTS = 20

_WHAT = {
    FORWARD: "attention,\nforward",
    FORWARD_BACKWARD: "attention,\nforward + backward",
    STEP: "training step",
}


def print_profile(profile: dict[str, Any]) -> None:
    """Prints costs, crossovers, errors and where the time went, as far as they were measured."""
    environment, model = profile["environment"], profile["config"]["model"]
    width = model["qkv_dim"] // model["num_heads"]
    print(
        f"Profile on {environment['device']}, {environment['precision']}: "
        f"{model['num_layers']} layers, {model['num_heads']} heads of width {width}\n"
    )
    for variant, reason in profile["unavailable"].items():
        print(f"{variant} does not work here: {reason}\n")
    table = profile["rows"]
    _print_attention(table)
    _print_steps(table)
    _print_crossovers(profile["crossovers"])
    _print_errors(profile)
    _print_traces(profile["traces"])


def _print_attention(table: Sequence[Row]) -> None:
    forward = {(name(row), row["length"]): row for row in table if row["what"] == FORWARD}
    _print_rows(
        "Attention alone, one layer",
        [row for row in table if row["what"] == FORWARD_BACKWARD],
        {
            "forward\nms": lambda row: _ms(forward[name(row), row["length"]]["seconds"]),
            "GFLOP\nforward": lambda row: _scaled(row["attention_flops"], 1e9),
            "MB moved\nforward": lambda row: _scaled(row["attention_bytes"], 1e6),
        },
    )


def _print_steps(table: Sequence[Row]) -> None:
    steps = [row for row in table if row["what"] == STEP]
    if steps:
        share = {"attention's\nshare": lambda row: _percent(row["attention_share"])}
        _print_rows("Training step, whole model", steps, share)


def _print_rows(title: str, table: Sequence[Row], more: dict[str, Callable[[Row], str]]) -> None:
    """A table of what all kinds of rows have, with some columns of their own."""
    columns: dict[str, Callable[[Row], str]] = {
        "length": lambda row: f"{row['length']:,}",
        "rows": lambda row: f"{row['rows']:,}",
        "attention": name,
        "median\nms": lambda row: _ms(row["seconds"]),
        "quartiles\nms": lambda row: _between(row["seconds_q1"], row["seconds_q3"]),
        "CPU\nms": lambda row: _ms(row["cpu_seconds"]),
        "repeats": lambda row: str(row["repeats"]),
        "tokens/s": lambda row: _scaled(row["tokens_per_second"], 1),
        "temporary\nMiB": lambda row: _scaled(row["temporary_bytes"], _MIB),
        "peak\nMiB": lambda row: _scaled(row["peak_device_bytes"], _MIB),
        **more,
        "": lambda row: row["note"],
    }
    cells = [[show(row) for show in columns.values()] for row in table]
    # A column that no row has a value for says nothing.
    kept = [i for i in range(len(columns)) if any(row[i] not in ("", "-") for row in cells)]
    headings = list(columns)
    print_table(title, [headings[i] for i in kept], [[row[i] for i in kept] for row in cells])


def _print_crossovers(found: Sequence[Row]) -> None:
    if not found:
        return
    whats = list(dict.fromkeys(row["what"] for row in found))
    pairs = list(dict.fromkeys((row["attention"], row["baseline"]) for row in found))
    sentences = {(row["attention"], row["baseline"], row["what"]): _sentence(row) for row in found}
    print_table(
        "Faster than exact attention, from which length on (in brackets: speed at the longest)",
        ["attention", "baseline", *(_WHAT[what] for what in whats)],
        [[*pair, *(sentences[*pair, what] for what in whats)] for pair in pairs],
    )


def _sentence(row: Row) -> str:
    speed = row["speed_at_longest"]
    return row["sentence"] + ("" if speed is None else f" ({speed:.2g}x at {row['longest']:,})")


def _print_errors(profile: dict[str, Any]) -> None:
    if not profile["errors"]:
        return
    print_table(
        f"Against exact attention, on {profile['checkpoint']}",
        ["attention", "layer", "output error", "mass kept", "recall of top 8"],
        [
            [
                row["attention"],
                str(row["layer"]),
                f"{row['output_error']:.4f}",
                f"{row['mass_kept']:.4f}",
                f"{row['recall']:.4f}",
            ]
            for row in profile["errors"]
        ],
    )
    print(
        "Mass kept: of reformer_lsh the exact weight of the pairs it visits; of performer_favor\n"
        "1 - total variation distance between its weights and the exact ones.\n"
    )


def _print_traces(traces: Sequence[dict[str, Any]]) -> None:
    if not traces:
        return
    parts = [trace["seconds_by_part"] for trace in traces]
    dearest = {part: max(p[part] for p in parts if part in p) for p in parts for part in p}
    ranked = sorted(dearest, key=lambda part: -dearest[part])[:_MOST_PARTS]
    what, length = traces[0]["what"].replace("_", " + "), traces[0]["length"]
    print_table(
        f"Where the time goes, ms, threads added up ({what}, {length:,} tokens)",
        ["part", *(trace["attention"] for trace in traces)],
        [[part, *(_ms(p[part]) if part in p else "-" for p in parts)] for part in ranked],
    )
    print("Open a trace at https://ui.perfetto.dev (Open trace file):")
    for trace in traces:
        print(f"  {trace['perfetto']}")
    print(f"or all of them with XProf (pip install xprof): xprof --logdir {traces[0]['xprof']}\n")


def _short(value: float) -> str:
    """Three significant digits, never with an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else _short(1e3 * seconds)


def _between(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{_ms(low)} to {_ms(high)}"


def _scaled(value: float | None, unit: float) -> str:
    return "-" if value is None else _short(value / unit)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"
