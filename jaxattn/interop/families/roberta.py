"""RoBERTa (Liu et al. 2019), XLM-RoBERTa (Conneau et al. 2020) and CamemBERT: BERT's encoder.

Positions count from the id of the padding token, plus one: of the table so many rows belong to no
token of a text. They are left out, and are zeros in what is exported.
"""

import dataclasses

from jaxattn.config import ModelConfig
from jaxattn.interop.families.bert import BERT
from jaxattn.interop.family import ENCODER, MLM_HEAD, POOLER, ClassifierHead, Parts
from jaxattn.interop.tensors import Tensor, dense, embeddings, layers, norm

_PREFIX = "roberta."


def _tensors(model: ModelConfig, before: int) -> Parts:
    mlm = [
        *dense(("transform",), "lm_head.dense", "DD"),
        *norm(("norm",), "lm_head.layer_norm"),
        Tensor(("output_bias",), "lm_head.bias", "V"),
    ]
    return {
        ENCODER: embeddings(_PREFIX, before=before) + layers(_PREFIX, model.num_layers),
        MLM_HEAD: mlm,
        POOLER: dense(("pooler",), f"{_PREFIX}pooler.dense", "DD"),
    }


ROBERTA = dataclasses.replace(
    BERT,
    name="RoBERTa",
    model_types={"roberta": "Roberta", "xlm-roberta": "XLMRoberta", "camembert": "Camembert"},
    prefix=_PREFIX,
    tensors=_tensors,
    needless=(f"{_PREFIX}embeddings.position_ids",),
    tied={
        "lm_head.decoder.weight": f"{_PREFIX}embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    },
    # Its own pooler in another place: the same computation, but for a dropout before it.
    classifier=ClassifierHead(
        "bert",
        "classifier_dropout",
        (
            *dense(("pooler",), "classifier.dense", "DD"),
            *dense(("classifier",), "classifier.out_proj", "CD"),
        ),
    ),
    token_types=1,
    positions_from_pad=True,
    frame_ids=(("bos_token_id", "cls"), ("eos_token_id", "sep")),
    word_pieces=False,
    converter="ForMaskedLM",
)
