# SPDX-License-Identifier: Apache-2.0
"""Data sets as people publish them on the Hub: Parquet tables with a column of images.

Read are the boxes of a column `objects`, a list of objects or an object of lists, with `bbox` and `category` in it;
boxes and classes in columns of their own; captions, classes of scenes, and questions with answers. Names of classes
stand in the tables where `datasets` has written them.

Tiles are read from files, so that images are unpacked into a folder. Only what is in the tables is read: no code of a
data set is run, and no path that a row names is followed. Tables are read a few rows at a time.
"""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from geodit.annotations.formats.annotation_format import AnnotationFormat, Record, bad_record
from geodit.annotations.formats.image_paths import files_below, split_of
from geodit.annotations.formats.image_sizes import oriented_size
from geodit.annotations.formats.shapes import box_object, label_set
from geodit.annotations.records import LabeledImage, LabeledObject, TextAnswer
from geodit.data.readers.fields import brief, clean_text, numbers
from geodit.processing.images_geodit import DAMAGE, IMAGE_FORMATS

__all__ = ["HUB_TABLES", "BoxFormat", "read_hub_tables"]

BoxFormat = Literal["xywh", "xyxy", "yolo"]
"""`xywh` is left, top, width and height in pixels, as COCO has it; `xyxy` are corners in pixels; `yolo` is the center,
width and height as shares of the image."""

_OBJECTS = ("objects", "annotations")
_BOXES = ("bbox", "bboxes", "boxes", "box")
_CLASSES = ("category", "categories", "category_id", "label", "labels", "class", "classes", "class_id", "name")
_DIFFICULT = ("iscrowd", "is_crowd", "difficult")
_CAPTIONS = ("caption", "captions", "text", "sentences")
_SCENE = ("label", "category", "class", "scene")
_SUFFIXES = {"JPEG": ".jpg", "JPEG2000": ".jp2", "PNG": ".png", "TIFF": ".tif", "WEBP": ".webp", "BMP": ".bmp"}
_SUFFIXES |= {"GIF": ".gif", "PPM": ".ppm"}

_ROWS = 8  # that are read at once
_MAX_IMAGE_BYTES = 2**29
_MAX_GROUP_BYTES = 2**33
_MAX_OBJECTS = 100_000
_MAX_DEPTH = 20
_ORDINARY = (ValueError, OSError)


@dataclass(frozen=True)
class _Columns:
    """Where a table has what.

    Args:
        image: The column of images.
        objects: The column of objects, "" if boxes are a column of their own, or there are none.
        boxes: In `objects`, or a column; "" without boxes.
        classes: Likewise.
        difficult: Likewise.
        class_names: Names of classes by number.
        caption: A column of captions.
        scene: A column with the class of the scene.
        scene_names: Names of these by number.
        has_answers: Whether there are questions and answers.
    """

    image: str
    objects: str = ""
    boxes: str = ""
    classes: str = ""
    difficult: str = ""
    class_names: tuple[str, ...] = ()
    caption: str = ""
    scene: str = ""
    scene_names: tuple[str, ...] = ()
    has_answers: bool = False

    @property
    def needed(self) -> list[str]:
        """The columns to read."""
        objects = [self.objects] if self.objects else [self.boxes, self.classes, self.difficult]
        answers = ["question", "answer"] if self.has_answers else []
        return [name for name in (self.image, *objects, self.caption, self.scene, *answers) if name]


def _matches(source: Path) -> bool:
    path = source if source.is_file() else next(files_below(source, ".parquet"), None)
    if path is None or path.suffix.lower() != ".parquet":
        return False
    with contextlib.suppress(pa.ArrowException, *_ORDINARY), pq.ParquetFile(path) as file:
        return bool(_image_columns(file.schema_arrow))
    return False


def read_hub_tables(
    source: Path,
    *,
    images: Path | None = None,
    box_format: BoxFormat = "xywh",
    tables: Sequence[Path] | None = None,
) -> Iterator[Record]:
    """Read Parquet tables of images.

    Args:
        source: A Parquet file, or a folder of such files. The names of files and folders say the split.
        images: The folder that images are unpacked into; it is made if it is missing.
        box_format: What the four numbers of a box are.
        tables: Which files of the folder to read; by default all.

    Raises:
        ValueError: If there is no folder to unpack into, no table, a table that cannot be read or has no images, or
            another box format.
    """
    if box_format not in get_args(BoxFormat):
        raise ValueError(f"the box format must be one of {', '.join(get_args(BoxFormat))}, got {box_format!r}")
    if images is None:
        raise ValueError("images of tables are unpacked: name the folder for them")
    root = source if source.is_dir() else source.parent
    paths = list(tables) if tables is not None else [source]
    if tables is None and source.is_dir():
        paths = list(files_below(source, ".parquet"))
    if not paths:
        raise ValueError(f"{source} has no Parquet files: only tables of a data set of the Hub are read")
    for path in paths:
        try:
            with pq.ParquetFile(path) as file:
                yield from _Table(path, root, images, box_format, file).read()
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is no Parquet file that can be read: {_line(error)}") from error


class _Table:
    """Reads one table.

    Args:
        path: Its file.
        root: The folder from which its name, and those of its images, begin.
        images: Where images are unpacked.
        box_format: What the numbers of boxes are.
        file: The file, opened.

    Raises:
        ValueError: If it has no images.
    """

    def __init__(self, path: Path, root: Path, images: Path, box_format: BoxFormat, file: pq.ParquetFile) -> None:
        self._path, self._images, self._box_format, self._file = path, images, box_format, file
        inner = path.relative_to(root)
        self._stem = "-".join(inner.with_suffix("").parts)
        self._split = split_of(inner, Path())
        self._columns = _columns_of(file.schema_arrow, path)

    def read(self) -> Iterator[Record]:
        for group in range(self._file.num_row_groups):
            size = self._file.metadata.row_group(group).total_byte_size
            if not 0 <= size <= _MAX_GROUP_BYTES:
                raise ValueError(f"{self._path} has a group of rows of {size:,} bytes: write it in smaller groups")
        number = 0
        for batch in self._file.iter_batches(batch_size=_ROWS, columns=self._columns.needed):
            for row in batch.to_pylist():
                number += 1
                where = f"{self._path}, row {number}"
                try:
                    image = self._unpack(row[self._columns.image], number)
                except ValueError as error:
                    yield bad_record(where, error)
                    continue
                yield from self._record(row, image, where)

    def _unpack(self, stored: object, number: int) -> Path:
        """Write the image of a row to a file.

        Raises:
            ValueError: If it is none.
        """
        content = stored.get("bytes") if isinstance(stored, Mapping) else stored
        if not isinstance(content, bytes):
            raise ValueError("its image is not in the table: paths and addresses in tables of others are not followed")
        if len(content) > _MAX_IMAGE_BYTES:
            raise ValueError(f"its image has {len(content):,} bytes, more than {_MAX_IMAGE_BYTES:,}")
        try:
            with (
                warnings.catch_warnings(action="ignore"),
                Image.open(io.BytesIO(content), formats=IMAGE_FORMATS) as image,
            ):
                suffix = _SUFFIXES[image.format or ""]
        except DAMAGE as error:
            raise ValueError(f"its image cannot be read: {_line(error)}") from error
        self._images.mkdir(parents=True, exist_ok=True)
        path = self._images / f"{self._stem}-{number:07d}{suffix}"
        path.write_bytes(content)
        return path

    def _record(self, row: Mapping[str, object], image: Path, where: str) -> Iterator[Record]:
        objects: list[LabeledObject] = []
        partial: set[str] = set()
        try:
            found = self._objects(row)
        except ValueError as error:
            yield bad_record(where, error)
            return
        for number, (box, label, difficult) in enumerate(found, start=1):
            try:
                corners = self._corners(box, image)
                objects.append(box_object(self._label(label), corners, difficult=difficult in (1, True), line=number))
            except ValueError as error:
                partial |= label_set(self._name(label))
                yield bad_record(f"{where}, object {number}", error)
        captions: tuple[str, ...] = ()
        answers: tuple[TextAnswer, ...] = ()
        category = ""
        try:
            captions = self._captions(row)
            answers = self._answers(row)
            category = self._scene(row)
        except ValueError as error:
            yield bad_record(where, error)
        yield LabeledImage(
            str(image),
            where,
            objects=tuple(objects),
            captions=captions,
            answers=answers,
            category=category,
            split=self._split,
            group=str(image),
            partial_labels=frozenset(partial),
        )

    def _objects(self, row: Mapping[str, object]) -> list[tuple[object, object, object]]:
        """Return box, class and mark of difficulty of each object of a row.

        Raises:
            ValueError: If there is not one of each.
        """
        columns = self._columns
        if not columns.boxes:
            return []
        value = row.get(columns.objects) if columns.objects else row
        if isinstance(value, list):
            rows = [one if isinstance(one, Mapping) else {} for one in value]
            boxes = [one.get(columns.boxes) for one in rows]
            labels = [one.get(columns.classes) for one in rows]
            marks = [one.get(columns.difficult) for one in rows]
        else:
            fields = value if isinstance(value, Mapping) else {}
            boxes = _listed(fields.get(columns.boxes))
            labels = _listed(fields.get(columns.classes))
            marks = _listed(fields.get(columns.difficult)) or [None] * len(boxes)
        if not len(boxes) == len(labels) == len(marks):
            raise ValueError(f"it has {len(boxes):,} boxes and {len(labels):,} classes")
        if len(boxes) > _MAX_OBJECTS:
            raise ValueError(f"it has {len(boxes):,} objects, more than {_MAX_OBJECTS:,}")
        return list(zip(boxes, labels, marks, strict=True))

    def _corners(self, box: object, image: Path) -> tuple[float, float, float, float]:
        first, second, third, fourth = numbers(box, 4)
        if self._box_format == "xyxy":
            return first, second, third, fourth
        if third < 0 or fourth < 0:
            raise ValueError(f"its width and height, {third:g} and {fourth:g}, must not be negative")
        if self._box_format == "xywh":
            return first, second, first + third, second + fourth
        height, width = oriented_size(image)
        left, top = (first - third / 2) * width, (second - fourth / 2) * height
        return left, top, left + third * width, top + fourth * height

    def _name(self, value: object) -> object:
        """Return the class that a number or text stands for; a number without a name stays a number, as text."""
        if isinstance(value, int) and not isinstance(value, bool):
            names = self._columns.class_names
            return names[value] if 0 <= value < len(names) else None if names else str(value)
        return value

    def _label(self, value: object) -> object:
        name = self._name(value)
        if name is None:
            raise ValueError(f"its class {brief(value)} is none of the {len(self._columns.class_names)} names")
        return name

    def _captions(self, row: Mapping[str, object]) -> tuple[str, ...]:
        value = row.get(self._columns.caption) if self._columns.caption else None
        listed = value if isinstance(value, list) else [] if value is None else [value]
        return tuple(clean_text(one, "the caption") for one in listed)

    def _answers(self, row: Mapping[str, object]) -> tuple[TextAnswer, ...]:
        if not self._columns.has_answers or row.get("question") is None:
            return ()
        questions, answers = (
            value if isinstance(value, list) else [value] for value in (row["question"], row["answer"])
        )
        if len(questions) != len(answers):
            raise ValueError(f"it has {len(questions):,} questions and {len(answers):,} answers")
        return tuple(
            TextAnswer(
                clean_text(question, "'question'"),
                clean_text(str(answer) if isinstance(answer, int) else answer, "'answer'"),
            )
            for question, answer in zip(questions, answers, strict=True)
        )

    def _scene(self, row: Mapping[str, object]) -> str:
        columns = self._columns
        value = row.get(columns.scene) if columns.scene else None
        if value is None:
            return ""
        if isinstance(value, int) and not isinstance(value, bool):
            if not 0 <= value < len(columns.scene_names):
                raise ValueError(f"its class {value} is none of the {len(columns.scene_names)} names")
            value = columns.scene_names[value]
        return clean_text(value, "the class")


def _columns_of(schema: pa.Schema, path: Path) -> _Columns:
    """Find out what a table has.

    Raises:
        ValueError: If it has no images, or no column with anything about them.
    """
    found = _image_columns(schema)
    if not found:
        raise ValueError(f"{path} has no column of images, only {brief(schema.names)[1:-1]}")
    image = "image" if "image" in found else found[0]
    names = [name for name in schema.names if name != image]
    features = _features(schema)
    objects, boxes, classes, difficult = "", "", "", ""
    for name in (name for name in _OBJECTS if name in names):
        fields = _field_names(schema.field(name).type)
        if boxes := _first(_BOXES, fields):
            objects, classes, difficult = name, _first(_CLASSES, fields), _first(_DIFFICULT, fields)
            break
    if not boxes and (boxes := _first(_BOXES, names)):
        lists = [name for name in names if pa.types.is_list(schema.field(name).type)]
        classes, difficult = _first(_CLASSES, lists), _first(_DIFFICULT, lists)
    if boxes and not classes:
        raise ValueError(f"{path} has boxes without classes: these are called {', '.join(_CLASSES)}")
    scene = next(
        (name for name in _SCENE if name in names and name != classes and _is_scene(schema, features, name)), ""
    )
    columns = _Columns(
        image,
        objects,
        boxes,
        classes,
        difficult,
        _class_names(features, objects, classes) if objects else _class_names(features, classes),
        _first(_CAPTIONS, [name for name in names if _is_text(schema.field(name).type)]),
        scene,
        _class_names(features, scene),
        {"question", "answer"} <= set(names),
    )
    if len(columns.needed) == 1:
        raise ValueError(f"{path} has nothing about its images that can be read, only {brief(names)[1:-1]}")
    return columns


def _image_columns(schema: pa.Schema) -> list[str]:
    """Return the columns that hold images: as `datasets` stores them, or bytes under such a name."""
    found = []
    for field in schema:
        fields = _field_names(field.type) if pa.types.is_struct(field.type) else []
        is_bytes = pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type)
        if {"bytes", "path"} <= set(fields) or (is_bytes and field.name in ("image", "img", "picture")):
            found.append(field.name)
    return found


def _field_names(kind: pa.DataType) -> list[str]:
    """Return the names of the fields of an object, or of the objects of a list."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    return [kind.field(number).name for number in range(kind.num_fields)] if pa.types.is_struct(kind) else []


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_scene(schema: pa.Schema, features: Mapping[str, object], name: str) -> bool:
    kind = schema.field(name).type
    is_word = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return bool(is_word or (pa.types.is_integer(kind) and _class_names(features, name)))


def _features(schema: pa.Schema) -> Mapping[str, object]:
    """Return what `datasets` has written of the columns; nothing if that cannot be read."""
    try:
        document = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = document["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def _class_names(features: Mapping[str, object], *path: str) -> tuple[str, ...]:
    """Return the names of the classes of a column, or of a field in it, in the order of their numbers."""
    value: object = features
    steps = list(path)
    for _ in range(_MAX_DEPTH):
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        elif not isinstance(value, dict):
            return ()
        elif steps and steps[0] in value:
            value = value[steps.pop(0)]
        elif not steps and value.get("_type") == "ClassLabel":
            names = value.get("names")
            return tuple(str(name) for name in names) if isinstance(names, list) else ()
        elif "feature" in value:
            value = value["feature"]
        else:
            return ()
    return ()


def _first(names: Sequence[str], there: Sequence[str]) -> str:
    return next((name for name in names if name in there), "")


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


HUB_TABLES = AnnotationFormat(
    "hub", "Hub data sets: Parquet with images, and objects, captions or classes", _matches, read_hub_tables
)
