"""Configurations that were saved before an option existed."""

from jaxattn.config import Config, as_begun, as_meant, from_saved, replace


def test_runs_of_before_keep_the_dropout_they_were_begun_with() -> None:
    saved = from_saved({"train.seed": 3})
    assert (saved.train.seed, saved.train.dropout_prng) == (3, "threefry")
    assert from_saved({"train": {"dropout_prng": "hash"}}).train.dropout_prng == "hash"
    assert Config().train.dropout_prng == "hash"
    assert as_meant({"train.seed": 3})["train.dropout_prng"] == "threefry"


def test_the_same_flags_go_on_with_a_run_of_before() -> None:
    given = replace(Config(), {"train.seed": 3})
    assert as_begun(given, from_saved({})).train.dropout_prng == "threefry"
    assert as_begun(given, Config()) == given
