# SPDX-License-Identifier: Apache-2.0
"""How the image of a tile is stored: its own bytes where it is used as it is, else as PNG, or the path of its file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from geodit.annotations.tiles import LabeledTile, TileReader
from geodit.data.schema import StoredImage, decode_stored_image

__all__ = ["ImageStore", "check_used_as_it_is"]

_JPEG = (".jpg", ".jpeg")
_REFERENCED = (*_JPEG, ".png")


class ImageStore:
    """Stores the images of tiles.

    Args:
        reader: Reads their pixels.
        output_dir: The folder of the data set, from which files are named.
        is_referenced: Whether to store paths.
        is_plain: Whether the reader shows all bands as they are.
    """

    def __init__(self, reader: TileReader, output_dir: Path, *, is_referenced: bool, is_plain: bool) -> None:
        self._reader, self._is_referenced, self._is_plain = reader, is_referenced, is_plain
        self._folder = os.path.realpath(output_dir)

    def stored(self, tile: LabeledTile) -> StoredImage:
        """Return a tile as a table has it: a whole JPEG as it is, all else as PNG."""
        if self._is_referenced:
            relative = os.path.relpath(os.path.realpath(tile.image), self._folder)
            return {"bytes": None, "path": Path(relative).as_posix()}
        path = Path(tile.image)
        if (
            self._is_plain
            and path.suffix.lower() in _JPEG
            and path.is_file()
            and _is_whole(tile, self._reader.open(tile.image).image_size)
        ):
            return {"bytes": path.read_bytes(), "path": None}
        return {"bytes": self._reader.read_png(tile), "path": None}


def check_used_as_it_is(tile: LabeledTile, reader: TileReader) -> None:
    """Refuse a tile that is anything else than the image that others see when they open its file.

    Raises:
        ValueError: If it is.
    """
    path = Path(tile.image)
    advice = "leave out --reference-images (reference_images=False), so that images are stored in the data set"
    if path.suffix.lower() not in _REFERENCED or not path.is_file():
        raise ValueError(f"{tile.image} is no JPEG or PNG file here, as images are that can be referenced: {advice}")
    height, width = reader.open(tile.image).image_size
    if not _is_whole(tile, (height, width)):
        raise ValueError(
            f"{tile.image} of {width} x {height} pixels is cut or resampled, and can only be referenced as a whole: "
            f"choose larger tiles, or {advice}"
        )
    shown = np.asarray(decode_stored_image({"bytes": None, "path": tile.image}))
    if not np.array_equal(shown, reader.read(tile).pixels):
        raise ValueError(
            f"{tile.image} is not used as it is: its bands, their rendering or pixels without data make another image "
            f"of it; {advice}"
        )


def _is_whole(tile: LabeledTile, image_size: tuple[int, int]) -> bool:
    return tile.window == (0, 0, *image_size) and tile.shape == tuple(image_size)
