# SPDX-License-Identifier: Apache-2.0
"""Options about rasters: which bands are shown and how, and how the detections of tiles are merged."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from geodit.cli.decoding import renamed
from geodit.cli.errors import CommandError
from geodit.cli.lists import positive_integers

if TYPE_CHECKING:
    from geodit.pipelines.merging import MergeOptions
    from geodit.rasters.rendering import Rendering

# Those of geodit.pipelines.merging, which takes NumPy to import.
MergeName = Literal["nms", "nmm", "soft-nms", "none"]
MatchName = Literal["ios", "iou"]

BandsOption = Annotated[
    str | None,
    typer.Option(
        "--bands",
        help="Band to show as gray, or three to show as red, green and blue, counted from 1: 4,3,2. By default those "
        "that the file calls so, else the first three.",
    ),
]
OldBandOption = Annotated[list[int] | None, typer.Option("--band", min=1, hidden=True)]
StretchOption = Annotated[
    str,
    typer.Option(
        "--stretch",
        help="Values that become black and white: none, two values (300,2850), two percentiles (p2,98), or statistics "
        "for those that the file states. auto shows 8 bits as they are and takes p2,98 for other types.",
    ),
]
NodataOption = Annotated[
    float | None, typer.Option("--nodata", help="Value that means no data, if the file does not say so.")
]
GammaOption = Annotated[float, typer.Option("--gamma", help="Above 1 brightens what is dark.")]
CrsOption = Annotated[
    str | None,
    typer.Option("--crs", help="Reference system of a raster that has a transform and none, such as EPSG:32631."),
]
DecibelsOption = Annotated[bool, typer.Option("--db", help="Show powers, as of radar, in decibels: 10 log10(value).")]
MergeOption = Annotated[
    MergeName,
    typer.Option("--merge", help="How detections of one object in several tiles become one."),
]
MatchOption = Annotated[
    MatchName,
    typer.Option("--match", help="Boxes are compared by intersection over the smaller one, or over their union."),
]
MatchThresholdOption = Annotated[
    float, typer.Option("--match-threshold", help="Boxes that match at least so much are of one object.")
]
MinScoreOption = Annotated[float, typer.Option("--min-score", help="Leave out detections with a lower score.")]
MinSizeOption = Annotated[
    float, typer.Option("--min-size", help="Leave out boxes whose shorter side is less, in pixels of the image.")
]
ConfirmOption = Annotated[
    bool,
    typer.Option(
        "--confirm/--no-confirm",
        help="Leave out detections that the tile which sees their place best has not found: fewer are wrong.",
    ),
]


def chosen_bands(bands: str | None, band: list[int] | None) -> list[int] | None:
    """Return the bands to show.

    Args:
        bands: Value of `--bands`.
        band: Values of `--band`, its old name.

    Raises:
        CommandError: If both are given, or they are not numbers of bands.
    """
    numbers = None if bands is None else positive_integers("--bands", bands)
    return renamed("--band", band or None, "--bands", numbers)


def rendering_of(stretch: str, nodata: float | None, gamma: float, decibels: bool) -> "Rendering":
    """Return how bands are shown.

    Raises:
        CommandError: If an option is out of range.
    """
    from geodit.rasters.rendering import Rendering, StretchRule

    try:
        rule = StretchRule.parse(stretch)
    except ValueError as error:
        raise CommandError(f"--stretch: {error}") from error
    try:
        return Rendering(rule, nodata, gamma, decibels)
    except ValueError as error:
        raise CommandError(f"--{error}") from error


def merge_of(
    merge: MergeName, match: MatchName, threshold: float, min_score: float, min_size: float, confirm: bool
) -> "MergeOptions":
    """Return how detections are merged.

    Raises:
        CommandError: If an option is out of range.
    """
    from geodit.pipelines.merging import MergeOptions

    try:
        return MergeOptions(merge, match, threshold, min_score, min_size, confirm)
    except ValueError as error:
        raise CommandError(str(error)) from error
