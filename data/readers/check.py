# SPDX-License-Identifier: Apache-2.0
"""Whether a downloaded data set is what its authors published: `geodit data check`."""

from __future__ import annotations

import hashlib
import itertools
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geodit.data.readers.files import ImageFileError, decode_image, read_image_size, require_image
from geodit.data.readers.reader import TOTAL, Count, DatasetReader, Entry, Sample
from geodit.data.readers.reading import box_excess, clip_box, existing_path
from geodit.data.readers.registry import get_reader
from geodit.data.readers.report import PROBLEM_KINDS, DatasetReport, Problem, SplitReport

_EXAMPLES = 5
_BATCH = 256
# By how many pixels a box may leave its image: more than arithmetic does, less than a pixel.
_TOLERANCE = 0.01

Progress = Callable[[str, int], None]


def check_dataset(
    name: str,
    path: str | Path,
    splits: Sequence[str] | None = None,
    *,
    decode_images: bool = True,
    num_threads: int = 1,
    progress: Progress | None = None,
) -> DatasetReport:
    """Read all of a data set, and compare it with what is published and with itself.

    Images are decoded one after the other; of each nothing is kept but a few bytes, so that the largest data sets can
    be checked. An image is in two splits if its name in the data set or all its pixels are the same.

    Args:
        name: A key of `READERS`.
        path: As `read_dataset` takes it.
        splits: The splits to check; by default all that make up the data set.
        decode_images: Without it images are not opened (but for their size where there are boxes): much quicker, but
            damaged ones and copies under other names are not found.
        num_threads: Threads that decode images.
        progress: Called with a split and the number of its records that are done.

    Raises:
        FileNotFoundError: If nothing is at `path`, a split that was asked for is missing, or all are.
        ValueError: If there is no such data set or split.
    """
    reader = get_reader(name)
    for split in splits or ():
        reader.check_split(split)
    if num_threads < 1:
        raise ValueError(f"num_threads must be at least 1, got {num_threads}")
    root = existing_path(reader, path)
    inspections: dict[str, _Inspection] = {}
    problems: list[Problem] = []
    missing: list[FileNotFoundError] = []
    for split in dict.fromkeys(splits or reader.disjoint_splits):
        inspection = _Inspection(split)
        try:
            inspection.run(reader, root, decode_images, num_threads, progress)
        except FileNotFoundError as error:
            if splits:
                raise
            missing.append(error)
            problems.append(Problem("split", split, 1, str(error)))
            continue
        inspections[split] = inspection
        problems.extend(inspection.problems())
    if not inspections:
        raise missing[0]

    reports = [one.report(reader.published_counts(root, split)) for split, one in inspections.items()]
    if set(inspections) == set(reader.disjoint_splits) and len(inspections) > 1:
        total = _total_counts(list(inspections.values()))
        reports.append(SplitReport(TOTAL, total, reader.published_counts(root, TOTAL)))
    for report in reports:
        problems.extend(_count_problems(report))
    shared = (split for split in reader.disjoint_splits if split in inspections)
    for first, second in itertools.combinations(shared, 2):
        problems.extend(_leakage(reader, root, inspections[first], inspections[second]))
    return DatasetReport(name, str(root), tuple(reports), tuple(problems))


@dataclass
class _Record:
    """What is kept of one record."""

    location: str
    sample: Sample | None = None
    error: ValueError | None = None
    content: int = 0
    wrong_boxes: list[str] = field(default_factory=list)


class _Findings:
    """How often something was found, and the first examples."""

    def __init__(self) -> None:
        self.number = 0
        self.examples: list[str] = []

    def add(self, example: str) -> None:
        self.number += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(example)


class _Inspection:
    """One split. Of images eight bytes each are kept of name, path and pixels, in the order of the records."""

    def __init__(self, split: str) -> None:
        self.split = split
        self.counts: Counter[str] = Counter()
        self.numbers = array("Q")
        self.ids = array("Q")
        self.paths = array("Q")
        self.contents = array("Q")
        self._findings = {kind: _Findings() for kind in PROBLEM_KINDS}

    def run(
        self, reader: DatasetReader, root: Path, decode_images: bool, num_threads: int, progress: Progress | None
    ) -> None:
        """Read every record.

        Raises:
            FileNotFoundError: If a file of annotations or the folder of images is missing.
        """
        reader.annotation_files(root, self.split)
        entries = self._up_to_damage(reader.entries(root, self.split))
        with ThreadPoolExecutor(num_threads) as threads:
            while batch := list(itertools.islice(entries, _BATCH)):
                for record in threads.map(lambda entry: _inspect(entry, decode_images), batch):
                    self._add(record)
                if progress is not None:
                    progress(self.split, self.counts["records"])

    def _up_to_damage(self, entries: Iterator[Entry]) -> Iterator[Entry]:
        try:
            yield from entries
        except ValueError as error:
            # It is the file as a whole: what comes after is lost.
            self._findings["record"].add(str(error))

    def _add(self, record: _Record) -> None:
        number = self.counts["records"]
        self.counts["records"] += 1
        if record.error is not None:
            kind = "image" if _is_of_image(record.error) else "record"
            self._findings[kind].add(f"{record.location}: {record.error}")
        for message in record.wrong_boxes:
            self._findings["box"].add(f"{record.location}: {message}")
        if record.sample is None:
            return
        self.counts["questions"] += len(record.sample.questions)
        self.counts.update(question.task for question in record.sample.questions)
        self.numbers.append(number)
        self.ids.append(_digest(record.sample.image_id.encode()))
        self.paths.append(_digest(str(record.sample.image).encode()))
        self.contents.append(record.content)

    def report(self, published: Mapping[str, Count]) -> SplitReport:
        """Return the numbers of the split."""
        return SplitReport(self.split, {"images": _count_different(self.paths), **self.counts}, published)

    def problems(self) -> Iterator[Problem]:
        """Return what was found in the split itself."""
        if not self.counts["records"]:
            yield Problem("split", self.split, 1, "the split has no record")
        messages = {
            "record": "records that cannot be read",
            "image": "images that are missing or cannot be decoded",
            "box": "boxes that leave their image or have no area",
        }
        for kind, message in messages.items():
            found = self._findings[kind]
            if found.number:
                yield Problem(kind, self.split, found.number, message, tuple(found.examples))


def _inspect(entry: Entry, decode: bool) -> _Record:
    record = _Record(entry.location)
    try:
        sample = entry.read()
    except ValueError as error:
        record.error = error
        return record
    record.sample = sample
    try:
        boxes = [box for question in sample.questions for box in question.boxes]
        if decode:
            image = decode_image(sample.image)
            size = image.height, image.width
            # 0 stands for an image that was not decoded.
            record.content = _digest(f"{size}".encode(), image.tobytes()) or 1
        elif boxes:
            size = read_image_size(sample.image)
        else:
            require_image(sample.image)
    except ImageFileError as error:
        record.error = error
        return record
    for box in dict.fromkeys(boxes):
        try:
            clip_box(box, size)
            excess = box_excess(box, size)
            if excess > _TOLERANCE:
                record.wrong_boxes.append(f"the box {list(box)} leaves the image by {excess:.2f} pixels")
        except ValueError as error:
            record.wrong_boxes.append(str(error))
    return record


def _is_of_image(error: BaseException | None) -> bool:
    """Return whether an image was the cause, however many messages are put around it."""
    while error is not None:
        if isinstance(error, ImageFileError):
            return True
        error = error.__cause__
    return False


def _digest(*parts: bytes) -> int:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part)
    return int.from_bytes(digest.digest(), "little")


def _total_counts(inspections: Sequence[_Inspection]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for inspection in inspections:
        counts.update(inspection.counts)
    return {"images": _count_different(*(inspection.paths for inspection in inspections)), **counts}


def _count_problems(report: SplitReport) -> Iterator[Problem]:
    for quantity, count in report.published.items():
        found = report.counts.get(quantity, 0)
        if not count.matches(found):
            message = f"{quantity} more or less than published: {found:,} instead of {count}"
            yield Problem("count", report.split, abs(found - count.number), message)


def _leakage(reader: DatasetReader, root: Path, first: _Inspection, second: _Inspection) -> Iterator[Problem]:
    by_id = np.isin(_as_array(second.ids), _as_array(first.ids))
    contents = _as_array(second.contents)
    by_content = np.isin(contents, _as_array(first.contents)) & (contents != 0)
    shared = by_id | by_content
    if not shared.any():
        return
    paths = _as_array(second.paths)
    total, same_id, same_content = (int(np.unique(paths[which]).size) for which in (shared, by_id, by_content))
    message = f"images are in {first.split} too: {same_id:,} by name, {same_content:,} by content"
    places = sorted(int(number) for number in _as_array(second.numbers)[shared][:_EXAMPLES])
    # Only now are the locations of these records needed: read up to them once more.
    entries = itertools.islice(reader.entries(root, second.split), places[-1] + 1)
    examples = [entry.location for number, entry in enumerate(entries) if number in places]
    yield Problem("leakage", second.split, total, message, tuple(examples))


def _count_different(*values: array[int]) -> int:
    return int(np.unique(np.concatenate([_as_array(one) for one in values])).size)


def _as_array(values: array[int]) -> NDArray[np.uint64]:
    return np.frombuffer(values, dtype=np.uint64) if values else np.zeros(0, dtype=np.uint64)
