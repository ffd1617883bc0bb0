"""Numbers and tables as they are said at the terminal."""

import io

import pytest

from jaxattn.console import (
    GIB,
    Column,
    duration,
    print_table,
    say,
    shown,
    significant,
    table,
    tell,
    terminal,
    visible,
)


def test_numbers_as_people_write_them() -> None:
    assert [shown(1234), shown(None), shown(1234.56, ",.1f")] == ["1,234", "-", "1,234.6"]
    assert shown(3 * GIB, ".2f", times=1 / GIB) == "3.00"
    assert shown(0.125, ".1%") == "12.5%"
    assert shown(None, unknown="") == ""
    assert [significant(x) for x in (0.01234, 99.96, 123456.7)] == ["0.0123", "100", "123,457"]
    assert significant(0.0015, times=1e3) == "1.5" and significant(None) == "-"


@pytest.mark.parametrize(
    ("seconds", "coarse", "fine"),
    [
        (0.1234, "0 s", "0.123 s"),
        (119.0, "119 s", "119 s"),
        (150.0, "2 min", "2.5 min"),
        (9000.0, "2.5 h", "2.5 h"),
    ],
)
def test_durations(seconds: float, coarse: str, fine: str) -> None:
    assert (duration(seconds), duration(seconds, fine=True)) == (coarse, fine)


def test_a_duration_that_is_not_known() -> None:
    assert duration(None) == "-"
    assert duration(None, unknown="time not known") == "time not known"


def test_figures_stand_to_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("T [red]", ("name", "n", "note"), [("a", "1", ""), ("bb", "-", "[x]")])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "T [red]"
    assert [line.split() for line in lines[2:]][2:4] == [["a", "1"], ["bb", "-", "[x]"]]


def test_columns_without_a_value_are_left_out_where_that_is_asked() -> None:
    columns = [
        Column[dict[str, str]]("a", lambda row: row["a"]),
        Column[dict[str, str]]("b", lambda row: row["b"], "left"),
        Column[dict[str, str]]("c", lambda row: row["c"]),
    ]
    rows = [{"a": "x", "b": "1", "c": "-"}, {"a": "y", "b": "2", "c": ""}]
    every = table("t", columns, rows)
    assert [column.header for column in every.columns] == ["a", "b", "c"]
    assert [column.justify for column in every.columns] == ["left", "left", "left"]
    known = table("t", columns, rows, only_known=True, dim=lambda row: row["a"] == "y")
    assert [column.header for column in known.columns] == ["a", "b"]
    assert [row.style for row in known.rows] == [None, "dim"]
    out = io.StringIO()
    terminal(out).print(known)
    assert out.getvalue().startswith("t")


def test_nothing_in_a_text_steers_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Of ASCII, of Latin-1 (C1), and what turns the direction of writing; other writing stays."""
    evil = "a\x1b[2J\x9b31m\u202eb\r\x07"
    spelt = "a\\x1b[2J\\x9b31m\\u202eb\\x0d\\x07"
    say(evil)
    tell(evil)
    print_table(evil, ("first", evil), [(evil, evil)])
    out, err = capsys.readouterr()
    assert err == f"{spelt}\n" and out.count(spelt) == 5
    assert not set(out) & set("\x1b\x9b\u202e\r\x07")
    assert visible("Grüße, 世界\tשלום\n") == "Grüße, 世界\tשלום\n"
