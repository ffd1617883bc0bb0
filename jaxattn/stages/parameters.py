"""The parameters of a classifier: what it begins with, and what a run folder makes of it.

A run that trains a part of the parameters keeps that part, the name of the checkpoint it started
from and the hash of what it took from there. The whole is put together again from both.
"""

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxattn.config import Config
from jaxattn.console import say
from jaxattn.data.tokens.arrays import SpecialIds
from jaxattn.errors import InputError
from jaxattn.model.heads import ClassifierModel, init_classifier
from jaxattn.model.keys import init_key
from jaxattn.model.peft import complete, cut, equipped, is_added
from jaxattn.ops.trees import Params, joined, shapes_differ, split, tree_hash
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.kinds import SCRATCH
from jaxattn.stages.agreement import require_agreement
from jaxattn.stages.origin import (
    POOLER,
    has_trained_head,
    inherited_pooler,
    pretrained_params,
)
from jaxattn.train.checkpoints import Checkpoints


@dataclasses.dataclass(frozen=True)
class Base:
    """What a run that trains a part of the parameters adds it to.

    Attributes:
      reference: the checkpoint it is from, name@step.
      frozen: the other parameters.
      complete: (trained, frozen) -> the parameters of the model.
    """

    reference: str
    frozen: Params
    complete: Callable[[Params, Params], Params]

    def document(self) -> dict[str, str]:
        """What every checkpoint of the run says of it."""
        return {"base": self.reference, "base_hash": tree_hash(self.frozen)}


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


def first_params(
    model: ClassifierModel, config: Config, special: SpecialIds, pretrain: str, found: Params | None
) -> tuple[Params, Base | None]:
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


def params_of_run(folder: RunFolder, config: Config, model: ClassifierModel, step: int) -> Params:
    """All parameters of the model as a fine-tuning run has them in its checkpoint of `step`.

    Raises:
      InputError: the checkpoint is damaged, or not of the run whose tokenizer and options stand
        beside it; or the run trained a part of the parameters and the checkpoint it started from is
        not there, or not the same.
    """
    checkpoints = Checkpoints(folder.path / "checkpoints", keep=1)
    require_agreement(folder, checkpoints, step)
    trained = checkpoints.load_params(step)
    if config.peft.method == "full":
        on_device: Params = jax.device_put(trained)
        return on_device
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
    result: Params = jax.tree.map(jnp.asarray, complete(trained, frozen, config.peft))
    return result


def first_pooler(config: Config, runs: Path, pretrain: str) -> Params:
    """What the head begins with: the pooler of an imported BERT, where there is one and the head is
    BERT's; or the dense layer and the norm of the MLM head before, as with ModernBERT.

    Says which weights of the head are new.
    """
    of_mlm = config.head.pooler == "gelu_norm" and not config.model.embedding_dim
    if of_mlm and has_trained_head(runs, pretrain):
        before = pretrained_params(runs, pretrain)
        say("the pooler is that of the MLM head before; the layer after it is new: random")
        taken = {POOLER: before["transform"], f"{POOLER}_norm": before["norm"]}
        begun: Params = jax.tree.map(jnp.asarray, taken)
        return begun
    pooler = inherited_pooler(runs, pretrain)
    usable = (config.head.pooling, config.head.pooler) == ("cls", "bert")
    if pooler is None or not usable:
        unused = "; the imported pooler needs head.pooling=cls and head.pooler=bert"
        say("the classification head is new: its weights are random" + (unused if pooler else ""))
        return {}
    say("the pooler is the imported BERT's; the layer after it is new: its weights are random")
    return {POOLER: jax.tree.map(jnp.asarray, pooler)}


def carried_over(wanted: Params, found: Params, name: str) -> Params:
    """The parameters of an earlier stage as arrays on the device.

    All of them, bit for bit, but the projections of keys where one of the two attentions has none:
    see `keys_fitted`. That is told in a warning.

    Args:
      wanted: parameters of the new stage at random, for their names and shapes.
      found: those of the checkpoint, nested dicts of arrays.
      name: of the checkpoint, for messages.

    Raises:
      InputError: the trees have different names or shapes.
    """
    fitted, done = keys_fitted(wanted, found)
    problem = shapes_differ(wanted, fitted)
    if problem:
        raise InputError(f"--pretrain={name}: the parameters do not fit: {problem}")
    if done:
        warnings.warn(f"--pretrain={name}: {done}", stacklevel=2)
    result: Params = jax.tree.map(jnp.asarray, fitted)
    return result


def keys_fitted(wanted: Any, found: Any) -> tuple[Any, str]:
    """`found` with projections of keys in the attention layers in which `wanted` has them.

    LSH attention with shared queries and keys has none. Towards it they are dropped; away from it
    they begin as those of the queries, which the keys were until then.

    Returns:
      The tree, and in words what was done; "" where nothing had to be.
    """
    if not isinstance(wanted, Mapping) or not isinstance(found, Mapping):
        return found, ""
    fitted, done = dict(found), ""
    if "query" in wanted and "query" in found:
        if "key" in found and "key" not in wanted:
            del fitted["key"]
            done = "the projections of keys are dropped, this attention takes queries for keys"
        elif "key" in wanted and "key" not in found:
            fitted["key"] = found["query"]
            done = "the projections of keys are new, they begin as those of queries"
    for name in fitted.keys() & wanted.keys():
        fitted[name], below = keys_fitted(wanted[name], fitted[name])
        done = done or below
    return fitted, done


def tiled(params: Params, length: int) -> Params:
    """`params` with a table of `length` learned positions: the old one again and again.

    Position i begins as position i mod n of the n there were, so that every stretch of n tokens
    looks to the model like a text (Beltagy et al. 2020, "Longformer", 5: copies of BERT's 512
    positions). Where the table is as long already, or there is none, nothing changes.

    Args:
      params: nested dicts with encoder/embeddings, and position_table [n, D] in it if learned.
      length: at least n.

    Returns:
      A new tree; all arrays but this one are the same objects, its rows below n the same bits.
    """
    encoder = params["encoder"]
    embeddings = encoder["embeddings"]
    if "position_table" not in embeddings:
        return params
    old = np.asarray(embeddings["position_table"])
    if len(old) == length:
        return params
    longer = old[np.arange(length) % len(old)]
    return {
        **params,
        "encoder": {**encoder, "embeddings": {**embeddings, "position_table": longer}},
    }


def grown(params: Params, origins: Sequence[Sequence[int]]) -> Params:
    """`params` with a row more of the token embeddings, and of the MLM's bias, per new token.

    A new embedding is the mean of those of the pieces that the token was split into before, and
    its output bias the mean of theirs: at first the model takes a new word for a blend of its
    pieces, about as likely as they are (cf. Hewitt 2021, "Initializing new word embeddings").

    Args:
      params: nested dicts with encoder/embeddings/tokens/embedding [V, D], and output_bias [V]
        where there is an MLM head.
      origins: for each new token the rows, below V, of its pieces.

    Returns:
      A new tree; all arrays but these two are the same objects, rows below V the same bits.
    """
    if not origins:
        return params
    encoder = params["encoder"]
    tokens = encoder["embeddings"]["tokens"]
    tokens = {**tokens, "embedding": _more_rows(tokens["embedding"], origins)}
    embeddings = {**encoder["embeddings"], "tokens": tokens}
    result = {**params, "encoder": {**encoder, "embeddings": embeddings}}
    if "output_bias" in params:
        result["output_bias"] = _more_rows(params["output_bias"], origins)
    return result


def _more_rows(table: Any, origins: Sequence[Sequence[int]]) -> np.ndarray:
    old = np.asarray(table)
    new = np.stack([old[list(rows)].mean(axis=0, dtype=np.float64) for rows in origins])
    return np.concatenate([old, new.astype(old.dtype)])
