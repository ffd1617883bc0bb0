"""summary.csv: a row for each configuration, over its seeds."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from jaxattn.predictions.intervals import comparable, macro_f1_interval, mcnemar
from jaxattn.report.groups import Group, comparable_groups
from jaxattn.report.record import RunRecord
from jaxattn.report.setups import Setup, best_on_validation, lead, sdpa_reference
from jaxattn.report.table import write_rows


def summary_rows(records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """Column -> value for every configuration with a finished run, group by group.

    Qualities and differences are shares of 1. `low` and `high` are the ends of 95 % bootstrap
    intervals over test texts, and over seeds where there are several. `vs_sdpa` is the difference
    to the comparable exact attention, paired by text; `mcnemar_p` compares the runs of each that
    are best on validation. None where it is not known.
    """
    return [_row(group, setup) for group in comparable_groups(records) for setup in group.entries]


def write_summary_csv(records: Sequence[RunRecord], path: Path) -> None:
    """Writes summary.csv, one row a configuration, as `write_rows`."""
    write_rows(summary_rows(records), path)


def best_run(setup: Setup) -> RunRecord:
    """The finished run that is best on validation; of equals the first."""
    return best_on_validation(setup.finished)


def comparable_exact(setup: Setup, group: Group) -> Setup | None:
    """The exact attention of the group to set `setup` against; None for exact ones, baselines."""
    if setup not in group.setups or setup.attention == "sdpa":
        return None
    return sdpa_reference(setup, group.setups)


def _row(group: Group, setup: Setup) -> dict[str, Any]:
    scores = setup.values("test_macro_f1")
    sure = macro_f1_interval(setup.predictions) if setup.predictions else None
    exact = comparable_exact(setup, group)
    gain = lead(setup.predictions, exact.predictions) if exact is not None else None
    return {
        "data": group.data,
        "device": group.device,
        "budget": "; ".join(group.budget),
        "attention": setup.attention,
        "attention_options": ", ".join(
            f"{name}={value}" for name, value in setup.runs[0].attention_options.items()
        ),
        "runs": " ".join(run.exp for run in setup.finished),
        "seeds": setup.seeds,
        "failed": sum(run.state == "failed" for run in setup.runs),
        "best_test_macro_f1": max(scores),
        "mean_test_macro_f1": fmean(scores),
        "sd_test_macro_f1": stdev(scores) if len(scores) > 1 else None,
        "low": sure.low if sure else None,
        "high": sure.high if sure else None,
        "vs_sdpa": gain.value / 100 if gain else None,
        "vs_sdpa_low": gain.low / 100 if gain else None,
        "vs_sdpa_high": gain.high / 100 if gain else None,
        "mcnemar_p": _mcnemar(setup, exact),
        "mean_validation_macro_f1": setup.mean("validation_macro_f1"),
        "time_per_epoch": setup.mean("seconds_per_epoch"),
        "max_gpu_mem_MiB": setup.mean("device_memory_mib"),
        "peak_rss_MiB": setup.mean("resident_memory_mib"),
        "energy_per_epoch_J": setup.mean("joules_per_epoch"),
        "parameters": setup.runs[0].parameters,
        "peft_method": setup.runs[0].peft,
        "trainable_parameters": setup.finished[0].trainable_parameters,
    }


def _mcnemar(setup: Setup, exact: Setup | None) -> float | None:
    if exact is None:
        return None
    ours, theirs = best_run(setup).predictions, best_run(exact).predictions
    if ours is None or theirs is None or not comparable(ours, theirs):
        return None
    return mcnemar(ours, theirs)
