"""A stage of the comparison on IMDB: an ordinary run of `jaxattn` whose steps await their turn.

    python -m benchmarks.gpu.imdb_stage <name>

is what a stage's process runs: it imports everything, waits for its flags, and runs them as
`jaxattn` would, but begins its steps when it is told to (compare_imdb.py says why). The two sides
tell each other things in files of WORK, `<name>.<what>`, each of which is there when it is whole.
"""

import fcntl
import functools
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def number(name: str, default: float) -> float:
    """A number from the environment."""
    return float(os.environ.get(name, default))


TINY = bool(number("TINY", 0))
WORK = Path(os.environ.get("WORK", "/tmp/compare_imdb"))
TIMED = (2, 4) if TINY else (30, 90)
"""Steps between which the time of one is taken."""


def tell(name: str, what: str, value: Any) -> None:
    """Tells the other side of a stage something."""
    target = WORK / f"{name}.{what}"
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.write_text(json.dumps(value))
    temporary.replace(target)


def told(name: str, what: str) -> Any:
    """What the other side told; None where it is nothing yet."""
    try:
        return json.loads((WORK / f"{name}.{what}").read_text())
    except FileNotFoundError:
        return None


FEED = ("jaxattn.train.loop", "feed")
TOKENISED = ("jaxattn.data.tokens.encode", "tokenised")
"""The two functions of the package that are wrapped: the module that calls it, and its name there.

tests/benchmarks/test_compare_imdb.py fails where one of them goes away or is not called any more.
"""


def wrap(hook: tuple[str, str], wrapper: Callable[..., Any]) -> None:
    """Has the module call `wrapper(function, *args)` in place of `function(*args)`."""
    module, name = importlib.import_module(hook[0]), hook[1]
    setattr(module, name, functools.partial(wrapper, getattr(module, name)))


def in_turn(
    name: str, feed: Callable[..., Iterator[Any]], batch: Any, start: int, stop: int, *rest: Any
) -> Iterator[Any]:
    """The batches of the stage `name`, from when its turn has come; tells the time of a step."""
    tell(name, "ready", stop)
    while told(name, "go") is None:
        time.sleep(0.01)
    began = 0.0
    for count, fed in enumerate(feed(batch, start, stop, *rest)):
        if count == TIMED[0]:
            began = time.monotonic()
        if count == TIMED[1]:
            tell(name, "ms", 1000 * (time.monotonic() - began) / (TIMED[1] - TIMED[0]))
        yield fed
    tell(name, "steps", stop)


def one_at_a_time(function: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
    """Texts are tokenised by one stage; the others wait, and find them in the cache."""
    with (WORK / "tokens.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return function(*args, **keywords)


def run(name: str) -> int:
    """Imports, waits for the flags of the stage `name`, and runs them as `jaxattn` would."""
    began = time.monotonic()
    import jax

    from jaxattn import cli
    from jaxattn.modes import finetune, pretrain  # noqa: F401

    jax.devices()
    wrap(FEED, functools.partial(in_turn, name))
    wrap(TOKENISED, one_at_a_time)
    tell(name, "imported", True)
    print(f"{name}: imported in {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)
    while (args := told(name, "args")) is None:
        time.sleep(0.05)
        if os.getppid() == 1:
            return 1
    sys.argv = ["jaxattn", *args]
    return cli.run(args)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1]))
