"""Corpora by name: what a name fills in, what stays, and stand-ins read by their recipes."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from jaxattn import cli
from jaxattn.config import Config, DataConfig, replace
from jaxattn.data.corpora.known import CORPORA, filled_in
from jaxattn.data.corpora.sources import open_source
from jaxattn.data.corpora.splits import load_labelled, load_texts
from jaxattn.errors import InputError

BASE = f"--config={Path(__file__).parents[2] / 'configs' / 'base.py'}"


def known(given: Iterable[str] = (), **options: Any) -> DataConfig:
    config = replace(Config(), {name.replace("__", "."): v for name, v in options.items()})
    return filled_in(config, frozenset(given)).data


@pytest.mark.parametrize("name", CORPORA)
def test_every_entry_is_allowed_and_filling_in_twice_changes_nothing(name: str) -> None:
    for path in ("", "somewhere"):
        config = replace(
            Config(), {"data.name": name, "data.path": path, "model.max_seq_len": 16384}
        )
        once = filled_in(config, frozenset())
        wanted = {**CORPORA[name].options, **({} if path else CORPORA[name].hub)}
        assert {key: getattr(once.data, key) for key in wanted} == wanted
        assert filled_in(once, frozenset()) == once


def test_what_is_set_stays() -> None:
    data = known(data__name="imdb", data__label_names=("-", "+"))
    assert (data.label_names, data.clean) == (("-", "+"), "breaks")
    # A flag may even give the default itself.
    assert known({"data.clean"}, data__name="imdb").clean == "none"
    data = known(data__name="wiki", data__hub="my/wiki")
    assert (data.keywords, data.hub_config) == ((), "")
    assert known(data__name="wiki", data__path="x").keywords == ()
    assert len(known(data__name="wiki", data__hub="wikimedia/wikipedia").keywords) == 6
    assert known(data__name="mine") == DataConfig(name="mine")


@pytest.mark.parametrize(
    ("longest", "buckets", "length"), [(512, (), 512), (2048, (), 2048), (16384, (), 4096),
                                       (16384, (256, 512), 512)],
)  # fmt: skip
def test_lengths_fit_the_model(longest: int, buckets: tuple[int, ...], length: int) -> None:
    data = known(
        data__name="hyperpartisan", model__max_seq_len=longest, data__length_buckets=buckets
    )
    assert data.max_length == length


def test_the_command_line_fills_in() -> None:
    request = cli.parse(["--mode=pretrain", BASE, "--config.data.name=sst5"])
    data = request.resolved().data
    assert (data.hub, data.max_length, data.label_names[0]) == ("SetFit/sst5", 128, "very negative")
    request = cli.parse(
        ["--mode=eval", BASE, "--config.data.name=imdb", "--config.data.clean=none"]
    )
    options = request.data_options()
    assert options["data.hub"] == "stanfordnlp/imdb" and options["data.clean"] == "none"
    assert not {"data.max_length", "data.length_buckets"} & set(options)
    request = cli.parse(
        ["--mode=finetune", BASE, "--config.data.name=sst5", "--config.data.max_length=512"]
    )
    assert request.resolved().data.max_length == 512


def lines(folder: Path, split: str, rows: list[dict[str, Any]]) -> None:
    (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))


def test_imdb_from_a_stand_in_of_the_hub(tmp_path: Path) -> None:
    for split in ("train", "test"):
        lines(tmp_path, split, [
            {"text": f"{split} {i}.<br /><br />Good &amp; bad", "label": i % 2} for i in range(40)
        ])  # fmt: skip
    data = known(data__name="imdb", data__hub=str(tmp_path), data__clean="breaks")
    corpus = load_labelled(data)
    assert corpus.label_names == ("neg", "pos")
    assert "test 7.\n\nGood &amp; bad" in corpus.test.texts


def test_hyperpartisan_by_article_and_by_publisher(tmp_path: Path) -> None:
    rows = [
        {"text": f"<p>Article {i}</p><p>has &quot;words&quot;</p>", "hyperpartisan": i % 2 == 0,
         "title": "t", "url": f"https://www.paper{i % 20}.com/{i}"}
        for i in range(200)
    ]  # fmt: skip
    lines(tmp_path, "train", rows)
    recipe = {
        f"data__{name}": value
        for name, value in CORPORA["hyperpartisan"].hub.items()
        if name not in ("hub_config", "hub_revision")
    }
    recipe["data__hub"] = str(tmp_path)
    data = known(data__name="hyperpartisan", **recipe)
    corpus = load_labelled(data)
    assert [len(p.texts) for p in (corpus.train, corpus.validation, corpus.test)] == [160, 20, 20]
    assert corpus.label_names == ("False", "True")
    assert 'Article 3\nhas "words"' in {*corpus.train.texts, *corpus.test.texts,
                                        *corpus.validation.texts}  # fmt: skip
    grouped = load_labelled(known(data__name="hyperpartisan_bypublisher", **recipe))
    papers = [
        {int(text.split()[1]) % 20 for text in part.texts}
        for part in (grouped.train, grouped.validation, grouped.test)
    ]
    assert sum(map(len, papers)) == len(set.union(*papers)) == 20


def test_news_with_title_and_description(tmp_path: Path) -> None:
    for split in ("train", "test"):
        table = ["Class Index,Title,Description"]
        table += [f'{1 + i % 4},"Title {i}","It, {split}, happened"' for i in range(40)]
        (tmp_path / f"{split}.csv").write_text("\n".join(table))
    data = known(
        data__name="agnews", data__path=str(tmp_path), data__text_column="Title+Description",
        data__label_column="Class Index", data__label_names=("1", "2", "3", "4"),
    )  # fmt: skip
    corpus = load_labelled(data)
    assert corpus.label_names == ("1", "2", "3", "4")
    assert corpus.test.labels[:5].tolist() == [0, 1, 2, 3, 0]
    data = known(
        {"data.label_names"}, data__name="agnews", data__path=str(tmp_path),
        data__text_column="Title+Description", data__label_column="Class Index",
    )  # fmt: skip
    assert "Title 5 It, test, happened" in load_labelled(data).test.texts


def test_wikipedia_keeps_the_articles_with_a_keyword(tmp_path: Path) -> None:
    rows = [
        {"text": f"Article {i} about {'a film' if i % 4 == 0 else 'nothing'}."} for i in range(400)
    ]
    lines(tmp_path, "train", rows)
    words = CORPORA["wiki"].hub["keywords"]
    for streaming in (False, True):
        data = known(
            data__name="wiki", data__hub=str(tmp_path), data__keywords=words,
            data__streaming=streaming, data__max_examples=50,
        )  # fmt: skip
        texts = load_texts(data)
        assert all("film" in text for text in [*texts.train, *texts.validation])
        assert len(texts.train) == (45 if streaming else 50)


def test_a_corpus_without_a_hub_needs_a_path() -> None:
    with pytest.raises(InputError, match="'novels' is not on the hub; set data.path"):
        open_source(known(data__name="novels"))
    with pytest.raises(InputError, match="'agnew' is not built in .* did you mean 'agnews'"):
        open_source(known(data__name="agnew"))
