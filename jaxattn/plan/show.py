"""A plan, and its comparison with a finished run, as tables on the terminal."""

from jaxattn.console import GIB, MIB, duration, print_table, shown, tell
from jaxattn.plan.plan import Check, Plan
from jaxattn.profile.memory import LARGEST_BATCH

_PARTS = {
    "parameters": "parameters",
    "optimizer": "optimizer state",
    "gradients": "gradients",
    "activations": "activations and work space",
    "batch": "batch and sums",
    "total": "total",
}


def print_plan(plan: Plan) -> None:
    """Prints what is needed, where it fits, and how long it takes."""
    tell(
        f"Plan of {plan['kind']} {plan['exp']}: {plan['attention']}, {plan['precision']}, "
        f"batches of {plan['batch_size']:,}, up to {plan['length']:,} tokens, on {plan['device']}\n"
        f"{plan['parameters']:,} parameters; vocabulary of {plan['workload']['vocab_size']:,}; "
        f"{plan['workload']['origin']}\n"
    )
    _print_memory(plan)
    _print_devices(plan)
    _print_times(plan)


def _print_memory(plan: Plan) -> None:
    total = plan["memory"]["total"]
    shape = f"{plan['batch_size']:,} x {plan['length']:,} tokens"
    print_table(
        f"Memory of a training step, {shape}",
        ("part", "MiB", "%"),
        [
            (name, shown(size, ",.1f", times=1 / MIB), shown(size / total, ".1%"))
            for name, size in ((name, plan["memory"][part]) for part, name in _PARTS.items())
        ],
    )
    tell(
        "Gradients, activations and work space are the temporaries of the compiled step; the "
        "gradients count as one\ntree like the parameters."
    )
    if plan["device_kind"] == "cpu":
        tell("For a GPU they are an estimate: this is what the CPU compiler needs.")
    print()


def _print_devices(plan: Plan) -> None:
    print_table(
        f"Where it fits, {plan['memory']['total'] / GIB:.2f} GiB needed",
        ("device", "usable GiB", "fits", "largest batch", "", "note"),
        [
            (
                row["name"],
                shown(row["usable"], ".1f", times=1 / GIB),
                "yes" if row["fits"] else "no",
                _batch(row["largest_batch"]),
                "compiled" if row["largest_batch_compiled"] else "extrapolated",
                row["note"],
            )
            for row in plan["devices"]
        ],
    )
    tell(
        f"Usable: {plan['usable_share']:.0%} of the memory, which is what JAX takes (75 % unless "
        "XLA_CLIENT_MEM_FRACTION\nsays otherwise); the rest is left to the CUDA context and its "
        "libraries. The largest batch is that of the\nlongest length: compiled at this size, or "
        "extrapolated along a line through two compiled sizes.\n"
    )


def _batch(rows: int) -> str:
    more = " or more" if rows >= LARGEST_BATCH else ""
    return shown(rows) + more if rows else "none"


def _print_times(plan: Plan) -> None:
    print_table(
        f"Time of training on {plan['device']}",
        ("length", "steps / epoch", "s / step", "tokens/s", ""),
        [
            (
                shown(row["length"]),
                shown(row["steps"]),
                shown(row["seconds_per_step"], ".4g"),
                shown(row["tokens_per_second"], ",.0f"),
                row["how"],
            )
            for row in plan["lengths"]
        ],
    )
    if plan["steps_per_epoch"] is None:
        tell("The number of steps is not known.")
    else:
        tell(f"An epoch: {plan['steps_per_epoch']:,} steps, {_time(plan['seconds_per_epoch'])}")
        tell(f"The run: {plan['steps']:,} steps, {_time(plan['train_seconds'])}")
    tell(f"Compiling {len(plan['lengths'])} programs: {_time(plan['compile_seconds'])}")
    tell("Not in it: reading the data, validating, saving.\n")


def _time(seconds: float | None) -> str:
    return duration(seconds, fine=True, unknown="time not known")


def print_check(checked: Check) -> None:
    """Prints what was predicted, what was recorded, and their ratio."""
    if checked["figures"]:
        print_table(
            f"The plan beside {checked['run']}",
            ("", "predicted", "recorded", "recorded / predicted"),
            [
                (
                    row["name"],
                    _figure(row["predicted"]),
                    _figure(row["recorded"]),
                    shown(row["ratio"], ".3f"),
                )
                for row in checked["figures"]
            ],
        )
    for note in checked["notes"]:
        tell(note)


def _figure(value: float | None) -> str:
    return shown(value, "," if isinstance(value, int) else ",.2f")
