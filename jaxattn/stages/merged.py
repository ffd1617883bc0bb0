"""A run of ordinary parameters, with what a method of fine-tuning has learned folded in."""

import dataclasses
import shutil

import jax.numpy as jnp

from jaxattn.config import flatten, replace, to_plain
from jaxattn.errors import InputError
from jaxattn.files import entry, write_json
from jaxattn.model.heads import ClassifierModel
from jaxattn.model.peft import FOLDABLE
from jaxattn.ops.trees import Params, count_parameters, tree_hash
from jaxattn.runs.folder import MERGED, RunFolder
from jaxattn.runs.predictions import NAME
from jaxattn.stages import machine
from jaxattn.stages.parameters import params_of_run
from jaxattn.stages.vocabulary import tokenizer_of
from jaxattn.train.checkpoints import Checkpoints
from jaxattn.train.state import TrainState

COPIED = ("tokenizer.json", NAME)

WHY_NOT = {
    "full": "it trained all parameters: there is nothing to merge",
    "soft_prompt": "a soft prompt lengthens the input and is no part of any weight",
    "adapter": "an adapter is a layer with an activation and is no part of any weight",
}


def merge(source: RunFolder, merged: RunFolder) -> int:
    """Writes the finished fine-tuning `source` as `merged`; returns the number of its parameters.

    It needs neither the base nor `peft`, and holds no optimizer: it can be read, not trained.

    Raises:
      InputError: the method cannot be folded, `source` is not finished or cannot be read, or there
        is a run of that name already.
    """
    source.must_exist()
    config, extra = source.saved.config()
    if config.peft.method not in FOLDABLE:
        raise InputError(f"{source.path} cannot be merged: {WHY_NOT[config.peft.method]}")
    if source.state != "finished":
        raise InputError(f"{source.path} is {source.state}, not finished; merge it when it is")
    if merged.path.exists():
        raise InputError(f"{merged.path} already exists; choose another name with --output=<name>")
    names = entry(extra, "label_names", list, source.saved.path)
    if manifest := source.manifest:
        manifest.require(COPIED)
    tokenizer = tokenizer_of(source, config)
    results = source.results()
    if (step := results.best_step) is None:
        raise InputError(f"{source.results_path}: best_step: found None, expected a step")
    model = ClassifierModel(config, tokenizer.get_vocab_size(), len(names))
    params = params_of_run(source, config, model, step)
    plain = replace(config, {"peft.method": "full"})
    merged.begin(plain, extra, machine.describe(plain))
    with merged.running():
        for name in COPIED:
            shutil.copy(source.path / name, merged.path)
        method = config.peft.method
        write_json(merged.path / MERGED, {"exp": source.exp, "peft": method, "step": step})
        _save(merged, source, flatten(to_plain(plain)), params, step)
        parameters = count_parameters(params)
        digest = tree_hash(params)
        merged.write_results(
            dataclasses.replace(results, exp=merged.exp, parameters=parameters, best_hash=digest)
        )
    return parameters


def _save(
    merged: RunFolder, source: RunFolder, options: dict[str, object], params: Params, step: int
) -> None:
    """The one checkpoint of the merged run, whose document is that of the source but for `peft`."""
    document = Checkpoints(source.path / "checkpoints", keep=1).document(step)
    document = {name: value for name, value in document.items() if not name.startswith("base")}
    document |= {"config": options, "tally": {**document["tally"], "best_step": step}}
    key = jnp.zeros((2,), jnp.uint32)
    state = TrainState(params, (), jnp.asarray(step, jnp.int32), key)
    Checkpoints(merged.path / "checkpoints", keep=1).save(step, state, document, step)
