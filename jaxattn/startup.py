"""What has to be settled before jax starts: XLA's flags, and where compiled programs are kept."""

import contextlib
import errno
import gc
import hashlib
import os
import platform
import sys
from collections.abc import Iterator, MutableMapping
from pathlib import Path

from jaxattn.files import default_cache, warn_nothing_kept

DETERMINISTIC = "xla_gpu_deterministic_ops"


def settle_environment(
    environment: MutableMapping[str, str],
    *,
    deterministic: bool = False,
    keep_programs: bool = True,
) -> None:
    """Sets what jax reads when it is imported; what is set already stays.

    Args:
      environment: that of this process and of those it starts.
      deterministic: whether a GPU is to use only kernels that give the same bits every time.
      keep_programs: whether compiled programs are kept for later processes.
    """
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # float32 that means float32: TF32 has 10 bits of mantissa. On a CPU it changes nothing.
    environment.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")
    flags = environment.get("XLA_FLAGS", "")
    # A flag that XLA does not know ends the process, so only this one is used.
    if deterministic and DETERMINISTIC not in flags:
        environment["XLA_FLAGS"] = f"{flags} --{DETERMINISTIC}=true".strip()
    if keep_programs and "JAX_COMPILATION_CACHE_DIR" not in environment:
        folder = _programs_folder(environment)
        keep_programs = folder is not None
        if folder is not None:
            environment["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    if keep_programs:
        environment.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
    else:
        environment["JAX_ENABLE_COMPILATION_CACHE"] = "false"


def _programs_folder(environment: MutableMapping[str, str]) -> Path | None:
    """Where compiled programs are kept; None, with a warning, where no folder can be made."""
    cache = default_cache(environment)
    if cache is None:
        return None
    # A home directory may be shared by machines, and a program compiled for one CPU's
    # instructions ends with an illegal one on another.
    folder = cache / "programs" / _processor()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            # What others have kept there is used all the same.
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        warn_nothing_kept(cache, error)
    return folder if folder.is_dir() else None


def _processor() -> str:
    """A name for the kind of this machine's processor."""
    known = [platform.machine(), platform.processor()]
    with contextlib.suppress(OSError):
        # One core is like the other; the lines of the first end at a blank one.
        core = Path("/proc/cpuinfo").read_text("utf-8", "replace").partition("\n\n")[0].splitlines()
        told = ("flags", "Features", "model name")
        known += [line for line in core if line.split("\t")[0] in told]
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:12]


def use_huge_pages() -> None:
    """Starts the program again with glibc allocating from huge pages, and names of files in UTF-8.

    XLA allocates and frees its temporaries every step; with small pages the kernel spends a quarter
    of a CPU training step on page faults (measured: 234 -> 170 ms a step). glibc reads the setting
    once, when a process starts, hence the exec; it happens before anything heavy is imported.

    With LC_ALL=C and without Python's UTF-8 mode a file that a configuration names with an umlaut
    could not be opened, and an argument not be saved.
    """
    if sys.platform != "linux":
        return
    settings = {}
    if "GLIBC_TUNABLES" not in os.environ:
        settings["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
    # Python may have been told to ignore its environment: set once, it is not tried again.
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        settings["PYTHONUTF8"] = "1"
    if settings:
        os.environ.update(settings)
        os.execv(sys.executable, sys.orig_argv)


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """No search for garbage meanwhile: modules that are being imported leave next to none.

    jax, flax and Orbax make over a hundred thousand objects that stay; to look through them again
    and again took an eighth of the processor's time of importing them.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
