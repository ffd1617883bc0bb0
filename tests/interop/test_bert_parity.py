"""An imported BERT computes what `transformers` computes: live where torch is, else as stored.

Every parameter is away from its initial value: otherwise a norm in the wrong place or a bias left
out would go unseen.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxattn.config import replace
from jaxattn.interop.published import Published, read_published
from jaxattn.model.embeddings import Embeddings
from jaxattn.model.encoder import Encoder, EncoderBlock
from jaxattn.model.heads import ClassifierModel, MlmModel

GOLDEN = Path(__file__).with_name("golden_bert.npz")


def outputs(bert: Published, ids: Any, mask: Any, types: Any) -> dict[str, Any]:
    """Hidden states of embeddings and blocks [layers + 1, B, N, D], pooled output, MLM logits."""
    words, width = bert.tokenizer.get_vocab_size(), bert.config.model.hidden_dim
    encoder = Encoder(bert.config, words, jnp.float32)
    names = ["embeddings", *(f"blocks_{i}" for i in range(bert.config.model.num_layers))]
    classified = replace(bert.config, {"head.pooling": "cls", "head.pooler": "bert"})
    # With the identity for its last layer a classifier gives what comes out of the pooler.
    identity = {"kernel": jnp.eye(width), "bias": jnp.zeros(width)}

    def apply(params: Any) -> dict[str, Any]:
        inner = {"params": params["encoder"]}
        _, kept = encoder.apply(
            inner,
            ids,
            mask,
            deterministic=True,
            capture_intermediates=lambda module, name: (
                name == "__call__" and isinstance(module, Embeddings | EncoderBlock)
            ),
            mutable=["intermediates"],
        )
        found = kept["intermediates"]
        head = {name: params[name] for name in ("encoder", "pooler")} | {"classifier": identity}
        mlm = {name: value for name, value in params.items() if name != "pooler"}
        everywhere = jnp.broadcast_to(jnp.arange(ids.shape[1]), ids.shape)
        return {
            "hidden": jnp.stack([found[name]["__call__"][0] for name in names]),
            "hidden_typed": encoder.apply(
                inner, ids, mask, token_types_BN=types, deterministic=True
            ),
            "pooled": ClassifierModel(classified, words, width).apply(
                {"params": head}, ids, mask, deterministic=True
            ),
            "logits": MlmModel(bert.config, words).apply(
                {"params": mlm}, ids, mask, everywhere, deterministic=True
            ),
        }

    # One program: most of the time of this test is compiling.
    return jax.device_get(jax.jit(apply)(bert.params))


def check(bert: Published, wanted: Any) -> None:
    mask = wanted["mask"]
    assert not mask.all(), "padding has to be there"
    found = outputs(bert, *(jnp.asarray(wanted[name]) for name in ("ids", "mask", "types")))
    for name, value in found.items():
        # What stands in padded places is nobody's concern.
        places = (slice(None),) if name == "pooled" else (..., mask, slice(None))
        np.testing.assert_allclose(
            value[places], wanted[name][places], atol=1e-5, rtol=0, err_msg=name
        )
    change = wanted["hidden_typed"][mask] - wanted["hidden"][-1][mask]
    assert np.abs(change).max() > 0.1, "token types have to matter"


def test_it_computes_what_was_stored(bert_folder: Path) -> None:
    with np.load(GOLDEN, allow_pickle=False) as stored:
        check(read_published(bert_folder), dict(stored))


def test_it_computes_what_transformers_computes(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(3)
    options = transformers.BertConfig(
        vocab_size=41, hidden_size=24, num_hidden_layers=3, num_attention_heads=3,
        intermediate_size=40, max_position_embeddings=20, type_vocab_size=2,
    )  # fmt: skip
    model = transformers.BertForPreTraining(options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(36))]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    ids = torch.randint(5, 41, (3, 13))
    mask = torch.arange(13) < torch.tensor([13, 4, 9])[:, None]
    types = torch.randint(0, 2, (3, 13))
    given = {"input_ids": ids, "attention_mask": mask.long()}
    with torch.no_grad():
        inner = model.bert(**given, output_hidden_states=True)
        typed = model.bert(**given, token_type_ids=types)
        logits = model(**given).prediction_logits
    check(
        read_published(tmp_path),
        {
            "ids": ids.numpy().astype(np.int32),
            "mask": mask.numpy(),
            "types": types.numpy(),
            "hidden": np.stack([h.numpy() for h in inner.hidden_states]),
            "hidden_typed": typed.last_hidden_state.numpy(),
            "pooled": inner.pooler_output.numpy(),
            "logits": logits.numpy(),
        },
    )
