# SPDX-License-Identifier: Apache-2.0
"""Options about tiles."""

from pathlib import Path

import pytest

from geodit.cli.errors import CommandError
from geodit.cli.tiles import tiling_of
from geodit.pipelines.scenes.job import Tiling


@pytest.mark.parametrize(
    ("options", "tiling"),
    [
        ((None, 0.25, None, False, None), Tiling()),
        (("auto", 0.25, None, False, None), Tiling("auto")),
        (("96", 0.5, 0.3, True, Path("a.gpkg")), Tiling(96, 0.5, 0.3, True, "a.gpkg")),
    ],
)
def test_options_say_how_images_are_cut(options, tiling):
    assert tiling_of(*options) == tiling


@pytest.mark.parametrize("size", ["0", "-1", "1.5", "1e3", "", "Auto", "٣"])
def test_a_tile_size_is_a_number_of_pixels_or_auto(size):
    with pytest.raises(CommandError, match="--tile-size takes a number of pixels from 1 on, or auto"):
        tiling_of(size, 0.25, None, False, None)


@pytest.mark.parametrize("options", [(None, 0.25, 0.3, False, None), (None, 0.25, None, True, None)])
def test_options_about_tiles_need_tiles(options):
    with pytest.raises(CommandError, match="--gsd, --full-image and --aoi are about tiles: give --tile-size"):
        tiling_of(*options)


def test_values_out_of_range_are_refused():
    with pytest.raises(CommandError, match="overlap"):
        tiling_of("96", 1.0, None, False, None)
