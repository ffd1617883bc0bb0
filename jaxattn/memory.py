"""Main memory: how much this process may have, and which errors say that there is none left."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from jaxattn.disk import disk_error

_WORDS = ("RESOURCE_EXHAUSTED", "out of memory", "OUT_OF_MEMORY")

_WANTED = re.compile(r"allocat\w* (?:of )?([\d,.]+ ?(?:[KMGTPE]i?B|bytes))")
"""How XLA and NumPy tell what could not be had."""

CGROUPS, GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def out_of_memory(error: BaseException) -> bool:
    """Whether main memory or that of a device was full, whoever says it."""
    if isinstance(error, MemoryError):
        return True
    return any(word in str(error) for word in _WORDS) and disk_error(error) is None


def memory_sentence(error: BaseException) -> str:
    """What is said of such an error: what could not be had, and what takes less."""
    wanted = _WANTED.search(str(error))
    return (
        f"out of memory{f' ({wanted[1]} could not be had)' if wanted else ''}: a training takes "
        "less with train.accumulation=<n> (the same batch in n parts; train.on_oom=halve finds n), "
        "train.remat=block, or a smaller train.batch_size or data.max_length; --mode=plan tells "
        "what it needs"
    )


def main_memory() -> int:
    """Bytes that this process may have at most: the machine's with its swap, or its group's."""
    limits = list(_group_limits(GROUPS))
    known = _meminfo()
    if "MemTotal" in known:
        limits.append(known["MemTotal"] + known.get("SwapTotal", 0))
    else:
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(limits)


def free_memory() -> int:
    """Bytes of main memory that can still be allocated."""
    known = _meminfo()
    free = known.get("MemAvailable")
    if free is None:
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return min(free, main_memory())


def _meminfo() -> dict[str, int]:
    """/proc/meminfo in bytes; empty where there is none."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return {name: int(rest.split()[0]) * 2**10 for name, _, rest in
                (line.partition(":") for line in lines)}  # fmt: skip
    except (OSError, ValueError, IndexError):
        return {}


def _group_limits(groups: Path) -> Iterator[int]:
    """The limits of the control groups that this process is in, of both versions of them."""
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, kinds, name = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        home, file = (
            (CGROUPS / "memory", "memory.limit_in_bytes") if kinds else (CGROUPS, "memory.max")
        )
        # In a container its own group is the root. A group has the limits of those above it, too.
        group = home / name.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(home):
                try:
                    yield int((folder / file).read_text())
                except (OSError, ValueError):
                    continue
