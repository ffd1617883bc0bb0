"""A tree of parameters with the names that a classifier of two blocks has."""

from typing import Any

import numpy as np
import pytest


def made_params(seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)

    def array(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    def block() -> dict[str, Any]:
        return {
            "attention": {"query": {"kernel": array(4, 6), "bias": array(6)}},
            "mlp_norm": {"scale": array(4), "bias": array(4)},
            "mlp": {"down": {"kernel": array(6, 4)}},
        }

    encoder = {
        "embeddings": {"tokens": {"embedding": array(7, 4)}},
        "relative_table": array(2, 4),
        "blocks_0": block(),
        "blocks_1": block(),
        "final_norm": {"scale": array(4)},
    }
    return {"encoder": encoder, "classifier": {"kernel": array(4, 3), "bias": array(3)}}


@pytest.fixture
def params() -> dict[str, Any]:
    return made_params()
