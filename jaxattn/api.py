"""What `import jaxattn` offers: a trained classifier as a Python object."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jaxattn.startup import collector_paused, settle_environment

if TYPE_CHECKING:
    from jaxattn.classifier.text_classifier import TextClassifier


def load(
    path: str | Path, *, long: str | None = None, overlap: int | None = None
) -> "TextClassifier":
    """A trained classifier, with `predict`, `predict_proba` and `classes_` as in scikit-learn.

    Compiled programs are kept in the user's cache, unless jax has been imported before or
    JAX_COMPILATION_CACHE_DIR says otherwise.

    Args:
      path: the folder of a fine-tuning run (`runs/finetune/<exp>`), or one of --mode=export.
      long: what is done with texts that are too long: "truncate" or "window"; None: as the run's
        option `predict.long` says.
      overlap: tokens that windows share; None: as `predict.overlap` says.

    Raises:
      InputError: there is no finished classifier, or an option is out of range.
    """
    if "jax" not in sys.modules:
        settle_environment(os.environ)
    given = {"predict.long": long, "predict.overlap": overlap}
    with collector_paused():
        from jaxattn.classifier.load import open_classifier
        from jaxattn.classifier.text_classifier import TextClassifier

        options = {name: value for name, value in given.items() if value is not None}
        return TextClassifier(open_classifier(path, options))
