"""What the card of an exported classifier says of where it is from."""

from jaxattn.classifier.card import _stages
from jaxattn.runs.results import Results, Stage


def test_a_published_encoder_is_named_with_its_commit() -> None:
    stages = (
        Stage("pretrain", "bert", 0, None, "sdpa", imported_from="some-one/tiny-bert@0123"),
        Stage("tapt", "sst", 9, "sst5", "sdpa"),
    )
    assert _stages(Results(stages=stages)) == [
        "- pretrain `bert` from `some-one/tiny-bert@0123`, attention `sdpa`, step 0.",
        "- tapt `sst` on `sst5`, attention `sdpa`, step 9.",
    ]
