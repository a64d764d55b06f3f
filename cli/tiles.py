# SPDX-License-Identifier: Apache-2.0
"""Options about scenes that are seen in tiles."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from geodit.cli.errors import CommandError

if TYPE_CHECKING:
    from geodit.pipelines.scenes.job import Tiling

TileSizeOption = Annotated[
    str | None,
    typer.Option(
        "--tile-size",
        help="Ask about tiles with this side, in pixels; auto for the size of the pictures that the model was trained "
        "on. By default an image is seen as a whole.",
    ),
]
OverlapOption = Annotated[
    float, typer.Option("--overlap", help="Overlap of neighboring tiles, as a share of their side.")
]
GsdOption = Annotated[
    float | None,
    typer.Option("--gsd", help="Resample the raster to pixels of so many meters, best those of the training."),
]
FullImageOption = Annotated[
    bool, typer.Option("--full-image", help="Ask about the whole image, reduced, beside its tiles.")
]
AoiOption = Annotated[
    Path | None,
    typer.Option("--aoi", help="File of polygons: only tiles that touch them are asked about, and boxes lie in them."),
]


def tiling_of(
    tile_size: str | None, overlap: float, gsd: float | None, full_image: bool, aoi: Path | None
) -> "Tiling":
    """Return how images are cut into tiles.

    Args:
        tile_size: Value of `--tile-size`.
        overlap: Value of `--overlap`.
        gsd: Value of `--gsd`.
        full_image: Value of `--full-image`.
        aoi: Value of `--aoi`.

    Raises:
        CommandError: If a value is out of range, or is about tiles and there are none.
    """
    from geodit.pipelines.scenes.job import Tiling

    if tile_size is None and (gsd is not None or full_image or aoi is not None):
        raise CommandError("--gsd, --full-image and --aoi are about tiles: give --tile-size, such as --tile-size auto")
    try:
        return Tiling(
            None if tile_size is None else _parse_tile_size(tile_size),
            overlap,
            gsd,
            full_image,
            None if aoi is None else str(aoi),
        )
    except ValueError as error:
        raise CommandError(str(error)) from error


def _parse_tile_size(text: str) -> int | Literal["auto"]:
    if text == "auto":
        return "auto"
    if not (text.isascii() and text.isdecimal()) or int(text) < 1:
        raise CommandError(f"--tile-size takes a number of pixels from 1 on, or auto, got {text!r}")
    return int(text)
