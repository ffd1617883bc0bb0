"""index.html: the report as one file that needs nothing else."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from jaxattn.files import write_text
from jaxattn.report.comparison import Comparison, Group
from jaxattn.report.exchange import exchanges
from jaxattn.report.page.lengths import lengths_section, read_profiles
from jaxattn.report.page.markup import Markup, joined, tag
from jaxattn.report.page.plot import DRAWN
from jaxattn.report.page.provenance import failures_section, runs_section
from jaxattn.report.page.sections import (
    answer_card,
    exchanges_section,
    folded_card,
    folded_section,
    group_section,
)
from jaxattn.report.page.style import STYLE
from jaxattn.report.record import RunRecord

# No script, and no request to anywhere, whatever a text in the page holds.
_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; \
img-src data:">
<link rel="icon" href="data:,">
<title>Which attention?</title>
"""


def write_page(comparison: Comparison, path: Path, runs: Path) -> None:
    """Writes the page whole or not at all; `runs` is the folder of the runs, to name them by."""
    write_text(path, page(comparison, runs))


def page(comparison: Comparison, runs: Path) -> str:
    """The page: answers, then each group of comparable runs, failures, and what each run was."""
    records, groups = comparison.records, comparison.groups
    drawn = sorted(groups, key=lambda group: -len(group.runs))[:DRAWN]
    body = joined(
        tag("h1", "Which attention should I use?"),
        tag("p", _counted(records), class_="small"),
        tag(
            "div",
            *(answer_card(group) for group in groups),
            *(folded_card(group) for group in comparison.folded),
            class_="answers",
        ),
        _apart(groups),
        *(group_section(group, f"g{index}", group in drawn) for index, group in enumerate(groups)),
        *(folded_section(group) for group in comparison.folded),
        exchanges_section(exchanges(records)),
        lengths_section(read_profiles(runs)),
        failures_section(records),
        runs_section(records, runs),
    )
    return (
        f"{_HEAD}<style>{STYLE}</style>\n</head>\n<body>\n{tag('main', body)}\n</body>\n</html>\n"
    )


def _counted(records: Sequence[RunRecord]) -> str:
    states = Counter(run.state for run in records)
    listed = ", ".join(f"{count} {state}" for state, count in states.items())
    said = f"{len(records)} runs: {listed}. "
    if len(states) > 1 or "finished" not in states:
        said += "What did not finish is listed below with its cause and is ranked nowhere. "
    return said + "Intervals are 95 % bootstrap intervals; pp are percentage points."


def _apart(groups: Sequence[Group]) -> Markup:
    """Says which runs on the same texts are not compared, and why."""
    names = [group.data for group in groups]
    notes = []
    for data in dict.fromkeys(name for name in names if names.count(name) > 1):
        same = [group for group in groups if group.data == data]
        what = ["device"] if len({group.device for group in same}) > 1 else []
        what += ["budget"] if len({group.budget for group in same}) > 1 else []
        notes.append(
            tag("p", f"The runs on {data} are {len(same)} groups that differ in "
                f"{' and '.join(what)}. They are not compared with each other.", class_="small")
        )  # fmt: skip
    return joined(*notes)
