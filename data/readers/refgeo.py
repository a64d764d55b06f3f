# SPDX-License-Identifier: Apache-2.0
"""Files with one record per referring expression, as in refGeo and in the data sets that it is made of.

refGeo has the annotations of its parts in `metainfo/<part>_<split>.jsonl` and their images in `images/<part>/`. A line
has `image_id`, the name of the image; `question`, the expression; `bbox`, an upright box x1, y1, x2, y2 in pixels; and
`poly`, the four corners of the same object, which are those of `bbox` where the part has no turned boxes.

Source: projects that train and evaluate on refGeo (github.com/zytx121/GeoGround, arXiv 2411.11904). The files
themselves were not seen.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

from geodit.data.readers.fields import as_record, brief, clean_text, numbers, path_field
from geodit.data.readers.files import iter_json_lines
from geodit.data.readers.reader import DatasetReader, Entry, Sample
from geodit.data.schema import Question
from geodit.processing.turned_boxes_geodit import Corners

__all__ = ["ExpressionReader"]


class _Located(NamedTuple):
    """A record of a file, not yet interpreted."""

    path: Path
    position: int
    record: object


class ExpressionReader(DatasetReader):
    """Base of readers of such files. The records about an image, wherever they stand in the files, are one entry.

    Attributes:
        image_folder: The folder of the images in `images/`; without it, they are in `images/` itself.
    """

    image_folder: ClassVar[str]

    def entries(self, root: Path, split: str) -> Iterator[Entry]:
        """Yield one entry per image with all that the files of the split ask about it."""
        images = self.require_folder(root / "images")
        if (images / self.image_folder).is_dir():
            images = images / self.image_folder
        by_image: dict[str, list[_Located]] = {}
        for path in self.annotation_files(root, split):
            for position, record in enumerate(self.records(path)):
                by_image.setdefault(self.image_name(record), []).append(_Located(path, position, record))
        for name, located in by_image.items():
            yield Entry(f"{located[0].path}, image {brief(name)}", functools.partial(self._sample, images, located))

    def records(self, path: Path) -> Iterable[object]:
        """Return the records of a file in their order, not yet interpreted."""
        return iter_json_lines(path)

    def image_name(self, record: object) -> str:
        """Return what the records of one image have in common; "" if a record is too odd to tell."""
        name = record.get("image_id") if isinstance(record, Mapping) else ""
        return name if isinstance(name, str) else ""

    def fields(self, record: object) -> Mapping[str, object]:
        """Return a record with `image_id`, `bbox` and `question`.

        Raises:
            ValueError: If it is no record.
        """
        return as_record(record)

    def corners(self, fields: Mapping[str, object]) -> Corners | None:
        """Return the corners of a turned box, or `None` if the box is upright.

        Raises:
            ValueError: If the record has something else in their place.
        """
        return None

    def question(self, path: Path, fields: Mapping[str, object]) -> Question:
        """Return what a record of a file asks: where the one object is that an expression is about.

        Raises:
            ValueError: If a field is missing, or not what it should be.
        """
        x1, y1, x2, y2 = numbers(fields.get("bbox"), 4)
        phrase = clean_text(fields.get("question"), "the expression")
        return Question("ground", phrase, boxes=((x1, y1, x2, y2),), labels=(phrase,), corners=(self.corners(fields),))

    def joined(self, questions: Sequence[Question]) -> Sequence[Question]:
        """Return the questions about an image after those are joined that should be one; here none are."""
        return questions

    def _sample(self, images: Path, located: Sequence[_Located]) -> Sample:
        questions = []
        for path, position, record in located:
            try:
                fields = self.fields(record)
                questions.append(self.question(path, fields))
                name = path_field(fields, "image_id")
            except ValueError as error:
                # The location of the entry names the first file alone.
                file = "" if path == located[0].path else f"{path.name}, "
                raise ValueError(f"{file}record {position}: {error}") from error
        return Sample(images / name, f"{self.name}/{name}", tuple(self.joined(questions)))
