# SPDX-License-Identifier: Apache-2.0
"""Which objects of an image are seen in a window of it, and where."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geodit.annotations.records import LabeledObject, Point
from geodit.annotations.rectangles import (
    Corners,
    clip_to_frame,
    polygon_area,
    surrounding_box,
    surrounding_rectangle,
)
from geodit.data.schema import Box
from geodit.data.windows import Window, boxes_in_window
from geodit.processing.turned_boxes_geodit import moved_corners, scaled_corners

__all__ = ["ObjectsInWindows", "SeenObjects", "scaled_object", "split_hidden"]

# Share of a rectangle that may be missing, by rounding, where nothing of it is cut.
_ROUNDING = 1e-9


class SeenObjects(NamedTuple):
    """What a part of an image shows.

    Args:
        kept: The objects of which enough is seen, in pixels of the part.
        left_out: The classes of those of which something is seen, but not enough: one for each object. Of an object of
            which hardly anything is seen nobody could tell, and it counts as not there.
    """

    kept: tuple[LabeledObject, ...]
    left_out: tuple[str, ...]


class ObjectsInWindows:
    """The objects of an image, looked up by windows.

    An object is kept in a window if at least `min_visible` of its area, which is that of its turned box if it has one,
    lies in it. Boxes are clipped to the window. A turned box that is cut becomes the smallest one around what is left,
    turned as before, whose corners may reach out of the window.

    Args:
        objects: In pixels of the image.
        min_visible: Least share, above 0 to 1.
        min_noticed: Share below which an object counts as not there.
    """

    def __init__(self, objects: Sequence[LabeledObject], min_visible: float, min_noticed: float = 0.0) -> None:
        self._objects = objects
        self._min_visible, self._min_noticed = min_visible, min_noticed
        self._boxes = np.array([one.box for one in objects], dtype=np.float64).reshape(-1, 4)

    def find(self, window: Window) -> SeenObjects:
        """Return what a window shows."""
        kept: list[LabeledObject] = []
        cut: list[str] = []
        x1, y1, x2, y2 = self._boxes.T
        right, bottom = window.left + window.width, window.top + window.height
        # All at once, as there may be many objects in an image and few in a window.
        touched = np.flatnonzero(
            (x2 > np.maximum(x1, window.left)) & (y2 > np.maximum(y1, window.top)) & (x1 < right) & (y1 < bottom)
        )
        clipped, seen = boxes_in_window(self._boxes[touched], window, self._min_visible)
        upright = dict(zip(touched[seen].tolist(), clipped.tolist(), strict=True))
        for index in touched.tolist():
            one = self._objects[index]
            if one.corners is not None:
                share, found = _see_turned(one, one.corners, window)
                found = found if share >= self._min_visible else None
            else:
                share = _share_in(self._boxes[index], window)
                found = _with_box(one, upright[index]) if index in upright else None
            if found is not None:
                kept.append(found)
            elif share > 0 and share >= self._min_noticed:
                cut.append(one.label)
        return SeenObjects(tuple(kept), tuple(cut))


def _share_in(box: NDArray[np.float64], window: Window) -> float:
    """Return the share of the area of a box that lies in a window that it touches."""
    x1, y1, x2, y2 = box.tolist()
    width = min(x2, window.left + window.width) - max(x1, window.left)
    height = min(y2, window.top + window.height) - max(y1, window.top)
    share: float = width * height / ((x2 - x1) * (y2 - y1))
    return share


def scaled_object(one: LabeledObject, x_factor: float, y_factor: float) -> LabeledObject:
    """Return an object in pixels of which there are so many to one of its own."""
    if x_factor == y_factor == 1.0:
        return one
    x1, y1, x2, y2 = one.box
    box = (x1 * x_factor, y1 * y_factor, x2 * x_factor, y2 * y_factor)
    return replace(one, box=box, corners=one.corners and scaled_corners(one.corners, x_factor, y_factor))


def split_hidden(objects: Iterable[LabeledObject], valid: NDArray[np.bool_] | None, min_visible: float) -> SeenObjects:
    """Return the objects that can be seen where an image has data.

    Args:
        objects: In pixels of the image.
        valid: (H, W), where it has data; `None` if everywhere.
        min_visible: Least share of a box that has data.
    """
    if valid is None:
        return SeenObjects(tuple(objects), ())
    seen, hidden = [], []
    for one in objects:
        x1, y1, x2, y2 = one.box
        part = valid[max(0, math.floor(y1)) : math.ceil(y2), max(0, math.floor(x1)) : math.ceil(x2)]
        if part.size and part.mean() >= min_visible:
            seen.append(one)
        else:
            hidden.append(one.label)
    return SeenObjects(tuple(seen), tuple(hidden))


def _with_box(one: LabeledObject, values: Sequence[float]) -> LabeledObject:
    x1, y1, x2, y2 = values
    return replace(one, box=(x1, y1, x2, y2))


def _see_turned(one: LabeledObject, corners: Corners, window: Window) -> tuple[float, LabeledObject | None]:
    """Return the share of a turned box that a window shows, and the object there; `None` if it shows nothing."""
    frame: Box = (window.left, window.top, window.left + window.width, window.top + window.height)
    left: list[Point] = clip_to_frame(corners, frame)
    area, whole = polygon_area(left), polygon_area(corners)
    if not area or not whole:
        return 0.0, None
    share = area / whole
    shown = corners if share >= 1.0 - _ROUNDING else surrounding_rectangle(left, corners)
    x1, y1, x2, y2 = surrounding_box(left)
    box = (x1 - window.left, y1 - window.top, x2 - window.left, y2 - window.top)
    return share, replace(one, box=box, corners=moved_corners(shown, -window.left, -window.top))
