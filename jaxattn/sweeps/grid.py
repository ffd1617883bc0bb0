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

from jaxattn.config import Config, declared
from jaxattn.errors import InputError, did_you_mean
from jaxattn.runs.folder import NAME
from jaxattn.runs.kinds import KINDS

KEYS = ("stage", "from", "config", "options", "grid", "best")

BEST_KEYS = ("of", "by", "per")

LOWER_IS_BETTER = ("loss",)

SEED = "train.seed"

LONGEST = 64
"""Characters of a run's name."""

Options = Mapping[str, object]
"""Dotted name -> value, as the user's file has it: the configuration checks it."""


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
    own: Options
    options: Options
    carried: Options
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
    options: Options
    config: str


def expand(name: str, groups: object) -> list[Cell]:
    """The cells of a sweep called `name`, each after those it depends on.

    Raises:
      InputError: `groups` is not what a sweep has to be; the group and the entry are named.
    """
    if not isinstance(groups, Mapping) or not groups:
        raise InputError(f"get_sweep: found {groups!r}, expected groups of runs, by their names")
    earlier: dict[str, list[Cell]] = {}
    ids: set[str] = set()
    for group, entries in groups.items():
        if not isinstance(group, str) or not NAME.fullmatch(group):
            raise InputError(
                f"get_sweep: group {group!r}: allowed names: letters, digits, '_', '.', '-'"
            )
        earlier[group] = _group(name, group, entries, earlier)
        for cell in earlier[group]:
            if cell.id in ids:
                raise InputError(
                    f"get_sweep: {group}: two cells are called {cell.id}; give the values of an "
                    "axis labels of their own"
                )
            ids.add(cell.id)
    return [cell for cells in earlier.values() for cell in cells]


def _group(
    name: str, group: str, found: object, earlier: Mapping[str, Sequence[Cell]]
) -> list[Cell]:
    where = f"get_sweep: {group}"
    entries = _known(where, found, KEYS)
    kind = entries.get("stage", group)
    if not isinstance(kind, str) or kind not in KINDS:
        hint = did_you_mean(str(kind), list(KINDS))
        raise InputError(f"{where}: stage: found {kind!r}, allowed: {', '.join(KINDS)}{hint}")
    options = _options(f"{where}: options", entries.get("options", {}))
    config = _file(f"{where}: config", entries.get("config", ""))
    best = _best(f"{where}: best", kind, entries["best"], earlier) if "best" in entries else None
    axes = {
        axis: _points(f"{where}: grid: {axis}", axis, values)
        for axis, values in _mapping(f"{where}: grid", entries.get("grid", {})).items()
    }
    parents: Sequence[Cell | None] = [None]
    if "from" in entries:
        parents = _parents(f"{where}: from", kind, entries["from"], earlier)
    cells = []
    for parent, points in itertools.product(parents, itertools.product(*axes.values())):
        own = {option: value for point in points for option, value in point.options.items()}
        # An axis that is set anew has its new label only.
        labels = {a: label for a, label in (parent.axes if parent else {}).items() if a not in axes}
        labels |= {axis: point.label for axis, point in zip(axes, points, strict=True)}
        if best is not None and (missing := [axis for axis in best.per if axis not in labels]):
            raise InputError(f"{where}: best: per: {missing[0]!r} is no axis of this group")
        inherited = dict(parent.carried) if parent else {}
        carried = {name: v for point in points if point.config for name, v in point.options.items()}
        carried |= {SEED: own[SEED]} if SEED in own else {}
        file = next((point.config for point in points if point.config), config)
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


def _points(where: str, axis: str, values: object) -> list[_Point]:
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


def _labelled(where: str, label: object, chosen: object) -> _Point:
    if not isinstance(label, str) or not label:
        raise InputError(f"{where}: found the label {label!r}, expected a text")
    options = dict(_mapping(where, chosen))
    config = _file(f"{where}: config", options.pop("config", ""))
    return _Point(label, _options(where, options), config)


def label_of(option: str, value: object) -> str:
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


def _best(where: str, kind: str, found: object, earlier: Mapping[str, Sequence[Cell]]) -> Best:
    entries = _known(where, found, BEST_KEYS)
    first = _earlier(f"{where}: of", entries.get("of"), earlier)[0]
    if kind not in [cell.kind for cell in first.chain()]:
        raise InputError(
            f"{where}: of: {first.group} has no {kind} stage whose options could be taken"
        )
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
            raise InputError(f"{where}: per: {axis!r} is no axis of {first.group}")
    return Best(first.group, by, tuple(per))


def _parents(
    where: str, kind: str, source: object, earlier: Mapping[str, Sequence[Cell]]
) -> Sequence[Cell]:
    cells = _earlier(where, source, earlier)
    if cells[0].kind not in KINDS[kind].parents:
        wanted = " or ".join(KINDS[kind].parents) or "nothing"
        raise InputError(
            f"{where}: {source} is of stage {cells[0].kind}; {kind} starts from {wanted}"
        )
    return cells


def _earlier(where: str, group: object, earlier: Mapping[str, Sequence[Cell]]) -> Sequence[Cell]:
    if not isinstance(group, str) or group not in earlier:
        known = ", ".join(earlier) or "there is none"
        raise InputError(f"{where}: found {group!r}, allowed: an earlier group ({known})")
    return earlier[group]


def _mapping(where: str, found: object) -> Options:
    if not isinstance(found, Mapping):
        raise InputError(f"{where}: found {found!r}, expected entries by their names")
    return found


def _known(where: str, found: object, keys: Sequence[str]) -> Options:
    entries = _mapping(where, found)
    for key in entries:
        if key not in keys:
            raise InputError(
                f"{where}: found {key!r}, allowed: {', '.join(keys)}{did_you_mean(str(key), keys)}"
            )
    return entries


def _options(where: str, found: object) -> dict[str, object]:
    known = list(declared(Config))
    options = _mapping(where, found)
    for option in options:
        if option not in known:
            raise InputError(f"{where}: unknown option {option!r}{did_you_mean(option, known)}")
    return dict(options)


def _file(where: str, found: object) -> str:
    if not isinstance(found, str):
        raise InputError(f"{where}: found {found!r}, expected the path of a configuration file")
    return found
