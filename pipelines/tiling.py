# SPDX-License-Identifier: Apache-2.0
"""Looking at a large image tile by tile: where the tiles lie, and which boxes they have cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from transformers.utils import logging

from geodit.data.windows import Window, window_grid
from geodit.processing.turned_boxes_geodit import Corners, moved_corners, scaled_corners
from geodit.rasters.image_source import fit_within

Box = tuple[float, float, float, float]


class Edges(NamedTuple):
    """Something about each side of a box, in the order of its coordinates."""

    left: bool = False
    top: bool = False
    right: bool = False
    bottom: bool = False


_UNCUT = Edges()

logger = logging.get_logger(__name__)

# What is asked about at once is read with at most so many times the pixels a side that the model takes in: enough for
# its own resampling to decide what it sees.
_WHOLE_IMAGE_SIDES = 4


@dataclass(frozen=True)
class Detection:
    """An object that was found.

    Args:
        box: `(x1, y1, x2, y2)` in pixels of the original image.
        label: its class name.
        score: 0 to 1, how sure the model was of the tokens of the box.
        cut_edges: where the box ends at the edge of a tile after which the image goes on.
        tile: number of the tile that has found it; of pieces that were joined, of the best.
        corners: of a turned box, in pixels of the original image, which they may leave; `box` is the upright one
            around what of it lies in the image. `None` for an upright box.
    """

    box: Box
    label: str
    score: float
    cut_edges: Edges = _UNCUT
    tile: int | None = None
    corners: Corners | None = None

    @property
    def cut(self) -> bool:
        """Whether it may be a piece of an object that goes on in another tile."""
        return any(self.cut_edges)


def tile_windows(image_size: tuple[int, int], tile_size: int, overlap: float = 0.25) -> list[Window]:
    """Tiles of equal size, in row order, that together cover an image.

    Args:
        image_size: (height, width) of the image in pixels.
        tile_size: side of a tile in pixels. An image that is smaller is one tile of its own size.
        overlap: share of a tile's side that neighbours have in common at least, 0 to below 1. Objects up to
            that length are whole in some tile.

    Raises:
        ValueError: if a size is below 1, or the overlap out of range.
    """
    if not 0.0 <= overlap < 1.0:
        raise ValueError(f"overlap must be a share from 0 to below 1, got {overlap}")
    return window_grid(image_size, tile_size, max(1, int(tile_size * (1.0 - overlap))))


def shape_seen_whole(image_size: tuple[int, int], model_side: int) -> tuple[int, int] | None:
    """Return the size at which an image is read that is asked about as a whole.

    Args:
        image_size: (height, width) of the image in pixels.
        model_side: largest side, in pixels, of what the model takes in.

    Returns:
        (height, width), or None for the pixels as they are.
    """
    shape = fit_within(image_size, _WHOLE_IMAGE_SIDES * model_side)
    return None if shape == tuple(image_size) else shape


def advise_tiles(name: str, image_size: tuple[int, int], model_side: int) -> None:
    """Warn if an image that is searched as a whole shows far more than the model sees, so that small objects are lost.

    Args:
        name: what the image is called.
        image_size: (height, width) of the image in pixels.
        model_side: largest side, in pixels, of what the model takes in.
    """
    height, width = image_size
    if max(image_size) >= _WHOLE_IMAGE_SIDES * model_side:
        logger.warning_once(
            f"{name}: the model sees {width} x {height} pixels reduced to {model_side} x {model_side}, in which small "
            'objects are lost: see it in tiles, by tile_size="auto" or --tile-size auto'
        )


def scaled(detection: Detection, x_factor: float, y_factor: float) -> Detection:
    """Return a detection of a resampled image in pixels of the original."""
    if x_factor == y_factor == 1.0:
        return detection
    x1, y1, x2, y2 = detection.box
    return replace(
        detection,
        box=(x1 * x_factor, y1 * y_factor, x2 * x_factor, y2 * y_factor),
        corners=detection.corners and scaled_corners(detection.corners, x_factor, y_factor),
    )


def to_image(detection: Detection, window: Window, image_size: tuple[int, int], margin: float) -> Detection:
    """Move a detection from a tile's pixels to the image's, and note where the tile has cut it.

    Args:
        detection: with its box in pixels of the tile.
        window: the tile.
        image_size: (height, width) of the image.
        margin: how far from the tile's edge, in pixels, a box may end and still count as ending there.
    """
    x1, y1, x2, y2 = detection.box
    height, width = image_size
    cut = Edges(
        left=x1 <= margin and window.left > 0,
        top=y1 <= margin and window.top > 0,
        right=x2 >= window.width - margin and window.left + window.width < width,
        bottom=y2 >= window.height - margin and window.top + window.height < height,
    )
    box = (x1 + window.left, y1 + window.top, x2 + window.left, y2 + window.top)
    corners = detection.corners and moved_corners(detection.corners, window.left, window.top)
    return replace(detection, box=box, cut_edges=cut, corners=corners)


def corners_of_all(detections: Sequence[Detection]) -> tuple[Corners | None, ...]:
    """Return the corners of each detection; nothing if all are upright."""
    corners = tuple(detection.corners for detection in detections)
    return corners if any(corners) else ()


def as_box(values: Sequence[float]) -> Box:
    """Return four numbers as a box."""
    x1, y1, x2, y2 = (float(value) for value in values)
    return x1, y1, x2, y2
