# SPDX-License-Identifier: Apache-2.0
"""What is asked of which images, and how these are seen: all that the answers depend on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from geodit.configuration.types_geodit import JsonObject
from geodit.pipelines.answering import Inquiry
from geodit.rasters.image_source import ImageSource
from geodit.rasters.imagery import open_image
from geodit.rasters.rendering import Rendering

__all__ = ["SceneJob", "Tiling", "file_facts"]


@dataclass(frozen=True)
class Tiling:
    """How an image is cut into tiles.

    Args:
        tile_size: Side in pixels of a tile as the model sees it; `"auto"` for that of the pictures it was trained on,
            `None` for the whole image at once.
        overlap: Share of a tile's side that neighbors have in common at least, 0 to below 1. Objects up to that length
            are whole in some tile.
        gsd: Ground sampling distance, in meters, at which the model sees a tile; the raster is resampled to it. By
            default pixels are taken as they are.
        full_image: Whether the whole image, reduced to the size of a tile, is asked about as well: for objects that
            are larger than a tile.
        aoi: File of polygons, in any reference system. Tiles that touch none of them are not asked about.

    Raises:
        ValueError: If a value is out of range, or is about tiles and there are none.
    """

    tile_size: int | Literal["auto"] | None = None
    overlap: float = 0.25
    gsd: float | None = None
    full_image: bool = False
    aoi: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.tile_size, int) and self.tile_size < 1:
            raise ValueError(f"tile_size must be at least 1 pixel, got {self.tile_size}")
        if not 0.0 <= self.overlap < 1.0:
            raise ValueError(f"overlap must be a share from 0 to below 1, got {self.overlap}")
        if self.gsd is not None and not 0 < self.gsd < float("inf"):
            raise ValueError(f"gsd must be a number of meters above 0, got {self.gsd}")
        if self.tile_size is None and (self.gsd is not None or self.full_image or self.aoi is not None):
            raise ValueError("gsd, full_image and aoi are about tiles: give a tile_size")

    def resolve(self, tile_side: int) -> Tiling:
        """Return the same with a number for `"auto"`.

        Args:
            tile_side: Side in pixels of the pictures that the model was trained on.
        """
        return replace(self, tile_size=tile_side) if self.tile_size == "auto" else self


@dataclass(frozen=True)
class SceneJob:
    """A job: images, what is asked about each, and how they are seen.

    Args:
        images: Paths or addresses, as for [`open_image`].
        inquiry: What is asked.
        tiling: How they are cut into tiles.
        bands: The band to show as gray, or the three to show as red, green and blue.
        rendering: How bands become 8-bit RGB.
        crs: Reference system of images that have a transform and none.
        retry_unparsed: Whether answers that were not understood are asked for again, with one step a token.
        batch_size: Tiles that are encoded at once, and questions that are answered at once.
        keep_going: Whether the other images are asked about if one cannot be opened.

    Raises:
        ValueError: If there is no image, or a value is out of range.
    """

    images: tuple[str, ...]
    inquiry: Inquiry
    tiling: Tiling = field(default_factory=Tiling)
    bands: tuple[int, ...] | None = None
    rendering: Rendering = field(default_factory=Rendering)
    crs: str | None = None
    retry_unparsed: bool = False
    batch_size: int = 8
    keep_going: bool = False

    def __post_init__(self) -> None:
        if not self.images:
            raise ValueError("there is no image to ask about")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")

    def open(self, image: str) -> ImageSource:
        """Open an image as the job sees it; errors are those of [`open_image`]."""
        return open_image(image, self.bands, self.rendering, crs=self.crs)

    def fingerprint(self) -> JsonObject:
        """Return all that the answers depend on beside the model, in types that JSON has.

        Of a file these are its path, its size and when it was changed.
        """
        values: JsonObject = asdict(self)
        del values["keep_going"], values["images"]
        options = values["inquiry"]["options"]
        for name in ("capture_step", "compile_step"):
            del options[name]
        values["files"] = [file_facts(image) for image in self.images]
        if self.tiling.aoi is not None:
            values["aoi_file"] = file_facts(self.tiling.aoi)
        return _as_json(values)


def file_facts(path: str) -> list[object]:
    """Return what tells a file from what it may become: path, size and time of change. Of an address only that."""
    try:
        found = Path(path).stat()
    except OSError:
        return [path]  # an address, or a file that is missing
    return [str(Path(path)), found.st_size, found.st_mtime_ns]


def _as_json(values: JsonObject) -> JsonObject:
    """Return lists for tuples, as they come back from a file."""
    return {key: _plain(value) for key, value in values.items()}


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
