"""Every option of the program: a file a section, read through this face."""

from jaxattn.config.attention import (
    ATTENTION_TYPES,
    AttentionConfig,
    FavorOptions,
    LshOptions,
    SdpaOptions,
)
from jaxattn.config.checked import MAX_SEQ_LEN, Scope, of_scope
from jaxattn.config.config import Config, replace, scope_of
from jaxattn.config.data import DataConfig, TokenizerConfig
from jaxattn.config.model import HeadConfig, ModelConfig
from jaxattn.config.tools import (
    DEVICE,
    BaselineConfig,
    PlanConfig,
    PredictConfig,
    ProfileConfig,
    RecipeConfig,
    StudyConfig,
    SweepConfig,
)
from jaxattn.config.train import (
    AUTO_PRECISION,
    PEFT_METHODS,
    CheckpointConfig,
    FinetuneConfig,
    LogConfig,
    PeftConfig,
    TrainConfig,
)

__all__ = [
    "ATTENTION_TYPES",
    "AUTO_PRECISION",
    "DEVICE",
    "MAX_SEQ_LEN",
    "PEFT_METHODS",
    "AttentionConfig",
    "BaselineConfig",
    "CheckpointConfig",
    "Config",
    "DataConfig",
    "FavorOptions",
    "FinetuneConfig",
    "HeadConfig",
    "LogConfig",
    "LshOptions",
    "ModelConfig",
    "PeftConfig",
    "PlanConfig",
    "PredictConfig",
    "ProfileConfig",
    "RecipeConfig",
    "Scope",
    "SdpaOptions",
    "StudyConfig",
    "SweepConfig",
    "TokenizerConfig",
    "TrainConfig",
    "of_scope",
    "replace",
    "scope_of",
]
