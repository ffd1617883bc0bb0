"""Files written whole or not at all, and the JSON and YAML that runs are made of."""

import json
import os
from pathlib import Path
from typing import Any

from jaxattn.errors import InputError


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file whole or not at all."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Reads a JSON file; raises InputError naming the file when that fails."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error})") from None


def entry(tree: Any, name: str, kind: type, path: Path) -> Any:
    """tree[name], which has to be of this type; raises InputError naming file and entry."""
    value = tree.get(name) if isinstance(tree, dict) else None
    if not isinstance(value, kind):
        raise InputError(f"{path}: {name}: found {value!r}, expected {kind.__name__}")
    return value


def default_cache() -> Path:
    """Where caches of this user belong (XDG base directories)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxattn"
