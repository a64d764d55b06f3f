# SPDX-License-Identifier: Apache-2.0
"""vLLM on a CPU: its model runner asks for Triton, whose interpreter runs the few kernels that are not of the network.

Everything here must stand in the environment before vLLM, or a process that it starts, is imported.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
_PATHS = [str(_HERE.parent), str(_HERE / "support"), str(_HERE / "triton_on_cpu")]

sys.path[:0] = [path for path in _PATHS if path not in sys.path]
os.environ["PYTHONPATH"] = os.pathsep.join([*_PATHS, *filter(None, [os.environ.get("PYTHONPATH")])])

for name, value in {
    "TRITON_INTERPRET": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
}.items():
    os.environ.setdefault(name, value)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add how long a crowd of clients asks the server."""
    parser.addoption("--crowd-seconds", type=float, default=8, help="how long 24 clients ask the server")


@pytest.fixture(scope="session")
def crowd_seconds(request: pytest.FixtureRequest) -> float:
    """How long 24 clients ask the server."""
    return float(request.config.getoption("--crowd-seconds"))
