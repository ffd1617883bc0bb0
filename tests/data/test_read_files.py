"""One corpus in every format, and every flaw of a file told with its place."""

import csv
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from jaxattn.config import DataConfig
from jaxattn.data.corpora.files import split_files
from jaxattn.data.corpora.sources import open_source
from jaxattn.data.read import columns
from jaxattn.data.read.formats import data_files, open_table
from jaxattn.data.read.lines import Lines
from jaxattn.data.read.rows import Rows, joined, read_file
from jaxattn.errors import InputError

TEXTS = ["plain", 'quoted, "twice"\nand a second line', "NA", "2020-01-01", "Müller ☃ 日本", "7"]
LABELS = [1, 0, 1, None, 0, 1]


def read(file: Path, **options: str) -> Rows:
    return read_file(file, DataConfig("mine", **options))


def parquet(path: Path, columns: Mapping[str, Sequence[object]]) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table(columns), path)


def quoted(cell: int | str | None) -> str:
    return '"' + str("" if cell is None else cell).replace('"', '""') + '"'


def separated(path: Path, delimiter: str, bom: str = "") -> None:
    rows = [["text", "label"], *zip(TEXTS, LABELS, strict=True)]
    lines = [delimiter.join(map(quoted, row)) for row in rows]
    path.write_text(bom + "\r\n".join(lines) + "\r\n", encoding="utf-8", newline="")


@pytest.fixture
def every_format(tmp_path: Path) -> Path:
    objects = [{"text": t, "label": v} for t, v in zip(TEXTS, LABELS, strict=True)]
    parquet(tmp_path / "a.parquet", {"text": TEXTS, "label": LABELS})
    separated(tmp_path / "a.csv", ",")
    separated(tmp_path / "bom.csv", ",", "\ufeff")
    separated(tmp_path / "a.tsv", "\t")
    lines = "\n".join(map(json.dumps, objects))
    (tmp_path / "a.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "blank.jsonl").write_text(f"\n{lines}\n\n".replace("\n", "\n\n"), encoding="utf-8")
    (tmp_path / "array.json").write_text(json.dumps(objects, indent=1), encoding="utf-8")
    return tmp_path


def test_all_formats_give_the_same_rows(every_format: Path) -> None:
    files = sorted(every_format.iterdir())
    assert len(files) == 7
    for file in files:
        rows = read(file)
        assert rows.texts == TEXTS, file
        assert [None if v is None else int(v) for v in rows.labels] == LABELS, file
        assert rows.label_columns is None


def test_places(every_format: Path) -> None:
    def place(name: str, index: int) -> str:
        return read(every_format / name).place(index)

    assert place("a.parquet", 2) == f"{every_format / 'a.parquet'} row 3"
    # The second text has two lines.
    assert place("a.csv", 2).endswith("a.csv line 5")
    assert place("a.jsonl", 2).endswith("a.jsonl line 3")
    assert place("blank.jsonl", 2).endswith("blank.jsonl line 7")
    both = joined([read(every_format / "a.jsonl"), read(every_format / "a.csv")])
    assert len(both) == 12 and both.place(6).endswith("a.csv line 2")


def test_empty_texts_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "a.jsonl"
    texts = ["a", "", "  \n", None, "b"]
    file.write_text("\n".join(json.dumps({"text": t}) for t in texts), encoding="utf-8")
    rows = read(file)
    assert rows.texts == ["a", "b"] and rows.place(1) == f"{file} line 5"
    assert rows.labels == [None, None] and rows.label_columns == ("text",)
    assert f"{file}: 3 empty texts left out" in caplog.text


def test_labels_of_every_kind(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    labels = [3, "3", 3.0, " x ", True, -1, None, "", float("nan")]
    file.write_text("\n".join(json.dumps({"text": "t", "label": v}) for v in labels))
    found = read(file).labels
    assert found == [3, "3", 3, "x", "True", -1, None, None, None]


def test_class_names_of_datasets_are_kept(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    table = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features)
    table.to_parquet(str(tmp_path / "a.parquet"))
    rows = read(tmp_path / "a.parquet")
    assert rows.class_names == ("no", "yes") and rows.labels == [1, 0]


@pytest.mark.parametrize("name", ["with [1] bracket, comma", "star*and?", "ümläut and blank"])
def test_odd_folder_names(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    parquet(folder / "a.parquet", {"text": ["x"], "label": ["y"]})
    assert read(folder / "a.parquet").labels == ["y"]


def test_a_replaced_file_is_read_anew(tmp_path: Path) -> None:
    import os

    file = tmp_path / "a.parquet"
    for text in ("old", "new"):
        parquet(file, {"text": [text], "label": [1]})
        os.utime(file, (1_000_000_000, 1_000_000_000))
        assert read(file).texts == [text]


def test_a_long_text_in_a_csv_file(tmp_path: Path) -> None:
    """Of this process's other CSV files the limit is left as it is, also while rows are read."""
    limit = csv.field_size_limit()
    file = tmp_path / "a.csv"
    file.write_text("text,label\n" + "word " * 100_000 + ",1\n", encoding="utf-8")
    assert len(read(file).texts[0]) == 500_000
    for strict in (True, False):
        next(open_table(file, strict=strict).rows(()))
        assert csv.field_size_limit() == limit


FLAWS = {
    "latin.csv": ("text,label\nok,1\ncafé,1\n".encode("latin-1"), "line 3: byte 0xe9 is not UTF-8"),
    "latin.jsonl": ('{"text": "é"}'.encode("latin-1"), "line 1: byte 0xe9 is not UTF-8"),
    "more.csv": (b"text,label\na,1\nb,2,3\n", "line 3: 3 cells, the header has 2"),
    "fewer.tsv": (b"text\tlabel\na\t1\nb\n", "line 3: 1 cell, the header has 2"),
    "open.csv": (
        b'text,label\n"a,1\nb,2\n',
        "line 2: a quote opens here and is never closed: take it out, or .* data.quotes=text",
    ),
    "cut.jsonl": (
        b'{"text": "a"}\n{"text": "b\n',
        r"line 2: not JSON: Unterminated string.*column 10",
    ),
    "cut.json": (b'[{"text": "a"},\n {"text":}]', r"line 2: not JSON: .*column 10"),
    "list.jsonl": (
        b'{"text": "a"}\n["b"]\n',
        r"line 2: \['b'\] \(a list of 1\), expected an object",
    ),
    "array.json": (b'[{"text": "a"}, 5]', r"entry 2: 5 \(a number\), expected an object"),
    "number.jsonl": (
        b'{"text": "a"}\n{"text": 5}\n',
        r"line 2: 'text' is 5 \(a number\), expected a text",
    ),
    "half.jsonl": (b'{"text": "a \\ud800"}', "line 1: 'text' holds half of a surrogate pair"),
    "label.jsonl": (
        b'{"text": "a", "label": 1}\n{"text": "a", "label": [1, 2]}',
        r"line 2: 'label' is \[1, 2\], a list of 2; a text has one label here",
    ),
    "share.jsonl": (
        b'{"text": "a", "label": 0.5}',
        "'label' is 0.5, a number; classes are words or whole numbers",
    ),
    "column.csv": (b"txt,label\na,1\n", r"no column 'text'; did you mean 'txt'\? \(columns: txt"),
    "empty.csv": (b"", "holds no rows"),
    "twice.csv": (b"text,label,label\na,1,2\n", "two columns are called 'label'; rename one"),
    "header.csv": (b"text,label\n", "holds no rows"),
    "empty.jsonl": (b"\n", "holds no rows"),
    "no.parquet": (b"hello", "is no Parquet file"),
}


@pytest.mark.parametrize("name", FLAWS)
def test_flaws_are_told_with_their_place(tmp_path: Path, name: str) -> None:
    content, message = FLAWS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_parquet_column_and_a_damaged_page(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    parquet(file, {"body": ["x"] * 1000, "label": [1] * 1000})
    with pytest.raises(InputError, match=r"no column 'text' \(columns: body, label\)"):
        read(file)
    content = bytearray(file.read_bytes())
    content[4:60] = bytes(56)
    file.write_bytes(content)
    with pytest.raises(InputError, match="cannot read .*a.parquet"):
        read(file, text_column="body")
    with pytest.raises(InputError, match="cannot read .*absent.csv: No such file"):
        read(tmp_path / "absent.csv")


@pytest.mark.parametrize(
    ("names", "split", "expected"),
    [
        (["train.csv", "train_partial.csv", "test.csv"], "train", ["train.csv"]),
        (["train-1.csv", "train-0.csv", "test.csv"], "train", ["train-0.csv", "train-1.csv"]),
        (["train_partial.parquet", "test.parquet"], "train", ["train_partial.parquet"]),
        (["sst_train.csv", "sst_test.csv"], "test", ["sst_test.csv"]),
        (["x-train-0.csv", "x-train-1.csv"], "train", ["x-train-0.csv", "x-train-1.csv"]),
        (["Train.CSV"], "train", ["Train.CSV"]),
        (["train.csv", "train.parquet", "train.jsonl"], "train", ["train.parquet"]),
        (["training.csv"], "train", ["training.csv"]),
        (["dev.csv", "valid.csv", "train.csv"], "validation", ["valid.csv"]),
        (["validation.csv", "valid.csv"], "validation", ["validation.csv"]),
        (["sst_dev.csv", "sst_train.csv"], "validation", ["sst_dev.csv"]),
        (["valuable.csv", "devices.csv"], "validation", []),
        (["constrained.csv", "contest.csv"], "train", []),
        (["train.txt", ".train.csv"], "train", []),
    ],
)
def test_files_of_a_split(
    tmp_path: Path, names: list[str], split: str, expected: list[str]
) -> None:
    for name in names:
        (tmp_path / name).touch()
    synonyms = ("validation", "valid", "val", "dev") if split == "validation" else ()
    assert [file.name for file in split_files(data_files(tmp_path), split, synonyms)] == expected


def test_two_corpora_in_a_folder(tmp_path: Path) -> None:
    for name in ("sst_train.csv", "imdb_train.csv"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match="ambiguous .*: imdb_train.csv and sst_train.csv"):
        split_files(data_files(tmp_path), "train")
    assert [file.name for file in split_files(data_files(tmp_path), "sst_train")] == [
        "sst_train.csv"
    ]


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    """A FIFO nobody writes to is waited for without end, a device is read without end."""
    fifo = tmp_path / "train.csv"
    os.mkfifo(fifo)
    for path, kind in ((fifo, "a FIFO"), (Path("/dev/zero"), "a device")):
        with pytest.raises(InputError, match=f"data.path: {path}: found {kind}, expected a file"):
            open_source(DataConfig("mine", path=str(path)))
        with pytest.raises(InputError, match=f"cannot read {path}: found {kind}"):
            list(Lines(path))


def test_a_text_of_gigabytes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "LONGEST", 20)
    path = tmp_path / "train.csv"
    path.write_text("text,label\nshort,a\n" + "long " * 5 + ",b\n")
    with pytest.raises(InputError, match="line 3: the text has 25 characters, allowed: up to 20"):
        read(path)


def test_a_name_that_is_not_utf_8_is_refused_at_once() -> None:
    with pytest.raises(InputError, match=r"data.path: found '/caf.udce9', which is not UTF-8"):
        DataConfig("mine", path=os.fsdecode(b"/caf\xe9"))
