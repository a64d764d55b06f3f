# SPDX-License-Identifier: Apache-2.0
"""The scripts in `benchmarks/`, as modules."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

_BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@contextmanager
def imported_benchmark(name: str) -> Iterator[ModuleType]:
    """Import `benchmarks/<name>.py`, as a module that nothing else is called after."""
    module_name = f"{name}_benchmark"
    spec = importlib.util.spec_from_file_location(module_name, _BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # where dataclasses look for their annotations
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[module_name]
