"""Which training steps are measured, and how much work each of them is."""

import dataclasses
from typing import Any

from benchmarks.gpu.device_time import CUBLAS_ONLY
from jaxattn.attention import ATTENTIONS
from jaxattn.config import Config, replace
from jaxattn.config.presets import architecture_options
from jaxattn.data.batches.masking import num_slots
from jaxattn.startup import DETERMINISTIC


@dataclasses.dataclass(frozen=True)
class Job:
    """One program.

    Attributes:
      attention, length, implementation: of the configuration.
      dropout_prng: of the configuration.
      deterministic: compiled as `train.deterministic` has it.
      default_options: XLA may use Triton for products.
      trace: its kernels are shown.
      repeat: two runs of it are compared bit by bit.
    """

    attention: str
    length: int
    implementation: str = "auto"
    dropout_prng: str = "hash"
    deterministic: bool = False
    default_options: bool = False
    trace: bool = False
    repeat: bool = False

    @property
    def name(self) -> str:
        """Told in the results."""
        words = [str(self.length), self.attention]
        words += [self.implementation] if self.implementation != "auto" else []
        words += [self.dropout_prng] if self.dropout_prng != "hash" else []
        words += ["deterministic"] if self.deterministic else []
        return " ".join(words + (["default options"] if self.default_options else []))

    @property
    def options(self) -> dict[str, str | bool]:
        """Of the compiler."""
        chosen = {} if self.default_options else dict(CUBLAS_ONLY)
        return chosen | ({DETERMINISTIC: True} if self.deterministic else {})


@dataclasses.dataclass(frozen=True)
class Size:
    """Of all steps."""

    architecture: str
    vocabulary: int
    tokens: int


def groups(tiny: bool) -> list[list[Job]]:
    """Programs that are timed in turn; the most important first."""
    names = ("sdpa", "performer_favor", "reformer_lsh")
    if tiny:
        first = [Job(name, 64, trace=True, repeat=True) for name in names[:1]]
        return [[*first, Job("sdpa", 64, dropout_prng="threefry")]]
    ordinary = [Job(name, 512, trace=True, repeat=True) for name in names]
    return [
        [*ordinary, Job("sdpa", 512, dropout_prng="threefry", trace=True)],
        [Job(name, 8192, trace=True) for name in names],
        [Job(name, 512, deterministic=True, repeat=True) for name in names],
        [Job("sdpa", 512, "xla")],
        [Job(name, 16384) for name in names],
        [Job(name, 4096) for name in names],
        [Job("performer_favor", 512, default_options=True)],
    ]


def config_of(job: Job, size: Size) -> Config:
    """The configuration that trains so."""
    rows = size.tokens // job.length
    options: dict[str, Any] = architecture_options(size.architecture) | {
        "attention.type": job.attention,
        "train.precision": "bfloat16",
        "train.dropout_prng": job.dropout_prng,
        "train.batch_size": rows,
        "model.max_seq_len": job.length,
        "data.max_length": job.length,
    }
    if job.attention == "sdpa":
        options["attention.sdpa.implementation"] = job.implementation
    return replace(Config(), options)


def training_flops(config: Config, vocabulary: int) -> float:
    """Of one step, a multiply-add counting as two: three times those of the forward pass.

    What a backward pass computes again is not counted, so that programs are comparable.
    """
    model, rows, length = config.model, config.train.batch_size, config.data.max_length
    name, options = config.attention.of_layers(1)[0]
    op = ATTENTIONS[name]
    projections = 3 if op.shares_qk else 4
    weights = projections * model.hidden_dim * model.qkv_dim + 2 * model.hidden_dim * model.mlp_dim
    attention = op.cost(options, length, model.head_width).flops
    slots = num_slots(length, config.data.mask_rate)
    head = model.hidden_dim * (model.hidden_dim + vocabulary)
    layer = 2 * weights * length + model.num_heads * attention
    return 3.0 * rows * (model.num_layers * layer + 2 * head * slots)
