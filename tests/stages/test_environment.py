"""What environment.json says of the machine and of how attention is computed on it."""

import pytest

from jaxattn.attention.favor import attention as favor
from jaxattn.attention.sdpa import attention as sdpa
from jaxattn.config import Config, replace
from jaxattn.stages.machine import attention_implementations


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "cudnn"),
        ({"data.packing": True}, "blockwise"),
        ({"model.positions": "relative"}, "blockwise"),
        ({"model.attention_dropout": 0.1}, "blockwise"),
        ({"attention.sdpa.implementation": "xla"}, "xla"),
    ],
)
def test_what_cudnn_cannot_do_is_not_recorded_as_its_work(
    monkeypatch: pytest.MonkeyPatch, options: dict, expected: str
) -> None:
    monkeypatch.setattr(
        sdpa, "why_not_cudnn", lambda dtype, widths, plain: None if plain else "not plain"
    )
    config = replace(Config(), {"data.length_buckets": (512,), **options})
    found = attention_implementations(config)
    assert {length: text.partition(" ")[0] for length, text in found.items()} == {"512": expected}


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, "fused"), ({"data.packing": True}, "xla"), ({"model.positions": "relative"}, "xla")],
)
def test_what_the_kernels_of_favor_cannot_do_is_not_recorded_as_their_work(
    monkeypatch: pytest.MonkeyPatch, options: dict, expected: str
) -> None:
    monkeypatch.setattr(
        favor,
        "why_not_fused",
        lambda features, dtype, widths, count, plain: None if plain else "not plain",
    )
    chosen = {"attention.type": "performer_favor", "data.length_buckets": (512,), **options}
    found = attention_implementations(replace(Config(), chosen))
    assert {length: text.partition(" ")[0] for length, text in found.items()} == {"512": expected}


def test_lsh_has_no_such_option() -> None:
    assert attention_implementations(replace(Config(), {"attention.type": "reformer_lsh"})) == {}
