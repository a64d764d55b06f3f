# SPDX-License-Identifier: Apache-2.0
"""One data schema for every task: images with the questions asked about them.

A data set is a [`datasets.Dataset`][] with one row per image; the questions about the image are nested in
its row, so that an image is stored and decoded once however many questions it has. `QuestionDataset` is the
flat view that training and evaluation iterate over.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import datasets
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from geodit.configuration.plain_fields import check_field_names
from geodit.configuration.text_files import check_regular_file
from geodit.configuration.types_geodit import Item, JsonObject
from geodit.processing.images_geodit import DAMAGE, IMAGE_FORMATS
from geodit.processing.turned_boxes_geodit import Corners, as_corners

Box = tuple[float, float, float, float]

TASKS: tuple[str, ...] = ("caption", "ground", "detect", "vqa", "classify")
_BOX_TASKS = ("ground", "detect")
# What the path of an image may begin with where a data set is streamed, besides a plain path.
_STREAMED = frozenset({"hf", "zip"})


@dataclass(frozen=True)
class Question:
    """A question about one image, with its answer.

    Args:
        task: One of `TASKS`.
        query: What the user asks: a phrase (`ground`), a class name (`detect`), a question (`vqa`), or "" for
            `caption` and `classify`.
        answer: The answer in plain text, or "" for `ground` and `detect`, whose answer is `boxes`.
        boxes: Boxes (x1, y1, x2, y2) in pixels of the original image, for `ground` and `detect`.
        labels: Class name of each box.
        references: All reference captions, for `caption`.
        kind: Finer sort for reports, e.g. "count", "presence", "compare". Defaults to the task.
        corners: The four corners `(x, y)` of each box that is turned, and `None` for each that is upright; empty if
            all are. The box of a turned one is upright, around what of it lies in the image; corners may lie outside.

    Raises:
        ValueError: If the task is unknown, if there is not one label per box, if a box is not x1 <= x2 and
            y1 <= y2, if corners are not four for each turned box, or if a field is given that the task does not have.
    """

    task: str
    query: str = ""
    answer: str = ""
    boxes: tuple[Box, ...] = ()
    labels: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    kind: str = ""
    corners: tuple[Corners | None, ...] = ()

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f"unknown task {self.task!r}; the tasks are {', '.join(TASKS)}")
        if len(self.boxes) != len(self.labels):
            raise ValueError(f"{len(self.boxes)} boxes but {len(self.labels)} labels; give one label per box")
        for box in self.boxes:
            if len(box) != 4 or not (box[0] <= box[2] and box[1] <= box[3]):
                raise ValueError(f"box {box} is not (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2")
        if self.corners:
            if len(self.corners) != len(self.boxes):
                raise ValueError(
                    f"{len(self.boxes)} boxes but corners of {len(self.corners)}; give corners, or None, for each box"
                )
            corners = tuple(None if one is None else as_corners(one) for one in self.corners)
            object.__setattr__(self, "corners", corners if any(corners) else ())
        if self.task in _BOX_TASKS and self.answer:
            raise ValueError(f"task {self.task!r} is answered by boxes; leave answer empty, not {self.answer!r}")
        if self.task not in _BOX_TASKS and self.boxes:
            raise ValueError(f"task {self.task!r} is answered by text; it cannot have boxes")
        if self.task != "caption" and self.references:
            raise ValueError(f"task {self.task!r} cannot have references; only captions have")
        if not self.kind:
            object.__setattr__(self, "kind", self.task)

    def to_dict(self) -> JsonObject:
        """Return the plain types that `features` describes; `corners` is left out where all boxes are upright."""
        question: JsonObject = {
            "task": self.task,
            "query": self.query,
            "answer": self.answer,
            "boxes": [list(box) for box in self.boxes],
            "labels": list(self.labels),
            "references": list(self.references),
            "kind": self.kind,
        }
        if self.corners:
            question["corners"] = plain_corners(self.corners)
        return question

    @classmethod
    def from_dict(cls, question: JsonObject) -> Question:
        """Make a question from what `to_dict` returns.

        Raises:
            ValueError: If a field other than `corners` is missing, or one is unknown, or as the constructor does.
        """
        check_field_names(cls, {*question, "corners"}, "a question")
        return cls(
            task=question["task"],
            query=question["query"],
            answer=question["answer"],
            boxes=read_boxes(question["boxes"]),
            labels=tuple(question["labels"]),
            references=tuple(question["references"]),
            kind=question["kind"],
            corners=read_corners(question.get("corners") or ()),
        )


def read_boxes(boxes: Iterable[Iterable[float]]) -> tuple[Box, ...]:
    """Read boxes of four numbers each, as JSON and `datasets` hold them.

    Raises:
        ValueError: If a box does not have four numbers.
    """
    read = []
    for box in boxes:
        x1, y1, x2, y2 = (float(value) for value in box)
        read.append((x1, y1, x2, y2))
    return tuple(read)


def plain_corners(of_boxes: Iterable[Corners | None]) -> list[list[float]]:
    """Return the corners of boxes in plain types: eight numbers of each turned box, none of an upright one."""
    return [[value for point in one or () for value in point] for one in of_boxes]


def read_corners(of_boxes: Iterable[Sequence[float]]) -> tuple[Corners | None, ...]:
    """Read the corners of boxes as `plain_corners` returns them.

    Raises:
        ValueError: If it is another number.
    """
    return tuple(
        as_corners([one[place : place + 2] for place in range(0, len(one), 2)]) if one else None for one in of_boxes
    )


class StoredImage(TypedDict):
    """An image as `datasets.Image` stores it: the bytes of its file, or else where the file is."""

    bytes: bytes | None
    path: str | None


class QuestionItem(TypedDict):
    """One item of a `QuestionDataset`."""

    image: Image.Image
    image_id: str
    question_index: int
    question: Question


def features() -> datasets.Features:
    """Return the columns of a data set: `image`, `image_id`, `questions` and `meta` (a JSON string)."""
    text = datasets.Value("string")
    return datasets.Features(
        {
            "image": datasets.Image(),
            "image_id": text,
            "questions": datasets.List(
                {
                    "task": text,
                    "query": text,
                    "answer": text,
                    "boxes": datasets.List(datasets.List(datasets.Value("float64"), length=4)),
                    "labels": datasets.List(text),
                    "references": datasets.List(text),
                    "kind": text,
                    "corners": datasets.List(datasets.List(datasets.Value("float64"))),
                }
            ),
            "meta": text,
        }
    )


def encode_png(pixels: NDArray[np.uint8] | Image.Image) -> StoredImage:
    """Encode an image as `datasets.Image` stores it, with the PNG inside the table rather than in a file.

    Args:
        pixels: uint8 array (H, W, 3) or (H, W), or a PIL image.
    """
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    # Level 1: twice as fast as the default and a few percent larger, on images that hardly compress at all.
    image.save(buffer, format="PNG", compress_level=1)
    return {"bytes": buffer.getvalue(), "path": None}


def make_row(
    image: NDArray[np.uint8] | Image.Image | StoredImage,
    image_id: str,
    questions: Sequence[Question],
    meta: str = "{}",
) -> Item:
    """Make one row of a data set, ready for `make_dataset`.

    Args:
        image: Pixels (H, W, 3) uint8, a PIL image, or {"bytes", "path"} as `datasets.Image` stores it.
        image_id: A name that is unique in the data set.
        questions: The questions about this image.
        meta: Anything else worth keeping, as JSON.
    """
    stored = dict(image) if isinstance(image, Mapping) else encode_png(image)
    plain = [question.to_dict() for question in questions]
    if any("corners" in question for question in plain):
        # The same fields in all, as a table has them; a stream does not fill in what is left out.
        plain = [{**question, "corners": question.get("corners")} for question in plain]
    return {
        "image": stored,
        "image_id": image_id,
        "questions": plain,
        "meta": meta,
    }


def make_dataset(rows: Sequence[Item]) -> datasets.Dataset:
    """Make a data set in memory (no cache file is written) from rows made by `make_row`."""
    names = features()
    return datasets.Dataset.from_dict({name: [row[name] for row in rows] for name in names}, features=names)


def with_all_features(dataset: datasets.Dataset) -> datasets.Dataset:
    """Return a data set with all that `features` describes, so that it can be joined with others.

    One that was written when questions had no `corners` gets a column of none.
    """
    wanted = features()
    given = dataset.features.get("questions")
    return dataset if given == wanted["questions"] else dataset.cast_column("questions", wanted["questions"])


def row_questions(row: Item) -> list[Question]:
    """Return the questions of one row of a data set."""
    return [Question.from_dict(question) for question in row["questions"]]


def decode_stored_image(stored: StoredImage) -> Image.Image:
    """Decode an image as a table has it, upright and in RGB.

    Args:
        stored: {"bytes", "path"}, of which the path counts if there are no bytes. It is that of a file, or, as streams
            have it, of a member of an archive or of a repository of the Hub; nothing else is fetched.

    Raises:
        FileNotFoundError: If the image is missing.
        ValueError: If it is something else, or damaged.
    """
    content, path = stored.get("bytes"), stored.get("path")
    try:
        if content is not None:
            return _decode(io.BytesIO(content))
        if path is None:
            raise ValueError("it has neither bytes nor a path")
        hops = [hop.partition("://") for hop in path.split("::")]
        if not any(separator for _, separator, _ in hops):
            check_regular_file(path)
            return _decode(path)
        if not {scheme for scheme, separator, _ in hops if separator} <= _STREAMED:
            raise ValueError(f"only files and {', '.join(sorted(_STREAMED))} are read, nothing is fetched")
        image: Image.Image = datasets.Image().decode_example({"bytes": None, "path": path})
        return image.convert("RGB")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"the image {path!r:.200} of the data set is missing") from error
    except DAMAGE as error:
        shown = "an image of the data set" if path is None else f"the image {path!r:.200} of the data set"
        raise ValueError(f"{shown} cannot be read: {error}") from error


def _decode(file: str | io.BytesIO) -> Image.Image:
    with Image.open(file, formats=IMAGE_FORMATS) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def check_columns(names: Sequence[str]) -> None:
    """Refuse a data set that lacks a column that questions are read from.

    Raises:
        ValueError: If it does.
    """
    missing = [name for name in ("image", "image_id", "questions") if name not in names]
    if missing:
        raise ValueError(f"the data set has no column {missing}; it has {names}")


def check_tasks(tasks: Sequence[str] | None) -> None:
    """Refuse tasks that there are not; `None` stands for all.

    Raises:
        ValueError: If one is unknown.
    """
    unknown = sorted(set(tasks or ()) - set(TASKS))
    if unknown:
        raise ValueError(f"unknown tasks {unknown}; the tasks are {', '.join(TASKS)}")


class QuestionDataset(torch.utils.data.Dataset[QuestionItem]):
    """The flat view of a data set: one item per (image, question).

    Args:
        dataset: A data set with the columns of `features`.
        tasks: Keep the questions of these tasks only. All of them by default.
        in_memory: Decode every image once, now, into uint8 arrays, instead of at every access. It costs
            `3 * height * width` bytes an image.

    Items are `dict(image=PIL.Image in RGB, image_id=str, question_index=int, question=Question)`, where
    `question_index` is the question's place in its row. They come in the order of the rows, and within a row in the
    order of its questions. Questions are read from the table when they are asked for.

    Raises:
        ValueError: If a column is missing, a task is unknown, or a question contradicts itself.
    """

    def __init__(self, dataset: datasets.Dataset, tasks: Sequence[str] | None = None, in_memory: bool = False) -> None:
        check_columns(dataset.column_names)
        check_tasks(tasks)

        self.dataset = dataset
        # Without the images: indexing a row of `dataset` would decode its PNG.
        self._text = dataset.select_columns(["image_id", "questions"])
        # Decoded here, because the library fetches what a row names.
        self._images = dataset.select_columns(["image"])
        if isinstance(dataset.features["image"], datasets.Image):
            self._images = self._images.cast_column("image", datasets.Image(decode=False))
        self._tasks = None if tasks is None else frozenset(tasks)
        # (N, 2): row, and place in the row. There may be millions of questions, whose texts stay in the table.
        places = (number for row, place, _ in self._scan() for number in (row, place))
        self._places = np.fromiter(places, dtype=np.int32).reshape(-1, 2)
        self._pixels: list[NDArray[np.uint8]] | None = None
        if in_memory:
            images = (self._image(row) for row in range(len(dataset)))
            self._pixels = [np.asarray(image, dtype=np.uint8) for image in images]

    def _scan(self) -> Iterator[tuple[int, int, Question]]:
        for row, questions in enumerate(self._text["questions"]):
            for place, question in enumerate(questions):
                if self._tasks is None or question["task"] in self._tasks:
                    yield row, place, Question.from_dict(question)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> QuestionItem:
        row, place = self._places[index].tolist()
        stored = self._text[row]
        image = self._image(row) if self._pixels is None else Image.fromarray(self._pixels[row])
        question = Question.from_dict(stored["questions"][place])
        return {"image": image, "image_id": stored["image_id"], "question_index": place, "question": question}

    def _image(self, row: int) -> Image.Image:
        stored = self._images[row]["image"]
        return stored.convert("RGB") if isinstance(stored, Image.Image) else decode_stored_image(stored)

    def question(self, index: int) -> Question:
        """Return the question of one item, without touching its image."""
        row, place = self._places[index].tolist()
        return Question.from_dict(self._text[row]["questions"][place])

    def iter_questions(self) -> Iterator[Question]:
        """Yield the question of every item, without touching an image."""
        return (question for _, _, question in self._scan())

    @property
    def questions(self) -> list[Question]:
        """The question of every item, all at once."""
        return list(self.iter_questions())

    @property
    def rows(self) -> list[int]:
        """The row in `dataset` that every item belongs to."""
        rows: list[int] = self._places[:, 0].tolist()
        return rows
