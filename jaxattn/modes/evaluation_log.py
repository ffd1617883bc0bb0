"""Metrics of an evaluation, added to the W&B run of the training where there is one."""

from collections.abc import Mapping
from typing import Any

from jaxattn.config import LogConfig
from jaxattn.modes.run_folder import RunFolder
from jaxattn.train.tracking import WandbRun


def log_evaluation(
    folder: RunFolder, config: LogConfig, name: str, report: Mapping[str, Any]
) -> None:
    """Sends the numbers of `report` as eval_<name>/<metric>; nothing with `log.wandb` = off.

    They go into the summary: an evaluation is no step of the training.

    Raises:
      InputError: W&B does not start.
    """
    if config.wandb == "off":
        return
    run = WandbRun(folder.path, config, folder.exp, folder.kind, {})
    numbers = {k: v for k, v in report.items() if isinstance(v, int | float)}
    run.summary({f"eval_{name}/{metric}": value for metric, value in numbers.items()})
    run.close(exit_code=0)
