# SPDX-License-Identifier: Apache-2.0
"""Small rasters of the kinds that users bring, each made from the bundled harbor scene."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from rasterio.transform import Affine

import geodit

CRS = "EPSG:32631"
PLACE = Affine(0.5, 0, 590000, 0, -0.5, 5755000)
# Columns of `objects_under_alpha_0.tif` that its alpha hides.
HIDDEN_COLUMNS = 90
# Longitude and latitude of the corners of `gcps_only.tif`: left, top, right, bottom.
GCP_BOUNDS = (4.3, 51.9, 4.3014, 51.8991)
# Column and row of the block of `bad_block.tif` that is damaged, and the side of a block.
BAD_BLOCK, BLOCK_SIDE = (1, 1), 64


def harbor() -> NDArray[np.uint8]:
    """(192, 192, 3): the harbor four times."""
    path = Path(geodit.__file__).parent / "tiny" / "demo_scenes" / "harbor.tif"
    with Image.open(path) as image:
        return np.tile(np.asarray(image.convert("RGB")), (2, 2, 1))


def write_raster(
    path: Path, pixels: NDArray[Any], colors: Sequence[ColorInterp] = (), *, placed: bool = True, **profile: Any
) -> Path:
    """Write pixels (H, W, C), as GeoTIFF unless the profile names another driver."""
    height, width, count = pixels.shape
    place = {"crs": CRS, "transform": PLACE} if placed else {}
    profile = (
        {"driver": "GTiff", "height": height, "width": width, "count": count, "dtype": pixels.dtype} | place | profile
    )
    with rasterio.open(path, "w", **profile) as dataset:
        if colors:
            dataset.colorinterp = colors
        dataset.write(np.moveaxis(pixels, -1, 0))
    return path


def write_example_rasters(folder: Path) -> None:
    """Write all of them into a folder, which must exist."""
    rgb = harbor()
    reflectance = rgb.astype(np.uint16) * 10 + 300
    write_raster(folder / "uint8.tif", rgb)
    write_raster(folder / "float32_0_255.tif", rgb.astype(np.float32))
    write_raster(folder / "uint16_reflectance.tif", reflectance)
    cloud = reflectance.copy()
    cloud[:50, :50] = 10_000
    write_raster(folder / "uint16_cloud.tif", cloud)
    island = np.pad(reflectance, ((0, 208), (0, 208), (0, 0)))
    write_raster(folder / "uint16_zero_collar_untagged.tif", island)
    backwards = [ColorInterp.blue, ColorInterp.green, ColorInterp.red]
    write_raster(folder / "bgr_by_color_interpretation.tif", rgb[..., ::-1], backwards)
    write_raster(folder / "rgbn_tagged_alpha_by_default.tif", np.dstack([rgb, 255 - rgb[..., 1]]))
    alpha = np.where(np.arange(rgb.shape[1]) < HIDDEN_COLUMNS, 0, 255).astype(np.uint8)
    hidden = np.dstack([rgb, np.broadcast_to(alpha, rgb.shape[:2])])
    write_raster(folder / "objects_under_alpha_0.tif", hidden, photometric="RGB", alpha="YES")
    _write_control_points(folder / "gcps_only.tif", rgb)
    _write_photograph(folder / "world_file.jpg", rgb)
    _write_damaged(folder / "bad_block.tif", reflectance)
    with zipfile.ZipFile(folder / "zipped.zip", "w") as archive:
        archive.write(folder / "uint8.tif", "in/a.tif")
    write_raster(folder / "lossless.jp2", rgb, driver="JP2OpenJPEG", QUALITY=100, REVERSIBLE="YES")
    (folder / "folder").mkdir()
    for number in range(3):
        shutil.copy(folder / "uint8.tif", folder / "folder" / f"scene{number}.tif")
    (folder / "folder" / "notes.txt").write_text("not an image")
    disk = "+proj=geos +h=35785831 +lon_0=0 +sweep=y"
    write_raster(folder / "geostationary.tif", rgb, crs=disk, transform=Affine(3000, 0, -5.6e6, 0, -3000, 288e3))


def _write_control_points(path: Path, rgb: NDArray[np.uint8]) -> None:
    height, width = rgb.shape[:2]
    left, top, right, bottom = GCP_BOUNDS
    points = [
        GroundControlPoint(row, column, x, y)
        for row, y in ((0, top), (height, bottom))
        for column, x in ((0, left), (width, right))
    ]
    write_raster(path, rgb, placed=False, gcps=points, crs=rasterio.CRS.from_epsg(4326))


def _write_photograph(path: Path, rgb: NDArray[np.uint8]) -> None:
    """With a world file, which states the middle of the first pixel, and a reference system."""
    Image.fromarray(rgb).save(path, quality=95)
    numbers = (PLACE.a, PLACE.d, PLACE.b, PLACE.e, PLACE.c + PLACE.a / 2, PLACE.f + PLACE.e / 2)
    path.with_suffix(".jgw").write_text("".join(f"{number}\n" for number in numbers))
    path.with_suffix(".prj").write_text(rasterio.CRS.from_user_input(CRS).to_wkt())


def _write_damaged(path: Path, reflectance: NDArray[np.uint16]) -> None:
    """Damage in the middle of a block that GDAL decompresses all the same: only the checksum shows it."""
    sides = {"tiled": True, "blockxsize": BLOCK_SIDE, "blockysize": BLOCK_SIDE}
    write_raster(path, reflectance, compress="DEFLATE", **sides)
    with rasterio.open(path) as dataset:
        column, row = BAD_BLOCK
        offset, size = (
            int(dataset.get_tag_item(f"BLOCK_{name}_{column}_{row}", "TIFF", bidx=1)) for name in ("OFFSET", "SIZE")
        )
    content = bytearray(path.read_bytes())
    content[offset + size // 2 : offset + size // 2 + 400] = bytes(400)
    path.write_bytes(content)
