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
from typing import ClassVar

from geodit.data.readers.fields import as_record, brief, clean_text, numbers, path_field
from geodit.data.readers.files import iter_json_lines
from geodit.data.readers.reader import DatasetReader, Entry, Sample
from geodit.data.schema import Question
from geodit.processing.turned_boxes_geodit import Corners

__all__ = ["ExpressionReader"]


class ExpressionReader(DatasetReader):
    """Base of readers of such files. The expressions about an image, wherever they stand in the file, are one entry.

    Attributes:
        image_folder: The folder of the images in `images/`; without it, they are in `images/` itself.
    """

    image_folder: ClassVar[str]

    def entries(self, root: Path, split: str) -> Iterator[Entry]:
        """Yield one entry per image with all its expressions."""
        images = self.require_folder(root / "images")
        if (images / self.image_folder).is_dir():
            images = images / self.image_folder
        (path,) = self.annotation_files(root, split)
        by_image: dict[str, list[tuple[int, object]]] = {}
        for index, record in enumerate(self.records(path)):
            by_image.setdefault(self.image_name(record), []).append((index, record))
        for name, numbered in by_image.items():
            build = functools.partial(self._sample, images, numbered)
            yield Entry(f"{path}, image {brief(name)}", build)

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

    def _sample(self, images: Path, numbered: Sequence[tuple[int, object]]) -> Sample:
        questions = []
        for index, record in numbered:
            try:
                fields = self.fields(record)
                questions.append(self._question(fields))
                name = path_field(fields, "image_id")
            except ValueError as error:
                raise ValueError(f"record {index}: {error}") from error
        return Sample(images / name, f"{self.name}/{name}", tuple(questions))

    def _question(self, fields: Mapping[str, object]) -> Question:
        x1, y1, x2, y2 = numbers(fields.get("bbox"), 4)
        phrase = clean_text(fields.get("question"), "the expression")
        return Question("ground", phrase, boxes=((x1, y1, x2, y2),), labels=(phrase,), corners=(self.corners(fields),))
