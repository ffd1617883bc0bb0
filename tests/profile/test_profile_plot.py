"""The pictures: what is drawn, and that nothing is drawn of what was not measured."""

from pathlib import Path

import pytest

from jaxattn import pictures
from jaxattn.profile import plot
from jaxattn.profile.errors import LayerError
from jaxattn.profile.plot import cost_against_length, error_by_layer
from jaxattn.profile.rows import Row

LENGTHS = (512, 1024, 2048)


def row(label: str, what: str, length: int, seconds: float | None) -> Row:
    attention, _, way = label.partition(" ")
    temporary = None if seconds is None else int(1e9 * seconds)
    return Row(attention, way, what, 1, length, seconds=seconds, temporary_bytes=temporary)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list:
    """The figures that are saved."""
    figures: list = []
    save = pictures.save_png

    def keep(figure: object, path: Path) -> None:
        figures.append(figure)
        save(figure, path)

    monkeypatch.setattr(plot, "save_png", keep)
    return figures


def test_every_variant_is_a_line_and_a_gap_is_a_gap(tmp_path: Path, drawn: list) -> None:
    labels = {"sdpa xla": 2.0, "sdpa blockwise": 1.9, "reformer_lsh": 1.0, "performer_favor": 1.1}
    table = [
        row(label, what, n, None if (label, n) == ("sdpa xla", 2048) else 1e-9 * n**exponent)
        for what in ("forward", "forward_backward", "step")
        for n in LENGTHS
        for label, exponent in labels.items()
    ]
    assert cost_against_length(table, "title $", tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    (figure,) = drawn
    assert len(figure.axes) == 4
    for axes in figure.axes:
        lines = {line.get_label(): list(line.get_xdata()) for line in axes.lines}
        assert list(lines) == list(labels)
        assert lines["sdpa xla"] == [512, 1024] and lines["reformer_lsh"] == list(LENGTHS)
        assert [label.get_text() for label in axes.get_xticklabels()] == ["512", "1024", "2048"]
        looks = {(line.get_color(), line.get_linestyle()) for line in axes.lines}
        assert len(looks) == len(labels)


def test_only_what_was_measured_has_a_panel(tmp_path: Path, drawn: list) -> None:
    table = [row("sdpa xla", "forward_backward", 512, 0.1), row("sdpa xla", "step", 512, None)]
    assert cost_against_length(table, "t", tmp_path / "c.png")
    assert len(drawn[0].axes) == 2
    assert not cost_against_length(table[1:], "t", tmp_path / "none.png")
    assert not error_by_layer([], "t", tmp_path / "none.png")
    assert [path.name for path in tmp_path.iterdir()] == ["c.png"]


def test_errors_are_drawn_by_layer(tmp_path: Path, drawn: list) -> None:
    table = [
        LayerError(name, n, False, output_error=1.5 / n, mass_kept=0.5, recall=0.9)
        for name in ("reformer_lsh", "performer_favor")
        for n in (1, 2, 3)
    ]
    assert error_by_layer(table, "t", tmp_path / "e.png")
    error, mass, recall = drawn[0].axes
    assert list(error.lines[1].get_ydata()) == [1.5, 0.75, 0.5]
    assert error.get_ylim()[1] > 1.5 and mass.get_ylim()[1] < 1.1
    assert [line.get_label() for line in recall.lines] == ["reformer_lsh", "performer_favor"]
