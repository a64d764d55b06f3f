# SPDX-License-Identifier: Apache-2.0
"""An area of interest decides which tiles are asked about, and which boxes are kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas
import pytest
import shapely
from shapely.geometry.base import BaseGeometry

from geodit.data.windows import Window
from geodit.pipelines.scenes.aoi import AreaOfInterest
from geodit.pipelines.tiling import Detection
from geodit.rasters.georeference import GeoReference

UTM = "EPSG:32617"
# A pixel is half a meter.
PLACE = GeoReference(UTM, (0.5, 0.0, 400000.0, 0.0, -0.5, 3285000.0))


def on_map(x1: float, y1: float, x2: float, y2: float) -> BaseGeometry:
    """A box of pixels in map coordinates."""
    (left, bottom, right, top) = PLACE.bounds((x1, y1, x2, y2))
    return shapely.box(left, bottom, right, top)


def write(path: Path, *shapes: BaseGeometry | None, given: str = UTM, crs: str = UTM) -> str:
    """Write shapes that are given in a reference system, in the same or another one."""
    geopandas.GeoDataFrame(geometry=list(shapes), crs=given).to_crs(crs).to_file(path)
    return str(path)


def pixels_of(area: AreaOfInterest) -> tuple[float, ...]:
    return tuple(area.polygons.bounds)


@pytest.mark.parametrize("suffix", [".gpkg", ".shp", ".fgb"])
def test_polygons_come_in_any_vector_format(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"area{suffix}", on_map(10, 20, 30, 50))
    assert pixels_of(AreaOfInterest.read(path, PLACE)) == pytest.approx((10, 20, 30, 50), abs=1e-6)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:32616"])
def test_polygons_come_in_any_reference_system(tmp_path: Path, crs: str) -> None:
    path = write(tmp_path / "area.gpkg", on_map(10, 20, 30, 50), crs=crs)
    assert pixels_of(AreaOfInterest.read(path, PLACE)) == pytest.approx((10, 20, 30, 50), abs=1e-3)


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
def test_a_file_without_a_reference_system_is_in_longitude_and_latitude(tmp_path: Path) -> None:
    (shape,) = geopandas.GeoSeries([on_map(10, 20, 30, 50)], crs=UTM).to_crs("EPSG:4326")
    path = tmp_path / "area.shp"
    geopandas.GeoDataFrame(geometry=[shape]).to_file(path)
    assert geopandas.read_file(path).crs is None
    assert pixels_of(AreaOfInterest.read(str(path), PLACE)) == pytest.approx((10, 20, 30, 50), abs=1e-3)


def test_long_edges_bend_as_the_map_does(tmp_path: Path) -> None:
    """A parallel of latitude is no straight line in UTM: 2 degrees of it rise by hundreds of meters."""
    path = tmp_path / "area.geojson"
    ring = [[-82, 29], [-80, 29], [-80, 30], [-82, 30], [-82, 29]]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    path.write_text(
        json.dumps(
            {"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {}, "geometry": geometry}]}
        )
    )
    area = AreaOfInterest.read(str(path), PLACE)
    (middle,) = geopandas.GeoSeries([shapely.Point(-81, 30.0 - 1e-4)], crs="EPSG:4326").to_crs(UTM)
    assert area.polygons.contains(shapely.Point(PLACE.to_pixels(shapely.get_coordinates(middle))[0]))
    (outside,) = geopandas.GeoSeries([shapely.Point(-81, 30.0 + 1e-3)], crs="EPSG:4326").to_crs(UTM)
    assert not area.polygons.contains(shapely.Point(PLACE.to_pixels(shapely.get_coordinates(outside))[0]))


def test_tiles_count_that_share_an_area_with_it(tmp_path: Path) -> None:
    area = AreaOfInterest.read(write(tmp_path / "area.gpkg", on_map(64, 0, 96, 32), on_map(200, 0, 220, 20)), PLACE)
    beside, under = Window(0, 0, 64, 64), Window(32, 64, 64, 64)
    partly, around, second = Window(16, 32, 64, 64), Window(0, 64, 8, 8), Window(0, 192, 64, 64)
    assert area.touches([beside, under, partly, around, second]) == [False, False, True, True, True]


def test_boxes_count_of_which_half_lies_in_it(tmp_path: Path) -> None:
    area = AreaOfInterest.read(write(tmp_path / "area.gpkg", on_map(0, 0, 100, 100)), PLACE)
    found = [Detection((x, 10.0, x + 20.0, 30.0), "ship", 0.5) for x in (40.0, 89.0, 91.0, 200.0)]
    assert area.holds(found) == found[:2]
    assert area.holds([]) == []


def test_a_polygon_that_crosses_itself_is_taken_for_what_it_covers(tmp_path: Path) -> None:
    corners = [on_map(0, 0, 40, 40).exterior.coords[index] for index in (0, 2, 1, 3)]
    tie = shapely.Polygon(corners)
    assert not tie.is_valid
    path = write(tmp_path / "area.gpkg", tie, on_map(20, 0, 60, 40))
    assert pixels_of(AreaOfInterest.read(path, PLACE)) == pytest.approx((0, 0, 60, 40), abs=1e-6)


@pytest.mark.parametrize("west", [170.0, -190.0])
def test_longitudes_may_go_on_beyond_the_antimeridian(tmp_path: Path, west: float) -> None:
    """An image of 20 degrees around it, and an area on each side."""
    place = GeoReference("EPSG:4326", (0.1, 0.0, west, 0.0, -0.1, 10.0))
    shapes = [shapely.box(171, 5, 172, 6), shapely.box(-172, 5, -171, 6)]
    path = write(tmp_path / "area.gpkg", *shapes, given="EPSG:4326", crs="EPSG:3857")
    area = AreaOfInterest.read(path, place)
    columns = [Window(0, column, 100, 9) for column in (0, 10, 21, 90, 170, 180, 191)]
    assert area.touches(columns) == [False, True, False, False, False, True, False]


def test_what_is_no_polygon_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "area.gpkg"
    shapes = [on_map(10, 20, 30, 50), shapely.Point(0, 0), None]
    geopandas.GeoDataFrame(geometry=shapes, crs=UTM).to_file(path)
    assert pixels_of(AreaOfInterest.read(str(path), PLACE)) == pytest.approx((10, 20, 30, 50), abs=1e-6)


def no_polygons(path: Path) -> None:
    geopandas.GeoDataFrame(geometry=[shapely.Point(0, 0)], crs=UTM).to_file(path)


def no_geometries(path: Path) -> None:
    path.with_suffix(".csv").write_text("name,size\nharbor,3\n")


def no_vectors(path: Path) -> None:
    path.write_text("hello")


def no_file(path: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("make", "suffix", "message"),
    [
        (no_polygons, ".gpkg", "holds no polygon"),
        (no_geometries, ".csv", "holds no polygon"),
        (no_vectors, ".geojson", "cannot be read"),
        (no_file, ".geojson", "cannot be read"),
    ],
)
def test_a_file_without_an_area_is_named(tmp_path: Path, make: Any, suffix: str, message: str) -> None:
    path = tmp_path / f"area{suffix}"
    make(path)
    with pytest.raises(ValueError, match=rf"area\{suffix} {message}"):
        AreaOfInterest.read(str(path), PLACE)


def test_an_image_without_a_place_has_no_area_of_interest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no place on Earth"):
        AreaOfInterest.read(write(tmp_path / "area.gpkg", on_map(0, 0, 9, 9)), None)


@pytest.mark.parametrize(
    "place",
    [
        GeoReference('LOCAL_CS["a yard",UNIT["metre",1]]', PLACE.transform),
        GeoReference(UTM, (0.0, 0.0, 400000.0, 0.0, 0.0, 3285000.0)),
        # The other side of the Earth, which a satellite does not see.
        GeoReference("+proj=geos +h=35785831 +lon_0=100 +sweep=y", (3000.0, 0.0, -5.6e6, 0.0, -3000.0, 5.6e6)),
    ],
)
def test_an_area_that_has_no_place_in_the_image_is_named(tmp_path: Path, place: GeoReference) -> None:
    path = write(tmp_path / "area.gpkg", on_map(0, 0, 9, 9), crs="EPSG:4326")
    with pytest.raises(ValueError, match=r"area\.gpkg .*image's own map"):
        AreaOfInterest.read(path, place)
