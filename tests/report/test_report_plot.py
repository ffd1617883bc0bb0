"""The picture: what is in it, and that labels do not cover each other."""

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from jaxattn.evaluate.intervals import macro_f1
from jaxattn.report.comparison import Comparison
from jaxattn.report.csv_files import summary_rows
from jaxattn.report.page.page import page
from jaxattn.report.page.plot import pareto_front, quality_against_cost
from jaxattn.report.record import RunRecord
from jaxattn.runs.predictions import Predictions

Guesses = Callable[..., Predictions]
Record = Callable[..., RunRecord]


def test_pareto_front_keeps_what_nothing_beats() -> None:
    """A dearer point must be better; of equal cost the better one counts."""
    points = [(3.0, 90.0), (1.0, 80.0), (2.0, 79.0), (1.0, 70.0), (4.0, 90.0), (5.0, 91.0)]
    assert pareto_front(points) == [(1.0, 80.0), (3.0, 90.0), (5.0, 91.0)]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are drawn, as they are saved."""
    from matplotlib.figure import Figure

    kept = []
    save = Figure.savefig

    def keep(self: Figure, *args: Any, **kwargs: Any) -> None:
        save(self, *args, **kwargs)
        kept.append(self)

    monkeypatch.setattr(Figure, "savefig", keep)
    return kept


def test_the_picture_has_a_panel_per_data_set_its_runs_and_the_baseline(
    record: Record, drawn: list[Figure], tmp_path: Path
) -> None:
    """Axis titles carry units; the time axis is logarithmic beyond a factor of 10."""
    runs = [
        record("s", "sdpa", 0.92, 500.0),
        record("l$1", "reformer_lsh", 0.921, 300.0),
        record("l_2", "reformer_lsh", 0.919, 290.0),
        record("f", "performer_favor", 0.91, 40.0),
        record("b", "tfidf+logreg", 0.895, kind="baseline"),
        record("lost", "sdpa", 0.99, 1.0, state="failed"),
        record("a", "sdpa", 0.88, 60.0, data="agnews"),
    ]
    path = tmp_path / "quality.png"
    assert quality_against_cost(Comparison(runs), path) is True
    assert path.read_bytes().startswith(b"\x89PNG") and len(list(tmp_path.iterdir())) == 1
    (figure,) = drawn
    imdb, agnews = figure.axes
    assert (imdb.get_xlabel(), imdb.get_ylabel()) == ("time per epoch (s)", "test macro-F1 (%)")
    assert (imdb.get_xscale(), agnews.get_xscale()) == ("log", "linear")
    assert {text.get_text() for text in imdb.texts} == {
        "TF-IDF + logistic regression 89.50 %",
        "sdpa",
        "reformer_lsh\n(l$1)",
        "reformer_lsh\n(l_2)",
        "performer_favor",
    }
    assert [text.get_text() for text in agnews.texts] == ["sdpa"]


@pytest.mark.parametrize(
    "points",
    [
        [(60, 0.9), (61, 0.901), (62, 0.899)],
        [(60, 0.9), (60, 0.9), (60, 0.9)],
        [(472, 0.9286), (480, 0.9281), (765, 0.9278), (1703, 0.9283), (28, 0.9116), (30, 0.912)],
    ],
)
def test_labels_do_not_overlap_each_other_and_stay_inside(
    record: Record, drawn: list[Figure], tmp_path: Path, points: list[tuple[float, float]]
) -> None:
    """Three to six runs, close together or far apart."""
    from matplotlib.text import Text

    kinds = itertools.cycle(["sdpa", "reformer_lsh", "performer_favor"])
    runs = [
        record(f"run_{i}", kind, f1, float(time))
        for i, ((time, f1), kind) in enumerate(zip(points, kinds, strict=False))
    ]
    runs.append(record("b", "tfidf+logreg", 0.9, kind="baseline"))
    quality_against_cost(Comparison(runs), tmp_path / "x.png")
    (axes,) = drawn[0].axes
    renderer = drawn[0].canvas.get_renderer()
    boxes = [Text.get_window_extent(text, renderer) for text in axes.texts]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    for box in boxes:
        assert axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1
        assert axes.bbox.y0 <= box.y0 and box.y1 <= axes.bbox.y1


def test_nothing_to_draw_writes_nothing(record: Record, tmp_path: Path) -> None:
    """Only a baseline, or only failed runs."""
    runs = [
        record("b", "tfidf+logreg", 0.9, kind="baseline"),
        record("x", "sdpa", 0.9, state="failed"),
    ]
    assert quality_against_cost(Comparison(runs), tmp_path / "x.png") is False
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_cannot_be_drawn_leaves_the_old_one(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole or not at all."""
    path = tmp_path / "x.png"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        quality_against_cost(Comparison([record("s", "sdpa", 0.9)]), path)
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_the_picture_carries_the_intervals_of_the_tables(
    record: Record, guesses: Guesses, drawn: list[Figure], tmp_path: Path
) -> None:
    """One upright line a configuration, at the mean of its seeds; a band for the baseline."""
    runs = [
        record(f"s{seed}", "sdpa", macro_f1(found), 100.0 + 10 * seed, seed=seed, predictions=found)
        for seed, found in enumerate([guesses(0.9), guesses(0.88, 1)])
    ]
    fitted = guesses(0.7, 2)
    baseline = record("b", "tfidf+logreg", macro_f1(fitted), kind="baseline", predictions=fitted)
    runs += [record("bare", "performer_favor", 0.85, 50.0), baseline]
    comparison = Comparison(runs)
    assert quality_against_cost(comparison, tmp_path / "x.png")
    (axes,) = drawn[0].axes
    (line,) = [line for line in axes.lines if line.get_marker() == "_"]
    row = next(row for row in summary_rows(comparison) if row["attention"] == "sdpa")
    assert list(line.get_xdata()) == [105.0, 105.0]
    assert list(line.get_ydata()) == [100 * row["low"], 100 * row["high"]]
    (band,) = axes.patches
    row = next(row for row in summary_rows(comparison) if row["attention"] == "tfidf+logreg")
    assert band.get_y() == pytest.approx(100 * row["low"])
    assert band.get_y() + band.get_height() == pytest.approx(100 * row["high"])
    low, high = axes.get_ylim()
    assert low < band.get_y() and line.get_ydata()[1] < high


def test_of_many_runs_and_groups_the_largest_are_drawn_without_names(
    record: Record, drawn: list[Figure], tmp_path: Path
) -> None:
    """Names of hundreds of marks would cover them, and took a minute to place."""
    runs = [record(f"r{i}", "sdpa", 0.9 + i / 1000, 60.0 + i) for i in range(13)]
    runs += [record(f"d{i}", "sdpa", 0.9, data=f"data{i}") for i in range(12)]
    assert quality_against_cost(Comparison(runs), tmp_path / "x.png")
    axes = drawn[0].axes
    assert len(axes) == 10 and axes[0].get_title().startswith("imdb")
    assert axes[0].get_legend() is not None and not axes[0].texts
    assert [text.get_text() for text in axes[1].texts] == ["sdpa"]
    text = page(Comparison(runs), tmp_path)
    assert text.count("Charts are of the 10 groups with the most runs") == 3
