"""`python -m jaxattn` is the `jaxattn` command."""

import sys
from pathlib import Path

# `python -m` looks into the current folder first: a jax.py in a folder of somebody else would be
# run in place of jax. Where the current folder is that of this package, it is needed.
here = Path.cwd()
if not sys.flags.safe_path and Path(__file__).resolve().parents[1] != here:
    sys.path[:] = [entry for entry in sys.path if entry and Path(entry) != here]

from jaxattn.cli import main  # noqa: E402 - after the path

if __name__ == "__main__":
    main()
