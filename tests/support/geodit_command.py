# SPDX-License-Identifier: Apache-2.0
"""`geodit`, as a file that can be started as a program."""

from __future__ import annotations

from geodit.cli.main import app

app(prog_name="geodit")
