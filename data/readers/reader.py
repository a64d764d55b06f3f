# SPDX-License-Identifier: Apache-2.0
"""What a reader of a published data set is, and what it yields."""

from __future__ import annotations

import functools
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, NamedTuple

from geodit.configuration.text_files import check_regular_file
from geodit.data.readers.fields import brief
from geodit.data.schema import Question

TOTAL = "all splits"
"""The key of `DatasetReader.published` for figures that are known of the whole data set only."""


@dataclass(frozen=True)
class Sample:
    """An image and the questions about it, as the annotation has them.

    Args:
        image: The image file, which nobody has opened yet.
        image_id: A name that is unique in the data set.
        questions: The questions. Their boxes are in pixels, and may still leave the image.
        meta: Anything else worth keeping, as JSON can hold it.
    """

    image: Path
    image_id: str
    questions: tuple[Question, ...]
    meta: Mapping[str, object] = field(default_factory=dict)


class Entry(NamedTuple):
    """One record of an annotation, not yet interpreted.

    Attributes:
        location: File and record, for error messages.
        build: Interprets the record. Raises a ValueError that says what is wrong with it.
    """

    location: str
    build: Callable[[], Sample]

    def read(self) -> Sample:
        """Interpret the record, and see to it that it can be kept in a table.

        Raises:
            ValueError: If the record is a bad one, whatever is wrong with it; the message does not name it.
        """
        try:
            sample = self.build()
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error
        except OverflowError as error:
            raise ValueError(f"it has a number that is too large: {error}") from error
        except OSError as error:
            raise ValueError(f"a file that it names cannot be read: {error.strerror or error}") from error
        for text in (self.location, *_texts(sample)):
            try:
                text.encode()
            except UnicodeEncodeError as error:
                # Half of a surrogate pair, as JSON can have it in an escape, or a byte of a file name.
                raise ValueError(f"it has a text that is not Unicode: {brief(text)}, {error.reason}") from error
        return sample


def _texts(sample: Sample) -> Iterator[str]:
    yield str(sample.image)
    yield sample.image_id
    if sample.meta:
        yield json.dumps(dict(sample.meta), ensure_ascii=False)
    for question in sample.questions:
        yield from (question.query, question.answer, question.kind, *question.labels, *question.references)


def bad_record(location: str, error: ValueError) -> Entry:
    """Return the entry of a record that is known to be bad before it is interpreted."""
    return Entry(location, functools.partial(_refuse, str(error)))


def _refuse(reason: str) -> Sample:
    raise ValueError(reason)


@dataclass(frozen=True)
class Count:
    """A number that the authors of a data set have published.

    Args:
        number: The number.
        exact: False if it was published rounded; then 5% more or less count as equal.
    """

    number: int
    exact: bool = True

    def matches(self, number: int) -> bool:
        """Return whether a count agrees with the published one."""
        return number == self.number if self.exact else abs(number - self.number) <= 0.05 * self.number

    def __str__(self) -> str:
        return f"{self.number:,}" if self.exact else f"about {self.number:,}"


NO_COUNTS: Mapping[str, Mapping[str, Count]] = MappingProxyType({})


class DatasetReader(ABC):
    """Reads one published data set in the layout in which it is downloaded.

    A subclass describes the data set and turns each record of its annotation files into an [`Entry`]. An instance of
    it stands in `READERS` of `registry.py`. Nothing
    is decoded or held but text, so that a data set of any size can be streamed.

    Attributes:
        name: How the data set is called in every API.
        description: One line about it.
        splits: The splits that can be read.
        overlapping_splits: Those of the splits that consist of images of the others, by definition.
        download: Where to get it.
        layout: What the folder must hold, for error messages.
        licence: What is known about the terms of use.
        published: Published numbers by split (or `TOTAL`) and quantity: "images", "questions", or a task.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    splits: ClassVar[tuple[str, ...]]
    overlapping_splits: ClassVar[tuple[str, ...]] = ()
    download: ClassVar[str]
    layout: ClassVar[str]
    licence: ClassVar[str]
    published: ClassVar[Mapping[str, Mapping[str, Count]]] = NO_COUNTS

    @property
    def disjoint_splits(self) -> tuple[str, ...]:
        """The splits that together make up the data set and have nothing in common, or should not have."""
        return tuple(split for split in self.splits if split not in self.overlapping_splits)

    @abstractmethod
    def annotation_files(self, root: Path, split: str) -> list[Path]:
        """Return the files that a split is read from, which all exist.

        Raises:
            FileNotFoundError: If one is missing.
        """

    @abstractmethod
    def entries(self, root: Path, split: str) -> Iterator[Entry]:
        """Yield the records of a split, in the order of the files.

        Raises:
            ValueError: If a file as a whole is not what it should be. What is wrong with a single record, its
                `build` tells.
        """

    def published_counts(self, root: Path, split: str) -> Mapping[str, Count]:
        """Return what is published about a split (or `TOTAL`), by quantity. Readers of variants look at the files."""
        return self.published.get(split, {})

    def check_split(self, split: str) -> None:
        """Raise a ValueError if there is no such split; it lists the known ones."""
        if split not in self.splits:
            raise ValueError(f"{self.name} has no split {split!r}; its splits are {', '.join(self.splits)}")

    def missing(self, what: str) -> FileNotFoundError:
        """Return the error for a file or folder that does not exist."""
        return FileNotFoundError(
            f"{self.name}: {what} is missing. Download it from {self.download}; the folder must hold {self.layout}"
        )

    def require_file(self, *candidates: Path) -> Path:
        """Return the first of these files that exists.

        Raises:
            FileNotFoundError: If none does; the message names the first.
            ValueError: If it is a directory, a named pipe or a device.
        """
        for path in candidates:
            if path.exists():
                check_regular_file(path)
                return path
        raise self.missing(str(candidates[0]))

    def require_folder(self, *candidates: Path) -> Path:
        """Return the first of these folders that exists.

        Raises:
            FileNotFoundError: If none does; the message names the first.
        """
        for path in candidates:
            if path.is_dir():
                return path
        raise self.missing(f"the folder {candidates[0]}")
