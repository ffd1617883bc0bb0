"""Metrics of an evaluation, added to the W&B run of the training where there is one."""

from collections.abc import Mapping
from typing import Any

from jaxattn.config import LogConfig
from jaxattn.errors import InputError
from jaxattn.modes.run_folder import RunFolder


def log_evaluation(
    folder: RunFolder, config: LogConfig, name: str, report: Mapping[str, Any]
) -> None:
    """Sends the numbers of `report` as eval_<name>/<metric>; nothing with `log.wandb` = off.

    They go into the summary: an evaluation is no step of the training.
    """
    if config.wandb == "off":
        return
    import wandb

    try:
        run = wandb.init(
            project=config.wandb_project,
            name=folder.exp,
            id=f"{folder.kind}-{folder.exp}".replace(".", "-"),
            resume="allow",
            mode="offline" if config.wandb == "offline" else "online",
            dir=str(folder.path),
        )
        numbers = {k: v for k, v in report.items() if isinstance(v, int | float)}
        run.summary.update({f"eval_{name}/{metric}": value for metric, value in numbers.items()})
        run.finish()
    except (wandb.errors.Error, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"log.wandb: Weights & Biases did not start: {reason}") from None
