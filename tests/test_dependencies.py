# SPDX-License-Identifier: Apache-2.0
"""Packages import only what is below them, modules have no import cycles, and CONTRIBUTING.md shows the same order."""

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import geodit

PACKAGE = Path(geodit.__file__).parent

# From the top down. A package may import those of the lines below its own.
LAYERS = (
    ("cli",),
    ("app", "finetuning", "speed"),
    ("trainers",),
    ("annotations",),
    ("evaluation", "pipelines"),
    ("rasters", "tiny"),
    ("hub_cards",),
    ("weights", "data"),
    ("processing",),
    ("modeling_geodit",),
    ("configuration",),
)
LAYER_OF = {name: number for number, names in enumerate(LAYERS) for name in names}

# The loader of Transformers copies a module with all that it imports. These imports, which are never run, make it copy
# all modules of a checkpoint, whichever of them it begins with.
FOR_THE_LOADER = {
    ("configuration.remote_code_geodit", "modeling_geodit.diffusion_geodit"),
    ("configuration.remote_code_geodit", "modeling_geodit.modeling_geodit"),
    ("configuration.remote_code_geodit", "processing.processing_geodit"),
}
# It lists the modules that a checkpoint carries, and imports none by these names.
NAMES_MODULES = "configuration.remote_code_geodit"


def modules() -> dict[str, ast.Module]:
    """The modules of the package by name, without the package root, which offers the public names of all."""
    found = {}
    for folder in LAYER_OF:
        for path in sorted((PACKAGE / folder).rglob("*.py")):
            name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
            found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


MODULES = modules()


def imports_of(tree: ast.Module) -> Iterator[str]:
    """The modules of this package that a module imports anywhere, also for types only."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("geodit."):
            module = (node.module or "").removeprefix("geodit.")
            for alias in node.names:
                yield f"{module}.{alias.name}" if f"{module}.{alias.name}" in MODULES else module


def layer_of(module: str) -> int:
    return LAYER_OF[module.partition(".")[0]]


def allowed(importer: str, imported: str) -> bool:
    """Whether a module may import another one."""
    same_package = importer.partition(".")[0] == imported.partition(".")[0]
    return same_package or layer_of(importer) < layer_of(imported)


@pytest.mark.parametrize("package", LAYER_OF)
def test_imports_point_downward(package):
    wrong = [
        f"{importer} imports {imported}"
        for importer, tree in MODULES.items()
        if importer.partition(".")[0] == package
        for imported in imports_of(tree)
        if not allowed(importer, imported) and (importer, imported) not in FOR_THE_LOADER
    ]
    assert wrong == []


def test_no_module_is_named_from_below():
    wrong = [
        f"{importer} names {node.value}"
        for importer, tree in MODULES.items()
        if importer != NAMES_MODULES
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if (match := re.fullmatch(r"geodit\.((\w+)(\.\w+)*)", node.value)) and match[2] in LAYER_OF
        if not allowed(importer, match[1])
    ]
    assert wrong == []


def test_no_modules_import_each_other():
    graph = {
        importer: {imported for imported in imports_of(tree) if (importer, imported) not in FOR_THE_LOADER}
        for importer, tree in MODULES.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_exceptions_are_needed():
    assert {pair for pair in FOR_THE_LOADER if pair[1] in set(imports_of(MODULES[pair[0]]))} == FOR_THE_LOADER


def test_every_package_has_a_layer():
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages - {"recipes", "tests"} == set(LAYER_OF)


def test_contributing_shows_the_same_layers():
    text = (PACKAGE / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert " -> ".join(", ".join(names) for names in LAYERS) in " ".join(text.split())
