"""What has to be settled before jax starts: XLA's flags, and where compiled programs are kept."""

import contextlib
import gc
import hashlib
import os
import platform
import sys
from collections.abc import Iterator, MutableMapping
from pathlib import Path

DETERMINISTIC = "xla_gpu_deterministic_ops"


def settle_environment(environment: MutableMapping[str, str]) -> None:
    """The same for Python code that uses a classifier: nothing of a GPU's choices is changed."""
    environment.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    _keep_programs(environment)


def _keep_programs(environment: MutableMapping[str, str]) -> None:
    environment.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_folder(environment)))
    environment.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")


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


def use_huge_pages() -> None:
    """Starts the program again with glibc allocating from huge pages.

    XLA allocates and frees its temporaries every step; with small pages the kernel spends a quarter
    of a CPU training step on page faults (measured: 234 -> 170 ms a step). glibc reads the setting
    once, when a process starts, hence the exec; it happens before anything heavy is imported.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
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
