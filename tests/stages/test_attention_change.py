"""What is said of an exchange of the attention."""

import pytest

from jaxattn.config import Config, replace
from jaxattn.stages.change import AttentionChange, attention_change


@pytest.mark.parametrize(
    ("losses", "regained"),
    [((5.0, 7.0, 6.0), 0.5), ((5.0, 7.0, 4.0), 1.5), ((5.0, 5.0 + 1e-9, 5.1), None),
     ((5.0, 4.9, 4.0), None), ((0.0, 0.02, 0.03), -0.5)],
)  # fmt: skip
def test_a_share_of_rounding_is_not_told(
    losses: tuple[float, float, float], regained: float | None, capsys: pytest.CaptureFixture[str]
) -> None:
    told = AttentionChange(Config(), {}, "reformer_lsh").report("mlm", *losses)
    assert told["regained"] == (None if regained is None else pytest.approx(regained))
    assert ("of what was lost" in capsys.readouterr().err) == (regained is not None)


def test_other_options_of_the_same_attention_are_a_change() -> None:
    favor = replace(Config(), {"attention.type": "performer_favor"})
    more = replace(favor, {"attention.performer_favor.nb_features": 512})
    assert attention_change(favor, favor, {}) is None
    change = attention_change(more, favor, {})
    assert change is not None
    assert change.after == "performer_favor"
