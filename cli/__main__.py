# SPDX-License-Identifier: Apache-2.0
"""`python -m geodit.cli`, for launchers that start a module."""

from geodit.cli.main import app

app(prog_name="geodit")
