"""The imports follow the floors of the house: only downwards, and never between neighbours.

docs/architecture.md draws the house; this is its list.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "jaxattn"

FLOORS = [
    {"__main__"},
    {"cli", "api"},
    {"commandline"},
    {"modes", "commands"},
    {"sweeps"},
    {"plan"},
    {"profile"},
    {"classifier", "request"},
    {"stages", "report"},
    {"train", "evaluate"},
    {"model", "interop"},
    {"attention", "data", "runs"},
    {"config_io"},
    {"config"},
    {"processes", "signals", "console", "ops", "startup", "gpu", "pictures", "hub", "streams"},
    {"files", "memory"},
    {"errors", "disk"},
]
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}
WITHOUT_JAX = ("config", "data", "runs", "report")


def part(path: Path) -> str:
    """The folder or module of the package that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> list[str]:
    """Modules, or names in modules, of jaxattn that a file imports anywhere, in functions too."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in names if name.startswith("jaxattn.")]


SOURCES = [p for p in sorted(PACKAGE.rglob("*.py")) if p != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    own = part(path)
    for name in imports(path):
        other = name.split(".")[1]
        if other != own:
            assert LEVEL[other] > LEVEL[own], f"{own} may not import {name}"


def test_every_part_has_a_floor() -> None:
    assert {part(path) for path in SOURCES} == set(LEVEL)


COMMANDS = [p for p in SOURCES if part(p) == "modes"]


@pytest.mark.parametrize("path", COMMANDS, ids=lambda p: p.name)
def test_a_command_is_a_door(path: Path) -> None:
    """It reads a request, calls one function of the library and prints."""
    assert len(path.read_text().splitlines()) <= 120
    others = [name for name in imports(path) if name.startswith("jaxattn.modes.")]
    assert all(name.startswith("jaxattn.modes.begin.") for name in others), others


def test_no_file_waits_for_its_text() -> None:
    for path in PACKAGE.rglob("*.py"):
        assert "TO" + "DO" not in path.read_text(), path


def test_commands_are_few() -> None:
    assert len(list((PACKAGE / "modes").glob("*.py"))) <= 25


def test_importing_the_package_costs_nothing() -> None:
    """Its attributes are imported when they are asked for, and jax only to read a classifier."""
    code = "import sys, jaxattn; jaxattn.load; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def outside(path: Path, everywhere: bool = True) -> set[str]:
    """Names of the libraries that a file imports; only those at its top unless `everywhere`."""
    tree = ast.parse(path.read_text())
    names: list[str] = []
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("folder", WITHOUT_JAX)
def test_these_do_not_need_jax(folder: str) -> None:
    for path in (PACKAGE / folder).rglob("*.py"):
        assert not outside(path) & {"jax", "flax"}, path
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in sorted((PACKAGE / folder).rglob("*.py"))
        if path.name != "__init__.py"
    ]
    code = f"import sys, {', '.join(modules)}; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


HEAVY = {"wandb", "datasets", "matplotlib", "sklearn", "pandas", "ray"}
HEAVY |= {"torch", "transformers", "safetensors", "huggingface_hub"}


def test_heavy_imports_are_local() -> None:
    """Imported where they are used: training must start without them."""
    for path in SOURCES:
        assert not outside(path, everywhere=False) & HEAVY, path
