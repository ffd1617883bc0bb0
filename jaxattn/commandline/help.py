"""The help: of the program, and of one mode with its flags and options."""

import dataclasses
import shutil
import textwrap
from collections.abc import Iterable

from jaxattn.commands import FLAGS, MODES
from jaxattn.config import Config, declared
from jaxattn.request import Mode

CONFIG_TEXTS = {
    "needed": "the configuration file; it has to be given",
    "optional": "a configuration file",
    "data": "a configuration file whose data are read, lengths excepted",
    "options or data": "a configuration file whose data are read instead, lengths excepted",
}

FURTHER = (
    "Every option of a configuration can be changed, as --config.train.learning_rate=3e-4. "
    "Sections: {sections}. `jaxattn new --exp=mine` writes all with their descriptions."
)


def version() -> str:
    """Of the installed package."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("jaxattn")
    except PackageNotFoundError:
        return "of a checkout that is not installed"


def overview() -> str:
    """The help of the program: every mode in a line."""
    return "\n".join(
        [
            "usage: jaxattn MODE [--config=FILE] [--config.SECTION.OPTION=VALUE] [--FLAG=VALUE]",
            *(f"  {mode.name:13}{mode.help}" for mode in MODES.values()),
            "jaxattn MODE --help: its flags and options, and examples; jaxattn --version",
        ]
    )


def help_of(mode: Mode) -> str:
    """The help of one mode: examples, its flags and its options."""
    lines = [f"jaxattn {mode.name}: {mode.help}", ""]
    lines += [f"  jaxattn {mode.name} {example}" for example in mode.examples]
    rows = []
    if mode.config in CONFIG_TEXTS:
        rows.append(("--config=FILE", CONFIG_TEXTS[mode.config]))
    for name, text in mode.flags.items():
        flag = FLAGS[name]
        choices = f" [{', '.join(flag.choices)}]" if flag.choices else ""
        rows.append((f"--{name}" + (f"={flag.value}" if flag.value else ""), text + choices))
    lines += ["", "Flags (--name=value or --name value):", *_table(rows)]
    if mode.options:
        lines += ["", "Options:", *_table(map(_option_row, mode.own_options()))]
    if mode.config in ("needed", "optional"):
        sections = ", ".join(field.name for field in dataclasses.fields(Config))
        lines += ["", *_wrapped(FURTHER.format(sections=sections))]
    return "\n".join(lines)


def _option_row(option: str) -> tuple[str, str]:
    doc, values = declared(Config)[option].doc, declared(Config)[option].allowed
    return f"--config.{option}", f"{doc} [{values}]" if values else doc


def _table(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Two columns, the second one wrapped to the width of the terminal."""
    lines = []
    for name, text in rows:
        first, *more = _wrapped(text, 30)
        lines.append(f"  {name:28}{first}" if len(name) < 28 else f"  {name}")
        lines += [f"{'':30}{line}" for line in ([] if len(name) < 28 else [first]) + more]
    return lines


def _wrapped(text: str, indent: int = 0) -> list[str]:
    width = min(100, shutil.get_terminal_size().columns)
    return textwrap.wrap(text, max(30, width - indent)) or [""]
