"""Every configuration file builds, and every kind of bad option is told in one sentence."""

import dataclasses
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from jaxattn import cli
from jaxattn.attention import ATTENTIONS
from jaxattn.config import ATTENTION_TYPES, Config, FavorOptions, defaults, replace, saved
from jaxattn.config.presets import ARCHITECTURES
from jaxattn.errors import InputError
from jaxattn.model.heads import MlmModel
from jaxattn.ops.trees import count_parameters
from jaxattn.request import Request
from jaxattn.stages.precision import settled

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.py"))


def parsed(*argv: str) -> Request:
    request = cli.parse(argv)
    assert request is not None
    return request


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_every_config_builds_its_model(path: Path) -> None:
    config = settled(parsed("--mode=pretrain", f"--config={path}").resolved())
    model = MlmModel(config, 128)
    ids, mask = jnp.zeros((1, 4), jnp.int32), jnp.ones((1, 4), bool)
    keys = {"params": jax.random.key(0), "attention": jax.random.key(0)}
    shapes = jax.eval_shape(
        lambda: model.init(keys, ids, mask, jnp.zeros((1, 1), jnp.int32), deterministic=True)
    )
    assert count_parameters(shapes) > 0


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_every_config_suits_the_device_it_meets(path: Path) -> None:
    """A T4 has no units for bfloat16, a CPU none for either; a later stage does not inherit it."""
    pretrained = parsed("--mode=pretrain", f"--config={path}").resolved()
    assert pretrained.train.precision == "auto"
    inherited = replace(pretrained, {"train.precision": "float16"})
    for mode in ("tapt", "finetune"):
        request = parsed(f"--mode={mode}", f"--config={path}")
        assert request.resolved(inherited).train.precision == "auto"


def test_python_code_has_float32_and_configuration_files_have_auto(tmp_path: Path) -> None:
    assert Config().train.precision == "float32"
    assert defaults().train.precision == "auto"
    (tmp_path / "c.yaml").write_text("train:\n  seed: 1\n")
    assert saved.read_yaml(tmp_path / "c.yaml")[0].train.precision == "float32"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_every_config_opens_with_its_command(path: Path) -> None:
    text = path.read_text()
    assert f"--config=configs/{path.name}" in text.split('"""')[1]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
@pytest.mark.parametrize("mode", ["tapt", "finetune"])
def test_later_stages_inherit_the_architecture(path: Path, mode: str) -> None:
    pretrained = parsed("--mode=pretrain", f"--config={path}").resolved()
    inherited = parsed(f"--mode={mode}", f"--config={path}").resolved(pretrained)
    # Only how long an input may be is free.
    length = pretrained.model.max_seq_len
    assert dataclasses.replace(inherited.model, max_seq_len=length) == pretrained.model
    for name in ("attention", "tokenizer"):
        assert getattr(inherited, name) == getattr(pretrained, name)


def test_published_sizes_are_as_in_the_specification() -> None:
    assert ARCHITECTURES["bert_small"] == (4, 512, 2048, 8, 512)
    assert ARCHITECTURES["autotinybert_3x320"] == (3, 320, 608, 4, 256)
    assert Config().model.head_width == 64


def test_registry_and_configuration_know_the_same_attentions() -> None:
    assert tuple(ATTENTIONS) == ATTENTION_TYPES
    for name, op in ATTENTIONS.items():
        assert type(getattr(Config().attention, name)) is op.options


@pytest.mark.parametrize(
    ("given", "count"),
    [("2x", 128), (128, 128), ("128", 128), (0.125, 8), ("0.25x", 16), (4.0, 256), ("0.5", 32)],
)
def test_features_are_a_count_or_a_multiple(given: float | str, count: int) -> None:
    assert FavorOptions(nb_features=given).count(64) == count


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("attention.type", "lsh", ["attention.type", "'lsh'", "reformer_lsh"]),
        ("attention.type", "performer_favour", ["did you mean 'performer_favor'"]),
        ("train.lerning_rate", 0.1, ["train.lerning_rate", "did you mean 'learning_rate'"]),
        ("train.learning_rate", math.nan, ["train.learning_rate", "nan"]),
        ("train.epochs", "3", ["train.epochs", "'3'", "expected int"]),
        ("train.epochs", True, ["train.epochs", "expected int"]),
        ("model.max_seq_len", 16385, ["model.max_seq_len", "16385", "1 to 16384"]),
        ("model.max_seq_len", 100, ["data.max_length", "512", "100"]),
        ("model.qkv_dim", 500, ["model.qkv_dim", "500", "8"]),
        ("train.accumulation", 3, ["train.accumulation", "64"]),
        ("attention.performer_favor.nb_features", "x", ["nb_features", "'x'"]),
        ("data.length_buckets", [64, 32], ["data.length_buckets", "[64, 32]"]),
        ("model", 3, ["model", "section"]),
    ],
)
def test_bad_values_are_told_by_name(path: str, value: object, words: list[str]) -> None:
    with pytest.raises(InputError) as error:
        replace(Config(), {path: value})
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_attention_dropout_needs_exact_attention() -> None:
    values = {"model.attention_dropout": 0.1, "attention.type": "performer_favor"}
    with pytest.raises(InputError, match=r"attention_dropout.*performer_favor"):
        replace(Config(), values)


BASE = f"--config={ROOT / 'configs' / 'base.py'}"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--mode=pretrian"], ["--mode", "did you mean 'pretrain'"]),
        (["--mode=pretrain", "--config=nowhere.py"], ["nowhere.py", "no such file"]),
        (["--mode=pretrain", "--confg=x"], ["--confg", "did you mean 'config'"]),
        (["--mode=pretrain", BASE, "--config.trian.epochs=3"], ["did you mean 'train.epochs'"]),
        (["--mode=pretrain", BASE, "--config.train.epochs=x"], ["train.epochs", "x"]),
        (["--mode=pretrain", "--config.train.epochs=1"], ["--config=<file>"]),
        (["--mode=pretrain", "stray"], ["'stray'"]),
        (["--mode=pretrain", f"--config={ROOT / 'LICENSE'}"], ["LICENSE", "not a Python file"]),
    ],
)
def test_bad_command_lines_are_told_in_one_sentence(argv: list[str], words: list[str]) -> None:
    with pytest.raises(InputError) as error:
        cli.parse(argv)
    for word in words:
        assert word in str(error.value)


def test_flags_override_the_file() -> None:
    config = parsed(
        "--mode=pretrain",
        BASE,
        "--config.train.learning_rate=3e-4",
        "--config.attention.type=performer_favor",
        "--config.attention.performer_favor.nb_features=96",
        "--config.data.length_buckets=16,512",
        "--config.data.length_buckets=64,512",
        "--config.study.attentions=sdpa,reformer_lsh",
    ).resolved()
    assert config.train.learning_rate == 3e-4
    assert config.attention.performer_favor.count(64) == 96
    assert config.data.length_buckets == (64, 512)
    assert config.study.attentions == ("sdpa", "reformer_lsh")


def test_a_changed_architecture_is_refused_by_name() -> None:
    pretrained = replace(Config(), {"model.hidden_dim": 128})
    with pytest.raises(InputError, match=r"model\.hidden_dim: found 512.*has 128"):
        parsed("--mode=finetune", BASE).resolved(pretrained)


def test_inheriting_takes_another_length_only_without_learned_positions() -> None:
    for positions, allowed in (("rope", True), ("learned", False)):
        pretrained = replace(Config(), {"model.positions": positions})
        request = parsed(
            "--mode=finetune",
            BASE,
            f"--config.model.positions={positions}",
            "--config.model.max_seq_len=4096",
        )
        if allowed:
            assert request.resolved(pretrained).model.max_seq_len == 4096
        else:
            with pytest.raises(InputError, match=r"model\.max_seq_len"):
                request.resolved(pretrained)


@pytest.mark.parametrize("flat", [False, True])
def test_yaml_round_trip(tmp_path: Path, flat: bool) -> None:
    config = replace(Config(), {"data.length_buckets": (64, 512), "data.name": "ümlaut: yes"})
    tree = saved.to_plain(config)
    saved.write_yaml(tmp_path / "c.yaml", saved.flatten(tree) if flat else tree)
    assert saved.read_yaml(tmp_path / "c.yaml") == (config, {})


@pytest.mark.parametrize(
    ("text", "words"),
    [("model: [", "not readable YAML"), ("", "no options"), ("model.hiden_dim: 3", "hidden_dim")],
)
def test_a_broken_saved_configuration_is_told(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(InputError, match=words):
        saved.read_yaml(tmp_path / "c.yaml")


def test_long_range_arena_at_its_published_sizes() -> None:
    listops = parsed(
        "--mode=finetune", f"--config={ROOT / 'configs' / 'lra_listops.py'}"
    ).resolved()
    text = parsed("--mode=finetune", f"--config={ROOT / 'configs' / 'lra_text.py'}").resolved()
    sizes = [
        (c.model.num_layers, c.model.hidden_dim, c.model.mlp_dim, c.model.num_heads,
         c.model.qkv_dim, c.data.max_length, c.train.batch_size, c.train.max_steps,
         round(c.train.warmup_ratio * c.train.max_steps), c.head.pooling, c.tokenizer.kind)
        for c in (listops, text)
    ]  # fmt: skip
    assert sizes[0] == (6, 512, 2048, 8, 512, 2002, 32, 5000, 1000, "cls", "words")
    assert sizes[1] == (4, 256, 1024, 4, 256, 4002, 32, 20_000, 8000, "cls", "bytes")
    # The bytes are read as they are, and the epochs hold the steps.
    assert (text.data.clean, text.data.hub) == ("none", "stanfordnlp/imdb")
    assert listops.train.epochs * 96_000 // 32 >= 5000
    assert text.train.epochs * (24_000 // 32) >= 20_000


def test_bytes_have_no_whole_words() -> None:
    with pytest.raises(InputError, match="data.whole_words"):
        replace(Config(), {"data.whole_words": True, "tokenizer.kind": "bytes"})
