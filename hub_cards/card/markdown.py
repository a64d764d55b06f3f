# SPDX-License-Identifier: Apache-2.0
"""Pieces of GitHub-flavoured Markdown.

A card repeats what files, recipes, logs and names say, which anyone may have written. Such text is a plain `str`, and
is shown as it reads: where Markdown or HTML might take it for something else, in a code span. What is Markdown already
is of the type [`Markdown`], and only code of ours makes that.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from urllib.parse import quote

__all__ = [
    "Markdown",
    "Table",
    "as_markdown",
    "code",
    "cut_paths",
    "html_text",
    "image",
    "one_line",
    "without_folders",
]

# Words, numbers and punctuation that mean nothing in Markdown: no markup, no HTML, no address, no mention.
_PLAIN = re.compile(r"(?:[\w .,;()%+=/|?!'\"\u00a0-\U0010ffff-]|:(?!//)|@\d+(?:\.\d+)?(?![\w.-]))*")
# A list, a rule, or what makes a title of the line above.
_STARTS_BLOCK = re.compile(r"(?:[-+=]+|\d+[.)])(?:\s|$)")
_ADDRESS = re.compile(r"\bwww\.", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")


class Markdown(str):
    """Text that is Markdown, and is put into a card as it is."""

    __slots__ = ()

    def __html__(self) -> str:
        """Return the text as it is; by this method Jinja knows what not to escape."""
        return str(self)


@dataclass(frozen=True)
class Table:
    """A table; `str()` gives its Markdown.

    Args:
        header: Titles of the columns.
        rows: The cells, as many in each row as there are titles. What is not [`Markdown`] is shown as it reads.
        num_left: How many columns, from the left, hold words; the others are aligned to the right.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    num_left: int

    def __str__(self) -> str:
        rule = [Markdown("---" if index < self.num_left else "---:") for index in range(len(self.header))]
        lines = [self.header, rule, *self.rows]
        return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)

    def __html__(self) -> str:
        """Return the text as it is; by this method Jinja knows what not to escape."""
        return str(self)


def as_markdown(value: object) -> Markdown:
    """Write anything as one line of Markdown that shows it as it reads; [`Markdown`] and tables stay as they are."""
    if isinstance(value, Markdown):
        return value
    if isinstance(value, Table):
        return Markdown(value)
    text = one_line(str(value))
    if _PLAIN.fullmatch(text) and not _STARTS_BLOCK.match(text) and not _ADDRESS.search(text):
        return Markdown(text)
    return code(text)


def html_text(value: object) -> Markdown:
    """Write anything as text within an HTML element, in one line."""
    return Markdown(html.escape(one_line(str(value))))


def image(description: str, path: str) -> Markdown:
    """Write the Markdown of a picture of the repository.

    Args:
        description: What it shows, as Markdown.
        path: Its path in the repository.
    """
    return Markdown(f"![{description}]({quote(path)})")


def one_line(text: str) -> str:
    """Return a text without line ends, characters that no one sees, and runs of spaces."""
    return " ".join(_CONTROL.sub("\ufffd", text).split())


def code(text: str) -> Markdown:
    """Write a text in a code span, whatever it holds."""
    text = one_line(text)
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    padding = " " if longest else ""
    return Markdown(f"{fence}{padding}{text}{padding}{fence}")


def without_folders(argument: str) -> str:
    """Cut an absolute path to its last part, since a card tells nothing of who trained where; keep anything else.

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


def cut_paths(value: object) -> object:
    """Cut the absolute paths in all strings of a document, as JSON or YAML gives it."""
    if isinstance(value, str):
        return without_folders(value)
    if isinstance(value, list):
        return [cut_paths(item) for item in value]
    if isinstance(value, dict):
        return {name: cut_paths(item) for name, item in value.items()}
    return value


def _cell(text: str) -> str:
    # A bar ends a cell even inside a code span. Parsers disagree on one with two backslashes before it.
    line = re.sub(r"\\(?=\|)", r"\\ ", " ".join(as_markdown(text).split()))
    return line.replace("|", "\\|")
