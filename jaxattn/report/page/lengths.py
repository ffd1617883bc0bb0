"""What the attentions cost at each length of text, and where they cross: from --mode=profile."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxattn.errors import InputError
from jaxattn.files import read_object
from jaxattn.pictures import OTHER_STYLE, STYLES
from jaxattn.report.page.markup import Markup, figure, joined, table, tag
from jaxattn.report.page.svg import inline_svg, svg_style
from jaxattn.runs.values import number, text, whole

WHAT = {
    "forward": "attention, forward",
    "forward_backward": "attention, forward + backward",
    "step": "training step, whole model",
}

_CHARTED = ("forward_backward", "step")

MIB = 2**20

_COLUMNS = (("seconds", 1e3, "time (ms)"), ("temporary_bytes", 1 / MIB, "temporary memory (MiB)"))

_LINES = {"blockwise": "--", "cudnn": ":"}
"""Of the implementations of exact attention, which share a colour."""


@dataclasses.dataclass(frozen=True)
class Point:
    """One measurement; what is not known is None."""

    attention: str
    implementation: str
    what: str
    length: int
    seconds: float | None
    temporary_bytes: float | None

    @property
    def name(self) -> str:
        """The attention, with its implementation where it has several."""
        return f"{self.attention} {self.implementation}".rstrip()


@dataclasses.dataclass(frozen=True)
class Profile:
    """A profile as the report shows it. `crossings`: attention, baseline, what, a sentence."""

    name: str
    device: str
    shape: str
    points: tuple[Point, ...]
    crossings: tuple[tuple[str, str, str, str], ...]


def read_profiles(runs: Path) -> list[Profile]:
    """Those in runs/profile, by name; what cannot be read is left out."""
    found = []
    for path in sorted((runs / "profile").glob("*/profile.json")):
        try:
            found.append(_profile(path.parent.name, read_object(path)))
        except InputError:
            continue
    return found


def lengths_section(profiles: Sequence[Profile]) -> Markup:
    """Charts and crossings of every profile; nothing where there is none."""
    parts = [
        joined(
            tag("h3", f"Profile {profile.name}"),
            tag("p", f"{profile.device}, {profile.shape}; random data", class_="small"),
            figure(
                _charts(profile, f"n{place}"),
                "Time and temporary memory against the length of the texts, both logarithmic.",
            ),
            table(
                ("measured", "attention", "against", "faster"),
                [
                    (WHAT.get(what, what), attention, baseline, sentence)
                    for attention, baseline, what, sentence in profile.crossings
                ],
            ),
        )
        for place, profile in enumerate(profiles)
        if profile.points
    ]
    if not parts:
        return Markup("")
    return tag("section", tag("h2", "Cost against length"), *parts)


def _profile(name: str, tree: Mapping[str, Any]) -> Profile:
    config = tree.get("config")
    model = config.get("model") if isinstance(config, Mapping) else None
    shape = ""
    if isinstance(model, Mapping):
        layers, heads = whole(model, "num_layers"), whole(model, "num_heads")
        width = whole(model, "qkv_dim")
        if layers and heads and width:
            shape = f"{layers} layers, {heads} heads of {width // heads}"
    rows = _mappings(tree.get("rows"))
    kinds = {text(row, "dtype") for row in rows} - {None}
    return Profile(
        name,
        text(tree, "environment.device") or "unknown device",
        ", ".join([shape, *sorted(str(kind) for kind in kinds)]).strip(", "),
        tuple(point for row in rows if (point := _point(row)) is not None),
        tuple(
            (
                text(row, "attention") or "",
                text(row, "baseline") or "",
                text(row, "what") or "",
                text(row, "sentence") or "",
            )
            for row in _mappings(tree.get("crossovers"))
        ),
    )


def _mappings(found: Any) -> list[Mapping[str, Any]]:
    return [row for row in found if isinstance(row, Mapping)] if isinstance(found, list) else []


def _point(row: Mapping[str, Any]) -> Point | None:
    attention, what, length = text(row, "attention"), text(row, "what"), whole(row, "length")
    if attention is None or what is None or length is None or length < 1:
        return None
    implementation = text(row, "implementation") or ""
    values = (number(row, name) for name, _, _ in _COLUMNS)
    return Point(attention, implementation, what, length, *values)


def _charts(profile: Profile, salt: str) -> list[str]:
    charts = []
    for what in _CHARTED:
        own = [point for point in profile.points if point.what == what]
        for column, factor, title in _COLUMNS:
            if any(_positive(getattr(point, column)) for point in own):
                with svg_style(f"{salt}{what}{column}"):
                    charts.append(_chart(own, column, factor, f"{WHAT[what]}: {title}"))
    return charts


def _positive(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and value > 0


def _chart(points: Sequence[Point], column: str, factor: float, title: str) -> str:
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

    drawing = Figure(figsize=(5.4, 3.9), layout="constrained")
    axes = drawing.add_subplot()
    for name in dict.fromkeys(point.name for point in points):
        curve = sorted(
            (point.length, factor * getattr(point, column))
            for point in points
            if point.name == name and _positive(getattr(point, column))
        )
        attention, _, way = name.partition(" ")
        colour, marker = STYLES.get(attention, OTHER_STYLE)
        axes.plot(
            [x for x, _ in curve], [y for _, y in curve], color=colour, marker=marker,
            linestyle=_LINES.get(way, "-"), markersize=5, linewidth=1.4, label=name,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sorted({point.length for point in points})))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter("")
    axes.set_xlabel("length (tokens)")
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=9, loc="best")
    return inline_svg(drawing)
