# SPDX-License-Identifier: Apache-2.0
"""Reading the files of a checkpoint's folder, with errors that name the file and the field."""

from __future__ import annotations

import re
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from geodit.configuration import text_files
from geodit.configuration.remote_code_geodit import CODE_FILES
from geodit.configuration.secrets import mask_secrets
from geodit.configuration.types_geodit import JsonObject

__all__ = ["Field", "has_remote_code", "parse_fields", "read_fields", "read_front_matter", "read_recipe"]

_FRONT_MATTER = re.compile(r"\s*---[ \t]*\n(.*?\n)---[ \t]*(?:\n|$)", re.DOTALL)


def has_remote_code(checkpoint_dir: str | PathLike[str]) -> bool:
    """Return whether a checkpoint brings all the code that loads it."""
    return all((Path(checkpoint_dir) / name).is_file() for name in CODE_FILES)


@dataclass(frozen=True)
class Field:
    """A value somewhere in a JSON document. What has another type than asked for raises a `ValueError`.

    Args:
        value: The value.
        file: The file that it was read from.
        trail: Where in the file, e.g. `"cells[0].summary"`; empty for the document itself.
    """

    value: object
    file: Path
    trail: str = ""

    def __getitem__(self, key: str) -> Field:
        """Return the field of an object, which must be there."""
        if key not in self.mapping():
            raise ValueError(f"{self.file}: {self._named()} has no field {key!r}")
        return self._child(key)

    def get(self, key: str) -> Field | None:
        """Return the field of an object, or `None` if it is missing or null."""
        return self._child(key) if self.mapping().get(key) is not None else None

    def items(self) -> list[tuple[str, Field]]:
        """Return the fields of an object with their names."""
        return [(key, self._child(key)) for key in self.mapping()]

    def elements(self) -> list[Field]:
        """Return the elements of an array."""
        if not isinstance(self.value, list):
            raise self._wrong("an array")
        return [Field(value, self.file, f"{self.trail}[{i}]") for i, value in enumerate(self.value)]

    def mapping(self) -> JsonObject:
        """Return the value, which must be an object."""
        if not isinstance(self.value, dict):
            raise self._wrong("an object")
        return self.value

    def text(self) -> str:
        """Return the value, which must be a string."""
        if not isinstance(self.value, str):
            raise self._wrong("a string")
        return self.value

    def number(self) -> float:
        """Return the value, which must be a number."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            raise self._wrong("a number")
        return self.value

    def integer(self) -> int:
        """Return the value, which must be a whole number."""
        if isinstance(self.value, bool) or not isinstance(self.value, int):
            raise self._wrong("an integer")
        return self.value

    def boolean(self) -> bool:
        """Return the value, which must be true or false."""
        if not isinstance(self.value, bool):
            raise self._wrong("true or false")
        return self.value

    def _child(self, key: str) -> Field:
        # Names such as "detect.f1" have dots of their own.
        name = f"[{key!r}]" if "." in key else f".{key}" if self.trail else key
        return Field(self.mapping()[key], self.file, self.trail + name)

    def _named(self) -> str:
        return self.trail or "the document"

    def _wrong(self, expected: str) -> ValueError:
        return ValueError(
            f"{self.file}: {self._named()} must be {expected}, but is {mask_secrets(repr(self.value)):.80}"
        )


def read_fields(path: Path) -> Field:
    """Read a JSON document.

    Raises:
        ValueError: If the file is missing, is not UTF-8, or does not hold one JSON object.
    """
    return Field(text_files.read_json_object(path, allow_nan=False), path)


def parse_fields(text: str, path: Path, place: str = "", *, allow_nan: bool = False) -> Field:
    """Parse a JSON object.

    Args:
        text: The JSON.
        path: The file that it stands in, for errors.
        place: Where in the file, e.g. `"line 3"`, for errors.
        allow_nan: Whether to take NaN and Infinity, which JSON does not have and Python writes nevertheless.

    Raises:
        ValueError: If the text is not one JSON object.
    """
    where = f"{path}, {place}" if place else str(path)
    return Field(text_files.parse_json_object(text, where, allow_nan=allow_nan), path, place)


def read_recipe(path: Path) -> JsonObject:
    """Read a recipe, a YAML mapping of argument names to values.

    Raises:
        ValueError: If the file is missing, is not UTF-8, or is not such a mapping.
    """
    value = text_files.parse_yaml(text_files.read_text(path), path)
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"{path} must be a YAML mapping of argument names to values")
    return value


def read_front_matter(card: str, where: str) -> JsonObject:
    """Parse the YAML at the top of a card; empty if it has none.

    Args:
        card: The card.
        where: What it is called, for errors.

    Raises:
        ValueError: If it is not a YAML mapping, or its aliases stand for too much.
    """
    found = _FRONT_MATTER.match(card)
    value = {} if found is None else text_files.parse_yaml(found.group(1), where) or {}
    if not isinstance(value, dict):
        raise ValueError(f"the front matter of {where} must be a YAML mapping")
    return {str(name): item for name, item in value.items()}
