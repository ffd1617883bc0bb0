"""Folders as people have them: which files are which split, and what is said of the others."""

import gzip
import json
from pathlib import Path

import pytest

from jaxattn.config import DataConfig
from jaxattn.data.corpora.splits import LabelledCorpus, load_labelled, load_texts
from jaxattn.data.told import forget
from jaxattn.errors import InputError


@pytest.fixture(autouse=True)
def say_again() -> None:
    """What was said in another test is said again."""
    forget()


def csv(count: int, word: str = "text") -> str:
    return "text,label\n" + "".join(f"{word} {i},{i % 2}\n" for i in range(count))


def write(file: Path, content: str | bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)


def parquet(file: Path, count: int, word: str = "text") -> None:
    import pyarrow
    import pyarrow.parquet

    file.parent.mkdir(parents=True, exist_ok=True)
    texts, labels = [f"{word} {i}" for i in range(count)], [i % 2 for i in range(count)]
    pyarrow.parquet.write_table(pyarrow.table({"text": texts, "label": labels}), file)


def load(path: Path, **options: object) -> LabelledCorpus:
    return load_labelled(DataConfig("mine", path=str(path), **options))  # type: ignore[arg-type]


def sizes(corpus: LabelledCorpus) -> list[int]:
    return [len(part.texts) for part in (corpus.train, corpus.validation, corpus.test)]


@pytest.mark.parametrize("name", ["eval", "dev", "val", "valid", "validation", "evaluation"])
def test_names_of_the_validation_split(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for split, count in (("train", 40), (name, 10), ("test", 20), ("notes", 6)):
        write(tmp_path / f"{split}.csv", csv(count, split))
    assert sizes(load(tmp_path)) == [40, 10, 20]
    told = f"read train.csv (train), {name}.csv (validation), test.csv (test); not read: notes.csv"
    assert told in capsys.readouterr().err
    load(tmp_path)
    assert told not in capsys.readouterr().err


def test_what_is_the_training_split_without_its_name(tmp_path: Path) -> None:
    write(tmp_path / "one" / "reviews.csv", csv(100))
    assert sizes(load(tmp_path / "one")) == [82, 8, 10]
    write(tmp_path / "one" / "test.csv", csv(20, "test"))
    assert sizes(load(tmp_path / "one")) == [90, 10, 20]
    write(tmp_path / "one" / "more.csv", csv(20, "more"))
    with pytest.raises(InputError, match="which file .*: more.csv, reviews.csv; .*_split=more"):
        load(tmp_path / "one")
    assert sizes(load(tmp_path / "one", train_split="reviews")) == [90, 10, 20]
    with pytest.raises(InputError, match="no split 'absent'"):
        load(tmp_path / "one", train_split="absent")
    write(tmp_path / "names" / "testimonials.csv", csv(100))
    assert sizes(load(tmp_path / "names")) == [82, 8, 10]
    # One table in two formats is read once.
    write(tmp_path / "two" / "reviews.csv", csv(100))
    parquet(tmp_path / "two" / "reviews.parquet", 50)
    assert sum(sizes(load(tmp_path / "two"))) == 50


def test_clones_of_the_hub(tmp_path: Path) -> None:
    for folder in ("data", "plain_text"):
        root = tmp_path / folder / "clone"
        write(root / "README.md", "# A data set")
        write(root / "dataset_infos.json", "{}")
        parquet(root / folder / "train-00000-of-00002.parquet", 20)
        parquet(root / folder / "train-00001-of-00002.parquet", 20, "more")
        parquet(root / folder / "test-00000-of-00001-0a1b2c.parquet", 10, "test")
        assert sizes(load(root)) == [36, 4, 10]
    for name in ("cola", "sst2"):
        parquet(tmp_path / "glue" / name / "train-00000-of-00001.parquet", 20)
    with pytest.raises(InputError, match="tables in 2 folders, .*: cola, sst2; .*data.path=.*cola"):
        load(tmp_path / "glue")
    assert sum(sizes(load(tmp_path / "glue", hub_config="sst2"))) == 20
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
    write(tmp_path / "lfs" / "data" / "train-00000-of-00001.parquet", pointer)
    with pytest.raises(InputError, match="is a Git LFS pointer.*git lfs pull"):
        load(tmp_path / "lfs")


def test_folders_of_spark(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / "out" / f"part-0000{number}-ab.csv", csv(20, f"part {number}"))
        write(tmp_path / "out" / f".part-0000{number}-ab.csv.crc", "x")
        for split in ("train", "test"):
            parquet(tmp_path / "splits" / split / f"part-{number}.snappy.parquet", 20, split)
    write(tmp_path / "out" / "_SUCCESS", "")
    assert sum(sizes(load(tmp_path / "out"))) == 60
    assert sizes(load(tmp_path / "splits")) == [54, 6, 60]


def test_what_save_to_disk_writes(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )

    def made(word: str, count: int) -> datasets.Dataset:
        columns = {"text": [f"{word} {i}" for i in range(count)],
                   "label": [i % 2 for i in range(count)]}  # fmt: skip
        return datasets.Dataset.from_dict(columns, features)

    made("text", 40).save_to_disk(tmp_path / "one", num_shards=2)
    write(tmp_path / "one" / "cache-12.arrow", "of a map")
    corpus = load(tmp_path / "one")
    assert sum(sizes(corpus)) == 40 and corpus.label_names == ("no", "yes")
    both = datasets.DatasetDict({"train": made("text", 40), "test": made("test", 10)})
    both.save_to_disk(tmp_path / "both")
    corpus = load(tmp_path / "both")
    assert sizes(corpus) == [36, 4, 10] and corpus.label_names == ("no", "yes")
    single = load(tmp_path / "both" / "test" / "data-00000-of-00001.arrow")
    assert sum(sizes(single)) == 10


def test_class_folders_without_splits(tmp_path: Path) -> None:
    for label in ("bikes", "soup"):
        for number in range(20):
            write(tmp_path / "plain" / label / f"{number}.txt", f"{label} {number}\n")
            # As in 20 Newsgroups.
            for split in ("train", "test"):
                write(tmp_path / "news" / f"news-{split}" / f"rec.{label}" / f"{number}",
                      f"{split} {label} {number}")  # fmt: skip
    corpus = load(tmp_path / "plain")
    assert sizes(corpus) == [32, 4, 4] and corpus.label_names == ("bikes", "soup")
    assert corpus.test.labels.tolist() == [0, 0, 1, 1]
    corpus = load(tmp_path / "news")
    assert sizes(corpus) == [36, 4, 40] and corpus.label_names == ("rec.bikes", "rec.soup")
    assert sum(sizes(load(tmp_path / "news" / "news-train"))) == 40


def test_lines_with_labels_of_fasttext(tmp_path: Path) -> None:
    lines = "".join(f"__label__{'ab'[i % 2]} text {i}\n" for i in range(40))
    write(tmp_path / "x" / "train.ft.txt.gz", gzip.compress(lines.encode()))
    write(tmp_path / "x" / "test.ft.txt", lines.replace("text", "test"))
    corpus = load(tmp_path / "x")
    assert sizes(corpus) == [36, 4, 40] and corpus.label_names == ("a", "b")
    assert corpus.test.texts[0] == "test 0"
    write(tmp_path / "cooking.train", lines)
    assert sum(sizes(load(tmp_path / "cooking.train"))) == 40
    write(tmp_path / "two.txt", "__label__a one\n__label__a __label__b two\n")
    with pytest.raises(InputError, match="line 2: several labels, '__label__a' and '__label__b'"):
        load(tmp_path / "two.txt")
    write(tmp_path / "none.txt", "__label__a one\ntwo\n")
    with pytest.raises(InputError, match="line 2: found 'two', expected '__label__x text'"):
        load(tmp_path / "none.txt")


def test_a_table_in_a_file_without_a_proper_name(tmp_path: Path) -> None:
    sms = "".join(f'{"spam" if i % 4 == 0 else "ham"}\tmessage "{i}\n' for i in range(40))
    write(tmp_path / "sms" / "SMSSpamCollection", sms)
    write(tmp_path / "sms" / "readme", "What this is")
    for path in (tmp_path / "sms", tmp_path / "sms" / "SMSSpamCollection"):
        corpus = load(path)
        assert sum(sizes(corpus)) == 40 and corpus.label_names == ("ham", "spam")
    write(tmp_path / "a.txt", sms)
    assert sum(sizes(load(tmp_path / "a.txt"))) == 40
    write(tmp_path / "a.xlsx", "PK")
    with pytest.raises(InputError, match=r"ends in '.xlsx': save the sheet as CSV \(UTF-8\); allo"):
        load(tmp_path / "a.xlsx")


def test_texts_a_line_for_the_mlm(tmp_path: Path) -> None:
    for split, count in (("train", 50), ("valid", 5)):
        write(tmp_path / f"{split}.txt", "".join(f"{split} {i}\n" for i in range(count)))
    texts = load_texts(DataConfig("mine", path=str(tmp_path)))
    assert len(texts.train) == 50 and list(texts.validation) == [f"valid {i}" for i in range(5)]
    texts = load_texts(DataConfig("mine", path=str(tmp_path / "train.txt")))
    assert len(texts.train) == 45
    with pytest.raises(InputError, match="no column 'label'.*lines with labels are 'label |||"):
        load(tmp_path)


def test_an_empty_folder_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"found: nothing\); give a file, or a folder with train"):
        load(tmp_path)


JSON = {
    "wrapped": '{"version": 1, "data": [%s]}',
    "wrapped over lines": '{"version": 1, "data": [\n%s\n]}',
    "an array": "[%s]",
    "an array over lines": "[\n%s\n]",
}


def objects(count: int) -> list[dict[str, object]]:
    return [{"text": f"text {i}", "label": i % 2} for i in range(count)]


@pytest.mark.parametrize("form", JSON)
@pytest.mark.parametrize("ending", [".json", ".jsonl"])
def test_rows_inside_json(tmp_path: Path, form: str, ending: str) -> None:
    from jaxattn.data.read.stream import Records

    file = tmp_path / f"a{ending}"
    write(file, JSON[form].replace("%s", ",\n".join(map(json.dumps, objects(40)))))
    assert sum(sizes(load(file))) == 40
    records = Records(str(file), "text")
    assert [record.text for record in records] == [f"text {i}" for i in range(40)]
    assert records.unit == "entry"


def test_json_over_lines_and_by_columns(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    some = objects(40)
    for form in ("index", "columns", "split", "records", "table"):
        write(tmp_path / f"{form}.json", pandas.DataFrame(some).to_json(orient=form))
    write(tmp_path / "indented.json", json.dumps({"rows": some}, indent=2))
    write(tmp_path / "lists.json", json.dumps({name: [row[name] for row in some]
                                               for name in ("text", "label")}))  # fmt: skip
    write(tmp_path / "jq.json", "\n".join(json.dumps(row, indent=2) for row in some))
    for file in sorted(tmp_path.glob("*.json")):
        corpus = load(file)
        assert sum(sizes(corpus)) == 40 and corpus.label_names == ("0", "1"), file
    write(tmp_path / "both.json", json.dumps({"train": some, "test": some}))
    with pytest.raises(InputError, match="holds rows in 'train', 'test'; write each of them into"):
        load(tmp_path / "both.json")


def test_what_two_tasks_read_is_warned_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "one.csv"
    write(file, csv(40) + ",1\n")
    data = DataConfig("mine", path=str(file))
    load_labelled(data)
    load_texts(data)
    assert [record.getMessage() for record in caplog.records] == [
        f"{file}: 1 empty texts left out",
        f"{file} has no labelled test split: 4 training texts are held out instead",
    ]
    forget()
    load_texts(data)
    assert len(caplog.records) == 4
