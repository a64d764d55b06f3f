# SPDX-License-Identifier: Apache-2.0
"""Options about the model card that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

LicenseOption = Annotated[str, typer.Option("--license", help="License of the weights, as the Hub names it.")]
DEFAULT_LICENSE = "apache-2.0"
TemplateOption = Annotated[
    Path | None, typer.Option("--template", help="Jinja template of the card to use instead of GeoDiT's.")
]
