"""--mode=check: is the folder of a run, of all runs, or an exported one whole and unchanged?"""

from pathlib import Path

from jaxattn.classifier.check import Finding, examined
from jaxattn.console import Column, table, terminal
from jaxattn.errors import InputError
from jaxattn.request import Request


def run(request: Request) -> int:
    """Prints what every file is; 1 where one is changed, missing or damaged.

    Of several runs only those files are listed that are not as they should be.
    """
    path = Path(request.needed("run", "runs/finetune/imdb_lsh"))
    if not path.is_dir():
        raise InputError(f"--run={path}: no such folder; give that of a run, of runs, or an export")
    checked = examined(path)
    columns: list[Column[Finding]] = [
        Column("file", lambda finding: finding.file, side="left"),
        Column("is", lambda finding: finding.state, side="left"),
        Column("cause", lambda finding: finding.cause, side="left"),
    ]
    for name, findings in checked.items():
        shown = [finding for finding in findings if len(checked) == 1 or not finding.good]
        if shown:
            terminal().print(table(name, columns, shown))
    whole = sum(all(finding.good for finding in findings) for findings in checked.values())
    count = len(checked)
    if count == 1:
        print(f"{path}: " + ("whole" if whole else "not whole: see above"))
    else:
        print(f"{path}: {whole} of {count} runs are whole")
    return 0 if whole == count else 1
