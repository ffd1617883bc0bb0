"""Writes golden_bert.npz: what `transformers` computes with the model of conftest.py.

    python tests/interop/make_golden.py

It needs torch and transformers; the test that reads the file does not.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from conftest import POSITIONS, WORDS, shapes, write_folder

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


if __name__ == "__main__":
    main()
