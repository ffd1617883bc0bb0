"""ELECTRA (Clark et al. 2020): BERT's encoder behind embeddings that may be narrower.

A generator has an MLM head; what a discriminator predicts with is left out.
"""

import dataclasses

from jaxattn.config import ModelConfig
from jaxattn.interop.families.bert import BERT
from jaxattn.interop.family import ENCODER, MLM_HEAD, ClassifierHead, Parts
from jaxattn.interop.tensors import Tensor, dense, embeddings, layers, norm

_PREFIX = "electra."


def _tensors(model: ModelConfig, before: int) -> Parts:
    encoder = embeddings(_PREFIX, before=before)
    if model.embedding_dim:
        ours = ("encoder", "embeddings", "project")
        encoder += dense(ours, f"{_PREFIX}embeddings_project", "DE")
    mlm = [
        *dense(("transform",), "generator_predictions.dense", "ED"),
        *norm(("norm",), "generator_predictions.LayerNorm", "E"),
        Tensor(("output_bias",), "generator_lm_head.bias", "V"),
    ]
    return {ENCODER: encoder + layers(_PREFIX, model.num_layers), MLM_HEAD: mlm}


ELECTRA = dataclasses.replace(
    BERT,
    name="ELECTRA",
    model_types={"electra": "Electra"},
    prefix=_PREFIX,
    inner=("embeddings.", "embeddings_project.", "encoder."),
    options={name: value for name, value in BERT.options.items() if name != "model.embedding_dim"},
    embedding_width="embedding_size",
    tensors=_tensors,
    needless=(
        f"{_PREFIX}embeddings.position_ids",
        *(
            f"discriminator_predictions.{layer}.{kind}"
            for layer in ("dense", "dense_prediction")
            for kind in ("weight", "bias")
        ),
    ),
    tied={"generator_lm_head.weight": f"{_PREFIX}embeddings.word_embeddings.weight"},
    # Of a dropout more than ours, before the pooler.
    classifier=ClassifierHead(
        "gelu",
        "classifier_dropout",
        (
            *dense(("pooler",), "classifier.dense", "DD"),
            *dense(("classifier",), "classifier.out_proj", "CD"),
        ),
    ),
    converter="ForMaskedLM",
)
