# SPDX-License-Identifier: Apache-2.0
"""Pieces of GitHub-flavoured Markdown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

__all__ = ["Table", "code", "cut_paths", "without_folders"]


@dataclass(frozen=True)
class Table:
    """A table; `str()` gives its Markdown.

    Args:
        header: Titles of the columns.
        rows: The cells, as many in each row as there are titles.
        num_left: How many columns, from the left, hold words; the others are aligned to the right.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    num_left: int

    def __str__(self) -> str:
        rule = ["---" if index < self.num_left else "---:" for index in range(len(self.header))]
        lines = [self.header, rule, *self.rows]
        return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def code(text: str) -> str:
    """Text in a code span, whatever it holds."""
    text = " ".join(text.split())
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    padding = " " if longest else ""
    return f"{fence}{padding}{text}{padding}{fence}"


def without_folders(argument: str) -> str:
    """An absolute path as its last part, anything else as it is: a card tells nothing of who trained where.

    Args:
        argument: An argument of a command line, also `--name=path`, or a value of a recipe.
    """
    option, equals, value = argument.partition("=")
    if equals and option.startswith("-"):
        return f"{option}={without_folders(value)}"
    absolute = PurePosixPath(argument).is_absolute() or PureWindowsPath(argument).is_absolute()
    if absolute or argument.startswith("~"):
        return PureWindowsPath(argument).name or argument
    return argument


def cut_paths(value: Any) -> Any:
    """The same of all strings in a document, as JSON or YAML gives it."""
    if isinstance(value, str):
        return without_folders(value)
    if isinstance(value, list):
        return [cut_paths(item) for item in value]
    if isinstance(value, dict):
        return {name: cut_paths(item) for name, item in value.items()}
    return value


def _cell(text: str) -> str:
    # A bar ends a cell even inside a code span.
    return " ".join(text.split()).replace("|", "\\|")
