"""The parts of the page about one group of comparable runs."""

from collections.abc import Sequence

from jaxattn.evaluate.calibration import calibration
from jaxattn.evaluate.intervals import macro_f1_interval, mcnemar
from jaxattn.report.answer import answer, label
from jaxattn.report.criteria import judged
from jaxattn.report.page.charts import (
    calibration_chart,
    effect_chart,
    effects,
    learning_charts,
    quality_charts,
)
from jaxattn.report.page.markup import Markup, figure, joined, table, tag
from jaxattn.report.page.plot import TRAINED
from jaxattn.report.setups import Group, Setup, best_on_validation, lead
from jaxattn.report.table import best_run, comparable_exact
from jaxattn.runs.predictions import Predictions

WIDEST_MATRIX = 15
"""Classes that a confusion matrix shows at most; of more the commonest confusions are listed."""

_SIDE_BY_SIDE = 4
"""Classes of matrices that find room beside each other."""

_COMMONEST = 20

_CHARTED = 6
"""Options of a sweep that get a chart; all get a table."""


def answer_card(group: Group) -> Markup:
    """What to use, in a sentence, and how sure that is."""
    first, *rest = answer(group)
    where = tag("p", tag("b", group.data), f" · {group.conditions}", class_="where")
    return tag(
        "div", where, tag("p", first, class_="what"), *(tag("p", said) for said in rest),
        class_="answer",
    )  # fmt: skip


def group_section(group: Group, salt: str) -> Markup:
    """Everything about one group; `salt` is different for each."""
    parts = [
        tag("h2", group.data),
        tag("p", group.conditions, class_="small"),
        _summary(group),
        figure(
            quality_charts(group, f"{salt}q"),
            "Test macro-F1 against cost, a mark a run; the line joins runs that no other beats in "
            "both. Dashed: TF-IDF + logistic regression.",
        ),
        trained_part(group, salt),
        _criteria(group),
        figure(
            learning_charts(group, f"{salt}l"),
            "Learning curves of fine-tuning; dotted: training, solid: validation.",
        ),
        _effects(group, salt),
        _confusions(group),
        _calibration(group, salt),
    ]
    return tag("section", *parts)


def _percent(value: float | None, digits: int = 2) -> str | None:
    return None if value is None else f"{100 * value:.{digits}f}"


def _number(value: float | None, digits: int = 0) -> str | None:
    return None if value is None else f"{value:,.{digits}f}"


def _summary(group: Group) -> Markup:
    """One row for each configuration: quality with intervals, and cost."""
    rows = []
    for setup in group.entries:
        sure = macro_f1_interval(setup.predictions).scaled(100) if setup.predictions else None
        exact = comparable_exact(setup, group)
        gain = lead(setup.predictions, exact.predictions) if exact else None
        ours, theirs = (best_run(s).predictions if s else None for s in (setup, exact))
        paired = gain is not None and ours is not None and theirs is not None
        p = mcnemar(ours, theirs) if paired and ours and theirs else None
        scores = setup.values("test_macro_f1")
        speed = best_run(setup).latency
        rows.append(
            (
                label(setup, group),
                str(setup.seeds),
                _percent(setup.mean("test_macro_f1")),
                f"{sure.low:.2f} to {sure.high:.2f}" if sure else None,
                _percent(max(scores)) if len(scores) > 1 else None,
                f"{gain.value:+.2f} ({gain.low:+.2f} to {gain.high:+.2f})" if gain else None,
                None if p is None else f"{p:.2g}",
                _percent(setup.mean("test_accuracy")),
                _percent(setup.mean("test_auroc")),
                _number(setup.mean("seconds_per_epoch"), 1),
                _number(setup.mean("tokens_per_second")),
                _number(speed[1][0], 2) if 1 in speed else None,
                _number(speed[32][1]) if 32 in speed else None,
                _number(setup.mean("device_memory_mib")),
                _number(setup.mean("resident_memory_mib")),
                _number(setup.mean("joules_per_epoch")),
                _number(setup.runs[0].parameters),
            )
        )
    headings = (
        "attention", "seeds", "macro-F1 %", "95 % interval", "best %", "against sdpa, pp",
        "McNemar p", "accuracy %", "AUROC %", "s / epoch", "tokens/s", "ms, batch of 1",
        "texts/s, batch of 32", "device MiB", "resident MiB", "J / epoch",
        "parameters",
    )  # fmt: skip
    # A column that nobody has a value for tells nothing.
    kept = [place for place in range(len(headings)) if any(row[place] for row in rows)]
    return table(
        [headings[place] for place in kept],
        [[row[place] for place in kept] for row in rows],
        "On the test split, best on validation first; means over seeds. Time of TF-IDF is that of "
        "its fit, on the CPU.",
    )


def _criteria(group: Group) -> Markup:
    fitted = [run for setup in group.baselines for run in setup.runs]
    baselines = {group.data: best_on_validation(fitted)} if fitted else {}
    rows = [
        (
            row.criterion,
            row.attention,
            tag("span", row.verdict, class_=row.verdict.partition(" ")[0]),
            row.limit,
            row.measured,
        )
        for row in judged(group.setups, baselines)
    ]
    if not rows:
        return Markup("")
    headings = ("criterion", "attention", "PASS_WNF", "limit", "measured")
    return joined(tag("h3", "Acceptance criteria"), table(headings, rows))


def _effects(group: Group, salt: str) -> Markup:
    """What each option that differs within an attention goes with."""
    found = effects(group.setups)
    if not found:
        return Markup("")
    rows, charts = [], []
    for place, ((attention, option), values) in enumerate(found.items()):
        scored = {
            value: [run.test_macro_f1 for run in runs if run.test_macro_f1 is not None]
            for value, runs in values.items()
        }
        for value, scores in scored.items():
            times = [r.seconds_per_epoch for r in values[value] if r.seconds_per_epoch is not None]
            mean = sum(times) / len(times) if times else None
            rows.append(
                (
                    option,
                    attention,
                    value,
                    str(len(scores)),
                    _percent(sum(scores) / len(scores)),
                    _percent(max(scores)),
                    _number(mean, 1),
                )
            )
        if place < _CHARTED:
            charts.append(effect_chart(scored, f"{attention}: {option}", f"{salt}e{place}"))
    headings = ("option", "attention", "value", "runs", "mean macro-F1 %", "best %", "s / epoch")
    return joined(
        tag("h3", "What differed, and what it went with"),
        tag("p", "Means over all runs with a value; where a grid is not full, other options may "
            "differ too.", class_="small"),
        figure(charts, "A mark a run; the line joins the means."),
        table(headings, rows),
    )  # fmt: skip


def _predicted(group: Group) -> list[tuple[Setup, Predictions]]:
    """Each configuration with the predictions of its run that is best on validation."""
    found = [(setup, best_run(setup).predictions) for setup in group.entries]
    return [(setup, predictions) for setup, predictions in found if predictions is not None]


def _confusions(group: Group) -> Markup:
    found = _predicted(group)
    if not found:
        return Markup("")
    parts = [_confusion(label(setup, group), predictions) for setup, predictions in found]
    small = len(found[0][1].names) <= _SIDE_BY_SIDE
    note = "Texts of a class (row) by predicted class (column); shaded by share of the row."
    return joined(
        tag("h3", "Confusion"),
        tag("p", note, class_="small"),
        tag("div", *parts, class_="many" if small else "stack"),
    )


def _confusion(name: str, predictions: Predictions) -> Markup:
    from sklearn.metrics import confusion_matrix

    names = predictions.names
    counts = confusion_matrix(
        predictions.labels, predictions.predicted, labels=range(len(names))
    ).tolist()
    if len(names) > WIDEST_MATRIX:
        return _commonest(name, names, counts)
    head = tag("tr", tag("th", name), *(tag("th", other, scope="col") for other in names))
    body = [
        tag(
            "tr",
            tag("th", own, scope="row"),
            *(
                tag("td", str(count), style=f"--share:{count / max(sum(row), 1):.3f}")
                for count in row
            ),
        )
        for own, row in zip(names, counts, strict=True)
    ]
    inside = tag("table", tag("thead", head), tag("tbody", *body), class_="matrix")
    return tag("div", inside, class_="scroll")


def _commonest(name: str, names: Sequence[str], counts: Sequence[Sequence[int]]) -> Markup:
    pairs = [
        (count, own, other)
        for own, row in zip(names, counts, strict=True)
        for other, count in zip(names, row, strict=True)
        if own != other and count
    ]
    pairs.sort(key=lambda pair: -pair[0])
    rows = [(own, other, str(count)) for count, own, other in pairs[:_COMMONEST]]
    return table(("class", "predicted", "texts"), rows, f"{name}: the commonest confusions")


def _calibration(group: Group, salt: str) -> Markup:
    rows = [
        (label(setup, group), _percent(calibration(predictions).error))
        for setup, predictions in _predicted(group)
    ]
    if not rows:
        return Markup("")
    return joined(
        tag("h3", "Calibration"),
        table(("attention", "expected calibration error, pp"), rows),
        figure(
            [chart] if (chart := calibration_chart(group, f"{salt}c")) else [],
            "How often a prediction is right, by the probability it came with (15 bins of equal "
            "width); on the line the classifier is right as often as it says.",
        ),
    )


def trained_part(group: Group, salt: str) -> Markup:
    """Quality, time and memory against trained parameters; empty where all trained the same."""
    setups = [setup for setup in group.entries if setup.finished[0].peft is not None]
    if len({setup.finished[0].peft_label for setup in setups}) < 2:
        return Markup("")
    rows = []
    for setup in sorted(setups, key=lambda each: each.mean("trainable_parameters") or 0.0):
        first = setup.finished[0]
        trained, every = first.trainable_parameters, first.parameters
        shown = {
            name: setup.mean(name)
            for name in ("seconds_per_epoch", "device_memory_mib", "resident_memory_mib")
        }
        score = setup.mean("test_macro_f1")
        rows.append(
            (
                first.peft_label,
                label(setup, group),
                None if trained is None else f"{trained:,}",
                None if first.added_parameters is None else f"{first.added_parameters:,}",
                f"{trained / every:.2%}" if trained is not None and every else None,
                str(setup.seeds),
                None if score is None else f"{100 * score:.2f}",
                *(None if value is None else f"{value:,.1f}" for value in shown.values()),
            )
        )
    headings = (
        "method", "configuration", "trained", "added", "share of all", "seeds", "macro-F1 %",
        "s / epoch", "device MiB", "resident MiB",
    )  # fmt: skip
    kept = [place for place in range(len(headings)) if any(row[place] for row in rows)]
    return joined(
        tag("h3", "How much was trained"),
        table(
            [headings[place] for place in kept],
            [[row[place] for place in kept] for row in rows],
            "Parameters; trained are the head and what a method adds to the encoder.",
        ),
        figure(
            quality_charts(group, f"{salt}t", (TRAINED,)),
            "Test macro-F1 against trained parameters, a mark a run.",
        ),
    )
