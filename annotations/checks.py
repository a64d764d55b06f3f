# SPDX-License-Identifier: Apache-2.0
"""Check annotated images before questions are made of them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from geodit.annotations.image_hashes import LookAlikes, difference_hash
from geodit.annotations.import_report import BadRecordsError, ImportReport
from geodit.annotations.records import BadRecord, LabeledImage, LabeledObject
from geodit.data.schema import Box
from geodit.rasters.image_source import ImageSource
from geodit.rasters.imagery import open_image

__all__ = ["check_records"]

# Larger images are not compared: it would take to read all of them.
_MAX_COMPARED_PIXELS = 2**24
# What is read of an image that is compared, in pixels of its longer side.
_COMPARED_SIDE = 64
# A box that reaches out by no more, in pixels, has been rounded.
_ROUNDING = 1.0


def check_records(
    records: Iterable[LabeledImage | BadRecord],
    report: ImportReport,
    *,
    skip_bad: bool = False,
    classes: Collection[str] | None = None,
    find_duplicates: bool = True,
    crs: str | None = None,
) -> Iterator[LabeledImage]:
    """Yield the images that can be used, with the objects that can, and report all others.

    An image is left out if its record cannot be read, if it is missing or cannot be read, if it is not of the size
    that its record states, as its boxes are then in other pixels, or if it looks like one before, see
    [`geodit.annotations.image_hashes`]. Images of more than 16 million pixels, and those of hardly more than one
    color, are not compared, and neither are several records of one image.

    An object is left out if its box has a number that is none, no area, or no part in the image, or is there twice, or
    if its class is unknown. Unless it is there twice, its class is then among the `partial_labels` of the image: such
    an object may be seen somewhere. Boxes that reach over the edge of an image are reported and kept as they are.

    Args:
        records: What a reader yields.
        report: Where problems are noted.
        skip_bad: Whether to go on without what is left out. Otherwise it is an error, after all has been read and all
            problems are in the report.
        classes: The classes that there are; by default all.
        find_duplicates: Whether to look for images that look the same, for which each is read. Otherwise images are
            opened and no more.
        crs: As [`~geodit.rasters.imagery.open_image`] takes it.

    Raises:
        BadRecordsError: At the end, if something was left out and that is not allowed.
        ModuleNotFoundError: If an image needs a library that is not installed.
    """
    checker = _Checker(report, None if classes is None else frozenset(classes), find_duplicates, crs)
    for record in records:
        if isinstance(record, BadRecord):
            report.add(record.kind, record.origin, record.reason)
            continue
        image_size = checker.look_at(record)
        if image_size is None:
            continue
        checked = checker.check_objects(record, image_size)
        report.images += 1
        report.objects += len(checked.objects)
        yield checked
    if report.num_bad and not skip_bad:
        raise BadRecordsError(report)


class _Checker:
    """Checks one image after the other.

    Args:
        report: Where problems are noted.
        classes: The classes that there are; `None` for any.
        find_duplicates: Whether images are compared.
        crs: For images that state none.
    """

    def __init__(
        self, report: ImportReport, classes: frozenset[str] | None, find_duplicates: bool, crs: str | None
    ) -> None:
        self._report, self._classes, self._find_duplicates, self._crs = report, classes, find_duplicates, crs
        self._look_alikes = LookAlikes()
        self._compared: set[str] = set()

    def look_at(self, record: LabeledImage) -> tuple[int, int] | None:
        """Return (height, width) of the image of a record; `None` if it cannot be used."""
        try:
            with open_image(record.image, crs=self._crs) as source:
                value = self._hash(record.image, source)
                image_size = source.image_size
        except FileNotFoundError as error:
            self._refuse("missing image", record, str(error))
            return None
        except (ValueError, OSError) as error:
            self._refuse("unreadable image", record, str(error))
            return None
        if record.image_size is not None and image_size != tuple(record.image_size):
            (height, width), (stated_height, stated_width) = image_size, record.image_size
            reason = f"{record.image} has {width} x {height} pixels, not {stated_width} x {stated_height}"
            self._refuse("image size", record, reason)
            return None
        if value is not None:
            if other := self._look_alikes.find(value):
                self._refuse("duplicate image", record, f"{record.image} looks like {other}")
                return None
            self._look_alikes.add(value, record.image)
        self._compared.add(record.image)
        return image_size

    def _hash(self, image: str, source: ImageSource) -> int | None:
        height, width = source.image_size
        if not self._find_duplicates or image in self._compared or height * width > _MAX_COMPARED_PIXELS:
            return None
        return difference_hash(source.read(shape=source.fit_within(_COMPARED_SIDE)).pixels)

    def check_objects(self, record: LabeledImage, image_size: tuple[int, int]) -> LabeledImage:
        """Return an image with the objects that can be used."""
        kept: list[LabeledObject] = []
        partial = set(record.partial_labels)
        seen: set[tuple[str, Box, object]] = set()
        for number, one in enumerate(record.objects, start=1):
            origin = f"{record.origin}, {f'record {one.line}' if one.line else f'object {number}'}"
            problem = _problem_with(one, image_size)
            if problem is None and self._classes is not None and one.label not in self._classes:
                problem = "unknown class", f"{one.label!r:.80} is none of the classes"
            if problem is not None:
                self._report.add(problem[0], origin, problem[1])
                partial.add(one.label)
                continue
            key = (one.label, one.box, one.corners)
            if key in seen:
                self._report.add("duplicate box", origin, f"{one.label} at {_shown(one.box)} is there twice")
                continue
            seen.add(key)
            kept.append(one)
            if _reaches_out(one.box, image_size):
                self._report.add("over the edge", origin, f"{one.label} at {_shown(one.box)} in {_named(image_size)}")
        return replace(record, objects=tuple(kept), partial_labels=frozenset(partial), image_size=image_size)

    def _refuse(self, kind: str, record: LabeledImage, reason: str) -> None:
        self._report.add(kind, record.origin, reason)


def _problem_with(one: LabeledObject, image_size: tuple[int, int]) -> tuple[str, str] | None:
    """Return kind and reason of what is wrong with the box of an object."""
    points = [*one.box, *(value for corner in one.corners or () for value in corner)]
    if not all(math.isfinite(value) for value in points):
        return "not a number", f"{one.label} has the box {_shown(one.box)}"
    x1, y1, x2, y2 = one.box
    if not (x1 < x2 and y1 < y2):
        return "without area", f"{one.label} has the box {_shown(one.box)}"
    height, width = image_size
    if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
        return "outside", f"{one.label} at {_shown(one.box)} is outside its image of {_named(image_size)}"
    return None


def _reaches_out(box: Box, image_size: tuple[int, int]) -> bool:
    x1, y1, x2, y2 = box
    height, width = image_size
    return min(x1, y1) < -_ROUNDING or x2 > width + _ROUNDING or y2 > height + _ROUNDING


def _shown(box: Box) -> str:
    return "({})".format(", ".join(f"{value:.6g}" for value in box))


def _named(image_size: tuple[int, int]) -> str:
    height, width = image_size
    return f"{width} x {height} pixels"
