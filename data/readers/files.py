# SPDX-License-Identifier: Apache-2.0
"""Annotation files read piece by piece, and image files."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from json.decoder import JSONDecodeError
from pathlib import Path
from typing import IO

from PIL import Image

from geodit.configuration import text_files
from geodit.configuration.text_files import check_regular_file, parse_json, read_text
from geodit.data.readers.fields import DamagedRecord
from geodit.processing.images_geodit import DAMAGE, IMAGE_FORMATS

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"})

MAX_VALUE_LENGTH = 2**26
"""Length in characters of the longest element of an array, and in bytes of the longest line, that is read."""

_MAX_FILE_BYTES = 2**28  # of a file that is read whole
_CHUNK = 1 << 20  # characters
_LONGEST_TOKEN = len("-Infinity")
_LONGEST_PATH = 300  # that an error shows whole
_SPACE = re.compile(r"\s*")


@contextlib.contextmanager
def open_text(path: Path, newline: str | None = None) -> Iterator[IO[str]]:
    """Open an annotation file, whose name an error while it is read gets, too.

    Args:
        path: A regular file, of UTF-8 text with or without a byte order mark.
        newline: As `open` takes it.

    Raises:
        ValueError: If it is a directory, a named pipe or a device, or not UTF-8.
        OSError: If it is missing or cannot be read.
    """
    check_regular_file(path)
    try:
        with path.open(encoding="utf-8-sig", newline=newline) as file:
            yield file
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file: {error.reason} at byte {error.start:,}") from error


def iter_json_array(path: Path, key: str | None = None) -> Iterator[object]:
    """Yield the elements of a JSON array without holding the whole file.

    Args:
        path: A JSON file that is an array, or an object with one.
        key: The name of the array if the file is an object. What stands before it is passed over.

    Raises:
        ValueError: If the file is not such JSON, or an element is longer than `MAX_VALUE_LENGTH`. Elements before
            the fault have been yielded by then.
    """
    try:
        with open_text(path) as file:
            stream = _JsonStream(file)
            if key is not None:
                stream.enter_field(key)
            yield from stream.elements()
    except JSONDecodeError as error:
        # Its position is one in the piece that was being read, which says nothing.
        raise ValueError(f"{path} is damaged or not the expected file: {error.msg}. Download it again.") from error


def iter_json_lines(path: Path) -> Iterator[object]:
    """Yield the values of a file with one JSON value per line; skip empty lines.

    A line that is not JSON, or is longer than `MAX_VALUE_LENGTH`, comes as a [`DamagedRecord`]: those after it can be
    read.

    Raises:
        ValueError: If the file is not a regular one.
    """
    check_regular_file(path)
    with path.open("rb") as file:
        for number, line in enumerate(_iter_lines(file, MAX_VALUE_LENGTH), start=1):
            where = f"line {number}"
            if line is None:
                yield DamagedRecord(f"{where} is longer than {MAX_VALUE_LENGTH:,} bytes")
                continue
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                if text.strip():
                    yield parse_json(text, where)
            except UnicodeDecodeError as error:
                yield DamagedRecord(f"{where} is not UTF-8 text: {error.reason} at byte {error.start:,}")
            except ValueError as error:
                yield DamagedRecord(str(error).rstrip("."))


def _iter_lines(file: IO[bytes], limit: int) -> Iterator[bytes | None]:
    """Yield the lines of a file, and `None` for one of more than `limit` bytes."""
    while line := file.readline(limit + 1):
        if len(line) <= limit:
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(_CHUNK)
        yield None


def read_json(path: Path) -> object:
    """Read a JSON file that is small enough to be held in memory.

    Raises:
        ValueError: If it is not JSON.
        FileNotFoundError: If it is missing.
    """
    check_regular_file(path)
    try:
        return text_files.read_json(path, max_bytes=_MAX_FILE_BYTES)
    except ValueError as error:
        raise ValueError(f"{str(error).rstrip('.')}: download it again.") from error


def read_lines(path: Path) -> list[str]:
    """Read the lines of a text file that are not empty, without white space at their ends.

    Raises:
        ValueError: If it is not text.
        FileNotFoundError: If it is missing.
    """
    check_regular_file(path)
    text = read_text(path, max_bytes=_MAX_FILE_BYTES, encoding="utf-8-sig")
    return [line.strip() for line in text.splitlines() if line.strip()]


class ImageFileError(ValueError):
    """An image that is missing or cannot be decoded."""


def is_file(path: Path) -> bool:
    """Return whether this is a file; false for a name that no file can have, where `Path.is_file` raises an error."""
    return os.path.isfile(path)  # noqa: PTH113


def require_image(path: Path) -> None:
    """Refuse an image that is not a file.

    Raises:
        ImageFileError: If it is missing, or is a directory, a named pipe or a device.
    """
    try:
        check_regular_file(path)
    except FileNotFoundError:
        raise ImageFileError(f"the image {_shown(path)} is missing") from None
    except (OSError, ValueError) as error:
        raise ImageFileError(f"{_shown(path)} cannot be read as an image: {_reason(error, path)}") from error


def read_image_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image in pixels, from its header alone.

    Raises:
        ImageFileError: If the file is missing or is not an image.
    """
    with _opened(path) as image:
        return image.height, image.width


def decode_image(path: Path) -> Image.Image:
    """Decode an image to its last row, in RGB.

    Raises:
        ImageFileError: If the file is missing or cannot be decoded.
    """
    with _opened(path) as image:
        return image.convert("RGB")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    require_image(path)
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            yield image
    except DAMAGE as error:
        raise ImageFileError(f"{_shown(path)} cannot be read as an image: {_reason(error, path)}") from error


def _shown(path: Path) -> str:
    text = str(path)
    return text if len(text) <= _LONGEST_PATH else f"{text[:_LONGEST_PATH]}..."


def _reason(error: Exception, path: Path) -> str:
    """Return what an error says, without the path, which the message around it has."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).removeprefix(f"{path} ").replace(repr(str(path)), "it")


class _JsonStream:
    """A JSON document that is decoded value by value from a buffer of the file.

    A value that does not fit the buffer is decoded again from its beginning when there is more of it. As the buffer
    grows by what it holds already, this takes time in proportion to the length of the value.

    Args:
        file: The document.
        chunk: Characters to read at least at a time.
        limit: Characters that a value may have.
    """

    def __init__(self, file: IO[str], chunk: int = _CHUNK, limit: int = MAX_VALUE_LENGTH) -> None:
        self._file = file
        self._chunk = chunk
        self._limit = limit
        self._decoder = json.JSONDecoder()
        self._buffer = ""
        self._position = 0
        self._ended = False

    def enter_field(self, key: str) -> None:
        """Move into the value of a field of the object that the document is."""
        self._expect("{")
        while True:
            if self._peek() == "}":
                raise self._fault(f"there is no {key!r} in it")
            name = self._value()
            self._expect(":")
            if name == key:
                return
            self._value()
            if self._peek() == ",":
                self._position += 1

    def elements(self) -> Iterator[object]:
        """Yield the elements of the array that comes next."""
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
            raise self._fault(f"expected {wanted}, found {instead}")
        self._position += 1
        return found

    def _value(self) -> object:
        self._peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._position)
            except JSONDecodeError as error:
                if self._is_fault(error) or not self._fill():
                    raise
                continue
            except RecursionError as error:
                raise self._fault("a value in it is nested too deeply") from error
            except ValueError as error:  # a whole number of more digits than Python reads
                raise self._fault(str(error)) from error
            # A number at the end of the buffer, "1", "1." or "1e-", may go on after it.
            if len(self._buffer) - end < 3 and self._fill():
                continue
            self._position = end
            return value

    def _fault(self, reason: str) -> JSONDecodeError:
        return JSONDecodeError(reason, self._buffer, self._position)

    def _is_fault(self, error: JSONDecodeError) -> bool:
        """Return whether more text could not help: what is cut off fails at its end, or in a string without an end."""
        return len(self._buffer) - error.pos > _LONGEST_TOKEN and not error.msg.startswith("Unterminated string")

    def _fill(self) -> bool:
        """Read on; False at the end of the file."""
        held = len(self._buffer) - self._position
        if held > self._limit:
            raise self._fault(f"a value in it is longer than {self._limit:,} characters")
        chunk = "" if self._ended else self._file.read(max(self._chunk, held))
        self._ended = not chunk
        if chunk:
            self._buffer = self._buffer[self._position :] + chunk
            self._position = 0
        return bool(chunk)
