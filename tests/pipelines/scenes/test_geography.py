# SPDX-License-Identifier: Apache-2.0
"""Polygons anywhere on Earth, and off it, in longitude and latitude."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS as RasterioCRS  # noqa: N811
from rasterio.warp import transform
from shapely.geometry import Point, shape

from geodit.pipelines.scenes.geography import check_crs, check_has_wgs84, concatenate_in_wgs84, to_wgs84
from geodit.pipelines.scenes.layers import Layer
from rfc7946 import check_geometry

GEOSTATIONARY = "+proj=geos +h=35785831 +lon_0=0 +sweep=y"
LOCAL = 'LOCAL_CS["local",UNIT["metre",1]]'
ENGINEERING = 'ENGCRS["site",EDATUM["site"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["metre",1]]'
# A place within the area of each reference system, in its units.
PLACES = {
    "EPSG:4326": (10.0, 50.0),
    "EPSG:4258": (10.0, 50.0),
    "EPSG:4269": (-100.0, 40.0),
    "EPSG:4807": (2.0, 52.0),
    "EPSG:3857": (1000000.0, 6000000.0),
    "EPSG:3395": (1000000.0, 6000000.0),
    "EPSG:32617": (400000.0, 3285000.0),
    "EPSG:32733": (400000.0, 7000000.0),
    "EPSG:26910": (500000.0, 5000000.0),
    "EPSG:3035": (4321000.0, 3210000.0),
    "EPSG:3413": (1000000.0, -1000000.0),
    "EPSG:3031": (1000000.0, 1000000.0),
    "EPSG:2056": (2600000.0, 1200000.0),
    "EPSG:27700": (400000.0, 300000.0),
    "EPSG:2154": (700000.0, 6600000.0),
    "EPSG:2193": (1600000.0, 5400000.0),
    "EPSG:31467": (3500000.0, 5500000.0),
    "EPSG:6933": (1000000.0, 5000000.0),
    "EPSG:2263": (1000000.0, 200000.0),
    "+proj=sinu +R=6371007.181 +units=m": (1000000.0, 5000000.0),
}


def layer_of(crs, *boxes):
    rings = [
        np.array([[left, top], [left, bottom], [right, bottom], [right, top]], dtype=np.float64)
        for left, bottom, right, top in boxes
    ]
    return Layer("objects", crs, tuple(rings), {"number": list(range(len(rings)))})


def geometry_of(crs, box, max_extent=180.0):
    """The geometry of the one box of a layer, as GeoJSON has it."""
    result = to_wgs84(layer_of(crs, box))
    assert (result.indices, result.num_left_out) == ((0,), 0)
    (geometry,) = result.geometries
    check_geometry(geometry, max_extent)
    return geometry


def area_on_sphere(geometry, radius):
    """The area of a geometry whose edges are straight in degrees."""
    dense = shapely.segmentize(shape(geometry), 0.05)
    flat = shapely.transform(
        dense, lambda points: np.stack([np.radians(points[:, 0]), np.sin(np.radians(points[:, 1]))], 1)
    )
    return flat.area * radius**2


@pytest.mark.parametrize("crs", PLACES)
def test_corners_agree_with_rasterio(crs):
    x, y = PLACES[crs]
    size = 0.001 if abs(x) < 1000 else 60.0
    (ring,) = geometry_of(crs, (x, y, x + size, y + size))["coordinates"]
    # The first corner is the upper left one, and stays the first.
    longitudes, latitudes = transform(crs, "EPSG:4326", [x, x, x + size, x + size], [y + size, y, y, y + size])
    expected = [[longitude, latitude] for longitude, latitude in zip(longitudes, latitudes, strict=True)]
    # 0.8 mm on the equator, of which 0.6 mm are half of the last decimal.
    assert np.abs(np.array(ring[:-1]) - expected).max() < 0.72e-8


def test_coordinates_are_rounded_to_8_decimals_without_a_negative_zero():
    (ring,) = geometry_of("EPSG:4326", (-1e-10, -1 / 3, 2 / 3, 1e-10))["coordinates"]
    assert repr(ring[0]) == "[0.0, 0.0]"
    assert ring[2] == [0.66666667, -0.33333333]


@pytest.mark.parametrize("turned", [False, True])
def test_rings_run_counter_clockwise(turned):
    ring = np.array([[0.0, 1.0], [0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    (geometry,) = to_wgs84(Layer("objects", "EPSG:4326", (ring[::-1] if turned else ring,), {})).geometries
    check_geometry(geometry)


def test_polygons_of_several_lengths_keep_their_order():
    triangle = np.array([[5.0, 5.0], [6.0, 5.0], [5.0, 6.0]])
    boxes = layer_of("EPSG:4326", (0, 0, 1, 1), (2, 2, 3, 3)).rings
    result = to_wgs84(Layer("objects", "EPSG:4326", (boxes[0], triangle, boxes[1]), {}))
    assert [len(geometry["coordinates"][0]) for geometry in result.geometries] == [5, 4, 5]
    assert [geometry["coordinates"][0][0] for geometry in result.geometries] == [[0, 1], [5, 5], [2, 3]]


def test_nothing_is_nothing():
    result = to_wgs84(layer_of("EPSG:32631"))
    assert (result.geometries, result.indices, result.num_left_out) == ((), (), 0)


class TestAntimeridian:
    def test_degrees_beyond_180_are_on_the_other_side(self):
        geometry = geometry_of("EPSG:4326", (190, 10, 200, 11))
        assert geometry["type"] == "Polygon"
        assert shape(geometry).equals(shapely.box(-170, 10, -160, 11))

    @pytest.mark.parametrize("box", [(179, 10, 182, 11), (-181, 10, -178, 11), (539, 10, 542, 11)])
    def test_degrees_are_cut(self, box):
        geometry = geometry_of("EPSG:4326", box)
        assert geometry["type"] == "MultiPolygon"
        assert shape(geometry).equals(shapely.union(shapely.box(179, 10, 180, 11), shapely.box(-180, 10, -178, 11)))

    @pytest.mark.parametrize("box", [(179, 10, 180, 11), (180, 10, 181, 11), (-180, 10, -179, 11)])
    def test_what_ends_there_is_in_one_piece(self, box):
        assert geometry_of("EPSG:4326", box)["type"] == "Polygon"

    @pytest.mark.parametrize(
        ("crs", "box"),
        [
            ("EPSG:3832", (3339500.0, 0.0, 3340000.0, 1000.0)),
            ("EPSG:3857", (20037400.0, 0.0, 20037600.0, 100.0)),
            ("EPSG:32601", (166000.0, 10.0, 166060.0, 20.0)),
            ("EPSG:32660", (833900.0, 10.0, 834100.0, 20.0)),
            ("EPSG:32660", (600000.0, 7900000.0, 720000.0, 8000000.0)),
        ],
    )
    def test_projected_boxes_are_cut_where_they_cross_it(self, crs, box):
        geometry = geometry_of(crs, box)
        assert geometry["type"] == "MultiPolygon"
        assert sorted(np.sign(part[0][0][0]) for part in geometry["coordinates"]) == [-1, 1]
        left, bottom, right, top = box
        longitudes, latitudes = transform(crs, "EPSG:4326", [left, left, right, right], [top, bottom, bottom, top])
        whole = shapely.Polygon(np.stack([np.array(longitudes) % 360.0, latitudes], axis=1))
        assert shape(geometry).area == pytest.approx(whole.area, rel=1e-4)

    @given(
        st.floats(-540, 540),
        st.floats(-90, 89),
        st.floats(0.001, 350),
        st.floats(0.001, 100),
    )
    def test_cutting_conserves_the_area(self, left, bottom, width, height):
        geometry = geometry_of("EPSG:4326", (left, bottom, left + width, bottom + height), max_extent=360.0)
        whole = shape(geometry)
        expected = width * (min(bottom + height, 90.0) - bottom)
        assert whole.area == pytest.approx(expected, abs=1e-7 * (width + height))
        for share in (0.01, 0.5, 0.99):
            longitude = (left + share * width + 180.0) % 360.0 - 180.0
            assert whole.distance(Point(longitude, bottom + 0.5 * (min(bottom + height, 90.0) - bottom))) < 1e-7

    @given(st.floats(-179, 179), st.floats(-80, 80), st.floats(0, 6.28), st.floats(1e3, 1e6))
    def test_turned_boxes_of_a_world_map_keep_their_area(self, longitude, latitude, angle, size):
        # A point of EPSG:3832, whose central meridian is 150 degrees; no box leaves the map.
        (x,), (y,) = transform("EPSG:4326", "EPSG:3832", [longitude], [latitude])
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * size / 2
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        ring = corners @ turn + [x, y]
        result = to_wgs84(Layer("objects", "EPSG:3832", (ring,), {}))
        check_geometry(result.geometries[0])
        longitudes, latitudes = transform("EPSG:3832", "EPSG:4326", *ring.T.tolist())
        whole = shapely.Polygon(np.stack([np.unwrap(longitudes, period=360.0), latitudes], axis=1))
        assert shape(result.geometries[0]).area == pytest.approx(whole.area, rel=0.03)

    def test_the_whole_world_is_whole(self):
        for crs, box in [("EPSG:4326", (-180, -90, 180, 90)), ("EPSG:4326", (0, -90, 360, 90))]:
            assert shape(geometry_of(crs, box, max_extent=360.0)).area == 360 * 180
        limit = 20037508.342789244
        mercator = shape(geometry_of("EPSG:3857", (-limit, -limit, limit, limit), max_extent=360.0))
        assert mercator.bounds == pytest.approx((-180, -85.05112878, 180, 85.05112878))
        assert mercator.area == pytest.approx(360 * 2 * 85.05112878)

    def test_more_than_once_around_covers_no_place_twice(self):
        assert shape(geometry_of("EPSG:4326", (-200, 10, 250, 20), max_extent=360.0)).area == pytest.approx(3600)


class TestPoles:
    def test_latitudes_end_there(self):
        (ring,) = geometry_of("EPSG:4326", (10, 80, 20, 95))["coordinates"]
        assert max(latitude for _, latitude in ring) == 90
        assert geometry_of("EPSG:4269", (10, -91, 20, -80))["coordinates"][0][1] == [10, -90]

    def test_what_lies_beyond_is_left_out(self):
        result = to_wgs84(layer_of("EPSG:4326", (0, 91, 1, 95), (0, 80, 1, 81), (0, -95, 1, -90)))
        assert (result.indices, result.num_left_out) == ((1,), 2)

    # The map of the Arctic has its pole at (2000000, 2000000), where it shows 0.994 of a length.
    @pytest.mark.parametrize(
        "box",
        [
            (1990000.0, 1990000.0, 2010000.0, 2010000.0),  # around the pole
            (1999000.0, 1985000.0, 2019000.0, 2005000.0),
            (2000000.0, 1990000.0, 2020000.0, 2010000.0),  # an edge through it
            (2000000.0, 2000000.0, 2020000.0, 2020000.0),  # a corner on it
            (2001000.0, 2001000.0, 2021000.0, 2021000.0),  # beside it
        ],
    )
    def test_boxes_around_a_pole_keep_their_area(self, box):
        geometry = geometry_of("EPSG:5041", box, max_extent=360.0)
        polar_radius = 6378137.0**2 / 6356752.314
        assert area_on_sphere(geometry, polar_radius) == pytest.approx((20000 / 0.994) ** 2, rel=0.01)

    def test_a_box_around_the_south_pole_covers_it(self):
        covered = shape(geometry_of("EPSG:3031", (-1000.0, -1000.0, 1000.0, 1000.0), max_extent=360.0))
        for longitude in (-179.0, -90.0, 0.0, 45.0, 180.0):
            assert covered.covers(Point(longitude, -89.9999))
            assert not covered.covers(Point(longitude, -89.9))


class TestOffTheEarth:
    def box(self, x1, y1, x2, y2):
        """A box of a picture that starts left of the disk, in pixels of 3 km."""
        return -5600000 + 3000 * x1, 288000 - 3000 * y2, -5600000 + 3000 * x2, 288000 - 3000 * y1

    def test_boxes_there_are_left_out_and_the_others_kept(self):
        boxes = [self.box(0, 0, 10, 10), self.box(50, 80, 90, 90), self.box(150, 80, 160, 90)]
        result = to_wgs84(layer_of(GEOSTATIONARY, *boxes))
        assert (result.indices, result.num_left_out) == ((2,), 2)
        check_geometry(result.geometries[0])
        (longitude,), (latitude,) = transform(GEOSTATIONARY, "EPSG:4326", [-5600000 + 450000], [288000 - 240000])
        assert result.geometries[0]["coordinates"][0][0] == pytest.approx([longitude, latitude], abs=1e-8)

    def test_a_box_of_which_one_corner_is_off_is_left_out(self):
        radius = 5429000.0  # of the disk along the equator
        result = to_wgs84(
            layer_of(
                GEOSTATIONARY, (radius - 30000, 0, radius - 10000, 20000), (radius - 10000, 0, radius + 20000, 20000)
            )
        )
        assert (result.indices, result.num_left_out) == ((0,), 1)

    @pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:2056", "EPSG:3035", "EPSG:3857"])
    def test_numbers_far_outside_of_a_projection_are_left_out(self, crs):
        assert to_wgs84(layer_of(crs, (2e9, 5e9, 3e9, 6e9))).num_left_out == 1

    def test_bent_edges_are_followed(self):
        # At the rim of the disk, lines of the image are far from straight in degrees.
        box = (5000000.0, 1000000.0, 5050000.0, 1500000.0)
        geometry = geometry_of(GEOSTATIONARY, box)
        middle = [[5000000.0, 1250000.0], [5050000.0, 1250000.0]]
        edge = shape(geometry).exterior
        for x, y in middle:
            (longitude,), (latitude,) = transform(GEOSTATIONARY, "EPSG:4326", [x], [y])
            assert edge.distance(Point(longitude, latitude)) < 1e-7

    @pytest.mark.parametrize(
        ("crs", "message"),
        [
            (LOCAL, r"\(Engineering CRS\) has no longitude and latitude"),
            (ENGINEERING, r"site \(Engineering CRS\) has no longitude and latitude"),
            ("EPSG:5703", r"EPSG:5703 \(Vertical CRS\) has no longitude and latitude"),
            ("EPSG:4978", r"\(Geocentric CRS\) has no longitude and latitude"),
            ("IAU_2015:30100", "IAU_2015:30100 has no longitude and latitude on Earth"),
            ("nonsense", "the reference system nonsense cannot be read"),
            ("EPSG:999999", "the reference system EPSG:999999 cannot be read"),
            (None, "the image has no place on Earth"),
        ],
    )
    def test_reference_systems_without_longitude_are_refused(self, crs, message):
        with pytest.raises(ValueError, match=message):
            check_has_wgs84(crs)
        with pytest.raises(ValueError, match=message):
            to_wgs84(layer_of(crs))

    def test_local_reference_systems_can_be_read(self):
        check_crs(LOCAL)
        with pytest.raises(ValueError, match="cannot be read"):
            check_crs("nonsense")

    @pytest.mark.parametrize("crs", [*PLACES, GEOSTATIONARY, "EPSG:32633+5773", "EPSG:4979"])
    def test_others_are_not(self, crs):
        check_has_wgs84(crs)
        # As rasterio says what has no code.
        check_has_wgs84(RasterioCRS.from_user_input(crs).to_wkt())


class TestConcatenateInWgs84:
    def test_joins_layers_of_several_reference_systems(self):
        utm = layer_of("EPSG:32631", (500000, 5000000, 500100, 5000100))
        disk = layer_of(GEOSTATIONARY, (-5600000, 0, -5590000, 10000), (0, 0, 10000, 10000))
        joined, num_left_out = concatenate_in_wgs84([utm, disk])
        assert (joined.crs, len(joined), num_left_out) == ("EPSG:4326", 2, 1)
        assert joined.columns["number"] == [0, 1]
        (longitude,), (latitude,) = transform("EPSG:32631", "EPSG:4326", [500000], [5000100])
        assert joined.rings[0][0] == pytest.approx([longitude, latitude], abs=1e-9)

    def test_geojson_is_the_same_as_of_each_layer(self):
        layers = [
            layer_of("EPSG:32660", (833900, 10, 834100, 20)),
            layer_of("EPSG:4326", (179, 10, 182, 11), (0, 80, 360, 95)),
        ]
        joined, num_left_out = concatenate_in_wgs84(layers)
        assert num_left_out == 0
        assert to_wgs84(joined).geometries == sum((to_wgs84(layer).geometries for layer in layers), ())

    def test_types_stay_where_nothing_is_left(self):
        layer = Layer("objects", "EPSG:4326", (), {"score": []}, {"score": float})
        joined, _ = concatenate_in_wgs84([layer, layer])
        assert dict(joined.types) == {"score": float}
