# SPDX-License-Identifier: Apache-2.0
"""DeepForest: CSV with a row per box."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from geodit.annotations.formats.annotation_format import AnnotationFormat, Record, bad_record
from geodit.annotations.formats.drafts import Drafts
from geodit.annotations.formats.file_heads import table_columns
from geodit.annotations.formats.image_paths import ImageFinder
from geodit.annotations.formats.shapes import box_object, label_set
from geodit.annotations.formats.tables import iter_rows
from geodit.annotations.records import BadRecord
from geodit.data.readers.fields import numbers, text_field

__all__ = ["DEEPFOREST"]

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_COLUMNS = ("image_path", *_CORNERS, "label")


def _matches(source: Path) -> bool:
    return source.is_file() and table_columns(source) >= set(_COLUMNS)


def read_deepforest(source: Path, *, images: Path | None = None) -> Iterator[Record]:
    """Read DeepForest's CSV, with the columns image_path, xmin, ymin, xmax, ymax and label.

    A row whose box is empty, or is four zeros, says that an image has no object.

    Args:
        source: The file.
        images: The folder of the images; by default they are in that of the file.

    Raises:
        ValueError: If a column is missing, or reading cannot go on.
    """
    finder, drafts = ImageFinder(source.parent, images=images), Drafts()
    for row in iter_rows(source, *_COLUMNS):
        if isinstance(row, BadRecord):
            yield row
            continue
        number, where, fields = row
        try:
            name = text_field(fields, "image_path")
            draft = drafts.get_or_find(name, finder.find, where)
            if draft is None:
                continue  # that has been said
            corners = [fields.get(corner) for corner in _CORNERS]
            if all(corner in ("", None) for corner in corners):
                continue
            try:
                box = numbers(corners, 4)
                if any(box):
                    draft.objects.append(box_object(fields.get("label"), box, line=number))
            except ValueError:
                draft.partial_labels |= label_set(fields.get("label"))
                raise
        except ValueError as error:
            yield bad_record(where, error)
    yield from drafts.finish()


DEEPFOREST = AnnotationFormat("deepforest", "DeepForest: CSV with a row per box", _matches, read_deepforest)
