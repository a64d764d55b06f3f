# SPDX-License-Identifier: Apache-2.0
"""The tiles of an image: where they lie, and at which resolution the model sees them."""

from __future__ import annotations

from typing import NamedTuple

from geodit.data.windows import Window
from geodit.pipelines.scenes.aoi import AreaOfInterest
from geodit.pipelines.scenes.job import Tiling
from geodit.pipelines.tiling import shape_seen_whole, tile_windows
from geodit.rasters.ground_sampling import ground_sampling_distance
from geodit.rasters.image_source import ImageSource, fit_within

__all__ = ["GridTile", "plan_tiles", "whole_image"]


class GridTile(NamedTuple):
    """A part of an image, and the size at which it is read.

    Args:
        window: In pixels of the image.
        shape: `(height, width)` of what the model sees; `None` for the pixels as they are.
    """

    window: Window
    shape: tuple[int, int] | None = None


def whole_image(image_size: tuple[int, int], model_side: int) -> GridTile:
    """Return the whole of an image as one tile.

    Args:
        image_size: `(height, width)` in pixels.
        model_side: Largest side, in pixels, of what the model takes in.
    """
    return GridTile(Window(0, 0, *image_size), shape_seen_whole(image_size, model_side))


def plan_tiles(source: ImageSource, tiling: Tiling, model_side: int) -> list[GridTile]:
    """Return the tiles of an image in row order, and the whole image last if that is to be seen too.

    Args:
        source: The image.
        tiling: How to cut it.
        model_side: Largest side, in pixels, of what the model takes in.

    Raises:
        ValueError: If the image has no place on Earth and one is needed, or the area of interest cannot be read.
    """
    if tiling.tile_size == "auto":
        raise ValueError('tile_size is "auto": resolve() it first')
    if tiling.tile_size is None:
        return [whole_image(source.image_size, model_side)]
    tile_size, scale = tiling.tile_size, 1.0
    if tiling.gsd is not None:
        if source.georeference is None:
            raise ValueError("it has no place on Earth, from which its ground sampling distance would follow")
        scale = tiling.gsd / ground_sampling_distance(source.georeference, source.image_size)
    side = max(1, round(tile_size * scale))
    tiles = [_at_scale(window, scale) for window in tile_windows(source.image_size, side, tiling.overlap)]
    if tiling.full_image and len(tiles) > 1:
        whole = Window(0, 0, *source.image_size)
        tiles.append(GridTile(whole, fit_within(source.image_size, tile_size)))
    if tiling.aoi is None:
        return tiles
    area = AreaOfInterest.read(tiling.aoi, source.georeference)
    touched = area.touches([tile.window for tile in tiles])
    return [tile for tile, is_touched in zip(tiles, touched, strict=True) if is_touched]


def _at_scale(window: Window, scale: float) -> GridTile:
    """Return a tile that is read with `scale` pixels of the image, a side, to one of its own."""
    if scale == 1.0:
        return GridTile(window)
    shape = max(1, round(window.height / scale)), max(1, round(window.width / scale))
    return GridTile(window, shape)
