# SPDX-License-Identifier: Apache-2.0
"""Fields of a record that was read from JSON or CSV, with a clear complaint if one is not what it should be."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

# Between words: anything but letters and digits, and before a capital that follows a small letter.
_WORD_BORDER = re.compile(r"[\W_]+|(?<=[a-z])(?=[A-Z])")

_MAX_TEXT = 200_000  # characters: a list of thousands of boxes is shorter
_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = _BRIEF.maxlong = 200
_BRIEF.maxlist = _BRIEF.maxtuple = _BRIEF.maxdict = 10


@dataclass(frozen=True)
class DamagedRecord:
    """What stands for a record that could not be read at all.

    Args:
        reason: What is wrong, for the error.
    """

    reason: str


def brief(value: object) -> str:
    """Format a value for an error message: as Python writes it, cut off if it is long or nested deeply."""
    return _BRIEF.repr(value)


def one_line(text: str) -> str:
    """Return a message with single spaces for all white space, and nothing in it that a terminal would act on."""
    words = " ".join(text.split())
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in words)


def as_record(value: object) -> Mapping[str, object]:
    """Return the value if it is an object with named fields.

    Raises:
        ValueError: If it is something else.
    """
    if isinstance(value, DamagedRecord):
        raise ValueError(value.reason)
    if not isinstance(value, Mapping):
        raise ValueError(f"it should be an object with named fields, not {type(value).__name__}")
    return value


def clean_text(value: object, name: str) -> str:
    """Return a text without white space at its ends and with single spaces inside.

    Raises:
        ValueError: If the value is no text, is longer than any question or answer is, or nothing is left.
    """
    if not isinstance(value, str):
        raise ValueError(f"{name} should be a text, not {brief(value)}")
    if len(value) > _MAX_TEXT:
        raise ValueError(f"{name} has {len(value):,} characters, which is more than {_MAX_TEXT:,}")
    text = " ".join(value.split())
    if not text:
        raise ValueError(f"{name} is empty")
    return text


def class_words(name: str) -> str:
    """Return the name of a class as words in lower case: "BareLand" -> "bare land".

    Raises:
        ValueError: If the name has no letter or digit.
    """
    return clean_text(_WORD_BORDER.sub(" ", name).lower(), f"the class {brief(name)}")


def marked_phrase(text: str) -> str | None:
    """Return what stands between the first `<p>` and the next `</p>`, cleaned; `None` if they do not occur.

    Raises:
        ValueError: If nothing stands there.
    """
    _, start, rest = text.partition("<p>")
    phrase, end, _ = rest.partition("</p>")
    return clean_text(phrase, "the phrase") if start and end else None


def text_field(record: Mapping[str, object], name: str) -> str:
    """Return the text under a name, cleaned.

    Raises:
        ValueError: If there is none, or it is empty.
    """
    return clean_text(_field(record, name), repr(name))


def path_field(record: Mapping[str, object], name: str) -> str:
    """Return the relative path under a name, as `inner_path` has it.

    Raises:
        ValueError: If there is none, it is absolute, or it leads out of the folder.
    """
    return inner_path(_field(record, name), repr(name))


def inner_path(value: object, name: str) -> str:
    """Return a path that stays in the folder it is relative to, with single slashes and without "." in it.

    Raises:
        ValueError: If the value is no text or empty, the path is absolute, or it leads out of the folder.
    """
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} should be the path of an image, not {brief(value)}")
    path = value.strip().replace("\\", "/")
    # Without empty parts: what remains of "data//a.jpg" after "data/" would be absolute.
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or not parts or ":" in parts[0] or ".." in parts:
        raise ValueError(f"{name} should be a path inside the data set, not {brief(value)}")
    return "/".join(parts)


def list_field(record: Mapping[str, object], name: str) -> Sequence[object]:
    """Return the list under a name.

    Raises:
        ValueError: If there is none.
    """
    value = _field(record, name)
    if not isinstance(value, list):
        raise ValueError(f"{name!r} should be a list, not {brief(value)}")
    return value


def id_field(record: Mapping[str, object], name: str) -> int:
    """Return the whole number under a name.

    Raises:
        ValueError: If there is none.
    """
    value = _field(record, name)
    if type(value) is not int:
        raise ValueError(f"{name!r} should be a whole number, not {brief(value)}")
    return value


def numbers(values: object, *lengths: int) -> list[float]:
    """Return finite numbers, as many as one of `lengths` says. A number may be written as text; a bool is refused.

    Raises:
        ValueError: If the value is anything else.
    """
    parsed: list[float] = []
    if isinstance(values, Iterable) and not isinstance(values, str | bytes | Mapping):
        try:
            parsed = [math.nan if isinstance(value, bool) else float(value) for value in values]
        except (TypeError, ValueError, OverflowError):
            parsed = []
    if len(parsed) not in lengths or not all(math.isfinite(value) for value in parsed):
        wanted = " or ".join(str(length) for length in lengths)
        raise ValueError(f"{wanted} numbers are expected, not {brief(values)}")
    return parsed


def _field(record: Mapping[str, object], name: str) -> object:
    if name not in record:
        raise ValueError(f"it has no {name!r}, only {brief(list(record))[1:-1] or 'nothing'}")
    return record[name]
