"""The imports follow the floors of the house: only downwards, and never between siblings."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FLOORS = [
    {"__main__"},
    {"cli", "api"},
    {"startup"},
    {"modes"},
    {"train", "evaluate", "report", "profile", "peft", "interop"},
    {"model", "data"},
    {"attention"},
    {"ops"},
    {"presets", "predictions"},
    {"config_io"},
    {"config", "pictures"},
    {"checked"},
    {"errors", "collector"},
]
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}


def part(path: Path) -> str:
    """The folder or module of the package that a file belongs to."""
    inside = path.relative_to(ROOT / "jaxattn")
    return inside.parts[0].removesuffix(".py")


def imports(path: Path) -> list[str]:
    """Parts of jaxattn that a file imports anywhere, also inside functions."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found += [name.split(".")[1] for name in names if name.startswith("jaxattn.")]
    return found


SOURCES = [p for p in sorted((ROOT / "jaxattn").rglob("*.py")) if p.name != "__init__.py"]
PACKAGES = [
    p for p in sorted((ROOT / "jaxattn").rglob("__init__.py")) if p.parent.name != "jaxattn"
]


@pytest.mark.parametrize("path", SOURCES + PACKAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    own = part(path)
    for other in imports(path):
        if other != own:
            assert LEVEL[other] > LEVEL[own], f"{own} may not import {other}"


def test_importing_the_package_costs_nothing() -> None:
    """Its attributes are imported when they are asked for, and jax only to read a classifier."""
    code = "import sys, jaxattn; jaxattn.load; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_data_does_not_need_jax() -> None:
    for path in (ROOT / "jaxattn" / "data").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not any(name.split(".")[0] in ("jax", "flax") for name in names), path


HEAVY = ["wandb", "datasets", "matplotlib", "sklearn", "pandas", "ray"]
HEAVY += ["torch", "transformers", "safetensors"]


@pytest.mark.parametrize("name", HEAVY)
def test_heavy_imports_are_local(name: str) -> None:
    """Imported where they are used: training must start without them."""
    for path in SOURCES + PACKAGES:
        for node in ast.parse(path.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not any(found.split(".")[0] == name for found in names), path
