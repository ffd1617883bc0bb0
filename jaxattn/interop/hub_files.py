"""Which files of a repository of the hub make an encoder that can be imported."""

from collections.abc import Collection

from jaxattn.errors import InputError
from jaxattn.interop.folder import INDEX, OTHERS, PICKLES, WEIGHTS

VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json")
"""Files of which a tokenizer needs one; the last one goes with `MERGES`."""

MERGES = "merges.txt"

TOKENIZER_OPTIONS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")

CONVERT = (
    'python -c "from transformers import AutoTokenizer as T, AutoModelForPreTraining as M; '
    "[c.from_pretrained('{name}'{revision}).save_pretrained('<new folder>') for c in (T, M)]\""
)
"""What makes safetensors and a tokenizer.json of what a repository has."""


def tokenizer_files(files: Collection[str], where: str, convert: str) -> list[str]:
    """The files of the tokenizer among those of a commit."""
    if not any(name in files for name in VOCABULARIES):
        problem = f"{where}: neither {VOCABULARIES[0]} nor {VOCABULARIES[1]} in it"
        if models := sorted(name for name in files if name.endswith(".model")):
            problem += f", only {models[0]}, which is not read here; convert it: {convert}"
        raise InputError(problem)
    return [name for name in (*VOCABULARIES, MERGES, *TOKENIZER_OPTIONS) if name in files]


def weights_file(files: Collection[str], where: str, convert: str) -> str:
    """The file of the weights among those of a commit, or that of their index."""
    for file in (WEIGHTS, INDEX):
        if file in files:
            return file
    present = [file for file in (*PICKLES, *OTHERS) if file in files]
    if not present:
        raise InputError(f"{where}: no {WEIGHTS} in it, and no other weights that are known")
    how = ""
    if present[0] in PICKLES:
        how = (
            ", a pickle, which may run any program when it is read and is never fetched here; a "
            "pull request on its page may hold safetensors (--revision=refs/pr/<number>), or, "
            f"where you trust it, convert it: {convert}"
        )
    raise InputError(f"{where}: found {present[0]} only{how}; allowed: {WEIGHTS}")
