"""Data sets of the hub that cannot be had: one sentence, soon, with what to do."""

import datasets
import pytest

from jaxattn.config import DataConfig
from jaxattn.data.corpora.splits import load_labelled, load_texts
from jaxattn.errors import InputError
from tests.hub_server import GATED, HubServer

DATA = DataConfig(name="mine", hub="some-one/reviews")


@pytest.fixture(autouse=True)
def same_hub(hub_server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", hub_server.endpoint)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)


def refusal(data: DataConfig = DATA) -> str:
    with pytest.raises(InputError) as caught:
        load_labelled(data)
    sentence = str(caught.value)
    assert sentence.startswith(f"data.hub: cannot load {data.hub!r}: ") and "\n" not in sentence
    assert sentence.endswith("are read with data.path")
    return sentence


def test_no_network_is_told_without_asking_twice(
    hub_server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    sentence = refusal()
    assert "http://127.0.0.1:9 does not answer (Connection refused), and no copy is" in sentence
    assert "no copy of 'de' is" in refusal(DataConfig("mine", hub=DATA.hub, hub_config="de"))
    assert hub_server.asked == []
    assert not constants.HF_HUB_OFFLINE and not datasets.config.HF_HUB_OFFLINE


def test_without_network_the_cache_is_read_and_nobody_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import constants

    rows = datasets.Dataset.from_dict({"text": [f"text {n}" for n in range(40)]})

    def cached(*_: object, **__: object) -> datasets.DatasetDict:
        assert constants.HF_HUB_OFFLINE and datasets.config.HF_HUB_OFFLINE
        return datasets.DatasetDict({"train": rows})

    monkeypatch.setattr(datasets, "load_dataset", cached)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    texts = load_texts(DATA)
    assert len(texts.train) + len(texts.validation) == 40
    told = capsys.readouterr().err
    assert "HF_HUB_OFFLINE is set; the copy of 'some-one/reviews' that was fetched last" in told


def test_what_may_not_be_read_says_what_to_do(hub_server: HubServer) -> None:
    sentence = refusal()
    assert "shows no data set of this name" in sentence and "stanfordnlp/imdb" in sentence
    repository = hub_server.add(DATA.hub, "datasets")
    repository.refusal, repository.refs, repository.commits = GATED, {"main": "1" * 40}, {}
    repository.commits["1" * 40] = {"train.csv": b"text,label\n"}
    page = f"{hub_server.endpoint}/datasets/some-one/reviews"
    assert f"accept the conditions on {page}, then set HF_TOKEN" in refusal()


def test_an_id_as_a_path_is_shown_its_option() -> None:
    with pytest.raises(InputError, match="no file or folder a/b; .* is data.hub=a/b"):
        load_labelled(DataConfig("mine", path="a/b"))
