"""--mode=replay: run a run again from its saved configuration, and compare the results."""

from pathlib import Path

from jaxattn.request import Request
from jaxattn.runs.folder import given_run, is_report
from jaxattn.stages.again import repeat, replay_folder, unlike
from jaxattn.stages.machine import inexact
from jaxattn.sweeps.chain import replay_report


def run(request: Request) -> int:
    """Replays runs/<kind>/<exp> into runs/replays/<kind>/<exp>-<n>; 1 when the results differ.

    A TAPT or fine-tuning starts from its checkpoint, which must still be there. Replays stand
    beside the runs, not among them, so that no comparison counts a run twice. The folder of a
    report stands for all its finished runs.
    """
    given = request.needed("run", "runs/finetune/imdb_lsh")
    if is_report(Path(given)):
        return replay_report(Path(given))
    original = given_run(given)
    original.must_be_trained()
    copy = replay_folder(original)
    config, _ = original.saved_config()
    repeat(original, copy, config)
    if original.state != "finished":
        print(f"replayed into {copy.path}; the original is {original.state}, nothing to compare")
        return 0
    old, new = original.results(), copy.results()
    differing = list(unlike(old, new))
    for line in differing:
        print(line)
    logs = [(folder.path / "metrics.csv") for folder in (original, copy)]
    same_log = all(log.exists() for log in logs) and logs[0].read_bytes() == logs[1].read_bytes()
    reason = inexact(config) if differing else None
    if reason:
        print(f"exactness is not promised: {reason}")
    verdict = "differ from" if differing else "equal"
    print(f"replayed into {copy.path}: results {verdict} those of {original.path}", end="")
    print("; metrics.csv is identical" if same_log else "")
    return 1 if differing else 0
