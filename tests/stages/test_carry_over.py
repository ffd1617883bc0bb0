"""Parameters that go from one attention to another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxattn.config import Config, replace
from jaxattn.errors import InputError
from jaxattn.model.heads import MlmModel, init_mlm
from jaxattn.ops.trees import Params, path_names
from jaxattn.stages.parameters import carried_over

TINY = {
    "model.num_layers": 2, "model.hidden_dim": 16, "model.mlp_dim": 32, "model.num_heads": 2,
    "model.qkv_dim": 16,
}  # fmt: skip
ATTENTIONS = {
    "sdpa": {"attention.type": "sdpa"},
    "favor": {"attention.type": "performer_favor"},
    "lsh": {"attention.type": "reformer_lsh"},
    "lsh_with_keys": {
        "attention.type": "reformer_lsh", "attention.reformer_lsh.shared_qk": False,
    },
}  # fmt: skip


def params(attention: str, seed: int) -> Params:
    config = replace(Config(), TINY | ATTENTIONS[attention])
    return init_mlm(MlmModel(config, 40), seed)


def by_name(tree: Params) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {"/".join(path_names(path)): np.asarray(leaf) for path, leaf in leaves}


@pytest.mark.parametrize("after", ["sdpa", "favor", "lsh", "lsh_with_keys"])
@pytest.mark.parametrize("before", ["sdpa", "lsh"])
def test_everything_but_keys_is_kept_bitwise(
    before: str, after: str, recwarn: pytest.WarningsRecorder
) -> None:
    old, fresh = params(before, 1), params(after, 2)
    found, wanted = by_name(carried_over(fresh, old, "wiki@3")), by_name(old)
    assert found.keys() == by_name(fresh).keys()
    for name, value in found.items():
        source = name if name in wanted else name.replace("/key/", "/query/")
        np.testing.assert_array_equal(value, wanted[source])
    said = [str(warning.message) for warning in recwarn if warning.category is UserWarning]
    if (before == "lsh") == (after == "lsh"):
        assert said == []
        assert found.keys() == wanted.keys()
    else:
        assert len(said) == 1
        assert ("dropped" if after == "lsh" else "begin as those of queries") in said[0]


def test_other_shapes_are_refused_by_name() -> None:
    old, fresh = params("lsh", 1), params("sdpa", 2)
    fresh["output_bias"] = jnp.zeros(41)
    with pytest.raises(InputError, match=r"--pretrain=wiki.*output_bias is \(40,\)"):
        carried_over(fresh, old, "wiki")
