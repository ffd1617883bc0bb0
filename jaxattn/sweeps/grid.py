"""A sweep as data -> its cells: groups of runs, each a grid, each after an earlier one.

    {"pretrain": {"grid": {"attention.type": ["sdpa", "reformer_lsh"], "train.seed": [0, 1]}},
     "finetune": {"from": "pretrain"}}

docs/experiments.md says what may stand there. Nothing is read or run here.
"""

import dataclasses
import hashlib
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jaxattn.config import Config, declared
from jaxattn.errors import InputError, did_you_mean
from jaxattn.runs.folder import NAME
from jaxattn.runs.kinds import KINDS

KEYS = ("stage", "from", "config", "options", "grid", "best")

BEST_KEYS = ("of", "by", "per")

LOWER_IS_BETTER = ("loss",)

SEED = "train.seed"

LONGEST = 64


@dataclasses.dataclass(frozen=True)
class Best:
    """Options that are those of the best cell of an earlier group.

    Attributes:
      of: that group.
      by: an entry of results.json, of the validation split.
      per: axes in which the candidates have to be like the cell that is to run.
    """

    of: str
    by: str
    per: tuple[str, ...]

    @property
    def higher_is_better(self) -> bool:
        """The direction of `by`."""
        return self.by.rpartition(".")[2] not in LOWER_IS_BETTER


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a sweep.

    Attributes:
      group: its group.
      kind: its stage.
      exp: its name; runs/<kind>/<exp> is its folder.
      axes: axis -> label, those of the cell it starts from included.
      own: the options of its own grid, dotted name -> value.
      options: all options it sets: `own`, those of the group, and what it inherits.
      carried: those that the cells starting from it inherit: the seed, and what goes with a file.
      config: its configuration file; "": that of the sweep.
      parent: the cell it starts from; None: what --pretrain names, or nothing.
      best: where further options come from, known only when those cells are finished.
    """

    group: str
    kind: str
    exp: str
    axes: Mapping[str, str]
    own: Mapping[str, Any]
    options: Mapping[str, Any]
    carried: Mapping[str, Any]
    config: str
    parent: "Cell | None"
    best: Best | None

    @property
    def id(self) -> str:
        """<kind>/<exp>."""
        return f"{self.kind}/{self.exp}"

    def chain(self) -> "tuple[Cell, ...]":
        """The cell and those it comes from, the last one first."""
        return (self, *(self.parent.chain() if self.parent else ()))

    def configuration(self) -> tuple[tuple[str, str], ...]:
        """What it is, whatever its seed: cells that agree in this are repetitions."""
        return tuple((axis, label) for axis, label in self.axes.items() if axis != SEED)


@dataclasses.dataclass(frozen=True)
class _Point:
    """One value of one axis."""

    label: str
    options: dict[str, Any]
    config: str


def expand(name: str, groups: Any) -> list[Cell]:
    """The cells of a sweep called `name`, each after those it depends on.

    Raises:
      InputError: `groups` is not what a sweep has to be; the group and the entry are named.
    """
    if not isinstance(groups, Mapping) or not groups:
        raise InputError(f"get_sweep: found {groups!r}, expected groups of runs, by their names")
    cells: dict[str, list[Cell]] = {}
    for group, entries in groups.items():
        if not isinstance(group, str) or not NAME.fullmatch(group):
            raise InputError(
                f"get_sweep: group {group!r}: allowed names: letters, digits, '_', '.', '-'"
            )
        cells[group] = _group(name, group, entries, cells)
    found = [cell for members in cells.values() for cell in members]
    seen: dict[str, Cell] = {}
    for cell in found:
        if cell.id in seen:
            raise InputError(
                f"get_sweep: {cell.group}: two cells are called {cell.id}; give the values of an "
                "axis labels of their own"
            )
        seen[cell.id] = cell
    return found


def _group(
    name: str, group: str, entries: Any, earlier: Mapping[str, Sequence[Cell]]
) -> list[Cell]:
    where = f"get_sweep: {group}"
    _known(where, entries, KEYS)
    kind = entries.get("stage", group)
    if kind not in KINDS:
        hint = did_you_mean(str(kind), list(KINDS))
        raise InputError(f"{where}: stage: found {kind!r}, allowed: {', '.join(KINDS)}{hint}")
    options = _options(f"{where}: options", entries.get("options", {}))
    config = _file(f"{where}: config", entries.get("config", ""))
    best = _best(where, kind, entries["best"], earlier) if "best" in entries else None
    axes = {
        axis: _points(f"{where}: grid: {axis}", axis, values)
        for axis, values in _mapping(f"{where}: grid", entries.get("grid", {})).items()
    }
    parents: Sequence[Cell | None] = [None]
    if "from" in entries:
        parents = _source(where, kind, entries["from"], earlier)
    cells = []
    for parent, points in itertools.product(parents, itertools.product(*axes.values())):
        own = {option: value for point in points for option, value in point.options.items()}
        labels = dict(parent.axes) if parent else {}
        for axis in labels.keys() & axes.keys():
            # An axis that is set anew has its new label only.
            del labels[axis]
        labels |= {axis: point.label for axis, point in zip(axes, points, strict=True)}
        inherited = dict(parent.carried) if parent else {}
        carried = {name: v for point in points if point.config for name, v in point.options.items()}
        carried |= {SEED: own[SEED]} if SEED in own else {}
        file = next((point.config for point in points if point.config), config)
        if best is not None and (missing := [axis for axis in best.per if axis not in labels]):
            raise InputError(f"{where}: best: per: {missing[0]!r} is no axis of this group")
        cells.append(
            Cell(
                group=group,
                kind=kind,
                exp=cell_name([name, *([] if group == kind else [group]), *labels.values()]),
                axes=labels,
                own=own,
                options=inherited | options | own,
                carried=inherited | carried,
                config=file or (parent.config if parent else ""),
                parent=parent,
                best=best,
            )
        )
    return cells


def cell_name(parts: Sequence[str]) -> str:
    """The parts joined; what is too long is cut, and then told apart by a hash."""
    name = "_".join(re.sub(r"[^\w.-]+", "-", part, flags=re.ASCII) for part in parts)
    if len(name) <= LONGEST:
        return name
    return f"{name[: LONGEST - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _points(where: str, axis: str, values: Any) -> list[_Point]:
    """The values of an axis: a list for an option, {label: options} for a name of your own."""
    if isinstance(values, Mapping):
        points = [_labelled(f"{where}: {label}", label, chosen) for label, chosen in values.items()]
    elif isinstance(values, str) or not isinstance(values, Sequence):
        raise InputError(f"{where}: found {values!r}, expected a list of values")
    else:
        _options(where, {axis: None})
        points = [_Point(label_of(axis, value), {axis: value}, "") for value in values]
    if not points:
        raise InputError(f"{where}: found no value, expected one or more")
    return points


def _labelled(where: str, label: Any, chosen: Any) -> _Point:
    if not isinstance(label, str) or not label:
        raise InputError(f"{where}: found the label {label!r}, expected a text")
    options = dict(_mapping(where, chosen))
    config = _file(f"{where}: config", options.pop("config", ""))
    return _Point(label, _options(where, options), config)


def label_of(option: str, value: Any) -> str:
    """What a value adds to the name of a cell: sdpa, seed0, freeze_blocks2, no_packing."""
    leaf = option.rpartition(".")[2]
    if isinstance(value, bool):
        return leaf if value else f"no_{leaf}"
    if isinstance(value, int | float):
        return f"{leaf}{value:g}" if math.isfinite(value) else f"{leaf}{value}"
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w.-]*", value, re.ASCII):
        return value
    if isinstance(value, Sequence) and not isinstance(value, str):
        return leaf + "-".join(map(str, value))
    return f"{leaf}{value}"


def _best(where: str, kind: str, entries: Any, earlier: Mapping[str, Sequence[Cell]]) -> Best:
    where = f"{where}: best"
    _known(where, entries, BEST_KEYS)
    of = entries.get("of")
    if of not in earlier:
        raise InputError(f"{where}: of: found {of!r}, {_groups(earlier)}")
    first = earlier[of][0]
    if kind not in [cell.kind for cell in first.chain()]:
        raise InputError(f"{where}: of: {of} has no {kind} stage whose options could be taken")
    by = entries.get("by", KINDS[first.kind].measure)
    if not isinstance(by, str) or not by.startswith("validation."):
        raise InputError(
            f"{where}: by: found {by!r}, allowed: an entry of the validation split, such as "
            f"{KINDS[first.kind].measure} (what is chosen by the test split cannot be tested on it)"
        )
    per = entries.get("per", ())
    if isinstance(per, str) or not isinstance(per, Sequence):
        raise InputError(f"{where}: per: found {per!r}, expected a list of axes")
    for axis in per:
        if axis not in first.axes:
            raise InputError(f"{where}: per: {axis!r} is no axis of {of}")
    return Best(of, by, tuple(per))


def _source(
    where: str, kind: str, source: Any, earlier: Mapping[str, Sequence[Cell]]
) -> Sequence[Cell]:
    if source not in earlier:
        raise InputError(f"{where}: from: found {source!r}, {_groups(earlier)}")
    if earlier[source][0].kind not in KINDS[kind].parents:
        wanted = " or ".join(KINDS[kind].parents) or "nothing"
        raise InputError(
            f"{where}: from: {source} is of stage {earlier[source][0].kind}; {kind} starts from "
            f"{wanted}"
        )
    return earlier[source]


def _groups(earlier: Mapping[str, Any]) -> str:
    return f"allowed: an earlier group ({', '.join(earlier) or 'there is none'})"


def _mapping(where: str, found: Any) -> Mapping[str, Any]:
    if not isinstance(found, Mapping):
        raise InputError(f"{where}: found {found!r}, expected entries by their names")
    return found


def _known(where: str, entries: Any, keys: Sequence[str]) -> None:
    for key in _mapping(where, entries):
        if key not in keys:
            raise InputError(
                f"{where}: found {key!r}, allowed: {', '.join(keys)}{did_you_mean(str(key), keys)}"
            )


def _options(where: str, found: Any) -> dict[str, Any]:
    kinds = list(declared(Config))
    for option in _mapping(where, found):
        if option not in kinds:
            raise InputError(f"{where}: unknown option {option!r}{did_you_mean(option, kinds)}")
    return dict(found)


def _file(where: str, found: Any) -> str:
    if not isinstance(found, str):
        raise InputError(f"{where}: found {found!r}, expected the path of a configuration file")
    return found
