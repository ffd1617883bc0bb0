"""--mode=merge: a run that trained a part of the parameters as a run of ordinary parameters."""

import dataclasses
import shutil

from jaxattn.config import flatten, replace, to_plain
from jaxattn.console import say
from jaxattn.data.tokens.wordpiece import load_tokenizer
from jaxattn.errors import InputError
from jaxattn.files import entry, write_json
from jaxattn.model.heads import ClassifierModel
from jaxattn.model.peft import FOLDABLE
from jaxattn.ops.trees import count_parameters, tree_hash
from jaxattn.request import Request
from jaxattn.runs.folder import MERGED, RunFolder
from jaxattn.stages import machine
from jaxattn.stages.merged import COPIED, _save
from jaxattn.stages.parameters import params_of_run

WHY_NOT = {
    "full": "it trained all parameters: there is nothing to merge",
    "soft_prompt": "a soft prompt lengthens the input and is no part of any weight",
    "adapter": "an adapter is a layer with an activation and is no part of any weight",
}


def run(request: Request) -> None:
    """Writes runs/finetune/<exp>_merged/ (or --output=<name>): it predicts what <exp> does.

    It needs neither the base nor `peft`, and holds no optimizer: it can be read, not trained.

    Raises:
      InputError: the method cannot be folded, the run is not finished, or the name is taken.
    """
    source = RunFolder(request.runs, "finetune", request.needed("exp", "imdb_lora"))
    source.must_exist()
    config, extra = source.saved_config()
    method = config.peft.method
    if method not in FOLDABLE:
        raise InputError(f"{source.path} cannot be merged: {WHY_NOT[method]}")
    if source.state != "finished":
        raise InputError(f"{source.path} is {source.state}, not finished; merge it when it is")
    merged = RunFolder(request.runs, "finetune", request.output or f"{source.exp}_merged")
    if merged.path.exists():
        raise InputError(f"{merged.path} already exists; choose another name with --output=<name>")
    names = entry(extra, "label_names", list, source.config_path)
    tokenizer = load_tokenizer(source.path / "tokenizer.json", config.tokenizer.lowercase)
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
        write_json(merged.path / MERGED, {"exp": source.exp, "peft": method, "step": step})
        _save(merged, source, flatten(to_plain(plain)), params, step)
        parameters, digest = count_parameters(params), tree_hash(params)
        own = dataclasses.replace(results, exp=merged.exp, parameters=parameters, best_hash=digest)
        own.write(merged.results_path)
    say(f"finished: {merged.path}: {parameters:,} parameters, those of {source.path}")
