# SPDX-License-Identifier: Apache-2.0
"""Filling in the Jinja templates of cards, which users may replace as a whole or block by block.

What a template is given shows as it reads, whatever Markdown or HTML is in it: it may come from a file that anyone has
written. In the places where that is not enough templates have filters: `code` for a code span, `literal` for a string
in Python code, `html_text` within an HTML element.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import jinja2
from jinja2.sandbox import SandboxedEnvironment

from geodit.configuration.text_files import read_text
from geodit.hub_cards.card.markdown import Markdown, as_markdown, code, html_text

__all__ = ["TEMPLATES", "fill_template"]

TEMPLATES = Path(__file__).parents[1] / "templates"
"""GeoDiT's own templates, which those of users may extend by their names."""


def fill_template(template: Path, values: Mapping[str, object]) -> str:
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
        loader=jinja2.FileSystemLoader(TEMPLATES),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=True,
        finalize=_shown,
    )
    environment.filters |= {"code": _code, "literal": _literal, "html_text": html_text}
    source = read_text(template)
    try:
        text = environment.from_string(source).render(values)
    except jinja2.TemplateError as error:
        raise ValueError(f"the template {template} cannot be used: {error}") from error
    text = text.lstrip("\n")
    # In the YAML at the top, blank lines are a part of the values.
    front, end, body = text.partition("\n---\n") if text.startswith("---\n") else ("", "", text)
    return front + end + re.sub(r"\n{3,}", "\n\n", body)


def _shown(value: object) -> object:
    """Convert a value for the card, so that nothing is left for Jinja's own escaping, which is HTML's."""
    return value if isinstance(value, jinja2.Undefined) or hasattr(value, "__html__") else as_markdown(value)


def _code(value: object) -> Markdown:
    return code(str(value))


def _literal(value: object) -> Markdown:
    return Markdown(json.dumps(str(value), ensure_ascii=False))
