"""Each family as a user has it: from a folder of `transformers` to predictions, and back."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jaxattn import cli
from jaxattn.interop.published import read_published

CONFIG = """
from jaxattn.config_io import defaults, inherit_architecture

def get_config():
    config = defaults()
    inherit_architecture(config)
    config.data.name, config.data.path = "animals", {path!r}
    config.data.max_length, config.data.length_buckets = 32, (32,)
    config.train.batch_size = 20
    config.train.max_steps, config.train.learning_rate = 1, 1e-3
    config.head.pooling, config.head.pooler = "cls", {pooler!r}
    return config
"""
SIZES = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24,
    "max_position_embeddings": 34,
}  # fmt: skip
DISTILBERT = {
    "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 24, "max_position_embeddings": 32,
}  # fmt: skip
MODERNBERT = SIZES | {
    "num_hidden_layers": 3, "local_attention": 8, "max_position_embeddings": 32,
    "bos_token_id": 0, "cls_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "sep_token_id": 2,
}  # fmt: skip
USES = {
    "roberta": ("Roberta", SIZES, "BPE", "bert", "performer_favor"),
    "xlm-roberta": ("XLMRoberta", SIZES, "Unigram", "bert", "reformer_lsh"),
    "distilbert": ("DistilBert", DISTILBERT, "", "relu", "reformer_lsh"),
    "electra": ("Electra", SIZES | {"embedding_size": 10}, "", "gelu", "performer_favor"),
    "modernbert": ("ModernBert", MODERNBERT, "BPE", "gelu_norm", "reformer_lsh"),
}
"""Model type -> classes, sizes, kind of vocabulary ("": BERT's), head.pooler, another attention."""


class Use:
    """One family imported under its name, and the command line for it."""

    def __init__(
        self, name: str, root: Path, corpus: Path, make: Callable[[str, int], Any]
    ) -> None:
        torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
        self.called, sizes, kind, pooler, self.other = USES[name]
        self.name, self.root, self.folder, self.torch = name, root, root / "published", torch
        if kind:
            tokenizer = transformers.PreTrainedTokenizerFast(
                tokenizer_object=make(kind, 330 if kind == "BPE" else 60),
                cls_token="<s>", sep_token="</s>", pad_token="<pad>", unk_token="<unk>",
                mask_token="<mask>",
            )  # fmt: skip
        else:
            letters = "abcdefghijklmnopqrstuvwxyz"
            words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]
            words += [f"##{letter}" for letter in letters]
            vocab = {word: number for number, word in enumerate(words)}
            tokenizer = transformers.BertTokenizer(vocab=vocab)
        torch.manual_seed(1)
        config = getattr(transformers, f"{self.called}Config")(**sizes, vocab_size=len(tokenizer))
        model = getattr(transformers, f"{self.called}ForMaskedLM")(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        model.save_pretrained(self.folder)
        tokenizer.save_pretrained(self.folder)
        (root / "later.py").write_text(CONFIG.format(path=str(corpus), pooler=pooler))
        lines = (corpus / "test.jsonl").read_text().splitlines()
        self.texts = [*[json.loads(line)["text"] for line in lines][:12], "Ünïcode 猫 🐈 </s>"]
        with open(root / "texts.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["text"], *([text] for text in self.texts)])
        assert self.run("import", input=self.folder, exp="it", later=False) == 0

    def run(self, mode: str, *, later: bool = True, **flags: Any) -> int:
        config = [f"--config={self.root / 'later.py'}"] if later else []
        runs = [] if "run" in flags else [f"--runs={self.root / 'runs'}"]
        given = [f"--{name.replace('__', '.')}={value}" for name, value in flags.items()]
        return cli.run([f"--mode={mode}", *config, *runs, *given])

    def predicted(self, **which: Any) -> np.ndarray:
        """Probabilities of cats and dogs."""
        out = self.root / "out.csv"
        given = {"input": self.root / "texts.csv", "output": out, **which}
        assert self.run("predict", later=False, **given) == 0
        with open(out, encoding="utf-8") as file:
            return np.array([[row["p_cats"], row["p_dogs"]] for row in csv.DictReader(file)], float)


@pytest.fixture
def use(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    corpus: Path,
    trained_tokenizer: Callable[[str, int], Any],
) -> Use:
    return Use(request.param, tmp_path, corpus, trained_tokenizer)


QUICK = ("roberta", "electra")


@pytest.mark.parametrize(
    "use",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in USES],
    indirect=True,
)
def test_fine_tuned_it_predicts_what_transformers_does(use: Use) -> None:
    import transformers

    assert use.run("finetune", exp="own", pretrain="it") == 0
    found = use.predicted(exp="own")
    assert use.run("export_bert", later=False, exp="own", output=use.root / "back") == 0
    model = transformers.AutoModelForSequenceClassification.from_pretrained(use.root / "back")
    assert type(model).__name__ == f"{use.called}ForSequenceClassification"
    words = transformers.AutoTokenizer.from_pretrained(use.root / "back")
    # The last text spells out a special token, which is text here and a token there.
    batch = words(use.texts[:-1], truncation=True, max_length=32, padding=True, return_tensors="pt")
    with use.torch.no_grad():
        wanted = model.eval()(**batch).logits.softmax(-1).numpy()
    np.testing.assert_allclose(found[:-1], wanted, atol=2e-4)
    stage = json.loads((use.root / "runs/finetune/own/results.json").read_text())["stages"][0]
    assert stage["model_type"] == use.name


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*the projections of keys are dropped")
@pytest.mark.parametrize("use", USES, indirect=True)
def test_with_another_attention_it_is_adapted_and_exported(
    use: Use, capsys: pytest.CaptureFixture[str]
) -> None:
    swap = {
        "config.attention.type": use.other, "config.attention.pattern": "",
        "config.attention.allow_change": "true",
        "config.model.attention_dropout": 0.0, "config.data.whole_words": "true",
    }  # fmt: skip
    assert use.run("tapt", exp="swap", pretrain="it", **swap) == 0
    assert use.run("finetune", exp="swap", pretrain="tapt/swap") == 0
    found = use.predicted(exp="swap")
    assert use.run("export", later=False, exp="swap", output=use.root / "export") == 0
    np.testing.assert_array_equal(use.predicted(run=use.root / "export"), found)
    program = [sys.executable, "classify.py", use.texts[-1]]
    said = subprocess.run(program, cwd=use.root / "export", capture_output=True, check=True)
    row = json.loads(said.stdout)["probabilities"]
    np.testing.assert_allclose([row["cats"], row["dogs"]], found[-1], atol=2e-6)
    about = json.loads((use.root / "export/program.json").read_text())
    special = {about["pad_id"], about["cls_id"], about["sep_id"]}
    assert special <= set(about["special_ids"]) and len(about["special_ids"]) == 5
    capsys.readouterr()
    assert use.run("export_bert", later=False, exp="swap", output=use.root / "no") == 2
    error = capsys.readouterr().err
    assert "attention.type: found" in error or "attention.pattern: found" in error
    # The untouched import goes back as it came.
    assert use.run("export_bert", later=False, pretrain="it", output=use.root / "same") == 0
    back, came = read_published(use.root / "same"), read_published(use.folder)
    assert back.config == came.config
    jax.tree.map(np.testing.assert_array_equal, back.params, came.params)


@pytest.mark.parametrize("use", ["roberta"], indirect=True)
def test_a_vocabulary_of_byte_pairs_is_not_extended(
    use: Use, capsys: pytest.CaptureFixture[str]
) -> None:
    assert use.run("tapt", exp="more", pretrain="it", config__tokenizer__extend=5) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "tokenizer.extend" in error and "type BPE" in error and "WordPiece" in error
    assert use.run("data", pretrain="it", later=True) == 0
