# SPDX-License-Identifier: Apache-2.0
"""From pixels to map coordinates."""

import pickle

import numpy as np
import pytest
from rasterio.transform import Affine, xy

from geodit.data.windows import Window
from geodit.rasters.georeference import GeoReference

NORTH_UP = GeoReference("EPSG:32617", (0.5, 0.0, 400000.0, 0.0, -0.5, 3285000.0))


def test_box_of_a_north_up_image() -> None:
    assert NORTH_UP.bounds((0, 0, 10, 20)) == (400000.0, 3284990.0, 400005.0, 3285000.0)


def test_corners_run_counter_clockwise_on_a_north_up_map() -> None:
    x, y = NORTH_UP.corners((0, 0, 10, 20)).T
    assert np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) > 0


def test_bounds_of_a_turned_image_hold_all_corners() -> None:
    turned = GeoReference("EPSG:32617", (0.0, 1.0, 100.0, 1.0, 0.0, 200.0))
    assert turned.bounds((0, 0, 10, 20)) == (100.0, 200.0, 120.0, 210.0)


def test_agrees_with_rasterio() -> None:
    coefficients = (0.4, 0.1, 12.0, -0.2, -0.6, 34.0)
    reference = GeoReference("EPSG:32617", coefficients)
    expected = xy(Affine(*coefficients), rows=7, cols=3, offset="ul")
    assert reference.to_map(np.array([3.0, 7.0])).tolist() == pytest.approx(list(expected))


def test_part_of_an_image_keeps_its_place() -> None:
    part = NORTH_UP.window(Window(top=4, left=6, height=10, width=10))
    whole_point = NORTH_UP.to_map(np.array([8.0, 9.0]))
    assert part.to_map(np.array([2.0, 5.0])).tolist() == whole_point.tolist()


class TestInverse:
    TURNED = GeoReference("EPSG:32617", (0.4, 0.1, 12.0, -0.2, -0.6, 34.0))

    def test_leads_back_to_the_pixels(self) -> None:
        points = np.random.default_rng(0).uniform(-100, 100, (3, 4, 2))
        assert self.TURNED.to_pixels(self.TURNED.to_map(points)) == pytest.approx(points)

    def test_of_a_transform_without_one_is_not_a_number(self) -> None:
        flat = GeoReference("EPSG:32617", (1.0, 2.0, 0.0, 2.0, 4.0, 0.0))
        assert np.isnan(flat.to_pixels(np.zeros((5, 2)))).all()

    def test_a_smaller_copy_lies_in_the_same_place(self) -> None:
        points = np.random.default_rng(1).uniform(0, 50, (6, 2))
        half = self.TURNED.scaled(row_factor=2, column_factor=3)
        assert half.to_map(points) == pytest.approx(self.TURNED.to_map(points * [3, 2]))

    def test_survives_pickling(self) -> None:
        assert pickle.loads(pickle.dumps(self.TURNED)) == self.TURNED  # noqa: S301  # written one line above
