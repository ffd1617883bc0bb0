"""What the command line asked for."""

import dataclasses
import os
from collections.abc import Iterable, MutableMapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxattn.config import Config, replace
from jaxattn.config.flags import from_config_dict
from jaxattn.config.saved import flatten, to_plain
from jaxattn.data.corpora.known import filled_in
from jaxattn.errors import InputError
from jaxattn.runs.folder import RunFolder, given_run, is_report
from jaxattn.runs.kinds import SCRATCH
from jaxattn.startup import DETERMINISTIC, _keep_programs

if TYPE_CHECKING:
    from ml_collections import ConfigDict


@dataclasses.dataclass(frozen=True)
class Request:
    """The flags of one call, already parsed.

    Attributes:
      mode: the name given as --mode.
      config: the ConfigDict of --config with its overrides, or None.
      config_args: those flags as they were given, to hand on to another process.
      exp, pretrain, stage, run, input, output, format, on_bad_row, split: the flags of these
        names; "" when not given.
      resume: whether to continue an existing experiment.
      dry_run: whether only to list what would be run.
      trace: whether to record a trace.
      compilation_cache: whether compiled programs are kept for later runs.
      steps: how many to verify at most; 0: as few as can be.
      runs: the folder of all runs.
    """

    mode: str
    config: "ConfigDict | None"
    config_args: tuple[str, ...]
    exp: str
    pretrain: str
    stage: str
    run: str
    input: str
    output: str
    format: str
    on_bad_row: str
    split: str
    resume: bool
    dry_run: bool
    trace: bool
    compilation_cache: bool
    steps: int
    runs: Path

    def resolved(self, inherited: Config | None = None) -> Config:
        """The checked configuration, with what is known of a corpus by its name filled in.

        Raises InputError when --config was not given.
        """
        if self.config is None:
            raise InputError(
                f"--mode={self.mode} needs --config=<file>, for example configs/sdpa_small.py"
            )
        return filled_in(from_config_dict(self.config, inherited), self._given())

    @property
    def has_file(self) -> bool:
        """Whether --config=<file> was given; flags alone change options of a finished run."""
        return "--config" in self._given()

    def names(self, option: str) -> bool:
        """Whether a flag names this option, as "data.path"."""
        return option in self._given()

    def _given(self) -> frozenset[str]:
        """The options that flags name."""
        flags = (arg.partition("=")[0] for arg in self.config_args)
        return frozenset(flag.removeprefix("--config.") for flag in flags)

    def flagged_options(self, allowed: Sequence[str]) -> dict[str, Any]:
        """The options that flags name, dotted name -> value; InputError for one not `allowed`."""
        flat = {} if self.config is None else flatten(self.config.to_dict())
        found = {name: flat[name] for name in sorted(self._given() - {"--config"})}
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
        flagged = self._given() - {"--config"}
        self._only(sorted(flagged - options.keys()), others, "data.*, lengths excepted")
        filled = to_plain(filled_in(replace(Config(), options), self._given()).data)
        return {name: filled[name.removeprefix("data.")] for name in options} | {
            name: given[name] for name in others if name in flagged
        }

    def _only(self, found: Iterable[str], allowed: Sequence[str], *also: str) -> None:
        for name in found:
            if name not in allowed:
                raise InputError(
                    f"--mode={self.mode}: found an option {name}, "
                    f"allowed: {', '.join([*also, *allowed])}; all others are those of the run"
                )

    def needed(self, flag: str, example: str) -> str:
        """The value of a flag that this mode cannot do without."""
        value = getattr(self, flag)
        if not value:
            raise InputError(f"--mode={self.mode} needs --{flag}, for example --{flag}={example}")
        return value


def run_folder_of(request: Request) -> RunFolder:
    """The folder of the pretraining that --exp names; InputError for a name it cannot have."""
    exp = request.needed("exp", "wiki_lsh")
    if exp == SCRATCH:
        raise InputError(
            f"--exp={SCRATCH}: this name means 'not pretrained' in --pretrain={SCRATCH}"
        )
    return RunFolder(request.runs, "pretrain", exp)


UNCACHED_MODES = ("plan", "profile")
"""They tell how long compiling takes and what a program needs, so they compile."""

RUN_OF_MODE = {
    "pretrain": "pretrain",
    "finetune": "finetune",
    "baseline": "baseline",
    "eval": "finetune",
    "predict": "finetune",
    "minbert": "finetune",
    "export": "finetune",
}
"""Mode -> kind of the run that --exp names."""


def settle(request: Request, environment: MutableMapping[str, str] = os.environ) -> None:
    """Sets the environment that jax reads when it is imported; what is set already stays.

    Raises:
      InputError: the configuration of the run that the request names cannot be read.
    """
    # float32 that means float32: TF32 has 10 bits of mantissa. On a CPU it changes nothing.
    environment.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")
    flags = environment.get("XLA_FLAGS", "")
    # A flag that XLA does not know ends the process, so only this one is used.
    if DETERMINISTIC not in flags and deterministic(request):
        environment["XLA_FLAGS"] = f"{flags} --{DETERMINISTIC}=true".strip()
    if not request.compilation_cache or request.mode in UNCACHED_MODES or request.dry_run:
        # The processes that a study starts inherit it.
        environment["JAX_ENABLE_COMPILATION_CACHE"] = "false"
        return
    _keep_programs(environment)


def deterministic(request: Request) -> bool:
    """`train.deterministic` of --config, else of the saved run that the request names."""
    if request.config is not None and request.has_file:
        given: Any = request.config.train.deterministic
        if given is not None:
            # Anything else is refused, with its name, when the configuration is checked.
            return given is not False
    if request.mode == "replay" and is_report(Path(request.run)):
        # Its runs are replayed by processes that each settle what their run needs.
        return False
    folder = _saved_run(request)
    return folder is not None and folder.saved_config()[0].train.deterministic


def _saved_run(request: Request) -> RunFolder | None:
    """The run whose saved configuration the request goes by, if there is one."""
    if request.run:
        exported = (Path(request.run) / "model.safetensors").is_file()
        return None if exported else given_run(request.run)
    kind = RUN_OF_MODE.get(request.mode)
    if kind is None or not request.exp:
        return None
    folder = RunFolder(request.runs, kind, request.exp)
    return folder if folder.config_path.exists() else None
