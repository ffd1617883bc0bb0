"""Every option of the program: a file a section, read through this face."""

from jaxattn.config.attention import (
    ATTENTION_TYPES,
    AttentionConfig,
    AttentionOptions,
    FavorOptions,
    LocalOptions,
    LshOptions,
    SdpaOptions,
    attention_label,
    attention_names,
    attention_of,
)
from jaxattn.config.checked import MAX_SEQ_LEN, Scope, declared, of_scope
from jaxattn.config.config import Config, replace, scope_of
from jaxattn.config.data import DataConfig, TokenizerConfig
from jaxattn.config.draft import commented
from jaxattn.config.editable import defaults, from_config_dict, inherit_architecture
from jaxattn.config.model import HeadConfig, ModelConfig
from jaxattn.config.saved import (
    as_begun,
    as_meant,
    binding_options,
    flatten,
    from_saved,
    read_yaml,
    to_plain,
    write_yaml,
)
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
    UNTRACKED,
    CheckpointConfig,
    FinetuneConfig,
    LogConfig,
    PeftConfig,
    TaptConfig,
    TrainConfig,
)
from jaxattn.config.yaml_tree import read_tree

__all__ = [
    "ATTENTION_TYPES", "AUTO_PRECISION", "DEVICE", "MAX_SEQ_LEN", "PEFT_METHODS", "UNTRACKED",
    "AttentionConfig", "AttentionOptions", "BaselineConfig", "CheckpointConfig", "Config",
    "DataConfig", "FavorOptions", "FinetuneConfig", "HeadConfig", "LocalOptions", "LogConfig",
    "LshOptions", "ModelConfig", "PeftConfig", "PlanConfig", "PredictConfig", "ProfileConfig",
    "RecipeConfig", "Scope", "SdpaOptions", "StudyConfig", "SweepConfig", "TaptConfig",
    "TokenizerConfig", "TrainConfig", "as_begun", "as_meant", "attention_label",
    "attention_names", "attention_of", "binding_options", "commented", "declared", "defaults",
    "flatten", "from_config_dict", "from_saved", "inherit_architecture", "of_scope",
    "read_tree", "read_yaml", "replace", "scope_of", "to_plain", "write_yaml",
]  # fmt: skip
