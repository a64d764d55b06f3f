# SPDX-License-Identifier: Apache-2.0
"""What a format of annotations is to those who read it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from geodit.annotations.records import BadRecord, LabeledImage
from geodit.data.readers.fields import one_line

__all__ = ["AnnotationFormat", "ReadAnnotations", "Record", "bad_record"]

_MAX_REASON = 500  # characters

Record: TypeAlias = LabeledImage | BadRecord


class ReadAnnotations(Protocol):
    """How the annotations of a source are read."""

    def __call__(self, source: Path, *, images: Path | None = None) -> Iterator[Record]:
        """Yield the annotated images, and what cannot be used.

        Args:
            source: The file or folder of the annotations.
            images: The folder of the images, if they are not where the source says.

        Yields:
            Images, and a bad record for each that cannot be read, after which reading goes on. An object that cannot
            be read is a bad record, too, and its image comes without it.

        Raises:
            ValueError: If the source is not of this format at all.
        """
        ...


@dataclass(frozen=True)
class AnnotationFormat:
    """A format of annotations.

    Args:
        name: What the command line calls it.
        description: What it is, as half a sentence.
        matches: Whether a source looks like this format. It reads no more than the beginning of a few files, and
            raises no error for what it cannot read.
        read: Reads a source.
    """

    name: str
    description: str
    matches: Callable[[Path], bool]
    read: ReadAnnotations


def bad_record(origin: str, error: Exception | str) -> BadRecord:
    """Make a bad record of an error, on one line and cut off if it is long."""
    reason = one_line(str(error)).rstrip(".")
    return BadRecord(one_line(origin), reason if len(reason) <= _MAX_REASON else f"{reason[:_MAX_REASON]}...")
