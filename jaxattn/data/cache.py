"""Where what is costly to make is kept between runs."""

import os
from pathlib import Path


def default_cache() -> Path:
    """Where caches of this user belong (XDG base directories)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxattn"
