"""What the command line asked for."""

import dataclasses
import os
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jaxattn.config import Config, declared, flatten, from_config_dict, replace, to_plain
from jaxattn.data.corpora.known import filled_in
from jaxattn.errors import InputError
from jaxattn.runs.exports import is_export
from jaxattn.runs.folder import NAME, NAMES, RunFolder, given_run, is_report
from jaxattn.runs.kinds import KINDS, SCRATCH
from jaxattn.startup import settle_environment

if TYPE_CHECKING:
    from ml_collections import ConfigDict


@dataclasses.dataclass(frozen=True)
class Mode:
    """What is known of a mode before it runs; `jaxattn.modes.MODES` has them all.

    Attributes:
      name: as in --mode=<name>.
      help: what it is for, in one line.
      examples: the flags of calls that a person would make.
      flags: name of every flag it takes, --config excepted -> what that says.
      config: whether it takes --config=<file>; "data": only the data of it are read; "options": no
        file, single options of the run it works on are changed; "options or data": either.
      options: sections or single options of its own; no others can be given where `config` is
        "data", "options" or "options or data".
      run: kind of the run that --exp names, whose saved configuration counts where none is given.
      settings: the mode whose settings a configuration file is asked for; "": its own.
      module: its file in jaxattn/modes/; "": as it is called.
      cached: whether compiled programs are kept. A mode that tells how long compiling takes and
        what a program needs has to compile.
      computes: whether it computes anything; else it leaves accelerators to those that do.
    """

    name: str
    help: str
    examples: tuple[str, ...]
    flags: Mapping[str, str]
    config: Literal["needed", "optional", "data", "options", "options or data", "none"] = "optional"
    options: tuple[str, ...] = ()
    run: str = ""
    settings: str = ""
    module: str = ""
    cached: bool = True
    computes: bool = True

    @property
    def file(self) -> str:
        """Its module in jaxattn/modes/."""
        return self.module or self.name

    def own_options(self) -> list[str]:
        """The options that `options` names, sections taken apart."""
        return [
            n for own in self.options for n in declared(Config) if f"{n}.".startswith(f"{own}.")
        ]

    def needs_config(self) -> InputError:
        """What is said where --config is missing."""
        flags = [flag for example in self.examples for flag in example.split()]
        files = [flag.partition("=")[2] for flag in flags if flag.startswith("--config=")]
        example = files[0] if files else "configs/sdpa_small.py"
        return InputError(f"--mode={self.name} needs --config=<file>, for example {example}")


@dataclasses.dataclass(frozen=True)
class Request:
    """The flags of one call, already parsed.

    Attributes:
      mode: what is to be done.
      config: the ConfigDict of --config with its overrides, or None.
      config_args: those flags as --name=value, to hand on to another process.
      others: the flags of these names, or their defaults.
    """

    mode: Mode
    config: "ConfigDict | None" = None
    config_args: tuple[str, ...] = ()
    exp: str = ""
    pretrain: str = ""
    stage: str = ""
    run: str = ""
    data: str = ""
    input: str = ""
    revision: str = ""
    output: str = ""
    format: str = ""
    on_bad_row: str = ""
    raw: bool = False
    split: str = ""
    rank_by: str = ""
    resume: bool = False
    dry_run: bool = False
    trace: bool = False
    compilation_cache: bool = True
    steps: int = 0
    runs: Path = Path("runs")

    def resolved(self, inherited: Config | None = None) -> Config:
        """The checked configuration, with what is known of a corpus by its name filled in.

        Raises InputError when --config was not given.
        """
        if self.config is None:
            raise self.mode.needs_config()
        config = filled_in(from_config_dict(self.config, inherited), self.given)
        pattern = config.attention.pattern
        if pattern and self.names("attention.type") and not self.names("attention.pattern"):
            raise InputError(
                f"attention.type: found {config.attention.type}, but attention.pattern = "
                f"{','.join(pattern)} says what each layer has; give --config.attention.pattern= "
                "beside it for one attention in all of them"
            )
        return config

    @property
    def has_file(self) -> bool:
        """Whether --config=<file> was given; flags alone change options of a finished run."""
        return bool(self.config_file)

    def names(self, option: str) -> bool:
        """Whether a flag names this option, as "data.path"."""
        return option in self.given

    @property
    def given(self) -> frozenset[str]:
        """The options that flags name."""
        flags = (arg.partition("=")[0] for arg in self.config_args)
        return frozenset(flag.removeprefix("--config.") for flag in flags)

    def flagged_options(self, allowed: Sequence[str]) -> dict[str, Any]:
        """The options that flags name, dotted name -> value; InputError for one not `allowed`."""
        flat = {} if self.config is None else flatten(self.config.to_dict())
        found = {name: flat[name] for name in sorted(self.given - {"--config"})}
        self._only(found, allowed)
        return found

    def data_options(self, others: Sequence[str] = ()) -> dict[str, Any]:
        """What --config says of the data, lengths excepted: dotted name -> value.

        Args:
          others: options that flags may name besides; they are returned too where flags do.

        Raises:
          InputError: a flag names any other option: it would be ignored.
        """
        if self.config is None:
            return {}
        given = flatten(self.config.to_dict())
        kept = ("data.max_length", "data.length_buckets")
        options = {k: v for k, v in given.items() if k.startswith("data.") and k not in kept}
        flagged = self.given - {"--config"}
        self._only(sorted(flagged - options.keys()), others, "data.*, lengths excepted")
        filled = to_plain(filled_in(replace(Config(), options), self.given).data)
        return {name: filled[name.removeprefix("data.")] for name in options} | {
            name: given[name] for name in others if name in flagged
        }

    def _only(self, found: Iterable[str], allowed: Sequence[str], *also: str) -> None:
        for name in found:
            if name not in allowed:
                raise InputError(
                    f"--mode={self.mode.name}: found an option {name}, "
                    f"allowed: {', '.join([*also, *allowed])}; all others are those of the run"
                )

    def needed(self, flag: str, example: str) -> str:
        """The value of a flag that this mode cannot do without."""
        value: str = getattr(self, flag)
        if not value:
            mode = self.mode.name
            raise InputError(f"--mode={mode} needs --{flag}, for example --{flag}={example}")
        return value

    def run_name(self, example: str) -> str:
        """--exp, or with --data the name of the data; InputError where neither is given."""
        if self.exp or self.config is None or not self.data:
            return self.needed("exp", example)
        return self.exp_or(self.config.data.name, "data.name")

    def started(self) -> "Request":
        """Itself, with the run that --pretrain means; a published encoder is imported first.

        Raises InputError where that cannot be.
        """
        # It imports JAX, whose environment is settled by now.
        from jaxattn.stages.start import started_from

        run = started_from(self.runs, self.pretrain, self.revision)
        return dataclasses.replace(self, pretrain=run, revision="")

    def exp_or(self, otherwise: str, option: str, *, what: str = "run") -> str:
        """--exp, or what stands for it: a name that other names can begin with.

        Args:
          otherwise: the name where --exp is not given.
          option: what gave that, "data.name" or the like.
          what: is named by it.
        """
        name = self.exp or otherwise
        if NAME.fullmatch(name):
            return name
        if self.exp:
            raise InputError(f"--exp: found {name[:100]!r}, allowed: {NAMES}")
        raise InputError(
            f"{option}: found {name[:100]!r}, after which the {what} is called where --exp is not "
            f"given, allowed: {NAMES}; or give --exp=<name>"
        )

    def for_stages(self) -> tuple[str, ...]:
        """The flags that the processes of its stages have in common, --config excepted."""
        return (f"--runs={self.runs}", *(("--resume",) if self.resume else ()))

    @property
    def config_file(self) -> str:
        """The file given as --config; "" where none is."""
        files = [arg for arg in self.config_args if arg.startswith("--config=")]
        return files[-1].partition("=")[2] if files else ""


def run_folder_of(request: Request) -> RunFolder:
    """The folder of the pretraining that --exp names; InputError for a name it cannot have."""
    exp = request.run_name("wiki_lsh")
    if exp == SCRATCH:
        raise InputError(
            f"--exp={SCRATCH}: this name means 'not pretrained' in --pretrain={SCRATCH}"
        )
    return RunFolder(request.runs, "pretrain", exp)


def settle(request: Request, environment: MutableMapping[str, str] = os.environ) -> None:
    """Sets the environment that jax reads when it is imported; what is set already stays.

    Raises:
      InputError: the configuration of the run that the request names cannot be read.
    """
    cached = request.compilation_cache and request.mode.cached and not request.dry_run
    if not request.mode.computes:
        environment["JAX_PLATFORMS"] = "cpu"
    settle_environment(environment, deterministic=deterministic(request), keep_programs=cached)


def deterministic(request: Request) -> bool:
    """`train.deterministic` of --config, else of the saved run that the request names."""
    if request.config is not None and request.has_file:
        given: object = request.config.train.deterministic
        if given is not None:
            # Anything else is refused, with its name, when the configuration is checked.
            return given is not False
    if request.mode.name == "replay" and is_report(Path(request.run)):
        # Its runs are replayed by processes that each settle what their run needs.
        return False
    if not request.mode.computes:
        # The folder it is given may be damaged.
        return False
    folder = _saved_run(request)
    return folder is not None and folder.saved.config()[0].train.deterministic


def _saved_run(request: Request) -> RunFolder | None:
    """The run whose saved configuration the request goes by, if there is one."""
    if request.run:
        folder = Path(request.run)
        if is_export(folder):
            return None
        if (folder / KINDS["finetune"].config_file).is_file():
            return RunFolder.at(folder, "finetune")  # wherever it stands now
        return given_run(request.run)
    if not request.mode.run or not request.exp:
        return None
    run = RunFolder(request.runs, request.mode.run, request.exp)
    return run if run.saved.path.exists() else None
