"""--mode=replay: run a run again from its saved configuration, and compare the results."""

from pathlib import Path

from jaxattn.console import tell
from jaxattn.request import Request
from jaxattn.runs.folder import given_run, is_report
from jaxattn.stages.again import replay
from jaxattn.sweeps.chain import replay_report


def run(request: Request) -> int:
    """Replays runs/<kind>/<exp> into runs/replays/<kind>/<exp>-<n>; 1 when the results differ.

    Replays stand beside the runs, not among them, so that no comparison counts a run twice. The
    folder of a report stands for all its finished runs.
    """
    given = request.needed("run", "runs/finetune/imdb_lsh")
    if is_report(Path(given)):
        return replay_report(Path(given))
    original = given_run(given)
    original.must_be_trained()
    found = replay(original)
    where = found.folder.path
    if found.differing is None:
        tell(f"replayed into {where}; the original is {original.state}, nothing to compare")
        return 0
    for line in found.differing:
        tell(line)
    if found.differing and found.inexact:
        tell(f"exactness is not promised: {found.inexact}")
    verdict = "differ from" if found.differing else "equal"
    log = "; metrics.csv is identical" if found.same_log else ""
    tell(f"replayed into {where}: results {verdict} those of {original.path}{log}")
    return 1 if found.differing else 0
