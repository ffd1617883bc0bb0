"""--mode=recipe: pretrain -> TAPT -> fine-tune under one name, each stage run once.

The stages are runs/pretrain/<exp>, runs/tapt/<exp> and runs/finetune/<exp>. A stage whose result is
there is not run again. It must be the result of what is asked for now: the same options, the same
data, the same parameters to start from. Otherwise the recipe says what differs and stops; nothing
is overwritten.
"""

from typing import Any

from jaxattn.console import say
from jaxattn.files import write_json
from jaxattn.request import Request
from jaxattn.sweeps.chain import Call, run_stages
from jaxattn.sweeps.recipe import _folder, recipe_calls, result_stands, stage_summary


def run(request: Request) -> int:
    """Runs what is missing of the recipe; writes runs/recipe/<exp>/recipe.json."""
    exp = request.needed("exp", "imdb")
    recipe = request.resolved().recipe
    calls = recipe_calls(exp, recipe.stages, request.pretrain, recipe.pretrain_path)

    def stands(call: Call) -> bool:
        return result_stands(request, call)

    # Asked for all before any is run: hours later is late to hear that an option has changed.
    for call in calls:
        stands(call)
    code, _ = run_stages(
        calls, request.config_args, runs=request.runs, resume=request.resume, stands=stands
    )
    if code > 2:
        say("the recipe was stopped; go on with --resume")
    folders = [_folder(request, call) for call in calls]
    records = [stage_summary(folder) for folder in folders if folder.state == "finished"]
    path = request.runs / "recipe" / exp / "recipe.json"
    if records:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"exp": exp, "stages": records})
    if code == 0:
        for record in records:
            print(_line(record))
        print(f"written: {path}")
    return code


def _line(record: dict[str, Any]) -> str:
    quality = "  ".join(f"{name} {value:.4f}" for name, value in record["quality"].items())
    split = "test" if record["kind"] == "finetune" else "validation"
    return (
        f"{record['kind']:9} {record['attention']:16} {record['train_seconds']:8.1f} s  "
        f"{split} {quality}"
    )
