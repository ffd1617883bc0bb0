"""Whether checkpoint, tokenizer and options of a folder are those of one run."""

from collections.abc import Mapping
from typing import Any

from jaxattn.config import Scope, flatten, from_saved, scope_of, to_plain
from jaxattn.data.tokens.wordpiece import tokenizer_from_json
from jaxattn.errors import InputError, quoted
from jaxattn.files import LARGEST_TABLE, read_text
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.manifest import DATA_PATH, TOKENIZER, checkpoint_file
from jaxattn.train.checkpoints import Checkpoints

LABELS = "label_names"
"""Entry of the saved options, and of a checkpoint's document: the classes in their order."""


def require_agreement(folder: RunFolder, checkpoints: Checkpoints, step: int) -> None:
    """Raises InputError unless the checkpoint of `step` goes with the other files of the run.

    The manifest of the run tells, where it knows the checkpoint; else the document that was saved
    in the checkpoint. The options were compared with the manifest as they were read.
    """
    manifest = folder.manifest
    if manifest and (signed := checkpoint_file(step)) in manifest.files:
        manifest.require([TOKENIZER, signed])
    else:
        require_document(folder, checkpoints.document(step))


def require_document(folder: RunFolder, document: Mapping[str, Any]) -> None:
    """Raises InputError unless tokenizer and options are those of a checkpoint's document.

    What may change when a run goes on is left out.
    """
    saved, extra = folder.saved.config()
    trained_with = flatten(to_plain(from_saved(document["config"])))
    if LABELS in document:
        trained_with[LABELS] = document[LABELS]
    found = flatten(to_plain(saved)) | extra
    for name, value in trained_with.items():
        free = bool(scope_of(name) & (Scope.BOOKKEEPING | Scope.EXACTNESS)) or name == DATA_PATH
        if not free and found.get(name) != value:
            raise InputError(
                f"{folder.saved.path}: {name}: found {quoted(found.get(name))}, but its "
                f"checkpoint was trained with {quoted(value)}; restore that option"
            )
    if not _same_tokenizer(folder, document["tokenizer"]):
        raise InputError(
            f"{folder.tokenizer_path}: not the tokenizer that its checkpoint was trained with; "
            "restore the file from a copy, or make the run anew under another --exp"
        )


def _same_tokenizer(folder: RunFolder, text: str) -> bool:
    found = read_text(folder.tokenizer_path, LARGEST_TABLE)
    if found == text:
        return True
    # Another version of the library writes it otherwise.
    one, other = (
        tokenizer_from_json(each, str(folder.tokenizer_path)).to_str() for each in (found, text)
    )
    return one == other
