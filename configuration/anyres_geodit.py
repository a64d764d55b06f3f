# SPDX-License-Identifier: Apache-2.0
"""LLaVA's "anyres": an image as a grid of tiles beside a small version of the whole.

What configuration and processor must agree on: how the two ways of seeing an image are called, and which grids work.
The method is that of LLaVA-OneVision (https://huggingface.co/papers/2408.03326), which LLaDA-V follows with
`"anyres_max_4"`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["anyres_max_tiles", "check_grid_pinpoints", "default_grid_pinpoints"]

_ANYRES = re.compile(r"anyres_max_([1-9][0-9]*)")


def anyres_max_tiles(vision_aspect_ratio: str) -> int | None:
    """Return the k of `"anyres_max_<k>"`, or None for `"square"`, where an image is one picture without tiles.

    Raises:
        ValueError: for anything else.
    """
    if vision_aspect_ratio == "square":
        return None
    match = _ANYRES.fullmatch(vision_aspect_ratio)
    if match is None:
        raise ValueError(
            'vision_aspect_ratio must be "square" or "anyres_max_<k>" with a positive integer k, such as '
            f'"anyres_max_4", got {vision_aspect_ratio!r}.'
        )
    return int(match[1])


def default_grid_pinpoints(tile_size: int, max_tiles: int = 6) -> list[list[int]]:
    """Return every grid of at most `max_tiles` tiles per side: LLaVA-OneVision's and LLaDA-V's `(1x1),...,(6x6)`.

    Args:
        tile_size: Side of a tile in pixels, the image size of the vision tower.
        max_tiles: Tiles on the longest side of a grid.

    Returns:
        `[height, width]` of each grid in pixels.
    """
    sides = [tile_size * count for count in range(1, max_tiles + 1)]
    return [[height, width] for height in sides for width in sides]


def check_grid_pinpoints(
    image_grid_pinpoints: Sequence[Sequence[int]] | None, max_tiles: int, tile_size: int, patches_per_side: int
) -> None:
    """Refuse grids of tiles that cannot work.

    Args:
        image_grid_pinpoints: `[height, width]` of each grid in pixels.
        max_tiles: The k of `"anyres_max_<k>"`: more patches than k tiles have are scaled down.
        tile_size: Side of a tile in pixels.
        patches_per_side: Patches on the side of a tile.

    Raises:
        ValueError: naming the grid and what is allowed.
    """
    if not image_grid_pinpoints:
        raise ValueError(
            "To see images in tiles, give image_grid_pinpoints: the [height, width] in pixels of each grid, such as "
            f"[[{tile_size}, {tile_size}], [{tile_size}, {2 * tile_size}]]."
        )
    for pinpoint in image_grid_pinpoints:
        if len(pinpoint) != 2 or any(side < tile_size or side % tile_size for side in pinpoint):
            raise ValueError(
                f"image_grid_pinpoints must be [height, width] pairs of multiples of {tile_size}, the side of a tile, "
                f"got {list(pinpoint)}."
            )
    # The patches of a long and thin image, scaled down, must keep at least one row.
    longest = max(max(pinpoint) for pinpoint in image_grid_pinpoints) // tile_size
    limit = max_tiles * patches_per_side
    if longest > limit:
        raise ValueError(
            f"image_grid_pinpoints have up to {longest} tiles on a side, but anyres_max_{max_tiles} with "
            f"{patches_per_side} patches on the side of a tile allows {limit}: the patches of a thin image would be "
            "scaled down to none."
        )
