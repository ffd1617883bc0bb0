"""Is a folder whole, and do its files go together? Of a run, of many, or exported."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jaxattn.classifier.exported import CONFIG, read_export
from jaxattn.config import flatten, read_tree
from jaxattn.errors import InputError
from jaxattn.report.collect import runs_under
from jaxattn.report.contradictions import metrics_fault, predictions_of
from jaxattn.runs.events import last_saved
from jaxattn.runs.exports import WEIGHTS, is_export
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.kinds import KINDS
from jaxattn.runs.manifest import METRICS, NAME, Manifest
from jaxattn.runs.predictions import NAME as PREDICTIONS
from jaxattn.runs.signed import read_signed
from jaxattn.stages.agreement import require_document
from jaxattn.train.checkpoints import Checkpoints

_SINCE = "not as it was when it was finished"

OK, NONE, CHANGED, MISSING, DAMAGED = "ok", "none", "changed", "missing", "damaged"


@dataclasses.dataclass(frozen=True)
class Finding:
    """A file of a folder: "ok", "changed", "missing" or "damaged", and why that is said.

    "none": the manifest of a run that is not finished, or that an earlier version has made.
    """

    file: str
    state: str
    cause: str = ""

    @property
    def good(self) -> bool:
        """Whether it can be relied upon."""
        return self.state in (OK, NONE)


def examined(path: Path) -> Mapping[str, Sequence[Finding]]:
    """Name of every run (or the exported folder) in `path` -> what was found of its files.

    It needs neither data nor an accelerator, and changes nothing.

    Raises:
      InputError: there is neither a run nor an exported classifier.
    """
    if is_export(path):
        return {str(path): _of_export(path)}
    return {f"{run.kind}/{run.exp}": _of_run(run) for run in runs_under(path) if not run.drafted}


def _of_export(folder: Path) -> list[Finding]:
    manifest, findings = _of_manifest(folder, "exported by an earlier version")
    if manifest:
        findings.append(_options(manifest, folder / CONFIG))
    if all(finding.good for finding in findings):
        findings.append(_finding(folder, WEIGHTS, lambda: read_export(folder, {})))
    return list({finding.file: finding for finding in findings}.values())


def _of_run(run: RunFolder) -> list[Finding]:
    manifest, findings = _of_manifest(
        run.path, "not finished, or made by an earlier version: compared with its checkpoints"
    )
    findings.append(_finding(run.path, "status.json", run.status))
    if manifest:
        findings.append(_options(manifest, run.saved.path))
    elif run.saved.path.exists() or KINDS[run.kind].encoder:
        findings.append(_finding(run.path, run.saved.path.name, run.saved.config))
    best_step = None
    if manifest is None and run.results_path.exists():
        findings.append(_finding(run.path, run.results_path.name, run.results))
        if findings[-1].good:
            results = run.results()
            best_step = results.best_step
            if not KINDS[run.kind].mlm:
                agree = functools.partial(predictions_of, run, results)
                findings.append(_finding(run.path, PREDICTIONS, agree))
    if manifest is None and last_saved(run.path) and not (run.path / METRICS).exists():
        findings.append(Finding(METRICS, MISSING))
    if manifest is None and (fault := metrics_fault(run.path / METRICS)):
        findings.append(Finding(METRICS, DAMAGED, fault.removeprefix(f"{METRICS}: ")))
    evaluations = [_of_evaluation(path) for path in sorted(run.path.glob("evaluation*.json"))]
    return findings + evaluations + _of_checkpoints(run, best_step)


def _of_evaluation(path: Path) -> Finding:
    """What `jaxattn eval` has written of a run."""
    try:
        _, is_right = read_signed(path)
    except InputError as error:
        return Finding(path.name, DAMAGED, _without(path.parent, error))
    if is_right is None:
        return Finding(path.name, NONE, "written by an earlier version")
    return Finding(path.name, OK) if is_right else Finding(path.name, CHANGED, _SINCE)


def _of_manifest(folder: Path, why_none: str) -> tuple[Manifest | None, list[Finding]]:
    """The manifest of a folder, and the files that it knows."""
    try:
        manifest = Manifest.read(folder)
    except InputError as error:
        return None, [Finding(NAME, CHANGED, _without(folder, error))]
    if manifest is None:
        return None, [Finding(NAME, NONE, why_none)]
    faults = {name: manifest.fault(name) for name in manifest.files}
    return manifest, [
        Finding(NAME, OK),
        *(Finding(name, fault or OK, _SINCE if fault else "") for name, fault in faults.items()),
    ]


def _options(manifest: Manifest, path: Path) -> Finding:
    """Comments, options of bookkeeping and where the data lie may have changed."""
    try:
        changed = manifest.changed_option(flatten(read_tree(path)))
    except InputError as error:
        return Finding(path.name, DAMAGED, _without(path.parent, error))
    return Finding(path.name, CHANGED if changed else OK, changed)


def _of_checkpoints(run: RunFolder, best_step: int | None) -> list[Finding]:
    """All that are finished, and whether the latest goes with tokenizer and options."""
    checkpoints = Checkpoints(run.path / "checkpoints", keep=1)
    steps, findings = checkpoints.steps(), []
    for step in steps:
        read = functools.partial(checkpoints.document, step)
        findings.append(_finding(run.path, _name(step), read))
    if (last := last_saved(run.path)) is not None and last not in steps:
        findings.append(Finding(_name(last), MISSING, "it was saved, and is not whole any more"))
    if best_step is not None and best_step not in (*steps, last):
        findings.append(Finding(_name(best_step), MISSING, "the results are those of this one"))
    whole = [step for step, found in zip(steps, findings, strict=False) if found.good]
    if whole:
        document = checkpoints.document(whole[-1])
        together = functools.partial(require_document, run, document)
        findings.append(_finding(run.path, "tokenizer and options", together))
    return findings


def _name(step: int) -> str:
    return f"checkpoints/step_{step:08d}"


def _finding(folder: Path, name: str, check: Callable[[], object]) -> Finding:
    try:
        check()
    except InputError as error:
        return Finding(name, DAMAGED, _without(folder, error))
    return Finding(name, OK)


def _without(folder: Path, error: InputError) -> str:
    """The sentence without the name of the folder, which is said above it."""
    return str(error).replace(f"{folder}/", "")
