"""Classifies with the files of this folder: needs jax, flatbuffers, numpy; for texts tokenizers.

    python classify.py "A wonderful film." "Two hours of my life"

jaxattn is not needed. `logits(ids, mask)` takes int32 and bool [rows, length].
"""

import hashlib
import io
import json
import pathlib
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import jax.export
import numpy as np

HERE = pathlib.Path(__file__).parent

KINDS = {"F32": np.float32, "F16": np.float16, "I32": np.int32}
"""How model.safetensors calls a type."""


def refuse(sentence: str) -> NoReturn:
    """Ends the program with one sentence; in a program of yours it is a ValueError."""
    if __name__ == "__main__":
        print(f"classify.py: {sentence}; export the classifier again", file=sys.stderr)
        sys.exit(2)
    raise ValueError(sentence)


def contents(name: str) -> bytes:
    """A file of this folder; refused where it is not there."""
    path = HERE / name
    if path.exists() and not path.is_file():
        refuse(f"{name}: not a file")
    try:
        return path.read_bytes()
    except OSError as error:
        refuse(f"{name}: {error.strerror}")


def unchanged(name: str) -> bytes:
    """A file of this folder; refused where it is not as it was exported."""
    data = contents(name)
    if hashlib.sha256(data).hexdigest() != MANIFEST["files"].get(name):
        refuse(f"{name}: changed since it was exported")
    return data


def read_manifest() -> dict[str, Any]:
    """Digests of the files, dtypes and shapes of the weights; refused where it is not its own."""
    try:
        manifest: dict[str, Any] = json.loads(contents("manifest.json"))
        digest = manifest.pop("sha256")
        if hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest() == digest:
            return manifest
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    refuse("manifest.json: changed since it was exported")


MANIFEST = read_manifest()

ABOUT = json.loads(unchanged("program.json"))


def read_weights() -> dict[str, jax.Array]:
    """The arrays of model.safetensors: a length, a header in JSON, then the numbers."""
    raw = contents("model.safetensors")
    start = 8 + int.from_bytes(raw[:8], "little")
    try:
        header = json.loads(raw[8:start])
        header.pop("__metadata__", None)
        found = {
            name: f"{np.dtype(KINDS[each['dtype']]).name} {each['shape']}"
            for name, each in header.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        refuse("model.safetensors: not readable")
    for name in sorted({*found, *MANIFEST["weights"]}):
        is_now, was = (each.get(name, "absent") for each in (found, MANIFEST["weights"]))
        if is_now != was:
            refuse(f"model.safetensors: {name} is {is_now}, expected {was}")
    unchanged("model.safetensors")
    weights = {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        flat = np.frombuffer(raw[start + first : start + last], KINDS[entry["dtype"]])
        if not np.isfinite(flat).all():
            refuse(f"model.safetensors: {name} has values that are not finite")
        weights[name] = jax.numpy.asarray(flat.reshape(entry["shape"]))
    return weights


WEIGHTS = read_weights()

PROGRAMS: dict[str, Callable[..., jax.Array]] = {}


def logits(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """float32 [rows, classes] of ids int32 [rows, length] and mask bool, True = real token."""
    rows, length = ids.shape
    if not rows:
        return np.zeros((0, len(ABOUT["classes"])), np.float32)
    if length > ABOUT["max_length"]:
        raise ValueError(f"{length} tokens are more than {ABOUT['max_length']}")
    fits = [each for each in ABOUT["programs"] if each["length"] in (None, length)]
    if not fits:
        # Padding changes no result: pad to the next length there is.
        more = next(x["length"] for x in ABOUT["programs"] if x["length"] > length) - length
        ids = np.pad(ids, ((0, 0), (0, more)), constant_values=ABOUT["pad_id"])
        return logits(ids, np.pad(mask, ((0, 0), (0, more))))
    name = fits[0]["file"]
    if name not in PROGRAMS:
        exported = jax.export.deserialize(bytearray(unchanged(name)))
        PROGRAMS[name] = jax.jit(exported.call)
    found = np.asarray(PROGRAMS[name](WEIGHTS, ids.astype(np.int32), mask.astype(bool)))
    if not np.isfinite(found).all():
        refuse("the answer is not finite: the weights are too large")
    return found


def probabilities(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Softmax over the classes of ABOUT["classes"]."""
    shifted = logits(ids, mask).astype(np.float64)
    shifted = np.exp(shifted - shifted.max(axis=1, keepdims=True))
    result: np.ndarray = shifted / shifted.sum(axis=1, keepdims=True)
    return result


def read(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """ids and mask of texts; a long one is cut at its end. Mark-up is not taken out of them."""
    import tokenizers

    is_table = hasattr(texts, "columns") or hasattr(texts, "column_names")
    if is_table or isinstance(texts, str | bytes | dict):
        raise TypeError(
            f"texts: found one {type(texts).__name__}, expected a list of texts: [text], or of a "
            "table its column of texts"
        )
    tokenizer = tokenizers.Tokenizer.from_str(unchanged("tokenizer.json").decode())
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    room = ABOUT["max_length"] - 2
    rows = []
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"texts[{index}]: found {type(text).__name__}, expected a string")
        row = tokenizer.encode(text, add_special_tokens=False).ids
        # A special token that the text spells out is none.
        row = [ABOUT["unk_id"] if each in ABOUT["special_ids"] else each for each in row]
        rows.append([ABOUT["cls_id"], *row[:room], ABOUT["sep_id"]])
    longest = max(map(len, rows), default=0)
    ids = np.full((len(rows), longest), ABOUT["pad_id"], np.int32)
    mask = np.zeros(ids.shape, bool)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
        mask[index, : len(row)] = True
    return ids, mask


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.exit(__doc__)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Texts are no ASCII, whatever the locale.
        sys.stdout.reconfigure(encoding="utf-8")
    for text, row in zip(sys.argv[1:], probabilities(*read(sys.argv[1:])), strict=True):
        found = dict(zip(ABOUT["classes"], row.round(6).tolist(), strict=True))
        print(json.dumps({"text": text, "probabilities": found}, ensure_ascii=False))
