# SPDX-License-Identifier: Apache-2.0
"""The answers of a job as they come: a file that a run which was cut off goes on from.

The first line says what was asked, see [`SceneJob.fingerprint`]. Each further line holds the answers of one chunk of
tiles. A line counts once it is complete: what a crash has left of the last one is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType

from geodit.configuration.file_lock import FileLock
from geodit.configuration.line_journal import LineJournal, read_journal_lines
from geodit.configuration.types_geodit import JsonObject
from geodit.pipelines.scenes.leftovers import remove_leftovers
from geodit.pipelines.tile_answers import TileAnswers

__all__ = ["Journal", "find_journals", "open_journal", "read_journals"]

_FORMAT = "geodit answers 1"


class Journal:
    """Answers on disk, chunk by chunk. It is a context manager: leaving it closes the file.

    Args:
        path: The file. What it holds of the same job is kept.
        fingerprint: What the answers depend on.
        others: Further files of the same job, such as those of other processes, which are only read.
        lock: A lock that is held, and is released when the file is closed.

    Attributes:
        done: The answers of the chunks that are complete, by their numbers.

    Raises:
        ValueError: If a file is of another job.
        OSError: If it cannot be written.
    """

    def __init__(
        self, path: Path, fingerprint: JsonObject, others: Iterable[Path] = (), lock: FileLock | None = None
    ) -> None:
        self.path = path
        self.done = read_journals(others, fingerprint)
        self._lock = lock
        self._lines = LineJournal(path, _header(fingerprint), hint="go on from them with --resume")
        try:
            self.done |= _chunks(path, self._lines.lines)
        except BaseException:
            self._lines.close()
            raise

    def add(self, chunk: int, answers: Sequence[TileAnswers]) -> None:
        """Append the answers of a chunk; they are on disk when this returns.

        Raises:
            OSError: If they cannot be written, such as on a full disk. What was written before is kept.
        """
        self._lines.append({"chunk": chunk, "tiles": [tile.to_dict() for tile in answers]})

    def close(self) -> None:
        """Close the file."""
        self._lines.close()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def find_journals(out: Path) -> list[Path]:
    """Return the journals of a job whose result goes to `out`."""
    named = re.compile(re.escape(out.name) + r"\.answers(-[1-9][0-9]*)?\.jsonl")
    return sorted(path for path in out.parent.iterdir() if named.fullmatch(path.name))


def open_journal(out: Path, fingerprint: JsonObject, *, process: int = 0, resume: bool = False) -> Journal:
    """Open the journal of a job, which lies next to its result.

    Args:
        out: The file of the result.
        fingerprint: What the answers depend on.
        process: Number of this process, where several share the job. Each has a file of its own; the first one
            keeps out other runs with the same result.
        resume: Whether to go on from the answers of an earlier run.

    Raises:
        ValueError: If there are answers of an earlier run and it is not to go on from them, or they are of another
            job.
        BlockingIOError: If another process is writing to `out`.
        OSError: If it cannot be written.
    """
    path = out.with_name(f"{out.name}.answers{f'-{process}' if process else ''}.jsonl")
    if process:
        return Journal(path, fingerprint, _others(out, path) if resume else ())
    lock = FileLock(out.with_name(f".{out.name}.lock"), out)
    lock.acquire()
    try:
        found = find_journals(out)
        if found and not resume:
            raise ValueError(
                f"{found[0]} holds the answers of a run that did not end: go on from them with --resume, or delete "
                "it to start over"
            )
        if lock.held:
            remove_leftovers(out)
        return Journal(path, fingerprint, _others(out, path), lock)
    except BaseException:
        lock.release()
        raise


def read_journals(paths: Iterable[Path], fingerprint: JsonObject) -> dict[int, list[TileAnswers]]:
    """Return the answers of the chunks that are complete in some of the files of a job.

    Raises:
        ValueError: If a file is of another job.
    """
    found: dict[int, list[TileAnswers]] = {}
    for path in sorted(paths):
        found.update(_chunks(path, read_journal_lines(path, _header(fingerprint))[0]))
    return found


def _others(out: Path, own: Path) -> list[Path]:
    return [path for path in find_journals(out) if path != own]


def _header(fingerprint: JsonObject) -> JsonObject:
    return {"format": _FORMAT, **fingerprint}


def _chunks(path: Path, lines: Iterable[JsonObject]) -> dict[int, list[TileAnswers]]:
    """Return the answers of chunks by their numbers."""
    try:
        return {int(line["chunk"]): [TileAnswers.from_dict(tile) for tile in line["tiles"]] for line in lines}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a file of answers to go on from: delete it to start over") from error
