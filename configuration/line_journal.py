# SPDX-License-Identifier: Apache-2.0
"""JSON lines that a run appends to, and that a run which was cut off goes on from.

The first line says what the others depend on. A line counts once it is complete: what a crash has left of the last one
is dropped.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from types import TracebackType

from geodit.configuration.types_geodit import JsonObject

__all__ = ["LineJournal", "read_journal_lines"]


class LineJournal:
    """Lines on disk. It is a context manager: leaving it closes the file.

    Args:
        path: The file. What it holds under the same header is kept.
        header: What the lines depend on; the first line.
        hint: What to do where a line cannot be written, and some are kept; for the error.

    Attributes:
        lines: The lines that were there, without the header.

    Raises:
        ValueError: If the file is something else, or has another header.
        OSError: If it cannot be written.
    """

    def __init__(self, path: Path, header: JsonObject, *, hint: str = "go on from them") -> None:
        self.path = path
        self._hint = hint
        self.lines, self._size = read_journal_lines(path, header)
        self._file = _open(path)
        try:
            if self._size:
                self._file.truncate(self._size)
            else:
                self._begin(header)
        except BaseException:
            self._file.close()
            raise

    def append(self, line: JsonObject) -> None:
        """Append a line; it is on disk when this returns.

        Raises:
            OSError: If it cannot be written, such as on a full disk. What was written before is kept.
        """
        rest = memoryview(json.dumps(line, ensure_ascii=True, allow_nan=False).encode() + b"\n")
        size = self._size + len(rest)
        try:
            self._file.seek(self._size)
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(self._size)
            reason = error.strerror or error
            kept = f"; the answers before are kept: {self._hint}" if self._size else ""
            raise OSError(f"cannot write {self.path}: {reason}{kept}") from error
        self._size = size

    def _begin(self, header: JsonObject) -> None:
        try:
            self.append(header)
        except OSError:
            self.path.unlink()  # There is nothing to go on from.
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> LineJournal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_journal_lines(path: Path, header: JsonObject) -> tuple[list[JsonObject], int]:
    """Return the complete lines of a journal after its header, and the number of bytes that all of them take.

    Args:
        path: The file; of one that is not there, there are none.
        header: What its first line has to be.

    Raises:
        ValueError: If the file is something else, or has another header.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return [], 0
    end = content.rfind(b"\n") + 1
    lines = content[:end].splitlines()
    if not lines:
        return [], 0
    try:
        found, *rest = (json.loads(line) for line in lines)
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a file of answers to go on from: delete it to start over") from error
    if not all(isinstance(line, dict) for line in rest):
        raise ValueError(f"{path} is not a file of answers to go on from: delete it to start over")
    _check_header(path, found, header)
    return rest, end


def _open(path: Path) -> FileIO:
    try:
        return FileIO(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+")
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror or error}") from error


def _check_header(path: Path, header: object, expected: Mapping[str, object]) -> None:
    found = header if isinstance(header, dict) else {}
    different = sorted(
        name
        for name in {*found, *expected}
        if name not in found or name not in expected or found[name] != expected[name]
    )
    if different:
        raise ValueError(
            f"{path} holds the answers of another job, with another {', '.join(different)}: give the same files and "
            "options as then, or delete it to start over"
        )
