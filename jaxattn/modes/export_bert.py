"""--mode=export_bert: a run's parameters as a folder that Hugging Face `transformers` loads."""

from pathlib import Path

from jaxattn.classifier.load import load_classifier
from jaxattn.console import say
from jaxattn.errors import InputError
from jaxattn.files import expanded
from jaxattn.interop.export import write_published
from jaxattn.request import Request
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.kinds import SCRATCH
from jaxattn.stages.imported import model_type_of
from jaxattn.stages.origin import inherited_pooler, pinned, pretrained_params, source_of
from jaxattn.stages.vocabulary import source_tokenizer


def run(request: Request) -> None:
    """Writes --output: encoder and MLM head of --pretrain, or the classifier of --exp."""
    target = expanded(request.needed("output", "my-bert"))
    if bool(request.exp) == bool(request.pretrain):
        raise InputError(
            "--mode=export_bert takes --pretrain=<a pretraining or tapt/<exp>> or --exp=<a "
            "fine-tuning>, one of them"
        )
    loads = _classifier(request, target) if request.exp else _mlm(request, target)
    say(f"written: {target}; transformers loads it as {' or '.join(loads)}")


def _mlm(request: Request, target: Path) -> list[str]:
    if request.pretrain == SCRATCH:
        raise InputError(f"--pretrain={SCRATCH}: there is nothing to export")
    name = pinned(request.runs, request.pretrain)
    source, _ = source_of(request.runs, name)
    config, _ = source.saved.config()
    params = pretrained_params(request.runs, name)
    pooler = inherited_pooler(request.runs, name)
    if pooler is not None:
        params = {**params, "pooler": pooler}
    tokenizer = source_tokenizer(config, request.runs, name)
    return write_published(
        target,
        config,
        params,
        tokenizer,
        model_type=model_type_of(source),
        origin=f"{source.kind}/{name}",
    )


def _classifier(request: Request, target: Path) -> list[str]:
    folder = RunFolder(request.runs, "finetune", request.exp)
    found = load_classifier(folder)
    return write_published(
        target,
        found.config,
        found.trained.params,
        found.tokenizer,
        model_type=model_type_of(folder),
        label_names=found.label_names,
        origin=f"finetune/{folder.exp}",
    )
