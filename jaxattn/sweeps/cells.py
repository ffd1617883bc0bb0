"""The cells of a sweep as runs: their flags, their checked options, and the best of them."""

import dataclasses
import functools
import runpy
from pathlib import Path

from jaxattn.config import Config, SweepConfig
from jaxattn.config.flags import config_dict, config_file
from jaxattn.errors import InputError
from jaxattn.request import Request
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.kinds import KINDS, called
from jaxattn.stages.moved import require_same_data
from jaxattn.stages.origin import pretrained_config
from jaxattn.sweeps.grid import SEED, Cell, expand
from jaxattn.sweeps.recipe import require_same_start


def read_sweep(request: Request) -> "Cells":
    """The cells of the file given as --config; raises InputError for one that is no sweep."""
    file = config_file(request.config_file)
    try:
        function = runpy.run_path(file).get("get_sweep")
        groups = None if function is None else function()
    except Exception as error:
        # Whatever a configuration file may raise when it is run.
        detail = " ".join(str(error).split())
        raise InputError(f"--config={file}: {type(error).__name__}: {detail}") from None
    if function is None:
        raise InputError(
            f"--config={file}: defines no function get_sweep, which says what the grid is"
        )
    name = request.exp_or(Path(file).stem, "--config", what="sweep")
    try:
        return Cells(request, name, expand(name, groups))
    except InputError as error:
        raise InputError(f"--config={file}: {error}") from None


@dataclasses.dataclass(frozen=True)
class Choice:
    """The best of the cells that a cell takes options from.

    Attributes:
      cell: it, or the first of its repetitions.
      value: its measure, the mean over repetitions; None before they have run.
    """

    cell: Cell
    value: float | None


class Cells:
    """All cells of a sweep, and what is known of them from their folders."""

    def __init__(self, request: Request, name: str, cells: list[Cell]) -> None:
        """`request`: of the sweep; `name`: its own."""
        self.request, self.name, self.all = request, name, cells
        self.choices: dict[str, Choice] = {}
        self._configs: dict[tuple[str, ...], Config] = {}

    def folder(self, cell: Cell) -> RunFolder:
        """runs/<kind>/<exp>."""
        return RunFolder(self.request.runs, cell.kind, cell.exp)

    def log(self, cell: Cell) -> Path:
        """Where everything that the process of a cell says is kept."""
        return self.home / "logs" / f"{cell.kind}-{cell.exp}.log"

    @functools.cached_property
    def options(self) -> SweepConfig:
        """How they are run."""
        return self.request.resolved().sweep

    @property
    def home(self) -> Path:
        """runs/sweep/<name>."""
        return self.request.runs / "sweep" / self.name

    def candidates(self, cell: Cell) -> list[Cell]:
        """The cells that `cell` takes the best of."""
        if cell.best is None:
            return []
        return [
            other
            for other in self.all
            if other.group == cell.best.of
            and all(other.axes[axis] == cell.axes[axis] for axis in cell.best.per)
        ]

    def choose(self, cell: Cell) -> Choice | None:
        """The best candidate; None where no configuration has all its repetitions finished."""
        assert cell.best is not None
        repeated: dict[tuple[tuple[str, str], ...], list[Cell]] = {}
        for other in self.candidates(cell):
            repeated.setdefault(other.configuration(), []).append(other)
        means: list[tuple[float, Cell]] = []
        for members in repeated.values():
            values = [self.measure(member, cell.best.by) for member in members]
            known = [value for value in values if value is not None]
            if len(known) == len(members):
                means.append((sum(known) / len(known), members[0]))
        if not means:
            return None
        sign = 1 if cell.best.higher_is_better else -1
        value, best = max(means, key=lambda mean: sign * mean[0])
        return Choice(best, value)

    def measure(self, cell: Cell, name: str) -> float | None:
        """An entry of results.json; None where the run is not finished.

        Raises:
          InputError: the run is finished and has no such number.
        """
        folder = self.folder(cell)
        if folder.state != "finished":
            return None
        value = folder.results().value(name)
        if value is None:
            raise InputError(
                f"{folder.results_path}: {name}: found {value}, expected a number to choose by"
            )
        return value

    def _model(self, cell: Cell) -> Cell | None:
        """The cell of the same stage among those that the best one comes from."""
        if cell.best is None:
            return None
        choice = self.choices.get(cell.id) or Choice(self.candidates(cell)[0], None)
        return next(other for other in choice.cell.chain() if other.kind == cell.kind)

    def own(self, cell: Cell) -> dict[str, object]:
        """What the cell's own grid sets, and what it has taken from the best."""
        model = self._model(cell)
        taken = self.own(model) if model else {}
        return {name: v for name, v in taken.items() if name != SEED} | dict(cell.own)

    def start(self, cell: Cell) -> str:
        """What --pretrain says; "" for a stage that starts from nothing.

        Raises:
          InputError: the stage needs one, and neither the sweep nor the flag names it.
        """
        if not KINDS[cell.kind].parents:
            return ""
        if cell.parent is not None:
            return called(cell.parent.kind, cell.parent.exp)
        model = self._model(cell)
        if model is not None:
            return self.start(model)
        if not self.request.pretrain:
            raise InputError(
                f"get_sweep: {cell.group} starts from no earlier group, so --mode=sweep needs "
                "--pretrain=<run>, or --pretrain=none to start from random weights"
            )
        return self.request.pretrain

    def args(self, cell: Cell) -> tuple[str, ...]:
        """The --config flags; those of the command line count for all cells, its own before."""
        given = list(self.request.config_args)
        if cell.config:
            given = [arg for arg in given if not arg.startswith("--config=")]
            given.insert(0, f"--config={cell.config}")
        options = {**cell.options, **self.own(cell)}
        return (*given, *(f"--config.{name}={_text(value)}" for name, value in options.items()))

    def call(self, cell: Cell) -> tuple[str, ...]:
        """The flags of the process that runs the cell."""
        start = self.start(cell)
        return (
            f"--mode={cell.kind}",
            f"--exp={cell.exp}",
            *([f"--pretrain={start}"] if start else []),
            *self.args(cell),
            f"--runs={self.request.runs}",
            *([] if self.request.compilation_cache else ["--nocompilation_cache"]),
            *(["--resume"] if self.folder(cell).begun else []),
        )

    def config(self, cell: Cell) -> Config:
        """The checked options, before anything is run; raises InputError naming the cell."""
        args, start = self.args(cell), self.start(cell)
        key = (cell.kind, start, *args)
        if key not in self._configs:
            model = self._model(cell)
            parent = cell.parent or (model.parent if model else None)
            try:
                inherited = self.config(parent) if parent else None
                if start and not parent:
                    inherited = pretrained_config(self.request.runs, start)
                request = dataclasses.replace(
                    self.request, config=config_dict(args, cell.kind), config_args=args
                )
                self._configs[key] = request.resolved(inherited)
            except InputError as error:
                named = str(error).startswith("cell ")
                raise InputError(str(error) if named else f"cell {cell.id}: {error}") from None
        return self._configs[key]

    def check(self, cell: Cell) -> None:
        """Raises InputError unless the cell can be run, or was begun as it would be now."""
        config, folder = self.config(cell), self.folder(cell)
        if not folder.begun:
            return
        require_same_data(folder, folder.saved.continued(config))
        start = self.start(cell)
        if not start:
            return
        begun = folder.pretrained_from()
        if start not in (begun, begun.partition("@")[0]):
            raise InputError(f"{folder.path} was begun from {begun}, now it would be from {start}")
        if folder.state == "finished" and (
            cell.parent is None or self.folder(cell.parent).state == "finished"
        ):
            require_same_start(folder, start)


def _text(value: object) -> str:
    """A value as it stands in a flag."""
    if isinstance(value, list | tuple):
        return f"({''.join(f'{item!r},' for item in value)})"
    return repr(value) if isinstance(value, float) else str(value)
