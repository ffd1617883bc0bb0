"""The parameters of a classifier: what it begins with, and what a run folder makes of it.

A run that trains a part of the parameters keeps that part, the name of the checkpoint it started
from and the hash of what it took from there. The whole is put together again from both.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxattn.config import Config
from jaxattn.data.tokens import SpecialIds
from jaxattn.errors import InputError
from jaxattn.model.heads import ClassifierModel
from jaxattn.modes.pretrain import SCRATCH
from jaxattn.modes.run_folder import RunFolder
from jaxattn.modes.starting_point import pretrained_params
from jaxattn.modes.training import Base
from jaxattn.ops.trees import joined, split, tree_hash
from jaxattn.peft import complete, cut, equipped, is_added
from jaxattn.train.carry_over import carried_over, keys_fitted
from jaxattn.train.checkpoints import Checkpoints
from jaxattn.train.extend_positions import tiled
from jaxattn.train.state import init_key


def check_method(config: Config, pretrain: str) -> None:
    """Raises InputError where `peft.method` makes no sense with the rest of a fine-tuning."""
    method = config.peft.method
    if method == "full":
        return
    if pretrain == SCRATCH:
        raise InputError(
            f"--pretrain=none: peft.method = {method} leaves the encoder as it is, so it needs a "
            "pretrained one; give --pretrain=<run>, or peft.method=full"
        )
    for name in ("extend", "extra_tokens"):
        if found := getattr(config.tokenizer, name):
            raise InputError(
                f"tokenizer.{name}: found {found!r}, allowed with peft.method = {method}: none "
                "(the embeddings of new tokens would stay untrained); extend it in TAPT"
            )


def init_classifier(model: ClassifierModel, seed: int) -> Any:
    """Parameters at step 0."""
    keys = {"params": init_key(seed), "attention": init_key(seed)}
    ids, mask = jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1), bool)

    def init() -> Any:
        return model.init(keys, ids, mask, deterministic=True)["params"]

    return jax.jit(init)()


def first_params(
    model: ClassifierModel, config: Config, special: SpecialIds, pretrain: str, found: Any
) -> tuple[Any, Base | None]:
    """What is trained, at step 0, and what it is added to: None where everything is trained.

    Args:
      model: of the run.
      config: of the run.
      special: ids that no prompt begins as.
      pretrain: where `found` is from, name@step.
      found: parameters of that checkpoint; None: the encoder starts from random weights.

    Raises:
      InputError: `found` does not fit the model, or the method does not.
    """
    params, key = init_classifier(model, config.train.seed), init_key(config.train.seed)
    if found is not None:
        added, wanted = split(params["encoder"], is_added)
        encoder = joined(added, carried_over(wanted, found["encoder"], pretrain))
        params = {**params, "encoder": encoder}
    words = [token for token in range(model.vocab_size) if token not in special]
    params = equipped(params, config.peft, jax.random.fold_in(key, 0), words)
    trained, frozen = cut(params, config.peft.method)
    if frozen is None:
        return trained, None
    peft = config.peft
    return trained, Base(pretrain, frozen, lambda one, other: complete(one, other, peft))


def params_of_run(folder: RunFolder, config: Config, model: ClassifierModel, step: int) -> Any:
    """All parameters of the model as a fine-tuning run has them in its checkpoint of `step`.

    Raises:
      InputError: the checkpoint is damaged, or the run trained a part of the parameters and the
        checkpoint it started from is not there, or not the same.
    """
    checkpoints = Checkpoints(folder.path / "checkpoints", keep=1)
    trained = checkpoints.load_params(step)
    if config.peft.method == "full":
        return jax.device_put(trained)
    document = checkpoints.document(step)
    reference = document["base"]
    where = f"{folder.path} holds what peft.method = {config.peft.method} trained"
    try:
        found = tiled(pretrained_params(folder.runs, reference), config.model.max_seq_len)
    except InputError as error:
        raise InputError(f"{where}, but its base cannot be read: {error}") from None
    everything = jax.eval_shape(lambda: init_classifier(model, 0))
    wanted = split(everything["encoder"], is_added)[1]
    frozen = {"encoder": keys_fitted(wanted, found["encoder"])[0]}
    if tree_hash(frozen) != document["base_hash"]:
        raise InputError(
            f"{where}, but its base {reference} has other parameters now than it had then "
            f"(SHA-256 {tree_hash(frozen)[:12]}, expected {document['base_hash'][:12]})"
        )
    return jax.tree.map(jnp.asarray, complete(trained, frozen, config.peft))
