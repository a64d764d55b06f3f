# SPDX-License-Identifier: Apache-2.0
"""Published data sets in the one schema, as a `Dataset` or as a stream."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, overload

import datasets
from datasets.exceptions import DatasetGenerationError
from datasets.fingerprint import Hasher

import geodit
from geodit.configuration.text_files import check_regular_file
from geodit.configuration.types_geodit import Arguments, Item
from geodit.data.readers.fields import one_line
from geodit.data.readers.files import read_image_size, require_image
from geodit.data.readers.reader import DatasetReader, Sample
from geodit.data.readers.registry import get_reader
from geodit.data.schema import Box, Question, check_tasks, features, make_row

logger = logging.getLogger(__name__)

BadRecords = Literal["raise", "skip"]
BAD_RECORDS: tuple[str, ...] = ("raise", "skip")


class BadRecordError(ValueError):
    """A record that cannot be read. The message names the file, the record and what is wrong."""


@overload
def read_dataset(
    name: str,
    path: str | Path,
    split: str = ...,
    *,
    streaming: Literal[False] = ...,
    tasks: Sequence[str] | None = ...,
    bad_records: BadRecords = ...,
    cache_dir: str | Path | None = ...,
) -> datasets.Dataset: ...


@overload
def read_dataset(
    name: str,
    path: str | Path,
    split: str = ...,
    *,
    streaming: Literal[True],
    tasks: Sequence[str] | None = ...,
    bad_records: BadRecords = ...,
    num_shards: int = ...,
) -> datasets.IterableDataset: ...


def read_dataset(
    name: str,
    path: str | Path,
    split: str = "train",
    *,
    streaming: bool = False,
    tasks: Sequence[str] | None = None,
    bad_records: BadRecords = "raise",
    num_shards: int = 1,
    cache_dir: str | Path | None = None,
) -> datasets.Dataset | datasets.IterableDataset:
    """Read a published data set from the layout in which it is downloaded.

    Rows hold the path of an image, which is decoded when the row is accessed and no earlier. Boxes are in pixels
    and inside the image: what leaves it is cut off.

    Args:
        name: A key of `READERS`.
        path: Its folder; for `llava` the JSON file, for `skyscript` a CSV file if the folder has several.
        split: One of the splits of the data set.
        streaming: Read while iterating, and hold nothing. By default the rows are written to a cache, from which
            they are mapped into memory; it is made anew when an annotation file changes.
        tasks: Keep the questions of these tasks, and the rows that still have one. Boxes of others are not looked at.
        bad_records: "raise" stops at the first record that cannot be read. "skip" leaves such records out, and of the
            others the questions with a box without area, and says at the end how many; `geodit data check` lists them.
            The cache remembers what was left out: after more images are there, give another `cache_dir`.
        num_shards: Of a stream: into how many parts several processes or workers can split it. Every part reads
            through all annotations, but interprets its own records only: as many as there are workers in all will do.
        cache_dir: Where the cache is; by default that of the `datasets` library.

    Returns:
        Rows as [`geodit.data.schema`] describes them.

    Raises:
        FileNotFoundError: If a file is missing; the message says where to get it and how the folder must look.
        ValueError: If an argument is wrong, a file or a record is not as it should be, nothing is left where bad
            records are skipped, or a table would have no row. A stream may be empty, and raises all but the first
            while it is iterated over.
    """
    reader = get_reader(name)
    reader.check_split(split)
    check_tasks(tasks)
    if bad_records not in BAD_RECORDS:
        raise ValueError(f"bad_records must be one of {', '.join(BAD_RECORDS)}, got {bad_records!r}")
    if num_shards < 1:
        raise ValueError(f"num_shards must be at least 1, got {num_shards}")
    root = existing_path(reader, path)
    files = reader.annotation_files(root, split)
    arguments: Arguments = {
        "name": name,
        "root": str(root),
        "split": split,
        "tasks": None if tasks is None else tuple(tasks),
        "bad_records": bad_records,
        "num_shards": num_shards,
    }
    if streaming:
        more: Arguments = {"shards": list(range(num_shards)), "may_be_empty": True}
        return datasets.IterableDataset.from_generator(_rows, features(), gen_kwargs={**arguments, **more})
    if num_shards != 1:
        raise ValueError("num_shards is for a stream: give streaming=True as well")
    stamps = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    try:
        return datasets.Dataset.from_generator(
            _rows,
            features(),
            gen_kwargs={**arguments, "shards": [0], "may_be_empty": False},
            cache_dir=None if cache_dir is None else str(cache_dir),
            fingerprint=Hasher.hash([geodit.__version__, arguments, stamps]),
        )
    except DatasetGenerationError as error:
        # What went wrong is said by what caused it.
        if isinstance(error.__cause__, OSError | ValueError):
            raise error.__cause__ from None
        raise


def existing_path(reader: DatasetReader, path: str | Path) -> Path:
    """Return the absolute path of a data set.

    Raises:
        FileNotFoundError: If nothing is there.
        ValueError: If it is a named pipe, a socket or a device.
    """
    root = Path(path).expanduser().resolve()
    if not root.exists():
        raise reader.missing(str(root))
    if not root.is_dir():
        check_regular_file(root)
    return root


def clip_box(box: Box, image_size: tuple[int, int]) -> Box:
    """Clip a box to an image of (height, width) pixels.

    Raises:
        ValueError: If it has no area.
    """
    height, width = image_size
    x1, y1, x2, y2 = box
    clipped = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
    if not (all(map(math.isfinite, box)) and clipped[0] < clipped[2] and clipped[1] < clipped[3]):
        raise ValueError(f"the box {list(box)} has no area inside its image of {width} x {height} pixels")
    return clipped


def box_excess(box: Box, image_size: tuple[int, int]) -> float:
    """Return how many pixels a box extends beyond the image, at its worst side; 0 if it lies inside."""
    height, width = image_size
    x1, y1, x2, y2 = box
    return max(-x1, -y1, x2 - width, y2 - height, 0.0)


class _Faults:
    """What cannot be read: the first stops the reading, or all are counted."""

    def __init__(self, reader: DatasetReader, bad_records: BadRecords) -> None:
        self.number = 0
        self.first = ""
        self._reader = reader
        self._bad_records = bad_records

    def add(self, location: str, error: ValueError) -> None:
        """Raise a BadRecordError unless bad records are skipped."""
        place_and_reason = one_line(f"{location}: {error}")
        if self._bad_records == "raise":
            raise BadRecordError(
                f"{self._reader.name}: {place_and_reason}. Download it again from {self._reader.download}, or read "
                f'with bad_records="skip" to leave such records out'
            ) from error
        self.number += 1
        self.first = self.first or place_and_reason


def _complete_questions(
    sample: Sample, tasks: tuple[str, ...] | None, location: str, faults: _Faults
) -> Iterator[Question]:
    """Return the questions of these tasks, with boxes clipped at the border of the image.

    Raises:
        ImageFileError: If the image is missing, or there are boxes and it is none.
    """
    questions = [question for question in sample.questions if tasks is None or question.task in tasks]
    if questions:
        require_image(sample.image)
    size = read_image_size(sample.image) if any(question.boxes for question in questions) else (0, 0)
    for question in questions:
        try:
            boxes = tuple(clip_box(box, size) for box in question.boxes)
        except ValueError as error:
            faults.add(location, error)
        else:
            yield question if boxes == question.boxes else dataclasses.replace(question, boxes=boxes)


def _rows(
    name: str,
    root: str,
    split: str,
    tasks: tuple[str, ...] | None,
    bad_records: BadRecords,
    num_shards: int,
    shards: list[int],
    may_be_empty: bool,
) -> Iterator[Item]:
    # A function of this module with plain arguments, so that workers and other processes can be sent it.
    reader = get_reader(name)
    faults = _Faults(reader, bad_records)
    index = -1
    num_rows = 0
    for index, entry in enumerate(reader.entries(Path(root), split)):
        if index % num_shards not in shards:
            continue
        try:
            sample = entry.read()
            questions = list(_complete_questions(sample, tasks, entry.location, faults))
        except BadRecordError:
            raise
        except ValueError as error:
            faults.add(entry.location, error)
            continue
        if questions:
            meta = json.dumps({**sample.meta, "split": split, "record": entry.location}, ensure_ascii=False)
            yield make_row({"path": str(sample.image), "bytes": None}, sample.image_id, questions, meta)
            num_rows += 1
    if index < 0:
        raise ValueError(f"{name}: {root} has no record of the split {split!r}; download it from {reader.download}")
    if not (num_rows or faults.number or may_be_empty):
        asked = "" if tasks is None else f" with the task {' or '.join(tasks)}"
        raise ValueError(
            f"{name}: {root} has no question of the split {split!r}{asked}; ask for another task, or see whether a "
            f"file is missing: the folder can hold {reader.layout}"
        )
    if faults.number:
        # Of several shards, one may well have nothing but bad records.
        if not num_rows and num_shards == 1:
            raise ValueError(f"{name}: no record of the split {split!r} can be read; the first: {faults.first}")
        logger.warning(
            f"{name}: {faults.number:,} bad records or questions of the split {split!r} are left out; the first: "
            f"{faults.first}"
        )
