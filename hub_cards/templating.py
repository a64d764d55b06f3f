# SPDX-License-Identifier: Apache-2.0
"""Filling in the Jinja templates of cards, which users may replace as a whole or block by block."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from jinja2.sandbox import SandboxedEnvironment

__all__ = ["TEMPLATES", "fill_template"]

TEMPLATES = Path(__file__).parent / "templates"
"""GeoDiT's own templates, which those of users may extend by their names."""


def fill_template(template: Path, values: Mapping[str, Any]) -> str:
    """Render a template.

    Lines with nothing but a statement leave no line behind, and blank lines that follow one another become one, so
    that a template need not care which of its sections are there.

    Args:
        template: The file. It may start with `{% extends "model_card.md.jinja" %}`, or name another of `TEMPLATES`.
        values: What it is given.

    Raises:
        ValueError: If there is no such file, or it cannot be rendered.
    """
    if not template.is_file():
        raise ValueError(f"there is no template {template}")
    environment = SandboxedEnvironment(
        loader=jinja2.FileSystemLoader(TEMPLATES), trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    try:
        text = environment.from_string(template.read_text(encoding="utf-8")).render(values)
    except (jinja2.TemplateError, UnicodeDecodeError) as error:
        raise ValueError(f"the template {template} cannot be used: {error}") from error
    return re.sub(r"\n{3,}", "\n\n", text).lstrip("\n")
