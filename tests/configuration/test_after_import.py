# SPDX-License-Identifier: Apache-2.0

import copy
import importlib
import inspect
import sys
import threading
from importlib import machinery, resources, util
from pathlib import Path

import pytest

from geodit.configuration.after_import import call_after_import

# `heavy.inner` is what is waited for. `heavy.outer` imports it before it is complete itself.
MODULES = {
    "__init__": "",
    "inner": "class Registry: ...",
    "outer": "import heavy.inner\nREADY = True",
    "broken": "import heavy.inner\nraise RuntimeError('broken')",
    "other": "",
}


@pytest.fixture
def heavy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package on the import path, with `sys.modules` and `sys.meta_path` as they were afterwards."""
    (tmp_path / "heavy").mkdir()
    for name, text in MODULES.items():
        (tmp_path / "heavy" / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    yield "heavy"
    for name in [name for name in sys.modules if name.partition(".")[0] == "heavy"]:
        del sys.modules[name]


class Calls:
    """Counts its calls, and remembers whether `heavy.outer` was complete."""

    def __init__(self, error: Exception | None = None) -> None:
        self.outer: list[bool] = []
        self.error = error

    def __call__(self) -> None:
        self.outer.append(hasattr(sys.modules.get("heavy.outer"), "READY"))
        if self.error is not None:
            raise self.error


def wait(calls: Calls) -> None:
    call_after_import("heavy.inner", calls, packages=["heavy"])


@pytest.fixture
def finders(heavy: str) -> list[object]:
    return list(sys.meta_path)


def test_nothing_is_imported_or_called_before_the_module_is(heavy):
    calls = Calls()
    wait(calls)
    importlib.import_module("heavy.other")
    assert calls.outer == []
    assert "heavy.inner" not in sys.modules


def test_it_is_called_once_after_the_import(heavy, finders):
    calls = Calls()
    wait(calls)
    importlib.import_module("heavy.inner")
    importlib.import_module("heavy.outer")
    assert len(calls.outer) == 1
    assert sys.meta_path == finders


def test_it_is_called_at_once_when_the_module_is_loaded(heavy, finders):
    importlib.import_module("heavy.inner")
    calls = Calls()
    wait(calls)
    assert len(calls.outer) == 1
    assert sys.meta_path == finders


def test_a_module_that_imports_it_is_complete_when_it_is_called(heavy):
    calls = Calls()
    wait(calls)
    importlib.import_module("heavy.outer")
    assert calls.outer == [True]


def test_an_outer_import_that_fails_calls_nothing_and_the_next_one_does(heavy):
    calls = Calls()
    wait(calls)
    with pytest.raises(RuntimeError, match="broken"):
        importlib.import_module("heavy.broken")
    assert calls.outer == []
    importlib.import_module("heavy.other")
    assert len(calls.outer) == 1


def test_waiting_again_replaces_what_was_waited_for(heavy, finders):
    first, second = Calls(), Calls()
    wait(first)
    wait(second)
    assert len(sys.meta_path) == len(finders) + 1
    importlib.import_module("heavy.inner")
    assert (first.outer, second.outer) == ([], [False])


def test_an_error_is_raised_by_every_import_of_the_module_until_the_call_succeeds(heavy, finders):
    calls = Calls(ImportError("no network"))
    wait(calls)
    for _ in range(2):
        with pytest.raises(ImportError, match="no network"):
            importlib.import_module("heavy.inner")
    calls.error = None
    importlib.import_module("heavy.inner")
    assert sys.meta_path == finders


def test_an_error_of_the_call_at_once_leaves_nothing_waiting(heavy, finders):
    importlib.import_module("heavy.inner")
    with pytest.raises(ImportError, match="no network"):
        wait(Calls(ImportError("no network")))
    assert sys.meta_path == finders


def test_other_threads_that_import_the_module_wait_for_the_call(heavy):
    returned = threading.Event()

    def import_it() -> None:
        importlib.import_module("heavy.inner")
        returned.set()

    def called() -> None:
        other.start()
        # Not a wait for something that happens: a thread that did not wait would be through at once.
        returned_early.append(returned.wait(timeout=0.2))

    returned_early: list[bool] = []
    other = threading.Thread(target=import_it)
    call_after_import("heavy.inner", called, packages=["heavy"])
    importlib.import_module("heavy.inner")
    other.join()
    assert returned_early == [False]


def test_a_module_keeps_its_loader(heavy):
    wait(Calls())
    inner = importlib.import_module("heavy.inner")
    for module in (inner, sys.modules["heavy"]):
        assert type(module.__spec__.loader) is machinery.SourceFileLoader
        assert module.__loader__ is module.__spec__.loader
    assert inspect.getsource(inner.Registry) == "class Registry: ...\n"
    assert resources.files("heavy").joinpath("inner.py").is_file()


def test_what_is_found_but_not_imported_can_be_read_and_copied(heavy):
    wait(Calls())
    spec = util.find_spec("heavy.inner")
    for loader in (spec.loader, copy.copy(spec.loader)):
        assert loader.get_source("heavy.inner") == MODULES["inner"]
    assert "heavy.inner" not in sys.modules


def test_what_is_not_there_is_not_found(heavy):
    wait(Calls())
    with pytest.raises(ModuleNotFoundError, match=r"heavy\.missing"):
        importlib.import_module("heavy.missing")
