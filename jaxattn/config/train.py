"""Options of training, of its checkpoints and of its log."""

import dataclasses

from jaxattn.config.checked import MAX_SEQ_LEN, Checked, Scope, option
from jaxattn.config.class_weights import own_weights
from jaxattn.errors import InputError

AUTO_PRECISION = "auto"
"""`train.precision` that is settled when a run begins; nothing is built from it, none is saved."""


@dataclasses.dataclass(frozen=True)
class TrainConfig(Checked, path="train."):
    """Optimisation: optimizer, learning rate, precision, devices."""

    seed: int = option(
        0, "seed of initialisation, order, masking and dropout",
        low=0, high=2**32 - 1, scope=Scope.SEED | Scope.COST_FREE,
    )  # fmt: skip
    epochs: int = option(3, "passes over the training data", low=1, scope=Scope.TUNED)
    max_steps: int = option(
        0, "stop after this many steps; 0: as many as the epochs hold", low=0, scope=Scope.TUNED
    )
    validate_every_steps: int = option(
        0, "steps between validations; 0: validate after every epoch", low=0
    )
    batch_size: int = option(64, "examples per optimizer step", low=1)
    eval_batch_size: int = option(0, "examples per evaluation batch; 0: train.batch_size", low=0)
    accumulation: int = option(1, "micro-batches a step is computed in", low=1)
    on_oom: str = option(
        "stop", "where a step does not fit the memory: stop; or halve: the same batch in more, "
        "smaller micro-batches, from the latest checkpoint on",
        choices=("stop", "halve"), scope=Scope.BOOKKEEPING,
    )  # fmt: skip
    learning_rate: float = option(
        5e-4, "peak learning rate", low=1e-12, high=10.0, scope=Scope.TUNED | Scope.COST_FREE
    )
    optimizer: str = option(
        "adamw",
        "rule of the updates; minbert_adamw is adamw as the minBERT course defines it",
        choices=("adamw", "schedule_free_adamw", "muon", "lamb", "minbert_adamw"),
    )
    schedule: str = option(
        "cosine", "learning rate after warm-up; schedule_free_adamw is meant for constant",
        choices=("cosine", "linear", "constant"), scope=Scope.COST_FREE,
    )  # fmt: skip
    warmup_ratio: float = option(
        0.1, "share of steps with rising rate",
        low=0.0, high=1.0, scope=Scope.TUNED | Scope.COST_FREE,
    )  # fmt: skip
    min_lr_ratio: float = option(
        0.0, "last rate as a share of the peak",
        low=0.0, high=1.0, scope=Scope.TUNED | Scope.COST_FREE,
    )  # fmt: skip
    weight_decay: float = option(
        0.01, "decoupled decay, not on biases and norms",
        low=0.0, scope=Scope.TUNED | Scope.COST_FREE,
    )  # fmt: skip
    beta1: float = option(
        0.9, "Adam's beta 1; schedule-free: the share of the average",
        low=0.0, high=0.9999, scope=Scope.COST_FREE,
    )  # fmt: skip
    beta2: float = option(0.999, "Adam's beta 2", low=0.0, high=0.999999, scope=Scope.COST_FREE)
    epsilon: float = option(1e-8, "Adam's epsilon", low=1e-12, high=1.0, scope=Scope.COST_FREE)
    muon_momentum: float = option(0.95, "momentum of muon's matrices", low=0.0, high=0.9999)
    clip_norm: float = option(
        1.0, "global gradient norm is clipped at this", low=1e-6, scope=Scope.COST_FREE
    )
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
    dropout_prng: str = option(
        "hash", "what dropout is drawn by: a hash of each number's place, next to free, or JAX's "
        "threefry, as by versions before 0.3, whose saved configurations lack this option",
        choices=("hash", "threefry"),
    )  # fmt: skip
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
        scope=Scope.EXACTNESS,
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
class TaptConfig(Checked, path="tapt."):
    """Going on with an encoder on the texts of a task."""

    objective: str = option(
        "auto", "mlm: masked language modelling; distill: where the attention is exchanged, the "
        "hidden states of every block become those of the encoder before the exchange; auto: mlm, "
        "but distill where the attention is exchanged and no MLM head was ever trained",
        choices=("auto", "mlm", "distill"),
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class FinetuneConfig(Checked, path="finetune."):
    """What fine-tuning does otherwise than pretraining; pretraining ignores it."""

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
        "none", "weights of the loss: none; balanced: all classes weigh the same together; or "
        "their proportions by name, as spam=5,ham=1"
    )  # fmt: skip
    sampling: str = option(
        "natural", "which texts an epoch has: natural: each once; balanced: as many of each class, "
        "those of rare classes several times",
        choices=("natural", "balanced"),
    )  # fmt: skip
    focal_gamma: float = option(
        0.0, "focal loss: that of a text is multiplied by (1 - p of its class) to this power; "
        "0: off",
        low=0.0, high=10.0,
    )  # fmt: skip
    patience: int = option(
        0, "stop after so many epochs without a better validation macro-F1; 0: never", low=0
    )

    def _rules(self) -> None:
        own_weights(self.class_weights)
        if self.class_weights == "balanced" and self.sampling == "balanced":
            raise InputError(
                "finetune.sampling: found 'balanced' with finetune.class_weights = balanced, which "
                "would favour rare classes twice; allowed: one of the two"
            )
        if self.focal_gamma and self.label_smoothing:
            raise InputError(
                f"finetune.focal_gamma: found {self.focal_gamma:g} with finetune.label_smoothing = "
                f"{self.label_smoothing:g}; allowed: one of the two above 0"
            )


PEFT_METHODS = ("full", "head_only", "soft_prompt", "adapter", "lora")


@dataclasses.dataclass(frozen=True)
class PeftConfig(Checked, path="peft."):
    """Which parameters fine-tuning trains; pretraining and TAPT train all."""

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
        choices=("query", "key", "value", "out", "up", "gate", "down"), distinct=True,
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


@dataclasses.dataclass(frozen=True)
class CheckpointConfig(Checked, path="checkpoint."):
    """When the state is saved. Any of the three may trigger; the end of a run always does."""

    every_epochs: int = option(1, "save every so many epochs; 0: never", low=0)
    every_steps: int = option(0, "save every so many steps; 0: never", low=0)
    every_minutes: float = option(0.0, "save every so many minutes; 0: never", low=0.0)
    keep: int = option(2, "latest checkpoints that are kept, beside the best", low=1)


UNTRACKED = {"log.wandb": "off", "log.tensorboard": False}
"""Options with which nothing is sent anywhere."""


@dataclasses.dataclass(frozen=True)
class LogConfig(Checked, path="log."):
    """What is written while a run goes on."""

    every_steps: int = option(20, "steps between rows of metrics.csv", low=1)
    wandb: str = option("off", "Weights & Biases", choices=("off", "offline", "online"))
    wandb_project: str = option("jaxattn", "project name there")
    wandb_checkpoint: bool = option(False, "the best checkpoint is uploaded there too")
    tensorboard: bool = option(False, "event files for TensorBoard, in the run's folder")
