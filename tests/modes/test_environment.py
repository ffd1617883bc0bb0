"""What environment.json says of the machine and of how exact attention is computed on it."""

import pytest

from jaxattn.attention import sdpa
from jaxattn.config import Config, replace
from jaxattn.modes.environment import attention_implementations


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


def test_other_attentions_have_none() -> None:
    config = replace(Config(), {"attention.type": "performer_favor"})
    assert attention_implementations(config) == {}
