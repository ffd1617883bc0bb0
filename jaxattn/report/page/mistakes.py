"""What the classifiers get wrong, and how sure they were: from the saved predictions."""

from collections.abc import Sequence
from typing import NamedTuple

from jaxattn.evaluate.calibration import calibration
from jaxattn.evaluate.class_notes import confusion_counts
from jaxattn.pictures import LINE
from jaxattn.report.comparison import Group
from jaxattn.report.page.markup import Markup, figure, joined, percent, table, tag
from jaxattn.report.page.plot import NAMED, legend, style
from jaxattn.report.page.svg import added_chart
from jaxattn.runs.predictions import Predictions

WIDEST_MATRIX = 15
"""Classes that a confusion matrix shows at most; of more the commonest confusions are listed."""

_SIDE_BY_SIDE = 4
"""Classes of matrices that find room beside each other."""

_COMMONEST = 20


class _Predicted(NamedTuple):
    label: str
    attention: str | None
    predictions: Predictions


def mistakes_section(group: Group, salt: str) -> Markup:
    """Confusions and calibration of the run of each configuration that is best on validation."""
    runs = [(group.label(setup), setup.best_run) for setup in group.entries]
    predicted = [
        _Predicted(label, run.attention, run.predictions)
        for label, run in runs
        if run.predictions is not None
    ]
    if not predicted:
        return Markup("")
    charts: list[Markup] = []
    _add_calibration(charts, predicted[:NAMED], salt)
    small = len(predicted[0].predictions.names) <= _SIDE_BY_SIDE
    return joined(
        tag("h3", "Confusion"),
        tag("p", "Texts of a class (row) by predicted class (column); shaded by share of the row.",
            class_="small"),
        tag("div", *(_confusion(each.label, each.predictions) for each in predicted),
            class_="many" if small else "stack"),
        tag("h3", "Calibration"),
        table(
            ("attention", "expected calibration error, pp"),
            [(each.label, percent(calibration(each.predictions).error)) for each in predicted],
        ),
        figure(
            charts,
            "How often a prediction is right, by the probability it came with (15 bins of equal "
            "width); on the line the classifier is right as often as it says.",
        ),
    )  # fmt: skip


def _confusion(label: str, predictions: Predictions) -> Markup:
    names, counts = predictions.names, confusion_counts(predictions).tolist()
    if len(names) > WIDEST_MATRIX:
        return _commonest(label, names, counts)
    head = tag("tr", tag("th", label), *(tag("th", name, scope="col") for name in names))
    body = [
        tag(
            "tr",
            tag("th", name, scope="row"),
            *(
                tag("td", str(count), style=f"--share:{count / max(sum(row), 1):.3f}")
                for count in row
            ),
        )
        for name, row in zip(names, counts, strict=True)
    ]
    inside = tag("table", tag("thead", head), tag("tbody", *body), class_="matrix")
    return tag("div", inside, class_="scroll")


def _commonest(label: str, names: Sequence[str], counts: Sequence[Sequence[int]]) -> Markup:
    pairs = [
        (count, name, predicted)
        for name, row in zip(names, counts, strict=True)
        for predicted, count in zip(names, row, strict=True)
        if name != predicted and count
    ]
    pairs.sort(key=lambda pair: -pair[0])
    rows = [(name, predicted, str(count)) for count, name, predicted in pairs[:_COMMONEST]]
    return table(("class", "predicted", "texts"), rows, f"{label}: the commonest confusions")


def _add_calibration(charts: list[Markup], predicted: Sequence[_Predicted], salt: str) -> None:
    """How often each attention is right, by the probability that it says."""
    with added_chart(charts, salt) as axes:
        axes.plot([0, 100], [0, 100], color=LINE, linewidth=1.2)
        for _, attention, predictions in predicted:
            bins = calibration(predictions)
            colour, marker = style(attention)
            axes.plot(
                [100 * x for x in bins.confidence], [100 * y for y in bins.right],
                color=colour, marker=marker, markersize=5, linewidth=1.3,
            )  # fmt: skip
        axes.set(xlabel="said probability (%)", ylabel="right (%)")
        legend(axes, [each.attention for each in predicted])
