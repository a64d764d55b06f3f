# SPDX-License-Identifier: Apache-2.0
"""How large pixels are on the ground."""

from __future__ import annotations

import math

import numpy as np
import pytest

from geodit.rasters.georeference import GeoReference, MapReference
from geodit.rasters.ground_sampling import ground_sampling_distance, pixel_sizes

UTM = GeoReference("EPSG:32617", (0.5, 0.0, 400000.0, 0.0, -0.5, 3285000.0))
# Half the scale of the map is an error of 0.04% at the central meridian of UTM.
UTM_SCALE = 0.9996


def degrees(latitude: float, side: float) -> GeoReference:
    return GeoReference("EPSG:4326", (side, 0.0, 10.0, 0.0, -side, latitude))


@pytest.mark.parametrize(
    ("place", "expected", "tolerance"),
    [
        (UTM, 0.5 / UTM_SCALE, 2e-3),
        # A US survey foot is 1200/3937 meters.
        (GeoReference("EPSG:2236", (1.0, 0.0, 700000.0, 0.0, -1.0, 600000.0)), 1200 / 3937, 1e-3),
        # At 60 degrees north a degree of longitude is half as long as one of latitude.
        (degrees(60.0, 1e-5), math.sqrt(1.11412 * 0.55800), 1e-3),
        # Web Mercator stretches the map by 1 / cos(60 degrees) there.
        (GeoReference("EPSG:3857", (1.0, 0.0, 1e6, 0.0, -1.0, 8399737.9)), 0.5, 4e-3),
        # Turned by 30 degrees, with pixels that are no squares.
        (GeoReference("EPSG:32617", (0.866, 1.0, 5e5, 0.5, -1.732, 3285000.0)), math.sqrt(2) / UTM_SCALE, 1e-3),
    ],
)
def test_ground_sampling_distance_is_in_meters_on_the_ground(
    place: MapReference, expected: float, tolerance: float
) -> None:
    assert ground_sampling_distance(place, (100, 100)) == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize(
    "place",
    [
        GeoReference('LOCAL_CS["a yard",UNIT["metre",1]]', UTM.transform),
        GeoReference("+proj=geos +h=35785831 +lon_0=0 +sweep=y", (3000.0, 0.0, -9e6, 0.0, -3000.0, 9e6)),
        degrees(150.0, 1e-3),
    ],
)
def test_off_the_earth_there_is_no_ground(place: MapReference) -> None:
    with pytest.raises(ValueError, match="its middle has no longitude and latitude"):
        ground_sampling_distance(place, (100, 100))


def test_pixels_without_a_size_have_no_distance() -> None:
    with pytest.raises(ValueError, match="no size"):
        ground_sampling_distance(GeoReference("EPSG:32617", (0.0, 0.0, 5e5, 0.0, 0.0, 3285000.0)), (100, 100))


def test_sizes_differ_from_place_to_place_and_between_width_and_height() -> None:
    place = degrees(60.0, 1e-3)
    sizes = pixel_sizes(place, np.array([[0.5, 0.0], [0.5, 60000.0], [0.5, -40000.0]]))
    # At 60 degrees north, at the equator, and beyond the pole.
    assert sizes[:2] == pytest.approx(np.array([[55.80, 111.412], [111.32, 110.574]]), rel=1e-3)
    assert np.isnan(sizes[2]).all()
