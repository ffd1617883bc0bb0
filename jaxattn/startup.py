"""What has to be settled before jax starts: XLA's flags, and where compiled programs are kept."""

import hashlib
import os
import platform
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from jaxattn.modes.request import Request
from jaxattn.modes.run_folder import RunFolder, given_run, is_report

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
DETERMINISTIC = "xla_gpu_deterministic_ops"


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


def settle_environment(environment: MutableMapping[str, str]) -> None:
    """The same for Python code that uses a classifier: nothing of a GPU's choices is changed."""
    environment.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    _keep_programs(environment)


def _keep_programs(environment: MutableMapping[str, str]) -> None:
    environment.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_folder(environment)))
    environment.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")


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


def cache_folder(environment: MutableMapping[str, str]) -> Path:
    """A folder for compiled programs in the user's cache, one for each kind of processor.

    A home directory may be shared by machines, and a program compiled for one CPU's instructions
    ends with an illegal one on another.
    """
    base = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "jaxattn" / "programs" / _processor()


def _processor() -> str:
    found = [platform.machine(), platform.processor()]
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        # One core is like the other; the lines of the first end at a blank one.
        core = lines[: lines.index("")] if "" in lines else lines
        found += [
            line for line in core if line.split("\t")[0] in ("flags", "Features", "model name")
        ]
    except OSError:
        pass
    return hashlib.sha256("\n".join(found).encode()).hexdigest()[:12]
