# SPDX-License-Identifier: Apache-2.0
"""RSVQA at low and high resolution: questions made from OpenStreetMap.

Layout: for each split three JSON files, `{"images": [...]}`, `{"questions": [...]}` and `{"answers": [...]}`, beside
the images, called by their number: `Images_LR/17.tif`, `Data/17.tif` (or `.png`). Every file lists the records of all
splits; those of other splits have `"active": false` and nothing but their `id`. A question has `img_id`, `type`,
`question` and `answers_ids`, the first of which is its answer.

Counts at low resolution, and areas at high resolution, are put into the ranges that the authors' model chooses from.

Source: `VQA_model/VQALoader.py`, `VQA_model/VocabEncoder.py` (the ranges) and `AutomaticDB/DataSpecification.md` of
github.com/syvlo/RSVQA (Lobry et al., "RSVQA: Visual Question Answering for Remote Sensing Data", TGRS 2020); the names
of the released files and the numbers of questions as Big Vision's converters state them.
"""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from geodit.data.readers.fields import as_record, brief, clean_text, id_field, list_field, text_field
from geodit.data.readers.files import is_file, iter_json_array
from geodit.data.readers.reader import TOTAL, Count, DatasetReader, Entry, Sample, bad_record
from geodit.data.schema import Question

_KINDS = {"comp": "compare"}
_AREA = re.compile(r"(\d+)m2", re.ASCII)
_LIMITS = (10, 100, 1000)


def count_range(number: int, unit: str = "") -> str:
    """Return the range that a number falls into, in the authors' words.

    Args:
        number: At least 0.
        unit: What stands after each number.

    Returns:
        "0", "between 0 and 10" (1 to 10), "between 10 and 100", "between 100 and 1000" or "more than 1000".

    Raises:
        ValueError: If the number is negative.
    """
    if number < 0:
        raise ValueError(f"a count cannot be {number}")
    if number == 0:
        return f"0{unit}"
    low = 0
    for high in _LIMITS:
        if number <= high:
            return f"between {low}{unit} and {high}{unit}"
        low = high
    return f"more than {low}{unit}"


class RSVQAReader(DatasetReader):
    """One of the two data sets.

    Attributes:
        prefix: What the names of the JSON files begin with.
        image_folders: Paths at which the images may be.
        file_splits: How the splits are called in the names of the files.
        counts_in_ranges: Whether counts are put into ranges.
    """

    prefix: ClassVar[str]
    image_folders: ClassVar[tuple[str, ...]]
    counts_in_ranges: ClassVar[bool] = False
    file_splits: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"train": "train", "validation": "val", "test": "test"}
    )

    def annotation_files(self, root: Path, split: str) -> list[Path]:
        """Return the files of images, questions and answers of the split."""
        return [
            self.require_file(root / f"{self.prefix}_split_{self.file_splits[split]}_{sort}.json")
            for sort in ("images", "questions", "answers")
        ]

    def entries(self, root: Path, split: str) -> Iterator[Entry]:
        """Yield one entry per image with all its questions."""
        folder = self.require_folder(*(root / name for name in self.image_folders))
        images_path, questions_path, answers_path = self.annotation_files(root, split)
        bad: list[Entry] = []
        images = [id_field(record, "id") for record in _active(images_path, "images", bad)]
        answers = {id_field(record, "id"): record.get("answer") for record in _active(answers_path, "answers", bad)}
        questions: dict[int, list[Mapping[str, object]]] = {number: [] for number in images}
        strays: dict[int, list[Mapping[str, object]]] = defaultdict(list)
        for record in _active(questions_path, "questions", bad):
            number = id_field(record, "img_id")
            # Only what is needed of a record is kept: the high-resolution set has a million.
            kept = {name: record.get(name) for name in ("id", "type", "question", "answers_ids")}
            (questions if number in questions else strays)[number].append(kept)
        yield from bad
        for number, asked in questions.items():
            build = functools.partial(self._sample, folder, number, asked, answers)
            yield Entry(f"{questions_path}, image {number}", build)
        for number in strays:
            stray = ValueError(f"there are questions about image {number}, which is not active in {images_path.name}")
            yield bad_record(f"{questions_path}, image {number}", stray)

    def _sample(
        self, folder: Path, number: int, asked: list[Mapping[str, object]], answers: Mapping[int, object]
    ) -> Sample:
        questions = []
        for record in asked:
            try:
                questions.append(self._question(record, answers))
            except ValueError as error:
                raise ValueError(f"question {record['id']}: {error}") from error
        image = folder / f"{number}.tif"
        if not is_file(image) and is_file(folder / f"{number}.png"):
            image = image.with_suffix(".png")
        return Sample(image, f"{self.name}/{number}", tuple(questions))

    def _question(self, record: Mapping[str, object], answers: Mapping[int, object]) -> Question:
        ids = list_field(record, "answers_ids")
        if not ids or type(ids[0]) is not int or ids[0] not in answers:
            raise ValueError(f"its answers {brief(ids)} are not among the active ones")
        sort = text_field(record, "type")
        answer = self._answer(clean_text(answers[ids[0]], "the answer"), sort)
        return Question("vqa", text_field(record, "question"), answer, kind=_KINDS.get(sort, sort))

    def _answer(self, answer: str, sort: str) -> str:
        if sort == "count" and self.counts_in_ranges:
            if not (answer.isascii() and answer.isdecimal()):
                raise ValueError(f"the answer to a question of type 'count' should be a number, not {brief(answer)}")
            return count_range(int(answer))
        if sort == "area":
            area = _AREA.fullmatch(answer)
            if area is None:
                raise ValueError(f"the answer to a question of type 'area' should be like 35m2, not {brief(answer)}")
            return count_range(int(area[1]), "m2")
        return answer


def _active(path: Path, key: str, bad: list[Entry]) -> Iterator[Mapping[str, object]]:
    """Yield the active records of a file that have the numbers to find them by; `bad` gets those that do not."""
    for index, value in enumerate(iter_json_array(path, key)):
        try:
            record = as_record(value)
            if not record.get("active"):
                continue
            id_field(record, "id")
            if key == "questions":
                id_field(record, "img_id")
        except ValueError as error:
            bad.append(bad_record(f"{path}, record {index}", error))
        else:
            yield record


class RSVQALowResolutionReader(RSVQAReader):
    """RSVQA-LR: 772 Sentinel-2 images of the Netherlands."""

    name = "rsvqa-lr"
    description = "772 Sentinel-2 images with 77,232 questions"
    splits = ("train", "validation", "test")
    prefix = "LR"
    image_folders = ("Images_LR",)
    counts_in_ranges = True
    download = "https://zenodo.org/records/6344334"
    layout = "LR_split_{train,val,test}_{images,questions,answers}.json and Images_LR/"
    licence = "CC-BY-4.0"
    published = {
        "train": {"questions": Count(57223)},
        "validation": {"questions": Count(10005)},
        "test": {"questions": Count(10004)},
        TOTAL: {"images": Count(772)},
    }


class RSVQAHighResolutionReader(RSVQAReader):
    """RSVQA-HR: 10,659 aerial images of the USA; the second test set is of Philadelphia, by another sensor."""

    name = "rsvqa-hr"
    description = "10,659 aerial images with a million questions"
    splits = ("train", "validation", "test", "test-philadelphia")
    prefix = "USGS"
    image_folders = ("Data",)
    file_splits = MappingProxyType({**RSVQAReader.file_splits, "test-philadelphia": "test_phili"})
    download = "https://zenodo.org/records/6344367"
    layout = "USGS_split_{train,val,test,test_phili}_{images,questions,answers}.json and Data/"
    licence = "CC-BY-4.0"
    published = {
        "train": {"questions": Count(625340)},
        "validation": {"questions": Count(102843)},
        "test": {"questions": Count(222684)},
        "test-philadelphia": {"questions": Count(105647)},
        TOTAL: {"images": Count(10659)},
    }
