# SPDX-License-Identifier: Apache-2.0
"""Import of the libraries that only evaluation needs."""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = ["check_libraries", "import_optional"]

_LIBRARIES = ("evaluate", "faster_coco_eval", "pycocoevalcap", "scipy")


def import_optional(module: str) -> ModuleType:
    """Import a module of the `eval` extra.

    Args:
        module: Dotted name, e.g. `"pycocoevalcap.cider.cider"`.

    Returns:
        The module.

    Raises:
        ImportError: If its package is not installed, with the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(
            f"this needs the package {package!r}, which cannot be imported ({error}); "
            "install what evaluation needs with: pip install 'geodit[eval]'"
        ) from error


def check_libraries() -> None:
    """Check that everything is installed that answers are scored with, before hours are spent on them.

    Raises:
        ImportError: If a package is missing, with the command that installs it.
    """
    for library in _LIBRARIES:
        import_optional(library)
