"""Import, adapt with another attention on longer texts, fine-tune, export: as a user calls it."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml

from jaxattn import cli
from jaxattn.config import Config, replace
from jaxattn.data.tokens.encode import encode
from jaxattn.interop.export import write_published
from jaxattn.interop.published import read_published
from jaxattn.model.heads import MlmModel, init_mlm
from jaxattn.report.collect import collect
from jaxattn.runs.folder import RunFolder
from jaxattn.stages.origin import pinned
from jaxattn.stages.parameters import first_pooler
from jaxattn.train.checkpoints import Checkpoints

CONFIG = """
from jaxattn.config_io import defaults, inherit_architecture

def get_config():
    config = defaults()
    inherit_architecture(config)
    config.data.name, config.data.path = "animals", {path!r}
    config.data.max_length, config.data.length_buckets = 32, (32,)
    config.train.batch_size = 20
    config.train.max_steps, config.train.learning_rate = 1, 1e-12
    config.head.pooling, config.head.pooler = "cls", "bert"
    return config
"""
"""A step that leaves every parameter where it was, but for 1e-12."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def flags(tmp_path_factory: pytest.TempPathFactory, corpus: Path, runs: Path) -> list[str]:
    path = tmp_path_factory.mktemp("config") / "later.py"
    path.write_text(CONFIG.format(path=str(corpus)))
    return [f"--config={path}", f"--runs={runs}"]


@pytest.fixture(scope="module")
def imported(spelling_bert: Path, runs: Path) -> Path:
    call = ["--mode=import", f"--input={spelling_bert}", "--exp=bert", f"--runs={runs}"]
    assert cli.run(call) == 0
    return runs / "pretrain" / "bert"


@pytest.fixture(scope="module")
def adapted(flags: list[str], runs: Path, imported: Path) -> Path:
    options = {
        "attention.type": "performer_favor",
        "attention.allow_change": "true",
        "model.attention_dropout": 0.0,
        "model.max_seq_len": 48,
        "model.extend_positions": "tile",
        "data.max_length": 48,
        "data.length_buckets": 48,
    }
    call = [*flags, "--mode=tapt", "--exp=swap", "--pretrain=bert"]
    assert cli.run([*call, *(f"--config.{name}={value}" for name, value in options.items())]) == 0
    return runs / "tapt" / "swap"


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def params(folder: Path) -> dict:
    checkpoints = Checkpoints(folder / "checkpoints", keep=1)
    return checkpoints.load_params(checkpoints.steps()[-1])


def close(found: dict, wanted: dict) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-9), found, wanted)


def failed(capsys: pytest.CaptureFixture[str], argv: list[str], *words: str) -> None:
    assert cli.run(argv) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    for word in words:
        assert word in error


def test_the_run_says_where_it_is_from(imported: Path, spelling_bert: Path) -> None:
    results, bert = read(imported / "results.json"), read_published(spelling_bert)
    assert results["imported"]["from"] == str(spelling_bert)
    assert results["imported"]["sha256"] == bert.hashes
    jax.tree.map(np.testing.assert_array_equal, params(imported), bert.params)
    saved = yaml.safe_load((imported / "config.yaml").read_text())
    assert saved["imported_from"] == str(spelling_bert)
    assert read(imported / "status.json")["state"] == "finished"


def test_nothing_can_be_repeated_of_it_or_written_over_it(
    imported: Path, spelling_bert: Path, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for mode in ("replay", "verify"):
        failed(capsys, [f"--mode={mode}", f"--run={imported}"], "was imported from")
    call = ["--mode=import", f"--runs={runs}", f"--input={spelling_bert}"]
    failed(capsys, [*call, "--exp=bert"], "already exists")
    failed(capsys, [*call, "--exp=none"], "--exp=none")
    failed(capsys, [*call[:2], "--exp=other"], "--input")
    failed(capsys, [*call[:2], "--exp=other", f"--input={runs}"], "no config.json")
    assert not (runs / "pretrain" / "other").exists()


def test_the_imported_pooler_begins_that_of_the_classifier(
    flags: list[str], runs: Path, adapted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the import itself and through a TAPT, which has no use for it."""
    wanted = params(runs / "pretrain" / "bert")
    call = [*flags, "--mode=finetune", "--exp=own"]
    assert cli.run([*call, "--pretrain=bert"]) == 0
    found = params(runs / "finetune" / "own")
    close(found["pooler"], wanted["pooler"])
    close(found["encoder"], wanted["encoder"])
    assert "pooler is the imported BERT's" in capsys.readouterr().err
    config, _ = RunFolder(runs, "tapt", "swap").saved.config()
    config = replace(config, {"head.pooling": "cls", "head.pooler": "bert"})
    source = pinned(runs, "tapt/swap")
    close(first_pooler(config, runs, source)["pooler"], wanted["pooler"])
    capsys.readouterr()
    assert first_pooler(replace(config, {"head.pooling": "mean"}), runs, source) == {}
    assert "needs head.pooling=cls" in capsys.readouterr().err


def test_the_stages_name_the_import_and_do_not_pretend_to_know_its_cost(
    adapted: Path, spelling_bert: Path
) -> None:
    first, second = read(adapted / "results.json")["stages"]
    assert (first["data"], first["cost"], first["imported_from"]) == (None, {}, str(spelling_bert))
    assert [first["attention"], second["attention"]] == ["sdpa", "performer_favor"]
    records = collect(adapted.parents[1])
    origin = f"pretrain bert (sdpa, from {spelling_bert}) > tapt swap (performer_favor)"
    assert next(r for r in records if r.exp == "swap").stages == origin
    assert "bert" not in [record.exp for record in records]
    assert next(r for r in records if r.exp == "swap").pretrain_seconds is None


def test_what_a_change_lost_and_regained_is_told(adapted: Path) -> None:
    results = read(adapted / "results.json")
    told = results["attention_change"]
    assert (told["from"], told["to"]) == ("sdpa", "performer_favor")
    assert told["loss_before"] == results["validation_before_change"]["loss"]
    assert told["loss_changed"] == results["validation_at_start"]["loss"]
    # A rate of 1e-12 regains nothing.
    assert told["loss_trained"] == pytest.approx(told["loss_changed"], abs=1e-5)
    assert told["loss_before"] != pytest.approx(told["loss_changed"], abs=1e-3)


def test_longer_positions_begin_as_copies(adapted: Path, imported: Path) -> None:
    old = params(imported)["encoder"]["embeddings"]["position_table"]
    new = params(adapted)["encoder"]["embeddings"]["position_table"]
    np.testing.assert_allclose(new, np.concatenate([old, old[:16]]), atol=1e-9)
    saved = yaml.safe_load((adapted / "config.yaml").read_text())["model"]
    assert (saved["max_seq_len"], saved["extend_positions"]) == (48, "tile")


def test_an_architecture_changes_only_when_asked(
    flags: list[str], imported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = [*flags, "--mode=tapt", "--exp=other", "--pretrain=bert"]
    failed(capsys, [*call, "--config.model.max_seq_len=48"], "max_seq_len", "extend_positions=tile")
    less = ["--config.model.max_seq_len=16", "--config.model.extend_positions=tile"]
    failed(capsys, [*call, *less, "--config.data.max_length=16"], "model.max_seq_len: found 16")
    favor = "--config.attention.type=performer_favor"
    failed(capsys, [*call, favor], "attention.allow_change=true")
    failed(capsys, [*call, "--config.model.token_types=0"], "model.token_types")


def test_export_is_for_what_a_bert_can_compute(
    adapted: Path, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["--mode=export_bert", f"--runs={runs}"]
    target = f"--output={tmp_path / 'out'}"
    failed(capsys, [*call, target, "--pretrain=tapt/swap"], "attention.type", "performer_favor")
    failed(capsys, [*call, target], "--pretrain", "--exp")
    failed(capsys, [*call, "--pretrain=bert"], "--output")
    assert not list(tmp_path.iterdir())
    assert cli.run([*call, target, "--pretrain=bert"]) == 0
    wanted = params(runs / "pretrain" / "bert")
    jax.tree.map(np.testing.assert_array_equal, read_published(tmp_path / "out").params, wanted)


def test_transformers_computes_the_same_with_what_is_exported(
    tmp_path: Path, spelling_bert: Path
) -> None:
    """Of a model of our own: it has no token types, which a Hugging Face BERT always has."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    values = {
        "model.num_layers": 1, "model.hidden_dim": 16, "model.mlp_dim": 24, "model.num_heads": 2,
        "model.qkv_dim": 16, "model.max_seq_len": 20, "model.positions": "learned",
        "model.norm": "post", "data.max_length": 20,
    }  # fmt: skip
    config, tokenizer = replace(Config(), values), read_published(spelling_bert).tokenizer
    model = MlmModel(config, tokenizer.get_vocab_size())
    leaves, tree = jax.tree.flatten(init_mlm(model, 0))
    rng = np.random.default_rng(0)
    leaves = [p + rng.normal(scale=0.3, size=p.shape).astype(np.float32) for p in leaves]
    own = jax.tree.unflatten(tree, leaves)
    write_published(tmp_path / "out", config, own, tokenizer, origin="pretrain/own@1")
    theirs = transformers.BertForMaskedLM.from_pretrained(tmp_path / "out").eval()
    words = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    texts = ["Kittens purr, dogs bark!", "a"]
    tokens, _ = encode(tokenizer, texts, 20)
    batch = words(texts, truncation=True, max_length=20, padding=True, return_tensors="pt")
    ids, mask = batch["input_ids"].numpy(), batch["attention_mask"].numpy().astype(bool)
    for row in range(2):
        np.testing.assert_array_equal(ids[row][mask[row]], tokens[row])
    with torch.no_grad():
        wanted = theirs(**batch).logits.numpy()
    everywhere = jnp.broadcast_to(jnp.arange(ids.shape[1]), ids.shape)
    found = model.apply({"params": own}, ids, mask, everywhere, deterministic=True)
    np.testing.assert_allclose(np.asarray(found)[mask], wanted[mask], atol=1e-5)
