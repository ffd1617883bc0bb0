"""Learned positions for longer texts."""

import numpy as np

from jaxattn.stages.parameters import tiled


def params(rows: int) -> dict:
    table = np.arange(rows * 2, dtype=np.float32).reshape(rows, 2)
    tokens = {"embedding": np.ones((5, 2), np.float32)}
    embeddings = {"tokens": tokens, "position_table": table}
    return {"encoder": {"embeddings": embeddings, "blocks_0": {}}, "output_bias": np.zeros(5)}


def test_the_table_is_repeated_and_nothing_else_is_touched() -> None:
    old = params(3)
    new = tiled(old, 8)
    found = new["encoder"]["embeddings"]["position_table"]
    np.testing.assert_array_equal(found[:, 0], [0, 2, 4, 0, 2, 4, 0, 2])
    assert new["encoder"]["embeddings"]["tokens"] is old["encoder"]["embeddings"]["tokens"]
    assert new["output_bias"] is old["output_bias"]
    assert len(old["encoder"]["embeddings"]["position_table"]) == 3


def test_nothing_happens_where_nothing_is_to_be_done() -> None:
    same = params(3)
    assert tiled(same, 3) is same
    del same["encoder"]["embeddings"]["position_table"]
    assert tiled(same, 8) is same
