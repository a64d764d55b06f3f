# SPDX-License-Identifier: Apache-2.0
"""Label Studio: its JSON export, with a task per image."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from geodit.annotations.formats.annotation_format import AnnotationFormat, Record, bad_record
from geodit.annotations.formats.drafts import Draft
from geodit.annotations.formats.file_heads import json_head
from geodit.annotations.formats.image_paths import ImageFinder, is_image_name
from geodit.annotations.formats.json_arrays import iter_array
from geodit.annotations.formats.shapes import (
    box_object,
    ellipse_object,
    label_set,
    object_in_points,
    rectangle_corners,
)
from geodit.annotations.records import LabeledObject
from geodit.data.readers.fields import as_record, brief, clean_text, list_field, numbers

__all__ = ["LABEL_STUDIO"]

# What it puts before the name of a file that is uploaded.
_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-")
_SIDES = ("height", "width")
_LABELS = ("rectanglelabels", "polygonlabels", "ellipselabels", "labels")


def _matches(source: Path) -> bool:
    if not source.is_file():
        return False
    head = json_head(source)
    has_annotations = bool(head.outer & {"annotations", "completions"})
    return head.outermost == "[" and has_annotations and ("data" in head.outer or "result" in head.inner)


def read_label_studio(source: Path, *, images: Path | None = None) -> Iterator[Record]:
    """Read Label Studio's JSON export.

    Of several annotations of a task the one that is the ground truth counts, or else the first that was not
    canceled. Rectangles, polygons and ellipses become boxes, choices the class of the image, and text areas its
    captions, or the phrase of the region that they are about. A turned rectangle keeps its corners.

    Args:
        source: The file.
        images: The folder of the images; by default they are in that of the file, or in `images` in it. The prefix
            that Label Studio gives to uploaded files may be missing in their names.

    Raises:
        ValueError: If it is not a JSON array, or is damaged.
    """
    finder = ImageFinder(source.parent, source.parent / "images", images=images)
    for number, value in enumerate(iter_array(source), start=1):
        origin = f"{source}, task {number}"
        try:
            task = as_record(value)
            results = _results(task)
            draft = Draft(_find_image(as_record(task.get("data")), finder), origin)
        except ValueError as error:
            yield bad_record(origin, error)
            continue
        phrases = _phrases(results)
        for place, result in enumerate(results, start=1):
            try:
                _add(as_record(result), phrases, draft, place)
            except ValueError as error:
                draft.partial_labels |= _labels_of(result)
                yield bad_record(f"{origin}, result {place}", error)
        yield draft.finish()


def _results(task: Mapping[str, object]) -> list[object]:
    """Return the regions and answers of the annotation that counts."""
    name = "annotations" if "annotations" in task else "completions"
    annotations = [
        annotation
        for annotation in map(as_record, list_field(task, name))
        if annotation.get("was_cancelled") is not True
    ]
    if not annotations:
        raise ValueError("it is not annotated")
    chosen = next((one for one in annotations if one.get("ground_truth") is True), annotations[0])
    return list(list_field(chosen, "result"))


def _find_image(data: Mapping[str, object], finder: ImageFinder) -> str:
    """Return the path of the image that the data of a task name."""
    address = data.get("image")
    if address is None:
        address = next((value for value in data.values() if isinstance(value, str) and is_image_name(value)), None)
    if not isinstance(address, str):
        raise ValueError(f"its data {brief(dict(data))} name no image")
    parts = urlsplit(address)
    # "/data/local-files/?d=folder/a.png" is a file that was not uploaded.
    name = parse_qs(parts.query).get("d", [unquote(parts.path)])[0]
    folder, slash, file = name.rpartition("/")
    try:
        return finder.find(name)
    except ValueError:
        if not _UPLOAD_PREFIX.match(file):
            raise
        return finder.find(folder + slash + _UPLOAD_PREFIX.sub("", file))


def _phrases(results: list[object]) -> dict[str, str]:
    """Return the texts about single regions by the id of the region."""
    phrases = {}
    for result in results:
        if isinstance(result, dict) and result.get("type") == "textarea" and _is_about_region(result):
            texts = result["value"].get("text")
            if isinstance(texts, list) and texts and isinstance(texts[0], str) and isinstance(result.get("id"), str):
                phrases[result["id"]] = " ".join(texts[0].split())
    return phrases


def _is_about_region(result: Mapping[str, object]) -> bool:
    value = result.get("value")
    return isinstance(value, Mapping) and ("x" in value or "points" in value)


def _labels_of(result: object) -> set[str]:
    """Return the classes of a region that cannot be used."""
    value = result.get("value") if isinstance(result, dict) else None
    lists = [labels for name, labels in value.items() if name.endswith("labels")] if isinstance(value, dict) else []
    return {name for labels in lists if isinstance(labels, list) for label in labels for name in label_set(label)}


def _add(result: Mapping[str, object], phrases: Mapping[str, str], draft: Draft, place: int) -> None:
    """Add what a result says of the image to it."""
    kind, value = result.get("type"), as_record(result.get("value"))
    if kind in ("choices", "textarea") and _is_about_region(result):
        return
    if kind == "choices":
        draft.category = clean_text(list_field(value, "choices")[0] if value.get("choices") else "", "the choice")
    elif kind == "textarea":
        text = value.get("text")
        draft.captions += [clean_text(line, "the text") for line in (text if isinstance(text, list) else [text])]
    elif any(name in value for name in _LABELS):
        height, width = (int(side) for side in numbers([result.get(f"original_{side}") for side in _SIDES], 2))
        if min(height, width) < 1:
            raise ValueError(f"its image is {width} x {height} pixels")
        found = _object(value, height, width, place)
        identifier = result.get("id")
        draft.objects.append(replace(found, phrase=phrases.get(identifier, "") if isinstance(identifier, str) else ""))
        draft.image_size = height, width
    elif kind not in ("rectangle", "polygon", "ellipse"):  # which come again with their labels
        raise ValueError(f"a result of the type {brief(kind)} has no box, class or text")


def _object(value: Mapping[str, object], height: int, width: int, place: int) -> LabeledObject:
    labels = next(list_field(value, name) for name in _LABELS if name in value)
    if len(labels) != 1:
        raise ValueError(f"a region has one label, not {brief(labels)}")
    label = labels[0]
    if "points" in value:
        pairs = [numbers(point, 2) for point in list_field(value, "points")]
        points = [(x * width / 100, y * height / 100) for x, y in pairs]
        return object_in_points(label, points, line=place)
    x, y, angle = numbers([value.get("x"), value.get("y"), value.get("rotation") or 0], 3)
    left, top = x * width / 100, y * height / 100
    if "radiusX" in value:
        along, across = numbers([value["radiusX"], value.get("radiusY")], 2)
        return ellipse_object(label, (left, top), (along * width / 100, across * height / 100), angle, line=place)
    across, down = numbers([value.get("width"), value.get("height")], 2)
    box = left, top, left + across * width / 100, top + down * height / 100
    if angle:
        return object_in_points(label, rectangle_corners(box, angle, pivot=(left, top)), line=place)
    return box_object(label, box, line=place)


LABEL_STUDIO = AnnotationFormat("label-studio", "Label Studio: its JSON export", _matches, read_label_studio)
