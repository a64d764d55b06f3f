# SPDX-License-Identifier: Apache-2.0
"""Programs that tests start as processes of their own."""

from __future__ import annotations

import os
from pathlib import Path

_TESTS = Path(__file__).parents[1]


def client_environment() -> dict[str, str]:
    """Return an environment in which a client can import `tests/support` and the conftest of the trainers."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(_TESTS / "support"), str(_TESTS / "trainers")])}
