"""Writes golden_bert.npz and the like: what `transformers` computes with models of conftest.py.

    python tests/interop/make_golden.py

It needs torch and transformers; the tests that read the files do not.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from conftest import (
    POSITIONS,
    RELATIVES,
    WORDS,
    relative_shapes,
    shapes,
    write_folder,
    write_relative,
)

LENGTHS = (9, 6)
IDS = (7 * np.arange(18).reshape(2, 9) + 5) % WORDS


def main() -> None:
    """Loads the folder as its users do, and saves inputs and outputs."""
    assert IDS.shape[1] < POSITIONS
    mask = np.arange(9) < np.array(LENGTHS)[:, None]
    types = np.stack([np.arange(9) >= 4, np.arange(9) % 2 == 1]).astype(np.int64)
    with tempfile.TemporaryDirectory() as root:
        folder = write_folder(Path(root) / "bert")
        model = transformers.BertForPreTraining.from_pretrained(folder).eval()
    named = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    tied = {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}
    assert {name: shape for name, shape in named.items() if name not in tied} == shapes()
    given = {"input_ids": torch.tensor(IDS), "attention_mask": torch.tensor(mask.astype(np.int64))}
    with torch.no_grad():
        inner = model.bert(**given, output_hidden_states=True)
        typed = model.bert(**given, token_type_ids=torch.tensor(types))
        logits = model(**given).prediction_logits
    path = Path(__file__).with_name("golden_bert.npz")
    np.savez_compressed(
        path,
        ids=IDS.astype(np.int32),
        mask=mask,
        types=types.astype(np.int32),
        hidden=np.stack([h.numpy() for h in inner.hidden_states]),
        hidden_typed=typed.last_hidden_state.numpy(),
        pooled=inner.pooler_output.numpy(),
        logits=logits.numpy(),
    )
    print(f"{path}: {path.stat().st_size:,} bytes")


def relative(kind: str) -> None:
    """Saves ids, hidden states and MLM logits of another family, with padding."""
    mask = np.arange(9) < np.array(LENGTHS)[:, None]
    # Those with positions after the padding tell padding by its id.
    ids = np.where(mask, 2 + IDS % (WORDS - 2), RELATIVES[kind]["pad_token_id"])
    with tempfile.TemporaryDirectory() as root:
        folder = write_relative(Path(root) / kind, kind)
        model = transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()
    named = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert relative_shapes(kind).items() <= named.items()
    given = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask.astype(np.int64))}
    with torch.no_grad():
        found = model(**given, output_hidden_states=True)
    states = found.hidden_states
    path = Path(__file__).with_name(f"golden_{kind}.npz")
    np.savez_compressed(
        path,
        ids=ids.astype(np.int32),
        mask=mask,
        # What ModernBERT calls the last hidden state has the final norm already.
        hidden=np.stack([h.numpy() for h in (states[:-1] if kind == "modernbert" else states)]),
        logits=found.logits.numpy(),
    )
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
    for name in RELATIVES:
        relative(name)
