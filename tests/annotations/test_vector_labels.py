# SPDX-License-Identifier: Apache-2.0
"""Features of a vector file become boxes in the rasters that they touch."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import example_rasters
import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.transform import Affine
from shapely.affinity import rotate
from shapely.geometry.base import BaseGeometry

from geodit.annotations.records import BadRecord, LabeledImage
from geodit.annotations.vector_features import VectorFeatures
from geodit.annotations.vector_labels import _Faults, _Parts, read_vector_labels
from geodit.data.windows import Window
from geodit.rasters.georeference import GeoReference, MapReference

PLACE = GeoReference(example_rasters.CRS, tuple(example_rasters.PLACE)[:6])
SIDE = 100


def write_raster(path: Path, left: int = 0, crs: str = PLACE.crs, transform: Affine = example_rasters.PLACE) -> str:
    """A black raster, so many pixels east of the place of the others."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    example_rasters.write_raster(path, pixels, crs=crs, transform=transform @ Affine.translation(left, 0))
    return str(path)


@pytest.fixture
def raster(tmp_path: Path) -> str:
    return write_raster(tmp_path / "a.tif")


def on_map(shape: BaseGeometry) -> BaseGeometry:
    return shapely.transform(shape, PLACE.to_map)


def write(
    path: Path,
    shapes: Sequence[BaseGeometry | None],
    labels: Sequence[object] | None = None,
    crs: str | None = PLACE.crs,
    **options: str,
) -> str:
    """Shapes in pixels of `PLACE`, as features on the map."""
    moved = [None if shape is None else on_map(shape) for shape in shapes]
    columns = {"name": list(labels) if labels is not None else ["ship"] * len(moved)}
    frame = geopandas.GeoDataFrame(columns, geometry=moved, crs=PLACE.crs)
    frame = frame if crs is None else frame.to_crs(crs)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_file(path, **options)
    return str(path)


def read(images: Sequence[str], labels: str, **options: object) -> tuple[list[LabeledImage], list[BadRecord]]:
    records = list(read_vector_labels(images, labels, **({"label_field": "name"} | options)))
    good = [record for record in records if isinstance(record, LabeledImage)]
    return good, [record for record in records if isinstance(record, BadRecord)]


@pytest.mark.parametrize("suffix", [".gpkg", ".shp", ".geojson", ".fgb", ".parquet"])
@pytest.mark.parametrize("crs", [PLACE.crs, "EPSG:4326", "EPSG:3857"])
def test_boxes_are_in_pixels_whatever_the_format_and_reference_system(
    raster: str, tmp_path: Path, suffix: str, crs: str
) -> None:
    labels = write(tmp_path / f"labels{suffix}", [shapely.box(10, 20, 30, 50), shapely.box(60.5, 5, 70, 9)], crs=crs)
    (image,), bad = read([raster], labels)
    assert bad == []
    assert image.image_size == (SIDE, SIDE)
    assert image.group == raster
    assert [one.label for one in image.objects] == ["ship", "ship"]
    assert sorted(one.line for one in image.objects) == [1, 2]
    boxes = {one.box[0] > 50: one.box for one in image.objects}
    assert boxes[False] == pytest.approx((10, 20, 30, 50), abs=0.5)
    assert boxes[True] == pytest.approx((60.5, 5, 70, 9), abs=0.5)
    assert all(one.corners is None for one in image.objects)


def test_features_belong_to_every_raster_that_they_touch(tmp_path: Path) -> None:
    rasters = [write_raster(tmp_path / f"{left}.tif", left) for left in (0, SIDE, 5 * SIDE)]
    labels = write(tmp_path / "a.gpkg", [shapely.box(90, 10, 120, 20), shapely.box(10, 10, 20, 20)])
    (first, second, far), bad = read(rasters, labels)
    assert bad == []
    # Boxes reach beyond the raster: what share of one is seen is decided later.
    assert [one.box for one in first.objects] == [
        pytest.approx((90, 10, 120, 20), abs=1e-6),
        pytest.approx((10, 10, 20, 20), abs=1e-6),
    ]
    assert [one.box for one in second.objects] == [pytest.approx((-10, 10, 20, 20), abs=1e-6)]
    assert far.objects == ()


def test_a_polygon_whose_box_alone_touches_a_raster_is_not_in_it(raster: str, tmp_path: Path) -> None:
    corner = shapely.Polygon([(95, -40), (140, -40), (140, 5)])  # around the corner of the raster
    assert corner.bounds[0] < SIDE
    assert corner.bounds[3] > 0
    (image,), (bad,) = read([raster], write(tmp_path / "a.gpkg", [corner, shapely.box(1, 1, 5, 5)]))
    assert [one.line for one in image.objects] == [2]
    assert bad.origin.endswith("a.gpkg, feature 1")
    assert bad.reason == "1 of 2 features is outside all images that can be read"


def test_rasters_may_be_in_different_reference_systems(tmp_path: Path) -> None:
    labels = write(tmp_path / "a.gpkg", [shapely.box(40, 40, 60, 60)])
    x, y = geopandas.GeoSeries([on_map(shapely.Point(50, 50))], crs=PLACE.crs).to_crs("EPSG:4326")[0].coords[0]
    degree = 1e-5
    place = Affine(degree, 0, x - 50 * degree, 0, -degree, y + 50 * degree)
    other = write_raster(tmp_path / "degrees.tif", crs="EPSG:4326", transform=place)
    (utm, degrees), bad = read([write_raster(tmp_path / "utm.tif"), other], labels)
    assert bad == []
    assert utm.objects[0].box == pytest.approx((40, 40, 60, 60), abs=1e-6)
    x1, y1, x2, y2 = degrees.objects[0].box
    assert ((x1 + x2) / 2, (y1 + y2) / 2) == pytest.approx((50, 50), abs=0.01)
    # 10 m: 0.6 m to a pixel from west to east at 52 degrees north, 1.1 m from north to south.
    assert y2 - y1 == pytest.approx(10 / 1.1127, rel=0.05)
    assert x2 - x1 == pytest.approx(10 / 0.686, rel=0.05)


def test_turned_rectangles_keep_their_corners(raster: str, tmp_path: Path) -> None:
    turned = rotate(shapely.box(20, 40, 60, 50), 30)
    shapes = [turned, shapely.Polygon([(70, 70), (90, 75), (85, 90), (72, 80)]), shapely.box(1, 1, 9, 9)]
    (image,), _ = read([raster], write(tmp_path / "a.gpkg", shapes, crs="EPSG:4326"))
    corners = [one.corners for one in image.objects]
    assert corners[1:] == [None, None]
    assert corners[0] is not None
    # Writers may begin a ring elsewhere.
    expected = np.array(sorted(turned.exterior.coords[:-1]))
    assert np.array(sorted(corners[0])) == pytest.approx(expected, abs=0.1)
    assert image.objects[0].box == pytest.approx(turned.bounds, abs=0.1)


@pytest.mark.parametrize(
    ("crs", "transform", "width", "height"),
    [
        (PLACE.crs, example_rasters.PLACE, 12.0, 12.0),
        # At 60 degrees north, a degree of longitude is half as long.
        ("EPSG:4326", Affine(1e-5, 0, 3.0, 0, -1e-5, 60.0), 6 / 0.558, 6 / 1.114),
        # Web Mercator is twice as large there.
        ("EPSG:3857", Affine(1, 0, 333958.5, 0, -1, 8399737.9), 12.0, 12.0),
    ],
)
def test_points_become_squares_on_the_ground(
    tmp_path: Path, crs: str, transform: Affine, width: float, height: float
) -> None:
    raster = write_raster(tmp_path / "a.tif", crs=crs, transform=transform)
    points = geopandas.GeoDataFrame(geometry=[shapely.Point(transform @ (50, 40))], crs=crs)
    points.to_file(tmp_path / "points.gpkg")
    (image,), bad = read(
        [raster], str(tmp_path / "points.gpkg"), label_field=None, default_label="tree", point_size=6.0
    )
    assert bad == []
    (one,) = image.objects
    assert one.label == "tree"
    expected = (50 - width / 2, 40 - height / 2, 50 + width / 2, 40 + height / 2)
    assert one.box == pytest.approx(expected, abs=0.06)


def test_points_need_a_size(raster: str, tmp_path: Path) -> None:
    labels = write(tmp_path / "a.gpkg", [shapely.Point(5, 5)])
    with pytest.raises(ValueError, match="has points: give the side of their boxes in meters by --point-size"):
        read([raster], labels)
    with pytest.raises(ValueError, match="above 0"):
        read([raster], labels, point_size=0.0)


def test_parts_are_objects(raster: str, tmp_path: Path) -> None:
    parts = shapely.MultiPolygon([shapely.box(1, 1, 5, 5), shapely.box(500, 1, 505, 5), shapely.box(11, 1, 15, 5)])
    (image,), bad = read([raster], write(tmp_path / "a.gpkg", [parts]))
    assert [one.box for one in image.objects] == [
        pytest.approx((1, 1, 5, 5), abs=1e-6),
        pytest.approx((11, 1, 15, 5), abs=1e-6),
    ]
    assert bad == []


def test_control_points_place_features(tmp_path: Path) -> None:
    example_rasters._write_control_points(tmp_path / "gcps.tif", example_rasters.harbor())
    left, top, right, bottom = example_rasters.GCP_BOUNDS
    width, height = right - left, top - bottom
    middle = shapely.box(left + width / 4, top - height / 2, left + width / 2, top - height / 4)
    beyond = shapely.box(right - width / 4, bottom - 5 * height, right + 5 * width, bottom + height / 4)
    frame = geopandas.GeoDataFrame(geometry=[middle, beyond], crs="EPSG:4326")
    frame.to_crs(PLACE.crs).to_file(tmp_path / "a.gpkg")
    (image,), bad = read([str(tmp_path / "gcps.tif")], str(tmp_path / "a.gpkg"), label_field=None, default_label="x")
    assert bad == []
    assert image.objects[0].box == pytest.approx((48, 48, 96, 96), abs=0.1)
    x1, y1, x2, y2 = image.objects[1].box
    assert (x1, y1) == pytest.approx((144, 144), abs=1.0)
    assert x2 > 192
    assert y2 > 192


def test_long_edges_bend_as_the_map_does(tmp_path: Path) -> None:
    """A parallel is an arc on the map, which bends by half a kilometer over two degrees."""
    raster = write_raster(tmp_path / "coarse.tif", transform=Affine(2000, 0, 400000, 0, -500, 5790000))
    geopandas.GeoDataFrame(geometry=[shapely.box(2.0, 52.0, 4.0, 52.1)], crs="EPSG:4326").to_file(tmp_path / "a.gpkg")
    (image,), _ = read([raster], str(tmp_path / "a.gpkg"), label_field=None, default_label="x")
    lower = shapely.LineString([(2.0, 52.0), (4.0, 52.0)])
    (arc, chord) = geopandas.GeoSeries([shapely.segmentize(lower, 0.001), lower], crs="EPSG:4326").to_crs(PLACE.crs)
    (_, lowest, _, _), (_, ends, _, _) = arc.bounds, chord.bounds
    assert ends - lowest > 400
    assert image.objects[0].box[3] == pytest.approx((5790000 - lowest) / 500, abs=0.05)


def cubic(columns: Any, rows: Any) -> tuple[Any, Any]:
    """A camera that looks to the east: pixels grow with the third power of their column."""
    return 4.0 + 1e-5 * (columns + 2e-5 * columns**3), 52.0 - 1e-5 * rows


def test_far_outside_an_image_control_points_are_not_followed(tmp_path: Path) -> None:
    """The polynomial that fits them turns back there: what is far to the east would come in from the west."""
    points = [
        GroundControlPoint(row, column, *cubic(column, row)) for row in (0, 33, 66, 100) for column in (0, 33, 66, 100)
    ]
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    path = tmp_path / "a.tif"
    example_rasters.write_raster(path, pixels, placed=False, gcps=points, crs=rasterio.CRS.from_epsg(4326))
    left, top = cubic(60, 40)
    right, bottom = cubic(1000, 60)
    frame = geopandas.GeoDataFrame(geometry=[shapely.box(left, bottom, right, top)], crs="EPSG:4326")
    frame.to_file(tmp_path / "a.gpkg")
    (image,), bad = read([str(path)], str(tmp_path / "a.gpkg"), label_field=None, default_label="x")
    assert bad == []
    assert image.objects[0].box[:2] == pytest.approx((60, 40), abs=2.0)
    assert image.objects[0].box[2] > SIDE


def test_what_a_map_does_not_show_is_outside(tmp_path: Path) -> None:
    """A satellite above the Gulf of Guinea sees neither the other side of the Earth, nor what is half there."""
    disk = "+proj=geos +h=35785831 +lon_0=0 +sweep=y"
    raster = write_raster(tmp_path / "a.tif", crs=disk, transform=Affine(3e4, 0, -1.5e6, 0, -3e4, 1.5e6))
    shapes = [shapely.box(-1, -1, 1, 1), shapely.box(179, -1, 180, 1), shapely.box(-5, -5, 179, 5)]
    geopandas.GeoDataFrame(geometry=shapes, crs="EPSG:4326").to_file(tmp_path / "a.gpkg")
    (image,), (bad,) = read([raster], str(tmp_path / "a.gpkg"), label_field=None, default_label="x")
    assert [one.line for one in image.objects] == [1]
    assert image.objects[0].box == pytest.approx((46.3, 46.3, 53.7, 53.7), abs=0.1)
    assert bad.reason == "2 of 3 features are outside all images that can be read"


@pytest.mark.parametrize("west", [-180.5, 179.5])
def test_features_are_found_on_both_sides_of_the_antimeridian(tmp_path: Path, west: float) -> None:
    raster = write_raster(tmp_path / "a.tif", crs="EPSG:4326", transform=Affine(0.01, 0, west, 0, -0.01, 10.0))
    turned = rotate(shapely.box(-179.9, 9.2, -179.7, 9.3), 30)
    shapes = [shapely.box(179.6, 9.4, 179.8, 9.9), turned, shapely.box(0.1, 9.4, 0.3, 9.9)]
    geopandas.GeoDataFrame(geometry=shapes, crs="EPSG:4326").to_file(tmp_path / "a.gpkg")
    (image,), (bad,) = read([raster], str(tmp_path / "a.gpkg"), label_field=None, default_label="x")
    assert [one.line for one in image.objects] == [1, 2]
    assert image.objects[0].box == pytest.approx((10, 10, 30, 60), abs=1e-6)
    middle = np.mean(image.objects[1].corners, axis=0)
    assert middle == pytest.approx([70, 75], abs=1e-6)
    assert bad.origin.endswith("feature 3")


@dataclass(frozen=True)
class FoldedReference(MapReference):
    """A camera that folds the map at column 80, and knows nothing from column 120 on; 30 km to a pixel."""

    def to_map(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        return (points - SIDE / 2) * [3e4, -3e4]

    def to_pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = np.moveaxis(points / [3e4, -3e4] + SIDE / 2, -1, 0)
        return np.stack([np.where(x > 120, np.nan, np.where(x > 80, 160 - x, x)), y], axis=-1)

    def window(self, window: Window) -> MapReference:
        return self

    def scaled(self, row_factor: float, column_factor: float) -> MapReference:
        return self


def test_shapes_that_a_camera_folds_or_does_not_know_do_no_harm() -> None:
    disk = "+proj=geos +h=35785831 +lon_0=0 +sweep=y"
    place = FoldedReference(disk)
    on_disk = [
        shapely.box(10, 10, 20, 20),
        shapely.box(90, 10, 130, 20),  # reaches into what is not known
        shapely.Polygon([(60, -10), (95, 5), (75, 30), (90, 45), (62, 25)]),  # crosses itself when folded
    ]
    shapes = geopandas.GeoSeries([shapely.transform(one, place.to_map) for one in on_disk], crs=disk).to_crs(
        "EPSG:4326"
    )
    shapes = geopandas.GeoSeries([*shapes, shapely.box(-5, -5, 179, 5)], crs="EPSG:4326")  # around the Earth
    parts = _Parts.of(VectorFeatures(shapes, ("ship",) * len(shapes)), _Faults("a.gpkg"), None)
    moved = parts.move_to(disk)
    assert not isinstance(moved, str)
    found = dict(moved.objects_in(place, (SIDE, SIDE), None))
    assert sorted(found) == [0, 2]
    assert found[0].box == pytest.approx((10, 10, 20, 20), abs=0.1)
    assert found[2].box == pytest.approx((60, -10, 80, 45), abs=1.0)


def test_what_is_wrong_with_features_is_counted_and_the_first_are_named(raster: str, tmp_path: Path) -> None:
    bow_tie = shapely.Polygon([(10, 10), (20, 20), (20, 10), (10, 20)])
    shapes = [None, shapely.box(1, 1, 5, 5), bow_tie, shapely.LineString([(1, 1), (5, 5)]), shapely.box(1, 1, 4, 4)]
    shapes += [shapely.box(300, 0, 310, 10)] * 7
    labels = ["a", "b", "c", "d", None, *"efghijk"]
    path = write(tmp_path / "a.gpkg", shapes, labels)
    (image,), bad = read([raster], path)
    assert [(one.label, one.line) for one in image.objects] == [("b", 2), ("c", 3)]
    # The box around an outline that crosses itself is right.
    assert image.objects[1].box == pytest.approx((10, 10, 20, 20), abs=0.01)
    assert [(record.origin.removeprefix(path), record.reason.partition(" (")[0]) for record in bad] == [
        (", feature 1", "1 of 12 features is without a geometry"),
        (", feature 5", "1 of 12 features is without a class in the field name"),
        (", feature 4", "1 of 12 features is neither polygon nor point"),
        (", feature 3", "1 of 12 features is invalid"),
        (", features 6, 7, 8, 9, 10, ...", "7 of 12 features are outside all images that can be read"),
    ]
    assert [record.kind for record in bad] == ["record", "record", "record", "mended", "elsewhere"]
    (image,), bad = read([raster], path, default_label="thing")
    assert [one.label for one in image.objects] == ["b", "c", "thing"]


def test_an_outline_that_encloses_nothing_is_without_area(raster: str, tmp_path: Path) -> None:
    flat = shapely.Polygon([(10, 10), (20, 10), (30, 10)])
    (image,), bad = read([raster], write(tmp_path / "a.gpkg", [flat, shapely.box(1, 1, 5, 5)], ["a", "b"]))
    assert [one.label for one in image.objects] == ["b"]
    assert any("without area" in record.reason and record.kind == "record" for record in bad)


def test_numbers_are_class_names(raster: str, tmp_path: Path) -> None:
    shapes = [shapely.box(1, 1, 5, 5)] * 3
    (image,), _ = read([raster], write(tmp_path / "a.gpkg", shapes, [3.0, 4.5, None]), default_label="none")
    assert [one.label for one in image.objects] == ["3", "4.5", "none"]


def test_images_that_cannot_be_used_are_bad_records(raster: str, tmp_path: Path) -> None:
    pixels = np.zeros((5, 5, 3), np.uint8)
    nowhere = str(example_rasters.write_raster(tmp_path / "nowhere.tif", pixels, placed=False))
    local = write_raster(tmp_path / "local.tif", crs='LOCAL_CS["a yard",UNIT["metre",1]]')
    missing = str(tmp_path / "missing.tif")
    (image,), bad = read([nowhere, missing, local, raster], write(tmp_path / "a.gpkg", [shapely.box(1, 1, 5, 5)]))
    assert image.image == raster
    assert [record.origin for record in bad] == [nowhere, missing, local]
    assert "no place on Earth" in bad[0].reason
    assert "there is no image" in bad[1].reason
    assert "cannot be found in the map" in bad[2].reason


def test_the_reference_system_of_images_that_state_none_can_be_given(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif")
    with rasterio.open(path, "r+") as dataset:
        dataset.crs = rasterio.CRS()
    labels = write(tmp_path / "a.gpkg", [shapely.box(10, 20, 30, 50)], crs="EPSG:4326")
    assert read([path], labels)[0] == []
    (image,), _ = read([path], labels, crs=PLACE.crs)
    assert image.objects[0].box == pytest.approx((10, 20, 30, 50), abs=0.5)


def test_a_file_without_a_reference_system_is_in_longitude_and_latitude(raster: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.shp", [shapely.box(10, 20, 30, 50)], crs="EPSG:4326")
    (tmp_path / "a.prj").unlink()
    (image,), _ = read([raster], path)
    assert image.objects[0].box == pytest.approx((10, 20, 30, 50), abs=0.5)
    path = write(tmp_path / "b.shp", [shapely.box(10, 20, 30, 50)])
    (tmp_path / "b.prj").unlink()
    with pytest.raises(ValueError, match="states no reference system"):
        read([raster], path)


def test_one_of_several_layers_is_named(raster: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.gpkg", [shapely.box(1, 1, 5, 5)], layer="ships")
    write(tmp_path / "a.gpkg", [shapely.box(7, 7, 9, 9)], layer="planes")
    (image,), _ = read([raster], path, layer="planes")
    assert image.objects[0].box == pytest.approx((7, 7, 9, 9), abs=1e-6)
    with pytest.raises(ValueError, match="has 2 layers: choose one of ships, planes by --layer"):
        read([raster], path)
    with pytest.raises(ValueError, match="no layer cars; its layers are ships, planes"):
        read([raster], path, layer="cars")


def test_fields_and_classes_have_to_be_there(raster: str, tmp_path: Path) -> None:
    for path in (tmp_path / "a.gpkg", tmp_path / "a.parquet"):
        labels = write(path, [shapely.box(1, 1, 5, 5)])
        with pytest.raises(ValueError, match="no field type; its fields are name"):
            read([raster], labels, label_field="type")
        with pytest.raises(ValueError, match="has the fields name: say which of them has the class by --label-field"):
            read([raster], labels, label_field=None)


def test_archives_are_read(raster: str, tmp_path: Path) -> None:
    write(tmp_path / "a.shp", [shapely.box(1, 1, 5, 5)])
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in tmp_path.glob("a.*"):
            if path.suffix not in (".zip", ".tif"):
                archive.write(path, path.name)
    (image,), _ = read([raster], str(tmp_path / "a.zip"))
    assert len(image.objects) == 1


VRT = '<OGRVRTDataSource><OGRVRTLayer name="a"><SrcDataSource>{}</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>'


@pytest.mark.parametrize(
    "content",
    [
        VRT,
        "\n<?xml version='1.0'?><!-- kml -->" + VRT,
        '<!DOCTYPE kml [<!ENTITY a "b">]><kml/>',
        "<OGRWFSDataSource><URL>http://127.0.0.1:1/</URL></OGRWFSDataSource>",
        '{"type": "gdal_streamed_alg", "command_line": "gdal vector pipeline ! read {}"}',
    ],
)
@pytest.mark.parametrize("archived", [False, True])
def test_files_that_name_others_are_refused(raster: str, tmp_path: Path, content: str, archived: bool) -> None:
    other = write(tmp_path / "a.gpkg", [shapely.box(1, 1, 5, 5)])
    path = tmp_path / "b.vrt"
    path.write_text(content.replace("{}", other))
    if archived:
        with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
            archive.write(path, "b.vrt")
        path = tmp_path / "b.zip"
    with pytest.raises(ValueError, match="may name other files or addresses"):
        read([raster], str(path))


def test_addresses_and_folders_are_refused(raster: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no file"):
        read([raster], "http://127.0.0.1:1/a.geojson")
    with pytest.raises(ValueError, match="is a folder"):
        read([raster], str(tmp_path))


def test_a_table_is_no_layer(raster: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("name,x\na,1\n")
    with pytest.raises(ValueError, match="table without geometries"):
        read([raster], str(tmp_path / "a.csv"))


def test_a_layer_without_features_says_so(raster: str, tmp_path: Path) -> None:
    (tmp_path / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": []}))
    with pytest.raises(ValueError, match=r"a\.geojson"):
        read([raster], str(tmp_path / "a.geojson"), label_field=None, default_label="x")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, bytes]]:
    folder = tmp_path_factory.mktemp("sound")
    shapes = [shapely.box(1, 1, 5, 5), rotate(shapely.box(20, 40, 60, 50), 30), shapely.Point(7, 7)]
    contents = {}
    for suffix in (".gpkg", ".geojson", ".fgb", ".parquet", ".kml"):
        options = {"driver": "KML"} if suffix == ".kml" else {}
        contents[suffix] = Path(write(folder / f"a{suffix}", shapes, crs="EPSG:4326", **options)).read_bytes()
    return write_raster(folder / "a.tif"), contents


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged")


@given(data=st.data())
def test_damaged_files_end_in_one_line(
    sound: tuple[str, dict[str, bytes]], damaged: Path, data: st.DataObject
) -> None:
    raster, contents = sound
    suffix = data.draw(st.sampled_from(sorted(contents)))
    content = bytearray(contents[suffix])
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        piece = data.draw(st.binary(min_size=1, max_size=8) | st.sampled_from([b"NaN", b"1e999", b"null", b"-"]))
        content[place : place + len(piece)] = piece
    path = damaged / f"a{suffix}"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        good, _ = read([raster], str(path), label_field=None, default_label="x", point_size=2.0)
    except ValueError as error:
        said = str(error)
    else:
        said = str(path)
        assert all(np.isfinite(one.box).all() for image in good for one in image.objects)
    assert str(path) in said
    assert "\n" not in said
