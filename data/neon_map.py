# SPDX-License-Identifier: Apache-2.0
"""The tree crowns of NEON as a GIS keeps them: images as GeoTIFF files, crowns as a layer of polygons.

Only `OSBS_029` comes with its place on Earth. The other images are placed where their site is, at the corner of the
tile that their name tells, which is right to about a kilometer: enough for maps to be imported, and for nothing else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geodit.configuration.new_folders import new_folder
from geodit.data.neon import NEON_FILES, NEON_QUERY, NEON_REGIONS, fetch_neon, read_voc_boxes

__all__ = ["LABELS", "LABEL_FIELD", "write_neon_map"]

LABELS = "crowns.gpkg"
"""GeoPackage with the crowns, in WGS 84."""

LABEL_FIELD = "label"
"""Its field with the class."""

# EPSG code, easting and northing of the upper left corner, in meters, by the beginning of the file's name.
_PLACES = {
    "2019_YELL_2_528000_4978000": (32612, 528_000.0, 4_979_000.0),
    "2019_YELL_2_541000_4977000": (32612, 541_000.0, 4_978_000.0),
    "SOAP_061": (32611, 299_000.0, 4_101_000.0),
}
_PIXEL = 0.1


def write_neon_map(source: str | Path, folder: str | Path) -> Path:
    """Write the images and crowns that [`~geodit.data.neon.fetch_neon`] has fetched as files of a GIS.

    Args:
        source: Where `fetch_neon` put the images. What is missing is fetched.
        folder: The folder to make. It appears when it is complete.

    Returns:
        The folder, with a GeoTIFF file for each image, and [`LABELS`].

    Raises:
        FileExistsError: If the folder exists.
        ModuleNotFoundError: If the extra `geodit[geo]` is not installed.
        RuntimeError, ValueError: As `fetch_neon`.
    """
    import geopandas
    import pandas
    import rasterio

    source = fetch_neon(source)
    folder = Path(folder)
    crowns = []
    with new_folder(folder) as made:
        for image, annotation in sorted({(region.image, region.annotation) for region in NEON_REGIONS}):
            pixels, crs, transform, nodata = _read(source / image)
            height, width = pixels.shape[1:]
            profile = {"width": width, "height": height, "count": 3, "dtype": "uint8", "crs": crs}
            profile |= {
                "transform": transform,
                "nodata": nodata,
                "tiled": True,
                "compress": "deflate",
                "photometric": "rgb",
            }
            with rasterio.open(made / f"{Path(image).stem}.tif", "w", driver="GTiff", **profile) as raster:
                raster.write(pixels)
            crowns.append(_crowns(source / annotation, transform, crs).to_crs(4326))
        layer = geopandas.GeoDataFrame(pandas.concat(crowns, ignore_index=True), crs=4326)
        layer.to_file(made / LABELS, layer="crowns", driver="GPKG")
        [license_file] = [member.name for member in NEON_FILES if "LICENSE" in member.name]
        (made / license_file).write_bytes((source / license_file).read_bytes())
    return folder


def _read(image: Path) -> tuple[NDArray[np.uint8], Any, Any, float | None]:
    """Return pixels `(3, H, W)`, reference system, transform and the value of no data of an image."""
    import rasterio
    from rasterio.crs import CRS
    from rasterio.transform import from_origin

    places = [place for name, place in _PLACES.items() if image.name.startswith(name)]
    if not places:
        with rasterio.open(image) as opened:
            return opened.read()[:3], opened.crs, opened.transform, opened.nodata
    [(code, easting, northing)] = places
    with Image.open(image) as opened:
        pixels = np.asarray(opened.convert("RGB")).transpose(2, 0, 1)
    return pixels, CRS.from_epsg(code), from_origin(easting, northing, _PIXEL, _PIXEL), None


def _crowns(annotation: Path, transform: Any, crs: Any) -> Any:
    import geopandas
    import shapely

    boxes, _ = read_voc_boxes(annotation)
    lefts, tops = transform * (boxes[:, 0], boxes[:, 1])
    rights, bottoms = transform * (boxes[:, 2], boxes[:, 3])
    fields = {LABEL_FIELD: [NEON_QUERY] * len(boxes)}
    return geopandas.GeoDataFrame(fields, geometry=shapely.box(lefts, bottoms, rights, tops), crs=crs.to_wkt())
