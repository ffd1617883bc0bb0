"""Every option, its default and its allowed range, as frozen dataclasses.

Configuration files build an `ml_collections.ConfigDict` from these defaults, command-line flags
override it, and `jaxattn.config_io` turns it back into a checked, hashable `Config`.
An option is declared here once; nothing else in the package holds a default.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from jaxattn.checked import Checked, did_you_mean, option, section
from jaxattn.errors import InputError

MAX_SEQ_LEN = 16384
AUTO_PRECISION = "auto"
"""`train.precision` that is settled when a run begins; nothing is built from it, none is saved."""


@dataclasses.dataclass(frozen=True)
class SdpaOptions(Checked):
    """Exact scaled dot-product attention."""

    PATH: ClassVar[str] = "attention.sdpa."
    redraw_interval: ClassVar[int] = 1
    implementation: str = option(
        "auto",
        "how it is computed: plain XLA, in blocks with memory linear in length, or by cuDNN",
        choices=("auto", "xla", "blockwise", "cudnn"),
    )

    def keywords(self, head_width: int) -> dict[str, Any]:
        """The keyword arguments of `attention.sdpa.sdpa` for heads of this width."""
        del head_width
        return {"implementation": self.implementation}


@dataclasses.dataclass(frozen=True)
class LshOptions(Checked):
    """Reformer LSH attention (Kitaev et al. 2020)."""

    PATH: ClassVar[str] = "attention.reformer_lsh."
    chunk_size: int = option(64, "positions per chunk", low=1, high=MAX_SEQ_LEN)
    num_hashes: int = option(4, "hash rounds", low=1, high=64)
    mask_within_chunks: bool = option(
        True, "true: only keys of the query's own bucket; false: any key of the window"
    )
    combine: str = option("logsumexp", "how rounds are combined", choices=("logsumexp", "mean"))
    shared_qk: bool = option(
        True, "true: the queries, their length normalised, are the keys; false: keys of their own"
    )
    chunks_before: int = option(1, "preceding chunks a query sees beside its own", low=0, high=16)
    chunks_after: int = option(1, "following chunks a query sees beside its own", low=0, high=16)
    redraw_interval: int = option(1, "training steps between new hash functions", low=1)

    def keywords(self, head_width: int) -> dict[str, Any]:
        """The keyword arguments of `attention.reformer_lsh.reformer_lsh`."""
        del head_width
        return {
            "chunk_size": self.chunk_size,
            "num_hashes": self.num_hashes,
            "mask_within_chunks": self.mask_within_chunks,
            "combine": self.combine,
            "shared_qk": self.shared_qk,
            "chunks_before": self.chunks_before,
            "chunks_after": self.chunks_after,
        }


@dataclasses.dataclass(frozen=True)
class FavorOptions(Checked):
    """Performer FAVOR+ attention (Choromanski et al. 2021)."""

    PATH: ClassVar[str] = "attention.performer_favor."
    nb_features: int | float | str = option(
        "2x", "random features: a count (128 or '128') or a multiple of the head width ('2x', 0.5)"
    )
    features: str = option(
        "positive",
        "feature map: phi(x) of the paper, the +w/-w pair phi*(x), or FAVOR++'s of least variance",
        choices=("positive", "hyperbolic", "optimal"),
    )
    orthogonal: bool = option(True, "orthogonal blocks of projections, or independent ones")
    dense_masks: bool = option(
        False, "honour masks and biases that depend on the query, at quadratic cost"
    )
    implementation: str = option(
        "auto",
        "how it is computed: by XLA, or by fused kernels on NVIDIA GPUs",
        choices=("auto", "xla", "fused"),
    )
    redraw_interval: int = option(1000, "training steps between new random features", low=1)

    def _rules(self) -> None:
        self.count(64)

    def count(self, head_width: int) -> int:
        """Number of random features for heads of this width."""
        given = self.nb_features
        text = str(given)
        try:
            if text.endswith("x") or "." in text:
                count = round(float(text.removesuffix("x")) * head_width)
            else:
                count = int(text)
        except (ValueError, OverflowError):
            count = 0
        if not 1 <= count <= MAX_SEQ_LEN:
            raise InputError(
                f"{self.PATH}nb_features: found {given!r}, allowed: a count of 1 to {MAX_SEQ_LEN}, "
                "or a multiple of the head width such as '0.5x' or '2x'"
            )
        return count

    def keywords(self, head_width: int) -> dict[str, Any]:
        """The keyword arguments of `attention.performer_favor.performer_favor`."""
        return {
            "nb_features": self.count(head_width),
            "features": self.features,
            "orthogonal": self.orthogonal,
            "dense_masks": self.dense_masks,
            "implementation": self.implementation,
        }


ATTENTION_TYPES = ("sdpa", "reformer_lsh", "performer_favor")


@dataclasses.dataclass(frozen=True)
class AttentionConfig(Checked):
    """Which attention the whole model uses, and the options of each."""

    PATH: ClassVar[str] = "attention."
    type: str = option("sdpa", "attention of every block", choices=ATTENTION_TYPES)
    allow_change: bool = option(
        False,
        "TAPT and fine-tuning: another attention, or other options of it, than the stage before "
        "had (and another model.attention_dropout); holds for this stage only",
    )
    sdpa: SdpaOptions = section(SdpaOptions, "options of sdpa")
    reformer_lsh: LshOptions = section(LshOptions, "options of reformer_lsh")
    performer_favor: FavorOptions = section(FavorOptions, "options of performer_favor")

    @property
    def options(self) -> Any:
        """The options of the chosen attention."""
        return getattr(self, self.type)


@dataclasses.dataclass(frozen=True)
class ModelConfig(Checked):
    """The encoder. Defaults: BERT_SMALL ("Well-Read Students Learn Better")."""

    PATH: ClassVar[str] = "model."
    num_layers: int = option(4, "encoder blocks", low=1, high=128)
    hidden_dim: int = option(512, "hidden width D", low=1)
    mlp_dim: int = option(2048, "width of the feed-forward layer", low=1)
    num_heads: int = option(8, "attention heads H", low=1)
    qkv_dim: int = option(512, "width of queries, keys and values over all heads", low=1)
    max_seq_len: int = option(512, "longest input, in tokens", low=1, high=MAX_SEQ_LEN)
    positions: str = option(
        "rope",
        "how positions enter",
        choices=("sinusoidal", "learned", "relative", "rope"),
    )
    extend_positions: str = option(
        "none", "TAPT and fine-tuning: how a learned table is made longer where model.max_seq_len "
        "is above that of the stage before: tile repeats it; for this stage only",
        choices=("none", "tile"),
    )  # fmt: skip
    token_types: int = option(
        0, "kinds of text with an embedding each (BERT: 2, the first and second of a pair); texts "
        "here are of the first kind; 0: none",
        low=0, high=1024,
    )  # fmt: skip
    rope_base: float = option(10000.0, "base of the rotary frequencies", low=1.0)
    rope_scale: float = option(1.0, "rotary positions are divided by this", low=1e-6)
    relative_buckets: int = option(32, "buckets of the relative bias", low=4, high=1024)
    relative_max_distance: int = option(
        128, "relative distances beyond this share a bucket", low=8, high=MAX_SEQ_LEN
    )
    norm: str = option("pre", "layer norm before or after each residual", choices=("pre", "post"))
    norm_eps: float = option(1e-6, "epsilon of the layer norms", low=1e-12, high=0.1)
    activation: str = option(
        "gelu", "activation of the feed-forward layer", choices=("gelu", "gelu_tanh", "relu")
    )
    projection_bias: bool = option(True, "biases in the attention projections")
    embedding_dropout: float = option(0.1, "dropout on embeddings", low=0.0, high=0.99)
    mlp_dropout: float = option(0.1, "dropout on the feed-forward output", low=0.0, high=0.99)
    attention_output_dropout: float = option(
        0.1, "dropout on the attention layer's output", low=0.0, high=0.99
    )
    attention_dropout: float = option(0.0, "dropout on attention weights", low=0.0, high=0.99)

    @property
    def head_width(self) -> int:
        """Width K of one head."""
        return self.qkv_dim // self.num_heads

    def _rules(self) -> None:
        if self.qkv_dim % self.num_heads:
            raise InputError(
                f"model.qkv_dim: found {self.qkv_dim}, which is no multiple of model.num_heads = "
                f"{self.num_heads}; allowed: multiples of the number of heads"
            )
        if self.positions == "rope" and self.head_width % 2:
            raise InputError(
                f"model.qkv_dim: found {self.qkv_dim}, which makes heads of odd width "
                f"{self.head_width}; allowed with positions = rope: an even head width"
            )
        if self.positions == "sinusoidal" and self.hidden_dim % 2:
            raise InputError(
                f"model.hidden_dim: found {self.hidden_dim}; allowed with positions = sinusoidal: "
                "an even width"
            )
        if self.relative_buckets % 4:
            raise InputError(
                f"model.relative_buckets: found {self.relative_buckets}, allowed: multiples of 4"
            )
        if self.relative_max_distance <= self.relative_buckets // 4:
            raise InputError(
                f"model.relative_max_distance: found {self.relative_max_distance}, allowed: more "
                f"than a quarter of model.relative_buckets = {self.relative_buckets}"
            )


@dataclasses.dataclass(frozen=True)
class HeadConfig(Checked):
    """The classification head."""

    PATH: ClassVar[str] = "head."
    pooling: str = option("mean", "how tokens become one vector", choices=("cls", "mean", "max"))
    pooler: str = option("none", "dense + tanh after pooling", choices=("bert", "none"))
    dropout: float = option(0.1, "dropout before the last linear layer", low=0.0, high=0.99)


@dataclasses.dataclass(frozen=True)
class TokenizerConfig(Checked):
    """The vocabulary."""

    PATH: ClassVar[str] = "tokenizer."
    kind: str = option(
        "wordpiece",
        "what a token is, unless tokenizer.path says it: a word piece, a byte, or a word between "
        "blanks",
        choices=("wordpiece", "bytes", "words"),
    )
    path: str = option("", "an existing tokenizer.json or vocab.txt; empty: train one")
    vocab_size: int = option(
        8192, "largest size of a trained vocabulary; bytes are always 261", low=100, high=1_000_000
    )
    lowercase: bool = option(
        True, "lower-case; word pieces are stripped of accents too, bytes stay as they are"
    )
    min_frequency: int = option(
        2, "rarest pair that is merged in training, or rarest word that is kept", low=1
    )
    extend: int = option(
        0, "TAPT and fine-tuning: add up to so many tokens, learned on the task's training texts, "
        "to the inherited WordPiece vocabulary; for this stage only, later ones inherit the result",
        low=0, high=100_000,
    )  # fmt: skip
    extra_tokens: str = option(
        "", "TAPT and fine-tuning: a file of words and ##subwords to add, one a line"
    )


@dataclasses.dataclass(frozen=True)
class DataConfig(Checked):
    """What is read, how it is split, and how it is batched."""

    PATH: ClassVar[str] = "data."
    name: str = option(
        "pydocs",
        "the corpus: pydocs or listops (built in), one of jaxattn/data/known_corpora.py, whose "
        "entry then fills in what is left at its default here, or a name of your own",
    )
    path: str = option(
        "", "a file or folder of Parquet, CSV, JSONL or texts; empty: built in, or the hub"
    )
    file_part: str = option(
        "", "read only files with this part in their name (sst: sst_train, sst_dev); empty: all"
    )
    hub: str = option("", "id of a Hugging Face dataset, read when data.path is empty")
    hub_config: str = option("", "configuration name of the hub dataset")
    hub_revision: str = option("", "branch, tag or commit of the hub dataset; empty: the newest")
    streaming: bool = option(
        False,
        "read the hub row by row without a copy on the disk; data.max_examples then takes the "
        "first rows of a split instead of a sample",
    )
    text_column: str = option(
        "text", "column of the text; title+description joins two with a blank between them"
    )
    label_column: str = option("label", "column of the label; empty: the texts have none")
    group_column: str = option(
        "",
        "rows with one value in this column stay in one split (a web address counts as its host); "
        "empty: only copies of a text stay together",
    )
    clean: str = option(
        "none",
        "what is taken out of texts: nothing, <br /> (a line break then), or all HTML",
        choices=("none", "breaks", "html"),
    )
    keywords: tuple[str, ...] = option(
        (), "keep only texts with one of these words, whole and in any case; empty: all texts"
    )
    keyword_column: str = option("", "where data.keywords are looked for; empty: in the text")
    keyword_characters: int = option(
        1000, "data.keywords are looked for in so many characters from the beginning", low=1
    )
    label_names: tuple[str, ...] = option((), "class names for integer labels 0, 1, ...")
    train_split: str = option("train", "split (or file name prefix) to train on")
    validation_split: str = option(
        "validation", "split to choose by; where it is missing, a share of the training split"
    )
    test_split: str = option("test", "split that is only reported")
    mlm_splits: tuple[str, ...] = option(("train",), "splits whose text pretraining reads")
    validation_fraction: float = option(
        0.1, "share of the training split held out where there is no validation split",
        low=0.001, high=0.5,
    )  # fmt: skip
    split_seed: int = option(
        0, "seed of that hold-out; the same for every run compared", low=0, high=2**32 - 1
    )
    max_examples: int = option(0, "use only this many examples a split; 0: all", low=0)
    max_length: int = option(
        512, "tokens per example, [CLS] and [SEP] included", low=3, high=MAX_SEQ_LEN
    )
    length_buckets: tuple[int, ...] = option(
        (), "lengths that batches are padded to; empty: powers of two up to data.max_length",
        low=3, high=MAX_SEQ_LEN,
    )  # fmt: skip
    mask_rate: float = option(0.15, "share of tokens the MLM predicts", low=0.01, high=0.9)
    whole_words: bool = option(False, "the MLM hides whole words, not single word pieces")
    packing: bool = option(
        False, "MLM: several texts share a row of data.max_length tokens and do not see each other"
    )
    truncate: str = option(
        "head", "what a classifier reads of a text that is too long: its head, its tail, or both",
        choices=("head", "tail", "head_tail"),
    )  # fmt: skip
    cache: bool = option(True, "keep tokenised texts in the user's cache folder")

    def _rules(self) -> None:
        buckets = self.length_buckets
        if buckets and (list(buckets) != sorted(set(buckets)) or buckets[-1] != self.max_length):
            raise InputError(
                f"data.length_buckets: found {list(buckets)}, allowed: increasing lengths of which "
                f"the last is data.max_length = {self.max_length}"
            )


@dataclasses.dataclass(frozen=True)
class TrainConfig(Checked):
    """Optimisation: optimizer, learning rate, precision, devices."""

    PATH: ClassVar[str] = "train."
    seed: int = option(
        0, "seed of initialisation, order, masking and dropout", low=0, high=2**32 - 1
    )
    epochs: int = option(3, "passes over the training data", low=1)
    max_steps: int = option(0, "stop after this many steps; 0: as many as the epochs hold", low=0)
    validate_every_steps: int = option(
        0, "steps between validations; 0: validate after every epoch", low=0
    )
    batch_size: int = option(64, "examples per optimizer step", low=1)
    eval_batch_size: int = option(0, "examples per evaluation batch; 0: train.batch_size", low=0)
    accumulation: int = option(1, "micro-batches a step is computed in", low=1)
    learning_rate: float = option(5e-4, "peak learning rate", low=1e-12, high=10.0)
    optimizer: str = option(
        "adamw",
        "rule of the updates; minbert_adamw is adamw as the minBERT course defines it",
        choices=("adamw", "schedule_free_adamw", "muon", "lamb", "minbert_adamw"),
    )
    schedule: str = option(
        "cosine", "learning rate after warm-up; schedule_free_adamw is meant for constant",
        choices=("cosine", "linear", "constant"),
    )  # fmt: skip
    warmup_ratio: float = option(0.1, "share of steps with rising rate", low=0.0, high=1.0)
    min_lr_ratio: float = option(0.0, "last rate as a share of the peak", low=0.0, high=1.0)
    weight_decay: float = option(0.01, "decoupled decay, not on biases and norms", low=0.0)
    beta1: float = option(
        0.9, "Adam's beta 1; schedule-free: the share of the average", low=0.0, high=0.9999
    )
    beta2: float = option(0.999, "Adam's beta 2", low=0.0, high=0.999999)
    epsilon: float = option(1e-8, "Adam's epsilon", low=1e-12, high=1.0)
    muon_momentum: float = option(0.95, "momentum of muon's matrices", low=0.0, high=0.9999)
    clip_norm: float = option(1.0, "global gradient norm is clipped at this", low=1e-6)
    precision: str = option(
        "float32", "type of the computation; parameters stay float32; auto, with which "
        "configuration files begin, is what the device of a new run is made for; left out: float32",
        choices=(AUTO_PRECISION, "float32", "bfloat16", "float16"),
    )  # fmt: skip
    loss_scale: float = option(
        2.0**15, "first factor of the loss with float16", low=1.0, high=2.0**24
    )
    loss_scale_steps: int = option(
        2000, "steps without an overflow after which that factor is doubled", low=1
    )
    remat: str = option(
        "none", "what is recomputed in the backward pass to save memory",
        choices=("none", "block", "attention"),
    )  # fmt: skip
    mesh_data: int = option(
        0, "devices over which the rows of a batch are spread; 0: all there are", low=0
    )
    mesh_fsdp: int = option(
        1, "devices over which parameters are spread as well, in each of those groups", low=1
    )
    deterministic: bool = option(
        False,
        "only kernels that give the same bits every time; all do on a CPU, and on a GPU exact "
        "attention does without cuDNN's then",
    )

    def __post_init__(self) -> None:
        """Reads `remat` as earlier versions saved it: blocks were recomputed, or nothing."""
        if isinstance(self.remat, bool):
            object.__setattr__(self, "remat", "block" if self.remat else "none")
        super().__post_init__()

    def _rules(self) -> None:
        if self.batch_size % self.accumulation:
            raise InputError(
                f"train.accumulation: found {self.accumulation}, which does not divide "
                f"train.batch_size = {self.batch_size}; allowed: its divisors"
            )
        if self.optimizer == "schedule_free_adamw" and not self.beta1:
            raise InputError(
                "train.beta1: found 0.0, allowed with train.optimizer = schedule_free_adamw: "
                "above 0 (its average is a share of the parameters)"
            )


@dataclasses.dataclass(frozen=True)
class FinetuneConfig(Checked):
    """What fine-tuning does otherwise than pretraining; pretraining ignores it."""

    PATH: ClassVar[str] = "finetune."
    freeze_blocks: int = option(
        0, "lowest blocks, and the embeddings with them, that are frozen at first; 0: none", low=0
    )
    freeze_share: float = option(
        0.5, "share of the steps in which they are frozen", low=0.0, high=1.0
    )
    freeze_pooler: bool = option(False, "head.pooler is frozen with the blocks")
    head_lr_ratio: float = option(
        1.0, "learning rate of the head, over train.learning_rate", low=0.0, high=1000.0
    )
    backbone_lr_ratio: float = option(
        1.0, "learning rate of the encoder, over train.learning_rate", low=0.0, high=1000.0
    )
    layer_decay: float = option(
        1.0, "a block's learning rate over that of the block above; the embeddings come below all",
        low=0.01, high=1.0,
    )  # fmt: skip
    label_smoothing: float = option(
        0.0, "share of the target that is spread over all classes", low=0.0, high=0.99
    )
    class_weights: str = option(
        "none", "weights of the loss; balanced: all classes weigh the same together",
        choices=("none", "balanced"),
    )  # fmt: skip
    patience: int = option(
        0, "stop after so many epochs without a better validation macro-F1; 0: never", low=0
    )


PEFT_METHODS = ("full", "head_only", "soft_prompt", "adapter", "lora")


@dataclasses.dataclass(frozen=True)
class PeftConfig(Checked):
    """Which parameters fine-tuning trains; pretraining and TAPT train all."""

    PATH: ClassVar[str] = "peft."
    method: str = option(
        "full",
        "what fine-tuning trains: everything; or the head, and with it nothing, vectors before the "
        "text, small layers in the blocks, or low-rank changes of their matrices",
        choices=PEFT_METHODS,
    )
    n_tokens: int = option(
        10, "soft_prompt: vectors before the text; they count in model.max_seq_len", low=1,
        high=MAX_SEQ_LEN,
    )  # fmt: skip
    prompt_init: str = option(
        "vocab", "soft_prompt: embeddings of tokens, or normal noise", choices=("vocab", "random")
    )
    bottleneck: int = option(8, "adapter: its inner width", low=1)
    placement: str = option(
        "pfeiffer", "adapter: after each feed-forward layer, or after each attention layer too",
        choices=("pfeiffer", "houlsby"),
    )  # fmt: skip
    r: int = option(8, "lora: rank of the changes", low=1)
    alpha: float = option(16.0, "lora: the changes are multiplied by alpha / r", low=1e-6)
    dropout: float = option(
        0.0, "lora: dropout on a matrix's input features, the same for all tokens of a micro-batch",
        low=0.0, high=0.99,
    )  # fmt: skip
    targets: tuple[str, ...] = option(
        ("query", "value"), "lora: matrices of every block that are changed",
        choices=("query", "key", "value", "out", "up", "down"),
    )  # fmt: skip

    @property
    def prompt_tokens(self) -> int:
        """Vectors that the model puts before every text."""
        return self.n_tokens if self.method == "soft_prompt" else 0

    @property
    def adapter_widths(self) -> dict[str, int]:
        """Layer of a block, "attention" or "mlp" -> inner width of the adapter after it."""
        places = {"pfeiffer": ("mlp",), "houlsby": ("attention", "mlp")}[self.placement]
        return dict.fromkeys(places, self.bottleneck) if self.method == "adapter" else {}

    def _rules(self) -> None:
        if not self.targets or len(set(self.targets)) != len(self.targets):
            raise InputError(
                f"peft.targets: found {list(self.targets)}, allowed: one or more different ones of "
                "query, key, value, out, up, down"
            )


@dataclasses.dataclass(frozen=True)
class CheckpointConfig(Checked):
    """When the state is saved. Any of the three may trigger; the end of a run always does."""

    PATH: ClassVar[str] = "checkpoint."
    every_epochs: int = option(1, "save every so many epochs; 0: never", low=0)
    every_steps: int = option(0, "save every so many steps; 0: never", low=0)
    every_minutes: float = option(0.0, "save every so many minutes; 0: never", low=0.0)
    keep: int = option(1, "latest checkpoints that are kept, beside the best", low=1)


@dataclasses.dataclass(frozen=True)
class LogConfig(Checked):
    """What is written while a run goes on."""

    PATH: ClassVar[str] = "log."
    every_steps: int = option(20, "steps between rows of metrics.csv", low=1)
    wandb: str = option("off", "Weights & Biases", choices=("off", "offline", "online"))
    wandb_project: str = option("jaxattn", "project name there")
    wandb_checkpoint: bool = option(False, "the best checkpoint is uploaded there too")
    tensorboard: bool = option(False, "event files for TensorBoard, in the run's folder")


def _require_distinct(path: str, attentions: tuple[str, ...]) -> None:
    if not attentions or len(set(attentions)) != len(attentions):
        raise InputError(
            f"{path}attentions: found {list(attentions)}, allowed: one or more different ones of "
            f"{', '.join(ATTENTION_TYPES)}"
        )


@dataclasses.dataclass(frozen=True)
class BaselineConfig(Checked):
    """TF-IDF and logistic regression, chosen on validation macro-F1."""

    PATH: ClassVar[str] = "baseline."
    features: tuple[int, ...] = option(
        (20_000, 50_000), "most frequent words and word pairs that are kept, to choose from", low=1
    )
    strengths: tuple[float, ...] = option(
        (1.0, 10.0), "inverse regularisation (C), to choose from", low=1e-6, high=1e6
    )
    words: int = option(0, "words read of each text, from its beginning; 0: all", low=0)

    def _rules(self) -> None:
        for name in ("features", "strengths"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise InputError(
                    f"baseline.{name}: found {list(values)}, allowed: one or more different values"
                )


@dataclasses.dataclass(frozen=True)
class StudyConfig(Checked):
    """What `--mode=study` compares."""

    PATH: ClassVar[str] = "study."
    attentions: tuple[str, ...] = option(
        ATTENTION_TYPES, "attentions to compare", choices=ATTENTION_TYPES
    )
    tapt: bool = option(False, "TAPT between pretraining and fine-tuning")

    def _rules(self) -> None:
        _require_distinct(self.PATH, self.attentions)


@dataclasses.dataclass(frozen=True)
class RecipeConfig(Checked):
    """What `--mode=recipe` runs."""

    PATH: ClassVar[str] = "recipe."
    stages: tuple[str, ...] = option(
        ("pretrain", "tapt", "finetune"), "stages to run, each from the one before",
        choices=("pretrain", "tapt", "finetune"),
    )  # fmt: skip
    pretrain_path: str = option(
        "", "data.path of the pretraining, where it reads other files than the later stages"
    )

    def _rules(self) -> None:
        order = ("pretrain", "tapt", "finetune")
        if not self.stages or list(self.stages) != [s for s in order if s in self.stages]:
            raise InputError(
                f"recipe.stages: found {list(self.stages)}, allowed: one or more of "
                f"{', '.join(order)}, each once and in this order"
            )


DEVICE = re.compile(r"cpu:\d+(-\d+)?(,\d+(-\d+)?)*|[A-Za-z0-9][\w.-]*(,[\w.-]+)*", re.ASCII)
"""An entry of `sweep.devices`."""


@dataclasses.dataclass(frozen=True)
class SweepConfig(Checked):
    """How `--mode=sweep` runs the cells of a grid; `get_sweep` of the file says which they are."""

    PATH: ClassVar[str] = "sweep."
    parallel: int = option(1, "cells that run side by side", low=1, high=1024)
    devices: tuple[str, ...] = option(
        (), "what the cells running side by side are bound to, one entry each and in turn: GPUs as "
        "in CUDA_VISIBLE_DEVICES ('0', '1'), or cores ('cpu:0-3', 'cpu:4-7'); empty: to nothing",
    )  # fmt: skip

    executor: str = option(
        "local", "where cells run: as processes here, or on the Ray cluster that RAY_ADDRESS names "
        "(else one on this machine)", choices=("local", "ray"),
    )  # fmt: skip
    cell_cpus: float = option(1.0, "cores that a cell takes of a Ray cluster", low=0.0)
    cell_gpus: float = option(0.0, "GPUs that a cell takes of a Ray cluster", low=0.0)

    def _rules(self) -> None:
        for entry in self.devices:
            if not DEVICE.fullmatch(entry):
                raise InputError(
                    f"sweep.devices: found {entry!r}, allowed: GPUs such as '0' or '0,1', or cores "
                    "such as 'cpu:0-3'"
                )


@dataclasses.dataclass(frozen=True)
class PredictConfig(Checked):
    """How a finished classifier reads texts (`--mode=predict`, `jaxattn.load`)."""

    PATH: ClassVar[str] = "predict."
    long: str = option(
        "truncate",
        "a text of more than data.max_length tokens: cut as data.truncate says, or read whole in "
        "windows, whose probabilities are averaged by their tokens",
        choices=("truncate", "window"),
    )
    overlap: int = option(
        32, "tokens that a window shares with the one before; less than a window holds", low=0
    )


@dataclasses.dataclass(frozen=True)
class PlanConfig(Checked):
    """How `--mode=plan` looks ahead."""

    PATH: ClassVar[str] = "plan."
    memory_gb: float = option(
        0.0, "memory of a further device to plan for, in GB; 0: none", low=0.0, high=100_000.0
    )
    seconds: float = option(
        120.0, "time that compiling and timing may take, about; reading the data not counted",
        low=0.0,
    )  # fmt: skip
    timed_steps: int = option(3, "steps timed for each length, after a first one", low=1)
    sample_texts: int = option(
        20_000,
        "of a larger corpus so many texts are tokenised to tell its lengths; for --mode=data too",
        low=1,
    )


@dataclasses.dataclass(frozen=True)
class ProfileConfig(Checked):
    """What `--mode=profile` measures."""

    PATH: ClassVar[str] = "profile."
    attentions: tuple[str, ...] = option(
        ATTENTION_TYPES, "attentions to measure; the exact one in all ways it can be computed",
        choices=ATTENTION_TYPES,
    )  # fmt: skip
    lengths: tuple[int, ...] = option(
        (), "tokens of a row; empty: 512 to 4096 on a CPU, to 16384 elsewhere",
        low=8, high=MAX_SEQ_LEN,
    )  # fmt: skip
    tokens: int = option(
        0, "tokens of a batch, one row at least; 0: one row on a CPU, 16384 elsewhere", low=0
    )
    repeats: int = option(7, "times everything is measured, if time allows", low=1)
    seconds: float = option(
        150.0, "time that compiling and measuring may take, about", low=1.0, high=1e6
    )
    step: bool = option(True, "measure the whole training step too")
    task: str = option("mlm", "what the step trains", choices=("mlm", "classification"))
    texts: int = option(4, "validation texts that show the error on a checkpoint", low=1, high=64)

    def _rules(self) -> None:
        _require_distinct(self.PATH, self.attentions)
        if list(self.lengths) != sorted(set(self.lengths)):
            raise InputError(
                f"profile.lengths: found {list(self.lengths)}, allowed: increasing lengths"
            )


@dataclasses.dataclass(frozen=True)
class Config(Checked):
    """Everything a run depends on."""

    model: ModelConfig = section(ModelConfig, "the encoder")
    attention: AttentionConfig = section(AttentionConfig, "the attention")
    head: HeadConfig = section(HeadConfig, "the classification head")
    tokenizer: TokenizerConfig = section(TokenizerConfig, "the vocabulary")
    data: DataConfig = section(DataConfig, "the corpus")
    train: TrainConfig = section(TrainConfig, "optimisation")
    finetune: FinetuneConfig = section(FinetuneConfig, "fine-tuning")
    peft: PeftConfig = section(PeftConfig, "which parameters fine-tuning trains")
    checkpoint: CheckpointConfig = section(CheckpointConfig, "saving")
    log: LogConfig = section(LogConfig, "logging")
    baseline: BaselineConfig = section(BaselineConfig, "TF-IDF + logistic regression")
    study: StudyConfig = section(StudyConfig, "comparison")
    recipe: RecipeConfig = section(RecipeConfig, "the stages of a recipe")
    sweep: SweepConfig = section(SweepConfig, "running a grid")
    predict: PredictConfig = section(PredictConfig, "using the classifier")
    plan: PlanConfig = section(PlanConfig, "looking ahead")
    profile: ProfileConfig = section(ProfileConfig, "measuring costs")

    def _rules(self) -> None:
        self.attention.options.keywords(self.model.head_width)
        if self.data.max_length > self.model.max_seq_len:
            raise InputError(
                f"data.max_length: found {self.data.max_length}, allowed: at most "
                f"model.max_seq_len = {self.model.max_seq_len}"
            )
        if self.finetune.freeze_blocks > self.model.num_layers:
            raise InputError(
                f"finetune.freeze_blocks: found {self.finetune.freeze_blocks}, allowed: at most "
                f"model.num_layers = {self.model.num_layers}"
            )
        if self.data.whole_words and self.tokenizer.kind == "bytes":
            raise InputError(
                "data.whole_words: found True, allowed with tokenizer.kind = bytes: False (bytes "
                "do not say where a word begins)"
            )
        if self.model.attention_dropout and self.attention.type != "sdpa":
            raise InputError(
                f"model.attention_dropout: found {self.model.attention_dropout}, allowed with "
                f"attention.type = {self.attention.type}: 0.0 (only sdpa has weights to drop)"
            )
        self._peft_rules()

    def _peft_rules(self) -> None:
        method, finetune = self.peft.method, self.finetune
        tokens = self.data.max_length + self.peft.prompt_tokens
        if tokens > self.model.max_seq_len:
            raise InputError(
                f"peft.n_tokens: found {self.peft.n_tokens}, which with data.max_length = "
                f"{self.data.max_length} makes inputs of {tokens} tokens, allowed: at most "
                f"model.max_seq_len = {self.model.max_seq_len}"
            )
        if method != "full" and finetune.freeze_blocks:
            raise InputError(
                f"finetune.freeze_blocks: found {finetune.freeze_blocks}, allowed with "
                f"peft.method = {method}: 0 (all blocks are frozen all the time)"
            )
        without_layers = {
            "head_only": ("backbone_lr_ratio", "layer_decay"),
            "soft_prompt": ("layer_decay",),
        }
        for name in without_layers.get(method, ()):
            if getattr(finetune, name) != 1.0:
                raise InputError(
                    f"finetune.{name}: found {getattr(finetune, name)}, allowed with peft.method = "
                    f"{method}: 1.0 (nothing that is trained is in a block)"
                )


def replace(config: Config, values: Mapping[str, Any]) -> Config:
    """`config` with the options of `values` ('section.option' -> value) exchanged."""
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *parents, leaf = path.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return _replaced(config, tree, "")


def _replaced(node: Any, values: Mapping[str, Any], path: str) -> Any:
    names = [field.name for field in dataclasses.fields(node)]
    changes = {}
    for name, value in values.items():
        where = f"{path}.{name}" if path else name
        if name not in names:
            raise InputError(f"unknown option {where!r}{did_you_mean(name, names)}")
        current = getattr(node, name)
        if dataclasses.is_dataclass(current):
            if not isinstance(value, Mapping):
                raise InputError(f"{where}: found {value!r}, expected a section of options")
            value = _replaced(current, value, where)
        elif isinstance(value, Mapping):
            raise InputError(f"{where}: found a section of options, expected one value")
        changes[name] = value
    return dataclasses.replace(node, **changes)
