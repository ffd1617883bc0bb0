"""What the attentions cost at each length of text, and where they cross: from --mode=profile."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxattn.console import MIB
from jaxattn.errors import InputError
from jaxattn.files import read_object
from jaxattn.report.page.markup import Markup, figure, joined, table, tag
from jaxattn.report.page.plot import style
from jaxattn.report.page.svg import added_chart
from jaxattn.runs.values import number, text, whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WHAT = {
    "forward": "attention, forward",
    "forward_backward": "attention, forward + backward",
    "step": "training step, whole model",
}

_CHARTED = ("forward_backward", "step")

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
    """A profile as the report shows it. `crossings` are rows of a table."""

    name: str
    device: str
    shape: str
    points: tuple[Point, ...]
    crossings: tuple[tuple[str, ...], ...]


def read_profiles(runs: Path) -> list[Profile]:
    """Those in runs/profile, by name; what cannot be read is left out."""
    profiles = []
    for path in sorted((runs / "profile").glob("*/profile.json")):
        try:
            profiles.append(_profile(path.parent.name, read_object(path)))
        except InputError:
            continue
    return profiles


def lengths_section(profiles: Sequence[Profile]) -> Markup:
    """Charts and crossings of every profile; nothing where there is none."""
    parts = [
        joined(
            tag("h3", f"Profile {profile.name}"),
            tag("p", f"{profile.device}, {profile.shape}; random data", class_="small"),
            figure(
                _charts(profile, f"n{index}"),
                "Time and temporary memory against the length of the texts, both logarithmic.",
            ),
            table(
                ("measured", "attention", "against", "faster"),
                profile.crossings,
            ),
        )
        for index, profile in enumerate(profiles)
        if profile.points
    ]
    if not parts:
        return Markup("")
    return tag("section", tag("h2", "Cost against length"), *parts)


def _profile(name: str, tree: Mapping[str, Any]) -> Profile:
    layers, heads, width = (
        whole(tree, f"config.model.{option}") for option in ("num_layers", "num_heads", "qkv_dim")
    )
    shape = ""
    if layers and heads and width:
        shape = f"{layers} layers, {heads} heads of {width // heads}"
    rows = _mappings(tree.get("rows"))
    kinds = {text(row, "dtype") for row in rows} - {None}
    crossings = [
        [text(row, name) or "" for name in ("what", "attention", "baseline", "sentence")]
        for row in _mappings(tree.get("crossovers"))
    ]
    return Profile(
        name,
        text(tree, "environment.device") or "unknown device",
        ", ".join([shape, *sorted(str(kind) for kind in kinds)]).strip(", "),
        tuple(point for row in rows if (point := _point(row)) is not None),
        tuple((WHAT.get(what, what), *rest) for what, *rest in crossings),
    )


def _mappings(rows: object) -> list[Mapping[str, Any]]:
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []


def _point(row: Mapping[str, Any]) -> Point | None:
    attention, what, length = text(row, "attention"), text(row, "what"), whole(row, "length")
    if attention is None or what is None or length is None or length < 1:
        return None
    implementation = text(row, "implementation") or ""
    values = (number(row, name) for name, _, _ in _COLUMNS)
    return Point(attention, implementation, what, length, *values)


def _charts(profile: Profile, salt: str) -> list[Markup]:
    charts: list[Markup] = []
    for what in _CHARTED:
        points = [point for point in profile.points if point.what == what]
        for column, factor, title in _COLUMNS:
            if any(_positive(getattr(point, column)) for point in points):
                with added_chart(charts, f"{salt}{what}{column}") as axes:
                    _draw(axes, points, column, factor)
                    axes.set_title(f"{WHAT[what]}: {title}", fontsize=10)
    return charts


def _positive(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and value > 0


def _draw(axes: "Axes", points: Sequence[Point], column: str, factor: float) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

    for name in dict.fromkeys(point.name for point in points):
        curve = sorted(
            (point.length, factor * getattr(point, column))
            for point in points
            if point.name == name and _positive(getattr(point, column))
        )
        attention, _, way = name.partition(" ")
        colour, marker = style(attention)
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
    axes.legend(fontsize=9, loc="best")
