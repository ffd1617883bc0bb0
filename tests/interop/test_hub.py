"""A published encoder by its hub id, from a hub on this machine."""

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import jax
import numpy as np
import pytest
import yaml

from jaxattn import cli, hub
from jaxattn.errors import InputError
from jaxattn.interop.hub import fetched
from jaxattn.interop.published import read_published
from tests.hub_server import ABSENT, BUSY, GATED, HubServer, Repository

ROOT = Path(__file__).parents[2]
NAME = "some-one/tiny-bert"


@pytest.fixture
def repository(hub_server: HubServer, bert_folder: Path) -> Repository:
    """The tiny BERT beside files that nobody asked for."""
    repository = hub_server.add(NAME)
    unwanted = {"pytorch_model__bin": b"a pickle", "README__md": b"#", "onnx__onnx": b"."}
    repository.commit(bert_folder, **unwanted, special_tokens_map__json=b"{}")
    return repository


def refusal(source: str = NAME, revision: str = "") -> str:
    with pytest.raises(InputError) as caught:
        fetched(source, revision)
    sentence = str(caught.value)
    assert sentence.startswith(f"--input={source}: ") and "\n" not in sentence
    return sentence


def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"http://127.0.0.1:{listening.getsockname()[1]}"


def silenced(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", closed_port())


def test_an_import_by_id_is_that_of_the_folder(
    repository: Repository, hub_server: HubServer, bert_folder: Path, tmp_path: Path
) -> None:
    call = ["--mode=import", f"--runs={tmp_path / 'runs'}"]
    assert cli.run([*call, f"--input={NAME}", "--exp=id", "--revision=main"]) == 0
    assert cli.run([*call, f"--input={bert_folder}", "--exp=folder"]) == 0
    by_id, by_folder = (
        json.loads((tmp_path / "runs/pretrain" / exp / "results.json").read_text())
        for exp in ("id", "folder")
    )
    commit = repository.refs["main"]
    assert by_id["best_hash"] == by_folder["best_hash"]
    assert by_id["imported"]["sha256"] == by_folder["imported"]["sha256"]
    assert by_id["imported"]["from"] == f"{NAME}@{commit}"
    assert by_id["imported"]["hub"] == {"id": NAME, "revision": "main", "commit": commit}
    assert "hub" not in by_folder["imported"]
    config = yaml.safe_load((tmp_path / "runs/pretrain/id/config.yaml").read_text())
    assert config["imported_from"] == f"{NAME}@{commit}"
    wanted = ["config.json", "vocab.txt", "special_tokens_map.json", "model.safetensors"]
    assert hub_server.sent() == wanted


def test_what_is_in_the_cache_is_not_fetched_again(
    repository: Repository, hub_server: HubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    first = fetched(NAME)
    assert (first.id, first.revision, first.commit) == (NAME, "", repository.refs["main"])
    told = capsys.readouterr().err
    assert f"{NAME} at main: commit {first.commit}; 3 files, 0.0 MB, to fetch" in told
    sent = hub_server.sent()
    assert fetched(NAME) == first and hub_server.sent() == sent
    assert "all in the cache" in capsys.readouterr().err


def test_a_revision_is_a_branch_or_a_commit(
    repository: Repository, make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    old = repository.refs["main"]
    new = repository.commit(make_folder(tmp_path / "new", hidden_dropout_prob=0.3), "v2")
    assert fetched(NAME).commit == old
    assert fetched(NAME, "v2").commit == new == fetched(NAME, new).commit
    config = json.loads((fetched(NAME, "v2").folder / "config.json").read_text())
    assert config["hidden_dropout_prob"] == 0.3
    sentence = refusal(revision="v3")
    assert "no branch, tag or commit 'v3'" in sentence and "there are: main, v2" in sentence


def test_an_old_id_without_an_owner(repository: Repository, hub_server: HubServer) -> None:
    hub_server.moved["tiny-bert"] = NAME
    found = fetched("tiny-bert", "main")
    assert found.origin == f"tiny-bert@{repository.refs['main']}"
    assert read_published(found.folder).hashes == read_published(fetched(NAME).folder).hashes


def test_a_pull_request_is_a_revision_too(repository: Repository, bert_folder: Path) -> None:
    commit = repository.commit(bert_folder, "refs/pr/1", README__md=b"safetensors")
    assert fetched(NAME, "refs/pr/1").commit == commit != repository.refs["main"]


def test_several_files_of_weights(
    repository: Repository, hub_server: HubServer, bert_folder: Path, tmp_path: Path,
    made_weights: Callable[[], dict[str, np.ndarray]],
) -> None:  # fmt: skip
    from safetensors.numpy import save

    tensors = made_weights()
    halves = {"a.safetensors": sorted(tensors)[::2], "b.safetensors": sorted(tensors)[1::2]}
    files = {n: save({name: tensors[name] for name in names}) for n, names in halves.items()}
    index = {"weight_map": {name: n for n, names in halves.items() for name in names}}
    files["model.safetensors.index.json"] = json.dumps(index).encode()
    repository.commits[repository.refs["main"]].pop("model.safetensors")
    repository.commits[repository.refs["main"]].update(files)
    found = read_published(fetched(NAME).folder)
    wanted = read_published(bert_folder)
    jax.tree.map(np.testing.assert_array_equal, found.params, wanted.params)
    assert sorted(hub_server.sent())[:2] == ["a.safetensors", "b.safetensors"]
    assert "pytorch_model.bin" not in hub_server.sent()


def test_without_network_the_copy_in_the_cache_is_taken(
    repository: Repository, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    first = fetched(NAME)
    capsys.readouterr()
    with monkeypatch.context() as patch:
        silenced(patch)
        assert fetched(NAME).folder == first.folder
        assert f"taken from the cache: commit {first.commit}" in capsys.readouterr().err
        assert "holds no copy of it at v2" in refusal(revision="v2")
        (first.folder / "model.safetensors").unlink()
        assert "lacks model.safetensors" in refusal()
    fetched(NAME)
    capsys.readouterr()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetched(NAME, first.commit).folder == first.folder
    assert "HF_HUB_OFFLINE is set" in capsys.readouterr().err


def test_a_hub_that_is_busy_is_like_none(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.refusal, repository.hidden = BUSY, True
    sentence = refusal()
    assert "answers 503 (Service Unavailable)" in sentence and "holds no copy" in sentence
    repository.refusal, repository.hidden = None, False
    first = fetched(NAME)
    repository.refusal, repository.hidden = BUSY, True
    assert fetched(NAME) == first
    assert "taken from the cache" in capsys.readouterr().err


def test_what_may_not_be_read_says_what_to_do(
    repository: Repository, hub_server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    repository.refusal = GATED
    sentence = refusal()
    assert f"accept the conditions on {hub_server.endpoint}/{NAME}, then set HF_TOKEN" in sentence
    assert {authorization for _, _, authorization in hub_server.asked} == {None}
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert "the account of your token was not let in" in refusal()
    assert hub_server.asked[-1][2] == "Bearer hf_secret"
    monkeypatch.delenv("HF_TOKEN")
    Path(constants.HF_TOKEN_PATH).write_text("hf_stored")  # as `hf auth login` does
    assert "the account of your token was not let in" in refusal()
    assert hub_server.asked[-1][2] == "Bearer hf_stored"
    repository.refusal, repository.hidden = ABSENT, True
    assert "your token may have expired" in refusal()
    repository.refusal = (403, "", "Forbidden: no read right")
    assert "no read right" in refusal()
    Path(constants.HF_TOKEN_PATH).unlink()
    sentence = refusal("bert-base-uncazed")
    assert "shows no model of this name; an id is <owner>/<name>" in sentence
    assert "needs HF_TOKEN" in sentence


def test_nothing_but_the_configuration_of_another_family_is_fetched(
    repository: Repository, hub_server: HubServer, make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    repository.commit(make_folder(tmp_path / "t5", model_type="t5"))
    assert "config.json: model_type: found 't5'" in refusal()
    assert hub_server.sent() == ["config.json"]


def test_what_is_no_model_of_safetensors_is_refused_before_the_weights(
    repository: Repository, hub_server: HubServer
) -> None:
    files = repository.commits[repository.refs["main"]]
    del files["model.safetensors"]
    sentence = refusal()
    assert "found pytorch_model.bin only, a pickle" in sentence and "refs/pr/<number>" in sentence
    assert f"from_pretrained('{NAME}')" in sentence
    assert f"from_pretrained('{NAME}', revision='main')" in refusal(revision="main")
    del files["pytorch_model.bin"]
    assert "no model.safetensors in it" in refusal()
    files["spiece.model"] = files.pop("vocab.txt")
    assert "only spiece.model, which is not read here; convert it" in refusal()
    del files["spiece.model"]
    assert refusal().endswith("neither tokenizer.json nor vocab.txt in it")
    del files["config.json"]
    assert "no config.json in commit" in refusal()
    assert set(hub_server.sent()) == {"config.json"}


def test_a_download_that_breaks_off_goes_on(
    repository: Repository, hub_server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    hub_server.breaks["model.safetensors"] = 2
    read_published(fetched(NAME).folder)
    assert hub_server.sent().count("model.safetensors") == 3


def test_a_disk_without_room_is_told_before_and_while_it_is_written_to(
    repository: Repository, hub_server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import file_download

    def full(url: str, file: BinaryIO, **_: object) -> None:
        if url.endswith(".safetensors"):
            raise OSError(errno.ENOSPC, "No space left on device")
        http_get(url, file, **_)

    http_get, usage = file_download.http_get, shutil.disk_usage("/")._replace(free=5000)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage)
        assert "has 0.0 MB; make room, or name a folder on another disk as HF_HOME" in refusal()
    assert hub_server.sent() == ["config.json"]
    monkeypatch.setattr(file_download, "http_get", full)
    sentence = refusal()
    assert "model.safetensors was not fetched: the disk of the cache is full" in sentence
    assert "run the command again" in sentence


def test_a_hub_that_goes_away_while_weights_are_fetched(
    repository: Repository, hub_server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    hub_server.breaks["model.safetensors"] = 100
    # The library begins anew whenever something came; in a row it tries six times.
    monkeypatch.setattr("tests.hub_server.SHARE", 0)
    sentence = refusal()
    assert "model.safetensors was not fetched" in sentence and "run the command again" in sentence


def test_a_folder_wins_and_has_no_revision(
    hub_server: HubServer, bert_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny-bert").symlink_to(bert_folder)
    monkeypatch.chdir(tmp_path)
    found = fetched("tiny-bert")
    assert (found.id, found.origin) == ("", str(bert_folder))
    with pytest.raises(InputError, match="--revision=main: --input=tiny-bert is a folder"):
        fetched("tiny-bert", "main")
    for path in ("./nothing", "~/nothing-here", "/nothing", "a/b/c"):
        assert "no such folder" in refusal(path)
    for name in ("a b", "owner/name@main", "https:"):
        assert "no id of the Hugging Face hub either" in refusal(name)
    assert hub_server.asked == []


def test_no_network_is_told_at_once(tmp_path: Path) -> None:
    """As a user calls it, with what a person sets in the environment."""
    call = [sys.executable, "launch.py", "--mode=import", f"--input={NAME}", "--exp=bert"]
    own = {"HF_ENDPOINT": closed_port(), "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0"}
    start = time.monotonic()
    done = subprocess.run(
        [*call, f"--runs={tmp_path}"], env=os.environ | own, cwd=ROOT, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and time.monotonic() - start < 5
    assert len(done.stderr.splitlines()) == 1 and "Connection refused" in done.stderr
    assert f"the cache {tmp_path / 'hf' / 'hub'} holds no copy" in done.stderr


def test_an_address_that_never_answers_is_given_up(
    hub_server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(hub, "PATIENCE", 0.2)
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        start = time.monotonic()
        assert "nothing came within 0.2 s; HF_HUB_ETAG_TIMEOUT" in refusal()
        assert time.monotonic() - start < 2
