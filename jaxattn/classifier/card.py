"""The README.md of an exported classifier: what it is, how good, from what, and what it is not."""

from collections.abc import Mapping
from typing import Any

from jaxattn.config import Config
from jaxattn.files import read_json
from jaxattn.runs.folder import RunFolder
from jaxattn.runs.results import Results

_METRICS = ("accuracy", "macro_f1", "weighted_f1", "auroc", "loss")


def model_card(
    folder: RunFolder, config: Config, label_names: tuple[str, ...], about: Mapping[str, Any]
) -> str:
    """The card, in Markdown, of the run in `folder`; `about` is program.json."""
    results = folder.results() if folder.results_path.exists() else Results()
    machine = read_json(folder.path / "environment.json")
    name, data, model = folder.exp, config.data, config.model
    origin = f"hub data set `{data.hub}`" if data.hub and not data.path else "files of the author"
    if not data.path and not data.hub:
        origin = "built in"
    long = (
        f"read in windows of {data.max_length} tokens that share {config.predict.overlap}"
        if config.predict.long == "window"
        else f"cut at {data.max_length} tokens ({data.truncate} kept)"
    )
    lines = [
        "---",
        "library_name: jaxattn",
        "pipeline_tag: text-classification",
        "license: unknown  # of these weights: for their author to choose",
        "---",
        "",
        f"# {name}",
        "",
        f"A text classifier of {len(label_names)} classes: "
        + ", ".join(f"`{label}`" for label in label_names)
        + ".",
        "",
        "## Use",
        "",
        "```python",
        "from jaxattn import load",
        "",
        'model = load("path/to/this/folder")',
        'model.predict(["a text"])',
        "```",
        "",
        'Without jaxattn: `python classify.py "a text"` (jax, flatbuffers, numpy and tokenizers).',
        "",
        "## Model",
        "",
        f"- Encoder of {model.num_layers} blocks, width {model.hidden_dim}, {model.num_heads} "
        f"heads, positions {model.positions}; attention `{config.attention.label}`; "
        f"{_number(results.parameters)} parameters.",
        f"- Longer texts are {long}. Mark-up taken out before: {data.clean}.",
        f"- Pooling {config.head.pooling}; trained in {config.train.precision}.",
        "",
        "## Data",
        "",
        f"- `{data.name}` ({origin}); licence: not recorded, see where the data are from.",
        f"- SHA-256 over texts, labels and splits: `{results.data_hash or 'not recorded'}`.",
        "",
        "## Metrics",
        "",
        *_metrics(results),
        "",
        "The checkpoint was chosen on validation; test was only reported. One run, one seed.",
        "",
        "## Intended use and limits",
        "",
        "- Meant for texts like those it was trained on, in their language and form. On others its "
        'probabilities say little; it has no class for "none of these".',
        "- It was not examined for bias against groups of people. Do not let it decide alone about "
        "people.",
        "- Probabilities are not calibrated unless you have checked it (`--mode=eval` says).",
        "- To be filled in by its author: what it is for, what it must not be used for, contact.",
        "",
        "## Provenance",
        "",
        *_stages(results),
        f"- Checkpoint of step {_known(results.best_step)}, seed "
        f"{config.train.seed}, parameters' SHA-256 `{results.best_hash or 'not recorded'}`.",
        f"- Trained on {machine.get('device')} with Python {machine.get('python')}, git commit "
        f"`{machine.get('git_commit')}`.",
        "- Versions: "
        + ", ".join(f"{k} {v}" for k, v in (machine.get("versions") or {}).items() if v)
        + ".",
        f"- StableHLO written with {about['written_with']} for {', '.join(about['platforms'])}.",
        "",
    ]
    return "\n".join(lines)


def _number(count: int | None) -> str:
    return "an unrecorded number of" if count is None else f"{count:,}"


def _known(step: int | None) -> str:
    return "not recorded" if step is None else str(step)


def _metrics(results: Results) -> list[str]:
    if results.test is None:
        return ["The run was not finished: there are none."]
    rows = ["| | validation | test |", "|---|---|---|"]
    for name in _METRICS:
        cells = ((split or {}).get(name) for split in (results.validation, results.test))
        shown = ("-" if cell is None else f"{cell:.4f}" for cell in cells)
        rows.append(f"| {name} | {' | '.join(shown)} |")
    return rows


def _stages(results: Results) -> list[str]:
    return [
        f"- {stage.kind} `{stage.exp}`"
        + (f" from `{stage.imported_from}`" if stage.imported_from else f" on `{stage.data}`")
        + f", attention `{stage.attention}`, step {stage.step}."
        for stage in results.stages or ()
    ]
