# SPDX-License-Identifier: Apache-2.0
"""Images of any size are read by windows, and at any size."""

import numpy as np
import pytest

from geodit.data.windows import Window
from geodit.rasters.georeference import GeoReference
from geodit.rasters.image_source import ArraySource, GeoImage, fit_within

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
PLACE = GeoReference("EPSG:32617", (0.5, 0.0, 400000.0, 0.0, -0.5, 3285000.0))


@pytest.mark.parametrize(
    ("size", "most", "expected"),
    [((40, 60), 30, (20, 30)), ((40, 60), 100, (40, 60)), ((1, 5000), 10, (1, 10)), ((7, 7), 3, (3, 3))],
)
def test_a_shape_keeps_its_proportion(size: tuple[int, int], most: int, expected: tuple[int, int]) -> None:
    assert fit_within(size, most) == expected


def test_a_shape_has_a_pixel() -> None:
    with pytest.raises(ValueError, match="max_side must be at least 1"):
        fit_within((40, 60), 0)


class TestArraySource:
    def test_a_smaller_copy_is_an_average(self) -> None:
        image = ArraySource(GeoImage(PIXELS)).read(shape=(10, 15))
        mean = PIXELS.reshape(10, 4, 15, 4, 3).mean(axis=(1, 3))
        assert image.image_size == (10, 15)
        assert np.abs(image.pixels - mean).mean() < 20
        assert image.pixels.std() < PIXELS.std() / 2

    def test_a_smaller_copy_of_a_window_has_its_place(self) -> None:
        image = ArraySource(GeoImage(PIXELS, PLACE)).read(Window(top=10, left=20, height=20, width=30), (10, 10))
        assert image.image_size == (10, 10)
        assert image.transform == (1.5, 0.0, 400010.0, 0.0, -1.0, 3284995.0)

    def test_what_has_no_data_does_not_darken_what_has(self) -> None:
        pixels, valid = np.full((40, 60, 3), 200, np.uint8), np.ones((40, 60), bool)
        pixels[:, :31], valid[:, :31] = 0, False
        image = ArraySource(GeoImage(pixels, None, valid)).read(shape=(10, 15))
        assert image.valid is not None
        assert np.unique(image.pixels[~image.valid]).tolist() == [0]
        assert np.abs(image.pixels[image.valid].astype(int) - 200).max() <= 3

    @pytest.mark.parametrize("shape", [(0, 5), (5, -1)])
    def test_a_shape_without_pixels(self, shape: tuple[int, int]) -> None:
        with pytest.raises(ValueError, match="at least one pixel"):
            ArraySource(GeoImage(PIXELS)).read(shape=shape)

    def test_a_copy_too_large_for_memory(self) -> None:
        with pytest.raises(ValueError, match="MAX_WINDOW_PIXELS"):
            ArraySource(GeoImage(PIXELS)).read(shape=(60_000, 60_000))
