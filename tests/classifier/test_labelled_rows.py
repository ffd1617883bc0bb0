"""Labelled rows as files: the input's columns stay what they were, ours are never written over."""

import csv
import datetime
import io
import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from jaxattn.classifier.labelled_rows import CsvWriter, JsonWriter, Labelled, ParquetWriter
from jaxattn.data.read.tables import unique_names
from jaxattn.errors import InputError

DAY = datetime.date(2026, 1, 2)
GOOD = Labelled(1, {"text": "a", "label": "old"}, "x", np.array([0.75, 0.25]), "")
BAD = Labelled(2, {"text": None, "label": "é"}, "", None, "no text")


def test_json_lines() -> None:
    file = io.StringIO()
    JsonWriter(file, ("x", "y"), ("text", "label")).write([GOOD, BAD])
    first, second = map(json.loads, file.getvalue().splitlines())
    assert first == {
        "text": "a",
        "label": "old",
        "predicted_label": "x",
        "probabilities": {"x": 0.75, "y": 0.25},
    }
    assert second == {
        "text": None,
        "label": "é",
        "predicted_label": None,
        "probabilities": None,
        "error": "no text",
    }


def test_csv() -> None:
    file = io.StringIO()
    writer = CsvWriter(file, ("x", "y"), ("text", "label", "more"))
    writer.write([GOOD, BAD, GOOD._replace(cells={"text": "b", "more": {"n": [1, DAY]}})])
    rows = list(csv.reader(io.StringIO(file.getvalue())))
    assert rows[0] == ["text", "label", "more", "predicted_label", "p_x", "p_y", "error"]
    assert rows[1] == ["a", "old", "", "x", "0.75", "0.25", ""]
    assert rows[2] == ["", "é", "", "", "", "", "no text"]
    assert rows[3][2] == '{"n": [1, "2026-01-02"]}'
    with pytest.raises(InputError, match="line 1: column 'new' .*jsonl"):
        writer.write([GOOD._replace(cells={"new": 1})])


def test_parquet_keeps_types(tmp_path: Path) -> None:
    schema = pyarrow.schema(
        [("text", pyarrow.string()), ("label", pyarrow.string()), ("on", pyarrow.date32())]
    )
    rows = [GOOD._replace(cells={**GOOD.cells, "on": DAY}), BAD]
    writer = ParquetWriter(tmp_path / "a.parquet", ("x", "y"), schema.names, schema)
    writer.write(rows)
    writer.write(rows)
    writer.close()
    table = pyarrow.parquet.read_table(tmp_path / "a.parquet")
    added = ["predicted_label", "p_x", "p_y", "error"]
    assert table.schema.names == [*schema.names, *added]
    assert table.schema.field("on").type == pyarrow.date32()
    expected = {"text": "a", "label": "old", "on": DAY}
    expected |= {"predicted_label": "x", "p_x": 0.75, "p_y": 0.25, "error": None}
    assert table.to_pylist()[2] == expected
    assert table.to_pylist()[3]["error"] == "no text"


def test_a_spreadsheet_computes_no_cell_of_csv_unless_that_is_asked() -> None:
    row = Labelled(1, {"text": "=1+1", "-x": "-3"}, "@a", np.array([1.0, 0.0]), "")
    cells = {False: ["'=1+1", "-3", "'@a", "1.0", "0.0", ""], True: ["=1+1", "-3", "@a"]}
    for raw, expected in cells.items():
        file = io.StringIO()
        CsvWriter(file, ("@a", "b"), ("text", "-x"), raw=raw).write([row])
        header, found = csv.reader(io.StringIO(file.getvalue()))
        assert found[: len(expected)] == expected
        assert header[1] == ("-x" if raw else "'-x")


def test_two_hundred_thousand_columns_take_no_longer_than_their_cells() -> None:
    """What is looked up for each of them is not looked for among all of them."""
    names = [str(number) for number in range(200_000)]
    row = Labelled(1, dict.fromkeys(names, "x"), "a", np.array([1.0, 0.0]), "")
    CsvWriter(io.StringIO(), ("a", "b"), names).write([row])
    assert len(unique_names(["x"] * 200_000)) == 200_000
