"""The parts of the page about one group of comparable runs."""

from collections.abc import Sequence

from jaxattn.report.answer import answer
from jaxattn.report.comparison import Group
from jaxattn.report.criteria import ASKED
from jaxattn.report.cross_validation import FoldedGroup
from jaxattn.report.csv_files import mcnemar_p
from jaxattn.report.exchange import MEASURES, Exchange
from jaxattn.report.page.charts import learning_charts, quality_charts
from jaxattn.report.page.effects import effects_section
from jaxattn.report.page.markup import Markup, figure, joined, number, percent, table, table_of, tag
from jaxattn.report.page.mistakes import mistakes_section
from jaxattn.report.page.plot import DRAWN, TRAINED
from jaxattn.report.setups import Setup

INTERVALS = "upright lines are 95 % intervals of the mean of a configuration"


UNDRAWN = (
    f"Charts are of the {DRAWN} groups with the most runs; those of this one are drawn where fewer "
    "runs are compared (--runs=<folder>)."
)


def answer_card(group: Group) -> Markup:
    """What to use, in a sentence, and how sure that is."""
    first, *rest = answer(group)
    where = tag("p", tag("b", group.data), f" · {group.conditions}", class_="where")
    return tag(
        "div", where, tag("p", first, class_="what"), *(tag("p", said) for said in rest),
        class_="answer",
    )  # fmt: skip


def folded_card(group: FoldedGroup) -> Markup:
    """What cross-validation says to use."""
    where = tag("p", tag("b", group.heading), class_="where")
    return tag("div", where, tag("p", group.answer, class_="what"), class_="answer")


def folded_section(group: FoldedGroup) -> Markup:
    """The results of all folds together."""
    repeated = group.repeats > 1
    each = " in each repeat, which is another cut into folds" if repeated else ""
    means = (
        " Macro-F1, intervals and differences are means over the repeats, which are no new texts: "
        "an interval is as wide as that of one repeat."
        if repeated
        else ""
    )
    return tag(
        "section",
        tag("h2", group.heading),
        table_of(
            group.rows(),
            f"Cross-validation: every labelled training text is predicted once{each}, by the run "
            "of the fold that had not trained on it; best on validation first. Macro-F1 is of all "
            "these predictions together; intervals are over folds, their texts and "
            f"seeds.{means}",
        ),
    )


def group_section(group: Group, salt: str, drawn: bool = True) -> Markup:
    """Everything about one group, or its tables alone; `salt` is different for each."""
    head = joined(
        tag("h2", group.data),
        tag("p", group.conditions, class_="small"),
        table_of(
            [_configuration(group, setup) for setup in group.entries],
            "On the test split, best on validation first; means over seeds. Time of TF-IDF is that "
            "of its fit, on the CPU.",
        ),
    )
    if not drawn:
        return tag("section", head, _criteria(group), tag("p", UNDRAWN, class_="small"))
    return tag(
        "section",
        head,
        figure(
            quality_charts(group, f"{salt}q"),
            f"Test macro-F1 against cost, a mark a run; {INTERVALS}. The line joins runs that no "
            "other beats in both. Dashed, with its interval: TF-IDF + logistic regression.",
        ),
        trained_part(group, salt),
        _criteria(group),
        figure(
            learning_charts(group, f"{salt}l"),
            "Learning curves of fine-tuning; dotted: training, solid: validation.",
        ),
        effects_section(group, f"{salt}e"),
        mistakes_section(group, f"{salt}c"),
    )


def _configuration(group: Group, setup: Setup) -> dict[str, object]:
    """A row: quality with intervals, and cost."""
    exact, scores, speed = group.exact(setup), setup.values("test_macro_f1"), setup.best_run.latency
    sure = setup.interval.scaled(100) if setup.interval else None
    gain = setup.lead(exact) if exact else None
    p = mcnemar_p(setup, exact)
    return {
        "attention": group.label(setup),
        "seeds": str(setup.seeds),
        "macro-F1 %": percent(setup.mean("test_macro_f1")),
        "95 % interval": f"{sure.low:.2f} to {sure.high:.2f}" if sure else None,
        "best %": percent(max(scores)) if len(scores) > 1 else None,
        "against sdpa, pp": (
            f"{gain.value:+z.2f} ({gain.low:+z.2f} to {gain.high:+z.2f})" if gain else None
        ),
        "McNemar p": None if p is None else f"{p:.2g}",
        "accuracy %": percent(setup.mean("test_accuracy")),
        "AUROC %": percent(setup.mean("test_auroc")),
        "s / epoch": number(setup.mean("seconds_per_epoch"), 1),
        "tokens/s": number(setup.mean("tokens_per_second")),
        "ms, batch of 1": number(speed[1][0], 2) if 1 in speed else None,
        "texts/s, batch of 32": number(speed[32][1]) if 32 in speed else None,
        "device MiB": number(setup.mean("device_memory_mib")),
        "resident MiB": number(setup.mean("resident_memory_mib")),
        "J / epoch": number(setup.mean("joules_per_epoch")),
        "parameters": number(setup.runs[0].parameters),
    }


def _criteria(group: Group) -> Markup:
    rows = [
        (
            row.criterion,
            row.setup.attention,
            tag("span", row.verdict, class_=row.verdict.partition(" ")[0]),
            row.limit,
            row.measured,
        )
        for row in group.criteria
    ]
    if not rows:
        return Markup("")
    headings = ("criterion", "attention", "PASS_WNF", "limit", "measured")
    return joined(
        tag("h3", "Acceptance criteria"), tag("p", ASKED, class_="small"), table(headings, rows)
    )


def exchanges_section(exchanges: Sequence[Exchange]) -> Markup:
    """What exchanging the attention of a trained encoder lost and cost; empty where none was."""
    if not exchanges:
        return Markup("")
    rows: list[dict[str, object]] = [
        {
            "run": each.exp,
            "exchange": f"{each.before} to {each.after}",
            "measured": MEASURES[each.objective],
            "before": number(each.losses[0], 3),
            "exchanged": number(each.losses[1], 3),
            "after training": number(each.losses[2], 3),
            "won back %": percent(each.regained),
            "steps": number(each.steps),
            "s": number(each.seconds),
        }
        for each in exchanges
    ]
    said = "On validation texts. Time of training alone; it is a cost of the new attention."
    return tag("section", tag("h2", "Exchanges of the attention"), table_of(rows, said))


def trained_part(group: Group, salt: str) -> Markup:
    """Quality, time and memory against trained parameters; empty where all trained the same."""
    setups = [setup for setup in group.entries if setup.finished[0].peft is not None]
    if len({setup.finished[0].peft_label for setup in setups}) < 2:
        return Markup("")
    setups.sort(key=lambda setup: setup.mean("trainable_parameters") or 0.0)
    return joined(
        tag("h3", "How much was trained"),
        table_of(
            [_trained(group, setup) for setup in setups],
            "Parameters; trained are the head and what a method adds to the encoder.",
        ),
        figure(
            quality_charts(group, f"{salt}t", (TRAINED,)),
            f"Test macro-F1 against trained parameters, a mark a run; {INTERVALS}.",
        ),
    )


def _trained(group: Group, setup: Setup) -> dict[str, object]:
    first = setup.finished[0]
    trained, every = first.trainable_parameters, first.parameters
    return {
        "method": first.peft_label,
        "configuration": group.label(setup),
        "trained": number(trained),
        "added": number(first.added_parameters),
        "share of all": f"{trained / every:.2%}" if trained is not None and every else None,
        "seeds": str(setup.seeds),
        "macro-F1 %": percent(setup.mean("test_macro_f1")),
        "s / epoch": number(setup.mean("seconds_per_epoch"), 1),
        "device MiB": number(setup.mean("device_memory_mib"), 1),
        "resident MiB": number(setup.mean("resident_memory_mib"), 1),
    }
