"""The old name of what configuration files import; kept until 0.3."""

from jaxattn.config.editable import defaults, inherit_architecture

__all__ = ["defaults", "inherit_architecture"]
