# SPDX-License-Identifier: Apache-2.0
"""Call a function once a program has imported a module, without importing the module for it."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec


def call_after_import(module: str, function: Callable[[], None], *, packages: Sequence[str]) -> None:
    """Call a function now if a module is loaded, and otherwise after it has been imported.

    `module` may be imported by a module that `function` needs, too, and that is half imported when `module` is
    complete. So the call waits for the end of the outermost import of a module of `packages`. Another thread that
    takes `module` from `sys.modules` before that end does not wait for the call.

    Args:
        module: Its full name.
        function: What to call. Several threads may call it at once, and it is called again where it raised; an error
            is raised by the import that it was called after.
        packages: Top-level packages: that of `module`, and those whose modules both `function` and a program import.
    """
    for finder in [finder for finder in sys.meta_path if isinstance(finder, _Finder) and finder.module == module]:
        finder.remove()
    finder = _Finder(module, function, packages)
    # The one state of the process that this package changes: an import is the only event that tells that a program is
    # about to use `module`. The finder changes no module, and takes itself out when `function` has been called.
    sys.meta_path.insert(0, finder)
    try:
        with finder.importing():
            pass
    except BaseException:
        finder.remove()
        raise


class _Finder:
    """Finds nothing by itself: it learns when an outermost import of a module of `packages` has ended."""

    def __init__(self, module: str, function: Callable[[], None], packages: Sequence[str]) -> None:
        self.module = module
        self._function = function
        self._packages = tuple(packages)
        self._thread = threading.local()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Have the finders after this one find a module; see `importlib.abc.MetaPathFinder`."""
        finders = list(sys.meta_path)
        if fullname.partition(".")[0] not in self._packages or self._is_importing or self not in finders:
            return None
        for finder in finders[finders.index(self) + 1 :]:
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader, self)  # type: ignore[assignment]
                return spec
        return None

    @property
    def _is_importing(self) -> bool:
        return getattr(self._thread, "is_importing", False)

    @contextlib.contextmanager
    def importing(self) -> Iterator[None]:
        """Call the function at the end, if `module` is loaded then and no other import is in progress."""
        if self._is_importing:
            yield
            return
        self._thread.is_importing = True
        try:
            yield
            # Two threads may both get here: a lock around the call could block an import that it waits for.
            if self.module in sys.modules and self in sys.meta_path:
                self._function()
                self.remove()
        finally:
            self._thread.is_importing = False

    def remove(self) -> None:
        """Wait no longer."""
        with contextlib.suppress(ValueError):
            sys.meta_path.remove(self)


class _Loader:
    """Stands in for the loader of a module until it executes the module, which has its own loader from then on."""

    def __init__(self, loader: Any, finder: _Finder) -> None:
        self._loader = loader
        self._finder = finder

    def __getattr__(self, name: str) -> object:
        if name == "_loader":  # Not there yet while it is copied.
            raise AttributeError(name)
        return getattr(self._loader, name)

    def exec_module(self, module: ModuleType) -> None:
        """Execute a module; see `importlib.abc.Loader`."""
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        with self._finder.importing():
            self._loader.exec_module(module)
