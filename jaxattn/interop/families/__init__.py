"""The families of published encoders that can be read and written; one file and one line each."""

from jaxattn.interop.families.bert import BERT
from jaxattn.interop.families.distilbert import DISTILBERT
from jaxattn.interop.families.electra import ELECTRA
from jaxattn.interop.families.modernbert import MODERNBERT
from jaxattn.interop.families.roberta import ROBERTA
from jaxattn.interop.family import Family

FAMILIES: tuple[Family, ...] = (
    BERT,
    DISTILBERT,
    ROBERTA,
    ELECTRA,
    MODERNBERT,
)

MODEL_TYPES = {model_type: family for family in FAMILIES for model_type in family.model_types}
"""`model_type` of config.json -> the family."""
