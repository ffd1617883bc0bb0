"""DistilBERT (Sanh et al. 2019): BERT with neither token types nor a pooler.

`sinusoidal_pos_embds` says what the table of positions began as; it is a table all the same.
"""

from jaxattn.config import ModelConfig
from jaxattn.interop.family import ENCODER, MLM_HEAD, ClassifierHead, Family, Parts
from jaxattn.interop.tensors import Tensor, dense, embeddings, norm

_PREFIX = "distilbert."


def _layer(number: int) -> list[Tensor]:
    ours, theirs = ("encoder", f"blocks_{number}"), f"{_PREFIX}transformer.layer.{number}"
    names = {"query": "q_lin", "key": "k_lin", "value": "v_lin", "out": "out_lin"}
    found = []
    for name, called in names.items():
        found += dense((*ours, "attention", name), f"{theirs}.attention.{called}", "DD")
    found += norm((*ours, "attention_norm"), f"{theirs}.sa_layer_norm")
    found += dense((*ours, "mlp", "up"), f"{theirs}.ffn.lin1", "FD")
    found += dense((*ours, "mlp", "down"), f"{theirs}.ffn.lin2", "DF")
    return found + norm((*ours, "mlp_norm"), f"{theirs}.output_layer_norm")


def _tensors(model: ModelConfig, before: int) -> Parts:
    encoder = embeddings(_PREFIX, token_types=False, before=before)
    for number in range(model.num_layers):
        encoder += _layer(number)
    mlm = [
        *dense(("transform",), "vocab_transform", "DD"),
        *norm(("norm",), "vocab_layer_norm"),
        Tensor(("output_bias",), "vocab_projector.bias", "V"),
    ]
    return {ENCODER: encoder, MLM_HEAD: mlm}


DISTILBERT = Family(
    name="DistilBERT",
    model_types={"distilbert": "DistilBert"},
    prefix=_PREFIX,
    inner=("embeddings.", "transformer."),
    sizes={
        "n_layers": "model.num_layers",
        "dim": "model.hidden_dim",
        "hidden_dim": "model.mlp_dim",
        "n_heads": "model.num_heads",
        "max_position_embeddings": "model.max_seq_len",
    },
    shares={
        "dropout": ("model.mlp_dropout", "model.embedding_dropout"),
        "attention_dropout": ("model.attention_dropout",),
    },
    only={
        "activation": ("gelu", "our MLM head has the exact GELU only"),
        "tie_word_embeddings": (True, "our MLM head scores with the token embeddings"),
    },
    options={
        "attention.type": "sdpa",
        "attention.pattern": (),
        "model.embedding_dim": 0,
        "model.positions": "learned",
        "model.token_types": 0,
        "model.norm": "post",
        "model.norm_eps": 1e-12,
        "model.activation": "gelu",
        "model.projection_bias": True,
        # It drops none of the attention layer's output.
        "model.attention_output_dropout": 0.0,
    },
    constants={"activation": "gelu", "sinusoidal_pos_embds": False},
    tensors=_tensors,
    needless=(f"{_PREFIX}embeddings.position_ids",),
    tied={"vocab_projector.weight": f"{_PREFIX}embeddings.word_embeddings.weight"},
    classifier=ClassifierHead(
        "relu",
        "seq_classif_dropout",
        (
            *dense(("pooler",), "pre_classifier", "DD"),
            *dense(("classifier",), "classifier", "CD"),
        ),
    ),
)
