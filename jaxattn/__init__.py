"""Which attention is cheap enough and good enough for your text classification?

from jaxattn import load

model = load("runs/finetune/imdb_lsh")
model.predict(["A wonderful film."])
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxattn.api import load as load
    from jaxattn.errors import InputError as InputError

__all__ = ["InputError", "load"]


def __getattr__(name: str) -> Any:
    """Imports what is asked for, so that `import jaxattn` alone costs nothing."""
    if name == "load":
        from jaxattn.api import load

        return load
    if name == "InputError":
        from jaxattn.errors import InputError

        return InputError
    raise AttributeError(f"module 'jaxattn' has no attribute {name!r}")
