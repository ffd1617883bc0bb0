"""The command line: one mode with its flags, its help, and one sentence for an error to mend.

Which modes and flags there are stands in `jaxattn.commands`.
"""

import contextlib
import dataclasses
import gc
import importlib
import os
import shlex
import shutil
import signal
import sys
import textwrap
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from jaxattn.commands import FLAGS, MODES
from jaxattn.config import Config, declared
from jaxattn.config.flags import config_dict
from jaxattn.console import say
from jaxattn.data.corpora.own import look_at
from jaxattn.data.told import forget
from jaxattn.disk import sentence
from jaxattn.errors import InputError, did_you_mean
from jaxattn.processes import STOPPING
from jaxattn.request import Mode, Request, settle
from jaxattn.runs.kinds import SCRATCH
from jaxattn.startup import collector_paused, use_huge_pages
from jaxattn.streams import forget_output, settle_streams

DEFAULTS = {field.name: field.default for field in dataclasses.fields(Request)}

SWITCHES = [name for name, default in DEFAULTS.items() if isinstance(default, bool)]

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

_WARNED: set[str] = set()
"""What a command has warned of: Python forgets it whenever a library changes what is shown."""

YES, NO = ("true", "t", "1", "yes", "y"), ("false", "f", "0", "no", "n")


def main() -> None:
    """The `jaxattn` command."""
    use_huge_pages()
    settle_streams()
    code = run(sys.argv[1:])
    # When Python ends it looks through all objects for garbage; frozen ones are left out. That is
    # half a second of every command.
    gc.freeze()
    sys.exit(code)


def run(argv: Sequence[str]) -> int:
    """Runs one command line; the exit code is 2 after an error the user can mend."""
    _WARNED.clear()
    forget()
    warnings.showwarning = _show_warning  # type: ignore[assignment]  # reads two of six arguments
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        code = _run(argv)
        # Now, while an error can be told: the last lines may find the disk full or nobody there.
        sys.stdout.flush()
        return code
    except InputError as error:
        return _fail(str(error), 2)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); nothing is left to say or flush to it.
        forget_output()
        return 1
    except OSError as error:
        if not (told := sentence(error)):
            raise
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            return _fail(told, 2)
        # What waits in the buffer would be tried again when Python ends.
        forget_output()
        return _fail(told, 2)
    except RuntimeError as error:
        if type(error).__name__ == "InterruptedRun":
            asked = [number for number in STOPPING if number.name in str(error)]
            code = 128 + (asked[0] if asked else signal.SIGTERM)
            return _fail(f"{error}; continue with --resume", code)
        if type(error).__name__ == "NonFiniteError":
            return _fail(f"the run failed: {error}", 1)
        raise


def _run(argv: Sequence[str]) -> int:
    if not argv:
        print(overview(), file=sys.stderr)
        return 2
    request = parse(argv)
    if request is None:
        return 0
    settle(request)
    with collector_paused():
        mode = importlib.import_module(f"jaxattn.modes.{request.mode.file}")
    return mode.run(request) or 0


def _fail(sentence: str, code: int) -> int:
    print(f"jaxattn: {sentence}", file=sys.stderr)
    return code


def _show_warning(message: Warning | str, category: type[Warning], *_: object) -> None:
    # JAX says it of every program; that the cache cannot be written to has been said once.
    of_cache = "persistent compilation cache entry" in str(message)
    if issubclass(category, UserWarning) and not of_cache and str(message) not in _WARNED:
        _WARNED.add(str(message))
        print(f"warning: {message}", file=sys.stderr)


class _Line(NamedTuple):
    """A command line in parts: --name=value, the same of --config, and words without dashes."""

    flags: dict[str, str]
    config: list[str]
    words: list[str]


def parse(argv: Sequence[str]) -> Request | None:
    """The request of a command line; None after showing what was asked of the program itself.

    Raises:
      InputError: unknown mode, flag or option, a flag that the mode does not take, missing or
        broken configuration file, bad value.
    """
    line = _split(argv)
    asked = line.words + ([line.flags["mode"]] if "mode" in line.flags else [])
    # Beside a mode that there is, any other word is one too many.
    asked.sort(key=lambda word: word not in MODES)
    if "version" in line.flags:
        print(f"jaxattn {_version()}")
        return None
    if "help" in line.flags and not (asked and asked[0] in MODES):
        print(overview())
        return None
    if not asked or asked[0] not in MODES:
        name = asked[0] if asked else ""
        hint = did_you_mean(name, list(MODES))
        raise InputError(f"--mode: found {name!r}, allowed: {', '.join(MODES)}{hint}")
    mode = MODES[asked[0]]
    if "help" in line.flags:
        print(help_of(mode))
        return None
    if len(asked) > 1:
        raise InputError(f"unexpected argument {asked[1]!r}; flags have the form --name=value")
    given = {name: text for name, text in line.flags.items() if name != "mode"}
    _check(mode, given, line.config)
    if "data" in given:
        line.config[:] = _own_texts(mode, given, line.config)
        if given.get("dry_run") == "True":
            return None
    config = None
    if line.config:
        file_needed = not (mode.config.startswith("options") or given.get("run"))
        config = config_dict(line.config, _settings(mode, given), file_needed=file_needed)
    values: dict[str, Any] = {name: _value(name, text) for name, text in given.items()}
    return Request(mode=mode, config=config, config_args=tuple(line.config), **values)


def _own_texts(mode: Mode, given: Mapping[str, str], config: Sequence[str]) -> list[str]:
    """The flags of the configuration with what --data stands for, which is said.

    Raises InputError where nothing is there, or what the columns are is uncertain.
    """
    flags = dict(arg.removeprefix("--config.").split("=", 1) for arg in config)
    own = look_at(given["data"], flags, labelled=mode.name not in ("pretrain", "tapt"))
    found = own.flags(flags)
    if "--config" not in flags:
        file = "published" if given.get("pretrain", SCRATCH) != SCRATCH else "own"
        found.insert(0, f"--config={file}")
    for line in own.said:
        say(line)
    say(f"--data={given['data']} stands for: {' '.join(map(shlex.quote, found))}")
    return [*found, *config]


def _split(argv: Sequence[str]) -> _Line:
    line, rest = _Line({}, [], []), list(argv)
    while rest:
        arg = rest.pop(0)
        name, equals, value = arg.lstrip("-").partition("=")
        if not arg.startswith("-"):
            line.words.append(arg)
        elif name in ("h", "help", "helpshort", "version"):
            line.flags["version" if name == "version" else "help"] = ""
        elif name in SWITCHES or (name.removeprefix("no") in SWITCHES and not equals):
            line.flags[name.removeprefix("no")] = value if equals else str(name in SWITCHES)
        else:
            of_config = name == "config" or name.startswith("config.")
            if not (of_config or name in FLAGS or name == "mode"):
                _unknown(name, value)
            if not equals:
                if not rest or rest[0].startswith("--"):
                    raise InputError(f"--{name}: needs a value, as --{name}=<value>")
                value = rest.pop(0)
            if of_config:
                line.config.append(f"--{name}={value}")
            else:
                line.flags[name] = value
    return line


def _unknown(name: str, value: str) -> NoReturn:
    """Raises InputError for a flag that is none, but perhaps an option without its --config."""
    options = [option for option in declared(Config) if f".{option}".endswith(f".{name}")]
    if options:
        known = " or ".join(f"--config.{option}={value or '<value>'}" for option in options)
        raise InputError(f"unknown flag --{name}; an option of the configuration: {known}")
    paths = [f"config.{option}" for option in declared(Config)] if "." in name else []
    hint = did_you_mean(f"config.{name}" if paths else name, [*paths, "config", "mode", *FLAGS])
    raise InputError(f"unknown flag --{name}{hint}")


def _check(mode: Mode, given: Mapping[str, str], config: Sequence[str]) -> None:
    """Raises InputError for flags that the mode does not take, and for a configuration it lacks."""
    takes = _taken(mode)
    for name in [*given, *(["config"] if config else [])]:
        if name not in takes:
            others = [m.name for m in MODES.values() if name in _taken(m)]
            raise InputError(
                f"--mode={mode.name} does not take --{name} (modes that do: {', '.join(others)}); "
                f"it takes {', '.join(f'--{flag}' for flag in takes)}"
            )
    beside = [name for name in ("exp", "pretrain", "stage") if name in given]
    if "run" in given and beside:
        raise InputError(f"--run and --{beside[0]}: give one of them; --run names the whole run")
    if mode.config == "options" and any(arg.startswith("--config=") for arg in config):
        raise InputError(
            f"--mode={mode.name} takes no file as --config: its options are those of the run; "
            f"change single ones, as --config.{mode.own_options()[0]}=<value>"
        )
    if "dry_run" in given and "data" in mode.flags and "data" not in given:
        raise InputError(f"--mode={mode.name} --dry_run: give --data=<file, folder or hub id> too")
    if mode.config == "needed" and not config and "data" not in given:
        raise mode.needs_config()


def _taken(mode: Mode) -> list[str]:
    return [*([] if mode.config == "none" else ["config"]), *mode.flags]


def _settings(mode: Mode, given: Mapping[str, str]) -> str:
    """The mode whose settings a configuration file is asked for."""
    if "stage" in mode.flags:
        return given.get("stage") or ("finetune" if given.get("pretrain") else "pretrain")
    return mode.settings or mode.name


def _value(name: str, text: str) -> str | int | bool | Path:
    """What a flag says, as the type of its default."""
    default, choices = DEFAULTS[name], FLAGS[name].choices
    if isinstance(default, bool):
        if text.lower() not in YES + NO:
            raise InputError(f"--{name}: found {text!r}, allowed: true, false")
        return text.lower() in YES
    if isinstance(default, int):
        if not text.isdecimal():
            raise InputError(f"--{name}: found {text!r}, allowed: a whole number, at least 0")
        return int(text)
    if text and choices and text not in choices:
        hint = did_you_mean(text, choices)
        raise InputError(f"--{name}: found {text!r}, allowed: {', '.join(choices)}{hint}")
    return Path(text) if isinstance(default, Path) else text


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("jaxattn")
    except PackageNotFoundError:
        return "of a checkout that is not installed"


def overview() -> str:
    """The help of the program: every mode in a line."""
    return "\n".join(
        [
            "usage: jaxattn MODE [--config=FILE] [--config.SECTION.OPTION=VALUE] [--FLAG=VALUE]",
            *(f"  {mode.name:13}{mode.help}" for mode in MODES.values()),
            "",
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
