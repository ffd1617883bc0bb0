"""CSV and TSV as people have them: quotes, separators, headers, encodings, line ends."""

import gzip
import json
from pathlib import Path

import pytest

from jaxattn.config import DataConfig
from jaxattn.data.read.form import Form
from jaxattn.data.read.formats import open_table
from jaxattn.data.read.rows import Rows, read_file
from jaxattn.data.read.stream import Records
from jaxattn.errors import InputError


def read(file: Path, content: str | bytes, **options: str) -> Rows:
    """The rows, which are the same in training and in prediction."""
    raw = content.encode() if isinstance(content, str) else content
    file.write_bytes(raw)
    data = DataConfig("mine", **options)  # type: ignore[arg-type]
    rows = read_file(file, data)
    records = list(Records(str(file), data.text_column, Form.of(data)))
    assert [record.text for record in records if not record.error] == rows.texts
    return rows


TSV = {
    "a quoted word": ('"Fine" said he\t1\nno\t0\n', ['"Fine" said he', "no"]),
    "open quotes": ('"one\t1\ntwo\t0\nthree"\t1\n', ['"one', "two", 'three"']),
    "wholly in quotes": ('"I love it"\t1\nno\t0\n', ['"I love it"', "no"]),
    "quotes inside": ('"a" and "b"\t1\nno\t0\n', ['"a" and "b"', "no"]),
    "quoted by pandas": ('"say ""hi"" now"\t1\nno\t0\n', ['say "hi" now', "no"]),
    "a quoted tab": ('"one\ttwo"\t1\nno\t0\n', ["one\ttwo", "no"]),
    "a quoted line end": ('"one\ntwo"\t1\nno\t0\n', ["one\ntwo", "no"]),
    "several line ends": ('"one\n\ntwo\nthree"\t1\nno\t0\n', ["one\n\ntwo\nthree", "no"]),
}


@pytest.mark.parametrize("name", TSV)
def test_a_line_with_tabs_is_a_row(tmp_path: Path, name: str) -> None:
    body, texts = TSV[name]
    rows = read(tmp_path / "a.tsv", "text\tlabel\n" + body)
    assert rows.texts == texts
    assert [len(str(label)) for label in rows.labels] == [1] * len(texts)


def test_a_quoted_line_end_in_the_last_column(tmp_path: Path) -> None:
    rows = read(tmp_path / "a.tsv", 'label\ttext\n1\t"one\ntwo"\n0\t"open\n1\tlast\n')
    assert rows.texts == ["one\ntwo", '"open', "last"] and rows.labels == ["1", "0", "1"]
    assert [rows.place(i).rsplit(" ", 1)[1] for i in range(3)] == ["2", "4", "5"]


def test_everything_quoted_with_tabs(tmp_path: Path) -> None:
    rows = read(tmp_path / "a.tsv", '"text"\t"label"\n"a b"\t"x"\n"say \\"hi\\""\t"y"\n')
    assert rows.texts == ["a b", 'say "hi"'] and rows.labels == ["x", "y"]


def test_options_settle_quotes(tmp_path: Path) -> None:
    body = 'text\tlabel\n"I love it"\t1\n'
    assert read(tmp_path / "a.tsv", body, quotes="csv").texts == ["I love it"]
    body = 'text,label\n"I said,1\nbad",0\n'
    assert read(tmp_path / "a.csv", body, quotes="text").texts == ['"I said', 'bad"']


def test_an_open_quote_is_told_where_it_opens(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text('text,label\na,1\n"two\nlines","1\nb,2\nc,3\n')
    with pytest.raises(InputError, match=r"a.csv line 4: a quote opens here and is never closed"):
        read_file(file, DataConfig("mine"))
    bad = [record for record in Records(str(file), "text") if record.error]
    assert bad[0].number == 3 and "a quote opens in line 4" in bad[0].error
    file.write_text('text,label\na,1\n"two" words,1\nb,2\n')
    with pytest.raises(InputError, match=r'line 3: a quoted cell .* written twice \(""\)'):
        read_file(file, DataConfig("mine"))


def test_rows_that_a_quote_swallows_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = "".join(f"row {i},{i % 2}\n" for i in range(5))
    read(tmp_path / "a.csv", f'text,label\nx,0\n"open,1\n{rows}closed",0\ny,1\n')
    assert "a.csv: lines 3 to 9 are read as one row" in caplog.text
    caplog.clear()
    read(tmp_path / "b.csv", 'text,label\n"a poem\nof four\nlines, or\nso",0\ny,1\n')
    assert not caplog.text


@pytest.mark.parametrize(
    ("mark", "name"), [(",", "comma"), ("\t", "tab"), (";", "semicolon"), ("|", "pipe")]
)
@pytest.mark.parametrize("ending", [".csv", ".tsv"])
def test_separators_are_found_out(tmp_path: Path, mark: str, name: str, ending: str) -> None:
    others = {",": "b; c | d", ";": "a, b | d", "|": "a, b; c", "\t": "a, b; c | d"}[mark]
    lines = [f"text{mark}label", *(f"{others} {i}{mark}{i % 2}" for i in range(9))]
    rows = read(tmp_path / f"a{ending}", "\n".join(lines))
    assert rows.texts == [f"{others} {i}" for i in range(9)] and rows.labels[:2] == ["0", "1"]
    usual = {".csv": ",", ".tsv": "\t"}[ending]
    form = open_table(tmp_path / f"a{ending}").form
    assert form == (() if mark == usual else (f"separated by {name}s",))
    rows = read(tmp_path / f"b{ending}", f"text{mark}label\na{mark}x\n", separator=name)
    assert rows.texts == ["a"]


def test_commas_in_texts_do_not_mislead(tmp_path: Path) -> None:
    rows = read(tmp_path / "a.csv", "title, short;label\nOne, two, three;1\nFour;0\n",
                text_column="title, short")  # fmt: skip
    assert rows.texts == ["One, two, three", "Four"]
    assert read(tmp_path / "b.csv", "sep=;\ntext;label\nx;1\n").texts == ["x"]


def test_semicolons_of_a_single_column(tmp_path: Path) -> None:
    texts = "text; as it begins\n" + "".join(f"one{'; or more' * (i % 3)} {i}\n" for i in range(9))
    with pytest.raises(InputError, match="where semicolons are text, give data.separator=comma"):
        read(tmp_path / "one.csv", texts, text_column="text")
    rows = read(tmp_path / "one.csv", texts, text_column="text; as it begins", separator="comma")
    assert len(rows) == 9


def test_blanks_after_separators(tmp_path: Path) -> None:
    rows = read(tmp_path / "a.csv", 'label, text\n1, "one, two"\n0, three\n')
    assert rows.texts == ["one, two", "three"] and rows.labels == ["1", "0"]


def test_without_a_header(tmp_path: Path) -> None:
    sms = "ham\tsee you at noon\nspam\tfree prize, call\nham\tok then, later\nham\tfine by me\n"
    rows = read(tmp_path / "a.tsv", sms)
    assert rows.texts[0] == "see you at noon" and rows.labels == ["ham", "spam", "ham", "ham"]
    assert open_table(tmp_path / "a.tsv").form == ("no header (columns label, text)",)
    news = '"3","Oil up","Prices rose"\n"1","War ends","Peace"\n"3","Oil down","They fell"\n'
    rows = read(tmp_path / "b.csv", news, text_column="2+3", label_column="1")
    assert rows.texts[0] == "Oil up Prices rose" and rows.labels == ["3", "1", "3"]
    with pytest.raises(InputError, match=r"columns: 1, 2, 3\); its first line looks like a row.*"):
        read(tmp_path / "b.csv", news)
    with pytest.raises(InputError, match="no column 'text'.*columns: 3, Oil up, Prices rose"):
        read(tmp_path / "b.csv", news, header="yes")
    # Names that are numbers, as pandas counts columns, are a header all the same.
    assert read(tmp_path / "c.csv", "0,1\na b c,1\nd,0\ne,1\n", text_column="0").texts[0] == "a b c"


def test_files_that_were_put_together(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    part = "review,sentiment\n" + "".join(f"kettle {i},{'pn'[i % 2]}\n" for i in range(30))
    rows = read(tmp_path / "all.csv", part * 3, text_column="review", label_column="sentiment")
    assert len(rows) == 90 and set(rows.labels) == {"p", "n"}
    assert "2 rows in which the header stands again are left out" in caplog.text
    # It is found out without the names of the columns, too.
    assert Records(str(tmp_path / "all.csv"), "review").columns == ("review", "sentiment")
    # A first text that is sent twice is no header.
    sent = "ok\tham\n" + "".join(f"see you at {i}\t{['ham', 'spam'][i % 2]}\n" for i in range(9))
    rows = read(tmp_path / "sms.tsv", sent + sent)
    assert len(rows) == 20 and rows.texts[0] == "ok"
    # The only column may hold the word that it is called by.
    assert read(tmp_path / "one.csv", "text\nword\ntext\nend\n").texts == ["word", "text", "end"]


def test_names_that_stand_twice(tmp_path: Path) -> None:
    rows = read(tmp_path / "a.csv", "v1,v2,,,\nham,one,,,\nspam,two,x,y,z\n", text_column="v2",
                label_column="v1")  # fmt: skip
    assert rows.texts == ["one", "two"]
    records = Records(str(tmp_path / "a.csv"), "v2")
    assert records.columns == ("v1", "v2", "column 3", "column 4", "column 5")
    assert list(records)[1].cells["column 4"] == "y"
    read(tmp_path / "b.csv", "text,note,note,label\na,x,y,1\n")
    assert Records(str(tmp_path / "b.csv"), "text").columns == ("text", "note", "note 2", "label")
    for reader in (lambda f: read_file(f, DataConfig("mine")), lambda f: Records(str(f), "text")):
        (tmp_path / "c.csv").write_text("text,label,text\na,1,b\n")
        with pytest.raises(InputError, match="two columns are called 'text'; rename one"):
            reader(tmp_path / "c.csv")


def test_encodings_and_line_ends(tmp_path: Path) -> None:
    table = "text,label\ncafé über,1\nnaïve,0\n"
    for name, raw in {
        "m": table.replace("\n", "\r").replace("é ", "é\n").replace("ca", '"ca').replace(
            "ber", 'ber"').encode(),
        "a": table.encode("utf-16"), "b": table.replace("\n", "\r").encode(),
        "c": table.replace("\n", "\r\n").encode("utf-8-sig"), "d": gzip.compress(table.encode()),
    }.items():  # fmt: skip
        texts = [" ".join(text.split()) for text in read(tmp_path / f"{name}.csv", raw).texts]
        assert texts == ["café über", "naïve"], name
    raw = table.encode("cp1252")
    assert read(tmp_path / "e.csv", raw, encoding="cp1252").texts == ["café über", "naïve"]
    with pytest.raises(InputError, match="line 2: byte 0xe9 is not UTF-8.*data.encoding=cp1252"):
        read(tmp_path / "e.csv", raw)
    with pytest.raises(InputError, match="data.encoding: found 'klingon', allowed"):
        DataConfig(encoding="klingon")


def test_compressed_files(tmp_path: Path) -> None:
    import bz2
    import lzma

    import pyarrow

    table = ("text,label\n" + "".join(f"text {i},{i % 2}\n" for i in range(5000))).encode()
    packed = {
        "gz": gzip.compress(table), "bz2": bz2.compress(table), "xz": lzma.compress(table),
        "zst": pyarrow.compress(table, "zstd", asbytes=True),
    }  # fmt: skip
    for ending, raw in packed.items():
        file = tmp_path / f"a.csv.{ending}"
        rows = read(file, raw)
        assert len(rows) == 5000 and rows.texts[4999] == "text 4999", ending
        records = Records(str(file), "text")
        next(iter(records))
        assert records.share and 0 < records.share <= 1
        file.write_bytes(raw[: len(raw) // 2])
        with pytest.raises(InputError, match="cannot read .*a.csv"):
            read_file(file, DataConfig("mine"))
    # Unpacked on the way, or packed without saying so.
    assert len(read(tmp_path / "b.csv.gz", table)) == 5000
    assert len(read(tmp_path / "b.csv", packed["gz"])) == 5000


def test_messages_stay_short(tmp_path: Path) -> None:
    words = ["word"] * 200_000
    flaws = {
        "a.jsonl": json.dumps({"text": words, "label": 1}),
        "b.jsonl": json.dumps({"x" * 500_000: 1}),
        "c.csv": "text,label\na,1," + ",".join(words),
        "d.csv": ",".join(f"column {i}" for i in range(50_000)) + "\n1\n",
        "e.jsonl": json.dumps({"text": "a", "label": {"x": "y" * 500_000}}),
        "f.csv": "text," + "z" * 500_000 + "\na\n",
        "g.txt": "1 ||| a\n" + "w" * 500_000,
        "h.json": json.dumps(list(range(100_000))),
    }
    for name, content in flaws.items():
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError) as caught:
            read_file(tmp_path / name, DataConfig("mine"))
        assert len(str(caught.value).replace(str(tmp_path), "")) < 400, name
        records = []
        try:
            records = [record for record in Records(str(tmp_path / name), "text") if record.error]
        except InputError as error:
            assert len(str(error).replace(str(tmp_path), "")) < 400, name
        assert all(len(record.error) < 400 for record in records), name
