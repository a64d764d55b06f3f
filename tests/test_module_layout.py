# SPDX-License-Identifier: Apache-2.0
"""Modules are laid out alike: what they export stands after their imports, before anything is defined."""

import ast
from pathlib import Path

import pytest

import geodit

PACKAGE = Path(geodit.__file__).parent
PACKAGES = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def index_of_exports(body):
    """The place of `__all__` among the statements of a module, and the first place after its imports."""
    exports = [
        index
        for index, node in enumerate(body)
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]
    ]
    imports = [index for index, node in enumerate(body) if isinstance(node, ast.Import | ast.ImportFrom)]
    typing_imports = [
        index
        for index, node in enumerate(body)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    guarded = [index for index, node in enumerate(body) if isinstance(node, ast.Try)]
    return exports, max(imports + typing_imports + guarded, default=0) + 1


@pytest.mark.parametrize("package", PACKAGES)
def test_the_list_of_exports_has_one_place(package):
    wrong = []
    for path in sorted((PACKAGE / package).rglob("*.py")):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        exports, after_imports = index_of_exports(body)
        if exports and exports != [after_imports]:
            wrong.append(str(path.relative_to(PACKAGE)))
    assert wrong == []
