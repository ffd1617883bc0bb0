"""BERT (Devlin et al. 2019): layer norms after the residuals, exact GELU, tied output weights."""

from jaxattn.config import ModelConfig
from jaxattn.interop.family import ENCODER, MLM_HEAD, POOLER, ClassifierHead, Family, Parts
from jaxattn.interop.tensors import Tensor, dense, embeddings, layers, norm

_POOLER = dense(("pooler",), "bert.pooler.dense", "DD")


def _tensors(model: ModelConfig, before: int) -> Parts:
    head = "cls.predictions.transform"
    mlm = [
        *dense(("transform",), f"{head}.dense", "DD"),
        *norm(("norm",), f"{head}.LayerNorm"),
        Tensor(("output_bias",), "cls.predictions.bias", "V"),
    ]
    encoder = embeddings("bert.", before=before) + layers("bert.", model.num_layers)
    return {ENCODER: encoder, MLM_HEAD: mlm, POOLER: _POOLER}


BERT = Family(
    name="BERT",
    model_types={"bert": "Bert"},
    prefix="bert.",
    inner=("embeddings.", "encoder.", "pooler."),
    sizes={
        "num_hidden_layers": "model.num_layers",
        "hidden_size": "model.hidden_dim",
        "intermediate_size": "model.mlp_dim",
        "num_attention_heads": "model.num_heads",
        "max_position_embeddings": "model.max_seq_len",
        "type_vocab_size": "model.token_types",
    },
    shares={
        "layer_norm_eps": ("model.norm_eps",),
        "hidden_dropout_prob": (
            "model.mlp_dropout",
            "model.embedding_dropout",
            "model.attention_output_dropout",
        ),
        "attention_probs_dropout_prob": ("model.attention_dropout",),
    },
    only={
        "hidden_act": ("gelu", "our MLM head has the exact GELU only"),
        "position_embedding_type": (
            "absolute",
            "relative positions of that kind are not computed",
        ),
        "is_decoder": (False, "a decoder attends to earlier tokens only"),
        "add_cross_attention": (False, "there is no second input to attend to"),
        "tie_word_embeddings": (True, "our MLM head scores with the token embeddings"),
    },
    options={
        "attention.type": "sdpa",
        "attention.pattern": (),
        "model.embedding_dim": 0,
        "model.positions": "learned",
        "model.norm": "post",
        "model.activation": "gelu",
        "model.projection_bias": True,
    },
    constants={"hidden_act": "gelu"},
    tensors=_tensors,
    # A count from 0, and the head that told whether sentences follow.
    needless=(
        "bert.embeddings.position_ids",
        "cls.seq_relationship.weight",
        "cls.seq_relationship.bias",
    ),
    tied={
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    classifier=ClassifierHead(
        "bert", "classifier_dropout", (*_POOLER, *dense(("classifier",), "classifier", "CD"))
    ),
    token_types=2,
    converter="ForPreTraining",
)
