# SPDX-License-Identifier: Apache-2.0
"""Annotation files read piece by piece, and image files."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from json.decoder import JSONDecodeError
from pathlib import Path
from typing import IO, Any

from PIL import Image

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"})
_CHUNK = 1 << 20  # characters
_LONGEST_TOKEN = len("-Infinity")
_SPACE = re.compile(r"\s*")


def iter_json_array(path: Path, key: str | None = None) -> Iterator[Any]:
    """The elements of a JSON array, one after the other, without holding the whole file.

    Args:
        path: A JSON file that is an array, or an object with one.
        key: The name of the array if the file is an object. What stands before it is passed over.

    Raises:
        ValueError: If the file is not such JSON. Elements before the fault have been yielded by then.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            stream = _JsonStream(file)
            if key is not None:
                stream.enter_field(key)
            yield from stream.elements()
    except (JSONDecodeError, UnicodeDecodeError) as error:
        # Its position is one in the piece that was being read, which says nothing.
        reason = error.msg if isinstance(error, JSONDecodeError) else error
        raise ValueError(f"{path} is damaged or not the expected file: {reason}. Download it again.") from error


def iter_json_lines(path: Path) -> Iterator[Any]:
    """The values of a file with one JSON value a line; empty lines are passed over.

    Raises:
        ValueError: If a line is not JSON.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    try:
                        yield json.loads(line)
                    except JSONDecodeError as error:
                        raise ValueError(f"{path}, line {number} is not JSON: {error}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file: {error}") from error


def read_json(path: Path) -> Any:
    """The content of a small JSON file.

    Raises:
        ValueError: If it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged or not the expected file: {error}. Download it again.") from error


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that are not empty, without white space at their ends.

    Raises:
        ValueError: If it is not text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file: {error}") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


class ImageFileError(ValueError):
    """An image that is missing or cannot be decoded."""


def read_image_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image in pixels, from its header alone.

    Raises:
        ImageFileError: If the file is missing or is not an image.
    """
    with _opened(path) as image:
        return image.height, image.width


def decode_image(path: Path) -> Image.Image:
    """An image in RGB, decoded to its last row.

    Raises:
        ImageFileError: If the file is missing or cannot be decoded.
    """
    with _opened(path) as image:
        return image.convert("RGB")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError:
        raise ImageFileError(f"the image {path} is missing") from None
    # What PIL's decoders raise on damaged files.
    except (OSError, EOFError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageFileError(f"{path} cannot be read as an image: {error}") from error


class _JsonStream:
    """A JSON document that is decoded value by value from a buffer of the file."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._decoder = json.JSONDecoder()
        self._buffer = ""
        self._position = 0
        self._ended = False

    def enter_field(self, key: str) -> None:
        """Move into the value of a field of the object that the document is."""
        self._expect("{")
        while True:
            if self._peek() == "}":
                raise JSONDecodeError(f"there is no {key!r} in it", self._buffer, self._position)
            name = self._value()
            self._expect(":")
            if name == key:
                return
            self._value()
            if self._peek() == ",":
                self._position += 1

    def elements(self) -> Iterator[Any]:
        """The elements of the array that comes next."""
        self._expect("[")
        if self._peek() == "]":
            return
        while True:
            yield self._value()
            if self._expect(",]") == "]":
                return

    def _peek(self) -> str:
        while True:
            match = _SPACE.match(self._buffer, self._position)
            self._position = match.end() if match else self._position
            if self._position < len(self._buffer) or not self._fill():
                return self._buffer[self._position : self._position + 1]

    def _expect(self, characters: str) -> str:
        found = self._peek()
        if not found or found not in characters:
            wanted = " or ".join(repr(character) for character in characters)
            instead = repr(found) if found else "the end of the file"
            raise JSONDecodeError(f"expected {wanted}, found {instead}", self._buffer, self._position)
        self._position += 1
        return found

    def _value(self) -> Any:
        self._peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._position)
            except JSONDecodeError as error:
                if self._is_fault(error) or not self._fill():
                    raise
                continue
            # A number at the end of the buffer, "1", "1." or "1e-", may go on behind it.
            if len(self._buffer) - end < 3 and self._fill():
                continue
            self._position = end
            return value

    def _is_fault(self, error: JSONDecodeError) -> bool:
        """Whether more text could not help: what is cut off fails at the end, or in a string that does not end."""
        return len(self._buffer) - error.pos > _LONGEST_TOKEN and not error.msg.startswith("Unterminated string")

    def _fill(self) -> bool:
        """Read on; False at the end of the file."""
        chunk = "" if self._ended else self._file.read(_CHUNK)
        self._ended = not chunk
        if chunk:
            self._buffer = self._buffer[self._position :] + chunk
            self._position = 0
        return bool(chunk)
