"""Metrics of a run to Weights & Biases and TensorBoard, beside the files always written."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from jaxattn.config import LogConfig
from jaxattn.errors import InputError

Values = Mapping[str, float | None]


class Tracker(Protocol):
    """Where metrics go."""

    def log(self, step: int, values: Values) -> None:
        """Metrics after so many steps, by names such as train/loss; None is left out."""

    def close(self, exit_code: int) -> None:
        """Ends the tracking; 0: the run finished."""


def trackers(folder: Path, config: LogConfig, name: str, settings: dict[str, Any]) -> list[Tracker]:
    """Those that the options ask for.

    Args:
      folder: of the run.
      config: what is asked for.
      name: of the run.
      settings: its options, flat.

    Raises:
      InputError: a tracker is not installed or does not start.
    """
    found: list[Tracker] = []
    if config.wandb != "off":
        found.append(WandbRun(folder, config, name, folder.parent.name, settings))
    if config.tensorboard:
        found.append(TensorBoard(folder / "tensorboard"))
    return found


class WandbRun:
    """A run of Weights & Biases; opened again for the same folder, it is the same run there."""

    def __init__(
        self, folder: Path, config: LogConfig, name: str, kind: str, settings: dict[str, Any]
    ) -> None:
        """Starts or resumes it; its files are in `folder`. `kind` is its type of job."""
        import wandb

        self._wandb = wandb
        try:
            self._run = wandb.init(
                project=config.wandb_project,
                name=name,
                job_type=kind,
                id=f"{kind}-{name}".replace(".", "-"),
                resume="allow",
                mode="offline" if config.wandb == "offline" else "online",
                dir=str(folder),
                config=settings,
                settings=wandb.Settings(silent=True),
            )
        except (wandb.errors.Error, OSError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"log.wandb: Weights & Biases did not start: {reason}") from None

    def log(self, step: int, values: Values) -> None:
        """As of `Tracker`; the steps are explicit, so that a resumed run goes on in its curves."""
        self._run.log(_known(values), step=step)

    def summary(self, values: Mapping[str, Any]) -> None:
        """Final values, one each."""
        self._run.summary.update(dict(values))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """A table under this name."""
        data = [list(row) for row in rows]
        self._run.log({name: self._wandb.Table(columns=list(columns), data=data)})

    def picture(self, name: str, path: Path) -> None:
        """A PNG."""
        self._run.log({name: self._wandb.Image(str(path))})

    def page(self, name: str, path: Path) -> None:
        """An HTML page."""
        html = path.read_text(encoding="utf-8")
        self._run.log({name: self._wandb.Html(html, inject=False)})

    def artifact(self, name: str, kind: str, paths: Sequence[Path]) -> None:
        """Files and folders, kept with the run under the names they have."""
        artifact = self._wandb.Artifact(name.replace("/", "-"), type=kind)
        for path in paths:
            if path.is_dir():
                artifact.add_dir(str(path), name=path.name)
            elif path.is_file():
                artifact.add_file(str(path))
        self._run.log_artifact(artifact)

    def close(self, exit_code: int) -> None:
        """As of `Tracker`."""
        self._run.finish(exit_code=exit_code)


class TensorBoard:
    """Event files for TensorBoard; what a resumed run writes again replaces what was there."""

    def __init__(self, folder: Path) -> None:
        """Nothing is written before the first metrics."""
        try:
            import tensorboardX
        except ImportError:
            raise InputError(
                "log.tensorboard: tensorboardX is not installed; pip install 'jaxattn[tensorboard]'"
            ) from None
        self._open = tensorboardX.SummaryWriter
        self._folder = folder
        self._writer: Any = None

    def log(self, step: int, values: Values) -> None:
        """As of `Tracker`."""
        if self._writer is None:
            # A file is called after the second it was begun in, which need not be the only one.
            self._writer = self._open(
                str(self._folder), purge_step=step, filename_suffix=f".{os.getpid()}-{step}"
            )
        for name, value in _known(values).items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self, exit_code: int) -> None:
        """As of `Tracker`."""
        if self._writer is not None:
            self._writer.close()


def _known(values: Values) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}
