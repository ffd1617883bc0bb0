"""--mode=recipe: pretrain -> TAPT -> fine-tune under one name, each stage run once.

The stages are runs/pretrain/<exp>, runs/tapt/<exp> and runs/finetune/<exp>. A stage whose result is
there is not run again. It must be the result of what is asked for now: the same options, the same
data, the same parameters to start from. Otherwise the recipe says what differs and stops; nothing
is overwritten.
"""

from jaxattn.request import Request
from jaxattn.sweeps.recipe import record_path, run_recipe


def run(request: Request) -> int:
    """Runs what is missing of the recipe; writes runs/recipe/<exp>/recipe.json."""
    code, records = run_recipe(request)
    if code:
        return code
    for record in records:
        measures = record["quality"].items()
        quality = "  ".join(f"{name} {value:.4f}" for name, value in measures)
        split = "test" if record["kind"] == "finetune" else "validation"
        print(
            f"{record['kind']:9} {record['attention']:16} {record['train_seconds']:8.1f} s  "
            f"{split} {quality}"
        )
    print(f"written: {record_path(request)}")
    return 0
