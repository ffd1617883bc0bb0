"""What results.json says of one stage of a chain: the run, its attention, and what it cost."""

from typing import Any

from jaxattn.config import Config
from jaxattn.config_io import to_plain
from jaxattn.modes.run_folder import RunFolder


def stage_record(
    folder: RunFolder, config: Config, step: int | None, cost: dict[str, Any] | None
) -> dict[str, Any]:
    """One entry of `stages`; `step` is the checkpoint that is reported, or that went on."""
    return {
        "kind": folder.kind,
        "exp": folder.exp,
        "step": step,
        "data": config.data.name,
        "attention": config.attention.type,
        "attention_options": to_plain(config.attention.options),
        "cost": cost,
    }
