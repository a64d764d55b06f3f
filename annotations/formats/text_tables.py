# SPDX-License-Identifier: Apache-2.0
"""Captions, and questions with answers, in CSV, JSON lines or a JSON array."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from geodit.annotations.formats.annotation_format import AnnotationFormat, Record, bad_record
from geodit.annotations.formats.drafts import Draft, Drafts
from geodit.annotations.formats.file_heads import table_columns
from geodit.annotations.formats.image_paths import ImageFinder, split_of
from geodit.annotations.formats.tables import iter_rows
from geodit.annotations.records import BadRecord, TextAnswer
from geodit.data.readers.fields import brief, clean_text, text_field

__all__ = ["CAPTIONS", "QUESTIONS"]

_IMAGE = ("image", "image_path", "file_name", "filename", "file")


def _has_image(columns: frozenset[str]) -> bool:
    return any(name in columns for name in _IMAGE)


def _matches_captions(source: Path) -> bool:
    columns = table_columns(source) if source.is_file() else frozenset()
    return _has_image(columns) and bool(columns & {"caption", "captions"}) and "question" not in columns


def _matches_questions(source: Path) -> bool:
    columns = table_columns(source) if source.is_file() else frozenset()
    return _has_image(columns) and columns >= {"question", "answer"}


def read_captions(source: Path, *, images: Path | None = None) -> Iterator[Record]:
    """Read captions.

    A row has `image` (or `image_path`, `file_name`, `filename`, `file`) and `caption`, and may have `category`, the
    class of the image, `split` and `group`. In JSON there may be `captions`, a list. Rows of one image are taken
    together.

    Args:
        source: CSV with a line of names, JSON lines, or a JSON array of objects.
        images: The folder of the images; by default that of the file.

    Raises:
        ValueError: If a CSV lacks a column, or reading cannot go on.
    """
    yield from _read(source, images, ("caption",), _add_captions)


def read_questions(source: Path, *, images: Path | None = None) -> Iterator[Record]:
    """Read questions with answers.

    A row has an image as a row of captions has, `question` and `answer`, and may have what else that may have, see
    [`read_captions`].

    Args:
        source: CSV with a line of names, JSON lines, or a JSON array of objects.
        images: The folder of the images; by default that of the file.

    Raises:
        ValueError: If a CSV lacks a column, or reading cannot go on.
    """
    yield from _read(source, images, ("question", "answer"), _add_answer)


def _read(
    source: Path, images: Path | None, columns: tuple[str, ...], add: Callable[[Mapping[str, object], Draft], None]
) -> Iterator[Record]:
    finder, drafts = ImageFinder(source.parent, images=images), Drafts()
    for row in iter_rows(source, *columns):
        if isinstance(row, BadRecord):
            yield row
            continue
        _, where, fields = row
        try:
            name = text_field(fields, next((name for name in _IMAGE if name in fields), "image"))
            draft = drafts.get(name) or Draft(finder.find(name), where)
            add(fields, draft)
            _add_place(fields, draft)
            drafts.add(name, draft)
        except ValueError as error:
            yield bad_record(where, error)
    yield from drafts.finish()


def _add_captions(fields: Mapping[str, object], draft: Draft) -> None:
    listed = fields.get("captions")
    captions = listed if isinstance(listed, list) and listed else [fields.get("caption")]
    draft.captions += [clean_text(caption, "the caption") for caption in captions]


def _add_answer(fields: Mapping[str, object], draft: Draft) -> None:
    answer = fields.get("answer")
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        answer = str(answer)  # a count, as JSON has it
    draft.answers.append(TextAnswer(text_field(fields, "question"), clean_text(answer, "'answer'")))
    if fields.get("caption"):
        _add_captions(fields, draft)


def _add_place(fields: Mapping[str, object], draft: Draft) -> None:
    """Add the class of the image, its split and its group, of which two rows must say the same."""
    split = fields.get("split")
    if split:
        name = clean_text(split, "'split'")
        split = split_of(Path(name.replace("/", " ")))
        if not split:
            raise ValueError(f"its split {brief(name)} is neither train, validation nor test")
    for name, value in (("category", fields.get("category")), ("split", split), ("group", fields.get("group"))):
        if not value:
            continue
        text = clean_text(value, repr(name))
        if getattr(draft, name) not in ("", text):
            raise ValueError(f"its {name} is {brief(text)}, but {brief(getattr(draft, name))} in another row")
        setattr(draft, name, text)


CAPTIONS = AnnotationFormat(
    "captions", "captions: CSV or JSON lines with image and caption", _matches_captions, read_captions
)
QUESTIONS = AnnotationFormat(
    "questions",
    "questions: CSV or JSON lines with image, question and answer",
    _matches_questions,
    read_questions,
)
