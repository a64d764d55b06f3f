# SPDX-License-Identifier: Apache-2.0
"""Fields of a record that was read from JSON or CSV, with a clear complaint if one is not what it should be."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

# Between words: anything but letters and digits, and before a capital that follows a small letter.
_WORD_BORDER = re.compile(r"[\W_]+|(?<=[a-z])(?=[A-Z])")


def as_record(value: Any) -> Mapping[str, Any]:
    """The value, if it is an object with named fields.

    Raises:
        ValueError: If it is something else.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"it should be an object with named fields, not {type(value).__name__}")
    return value


def clean_text(value: Any, name: str) -> str:
    """A text without white space at its ends and with single spaces inside.

    Raises:
        ValueError: If the value is no text, or nothing is left.
    """
    if not isinstance(value, str):
        raise ValueError(f"{name} should be a text, not {value!r}")
    text = " ".join(value.split())
    if not text:
        raise ValueError(f"{name} is empty")
    return text


def class_words(name: str) -> str:
    """The name of a class as words in lower case: "BareLand", "storage-tank" -> "bare land", "storage tank".

    Raises:
        ValueError: If the name has no letter or digit.
    """
    return clean_text(_WORD_BORDER.sub(" ", name).lower(), f"the class {name!r}")


def text_field(record: Mapping[str, Any], name: str) -> str:
    """The text under a name, cleaned.

    Raises:
        ValueError: If there is none, or it is empty.
    """
    return clean_text(_field(record, name), repr(name))


def path_field(record: Mapping[str, Any], name: str) -> str:
    """The relative path under a name, as `inner_path` has it.

    Raises:
        ValueError: If there is none, it is absolute, or it leads out of the folder.
    """
    return inner_path(_field(record, name), repr(name))


def inner_path(value: Any, name: str) -> str:
    """A path that stays in the folder it is relative to, with single slashes and without "." in it.

    Raises:
        ValueError: If the value is no text or empty, the path is absolute, or it leads out of the folder.
    """
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} should be the path of an image, not {value!r}")
    path = value.strip().replace("\\", "/")
    # Without empty parts: what remains of "data//a.jpg" behind "data/" would be absolute.
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or not parts or ":" in parts[0] or ".." in parts:
        raise ValueError(f"{name} should be a path inside the data set, not {value!r}")
    return "/".join(parts)


def list_field(record: Mapping[str, Any], name: str) -> Sequence[Any]:
    """The list under a name.

    Raises:
        ValueError: If there is none.
    """
    value = _field(record, name)
    if not isinstance(value, list):
        raise ValueError(f"{name!r} should be a list, not {value!r}")
    return value


def id_field(record: Mapping[str, Any], name: str) -> int:
    """The whole number under a name.

    Raises:
        ValueError: If there is none.
    """
    value = _field(record, name)
    if type(value) is not int:
        raise ValueError(f"{name!r} should be a whole number, not {value!r}")
    return value


def numbers(values: Any, *lengths: int) -> list[float]:
    """Finite numbers, so many of them as one of `lengths` says.

    Raises:
        ValueError: If the value is anything else.
    """
    try:
        parsed = [float(value) for value in values]
    except (TypeError, ValueError):
        parsed = []
    if len(parsed) not in lengths or not all(math.isfinite(value) for value in parsed):
        raise ValueError(f"{' or '.join(str(length) for length in lengths)} numbers are expected, not {values!r}")
    return parsed


def _field(record: Mapping[str, Any], name: str) -> Any:
    if name not in record:
        raise ValueError(f"it has no {name!r}, only {', '.join(repr(key) for key in record) or 'nothing'}")
    return record[name]
