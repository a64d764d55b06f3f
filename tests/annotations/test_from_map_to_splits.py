# SPDX-License-Identifier: Apache-2.0
"""From polygons on a map over rasters to tiles in splits: each object ends where it was drawn."""

from __future__ import annotations

from pathlib import Path

import example_rasters
import geopandas
import numpy as np
import pytest
import shapely

from geodit.annotations.checks import check_records
from geodit.annotations.footprints import shared_area
from geodit.annotations.import_report import ImportReport
from geodit.annotations.splits import assign_splits
from geodit.annotations.tiles import LabeledTile, TileCounts, TileOptions, TileReader, cut_tiles
from geodit.annotations.vector_labels import read_vector_labels
from geodit.rasters.georeference import GeoReference

PLACE = GeoReference(example_rasters.CRS, tuple(example_rasters.PLACE)[:6])
SIDE, OBJECT = 192, 6


def test_white_squares_on_a_map_are_white_squares_in_tiles(tmp_path: Path) -> None:
    """Black rasters with white squares, drawn on a map in degrees: each box of a tile is white, all else is black."""
    rng = np.random.default_rng(0)
    rasters, drawn = [], []
    for number in range(2):
        pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
        transform = example_rasters.PLACE @ example_rasters.Affine.translation(number * SIDE, 0)
        # Cells of ten pixels, so that squares do not touch.
        for cell in rng.choice(18 * 18, 40, replace=False).tolist():
            top, left = 10 * (cell // 18) + 4, 10 * (cell % 18) + 4
            pixels[top : top + OBJECT, left : left + OBJECT] = 255
            x = number * SIDE + left
            drawn.append(shapely.transform(shapely.box(x, top, x + OBJECT, top + OBJECT), PLACE.to_map))
        path = tmp_path / f"{number}.tif"
        example_rasters.write_raster(path, pixels, transform=transform)
        rasters.append(str(path))
    frame = geopandas.GeoDataFrame({"kind": ["square"] * len(drawn)}, geometry=drawn, crs=PLACE.crs)
    frame.to_crs("EPSG:4326").to_file(tmp_path / "squares.gpkg")

    report, counts = ImportReport(), TileCounts()
    records = read_vector_labels(rasters, str(tmp_path / "squares.gpkg"), label_field="kind")
    checked = list(check_records(records, report, classes=["square"]))
    assert (report.images, report.objects, report.num_bad) == (2, 80, 0)
    options = TileOptions(size=48, overlap=0.25, min_visible=0.5, min_noticed=0.0)
    with TileReader() as reader:
        cut = list(cut_tiles(checked, options, reader, counts))
        tiles = [tile for tile in cut if isinstance(tile, LabeledTile)]
        assert len(tiles) == len(cut) == counts.tiles == 50
        for tile in tiles:
            white = reader.read(tile).pixels[..., 0] == 255
            found = np.zeros_like(white)
            for one in tile.objects:
                x1, y1, x2, y2 = np.rint(one.box).astype(int).tolist()
                found[y1:y2, x1:x2] = True
            assert (white | ~found).all()
            # What is seen and not found has been cut by an edge, and the tile says so.
            assert (white == found).all() or tile.cut_labels == {"square"}
    splits = assign_splits(tiles, {"train": 0.6, "test": 0.4}, by="area", block_size=60, margin=2)
    assert shared_area(tiles, splits.splits) == pytest.approx(0.0, abs=1e-9)
    assert splits.report.objects["test"]["square"] > 0
