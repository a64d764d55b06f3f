# SPDX-License-Identifier: Apache-2.0
"""Layers in the vector files of geographic information systems: GeoPackage, FlatGeobuf, Shapefile, GeoParquet."""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from geodit.pipelines.scenes.layers import Layer
from geodit.pipelines.scenes.tables import to_geodataframe

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

__all__ = [
    "shapefile_field_names",
    "write_flatgeobuf",
    "write_geopackage",
    "write_geoparquet",
    "write_shapefile",
]

# Files that say when they were written say this, so that the same layers give the same bytes.
_DATE = "2000-01-01"
# Limits of dBASE tables, in bytes.
_FIELD_NAME, _FIELD_TEXT = 10, 254
# Field names where those that are cut off would say little.
_SHORT_NAMES = {"model_revision": "model_rev", "num_attempts": "attempts", "well_formed": "wellformed"}


def write_geopackage(path: Path, layers: Sequence[Layer]) -> None:
    """Write layers to a new GeoPackage.

    Raises:
        OSError: If it cannot be written; the message is GDAL's reason.
    """
    for layer in layers:
        _write(to_geodataframe(layer), path, "GPKG", layer.name)
    try:
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("UPDATE gpkg_contents SET last_change = ?", [f"{_DATE}T00:00:00.000Z"])
    except sqlite3.Error as error:
        raise OSError(str(error)) from error


def write_flatgeobuf(path: Path, layer: Layer) -> None:
    """Write a layer to a FlatGeobuf file with a spatial index, whose order the polygons take.

    Raises:
        OSError: If it cannot be written; the message is GDAL's reason.
    """
    _write(to_geodataframe(layer), path, "FlatGeobuf", layer.name)


def write_shapefile(path: Path, layer: Layer) -> None:
    """Write a layer to a shapefile: `path`, which ends in `.shp`, and the files next to it.

    Fields have the names of `shapefile_field_names`. Texts end after 254 bytes of UTF-8.

    Raises:
        OSError: If it cannot be written; the message is GDAL's reason.
    """
    frame = to_geodataframe(layer)
    for name, kind in layer.types.items():
        if kind is str:
            frame[name] = frame[name].map(_short_text, na_action="ignore").astype("string")
    frame = frame.rename(columns=shapefile_field_names(list(layer.columns)))
    options = {"DBF_DATE_LAST_UPDATE": _DATE, "ENCODING": "UTF-8"}
    _write(frame, path, "ESRI Shapefile", path.stem, options)


def write_geoparquet(path: Path, layer: Layer) -> None:
    """Write a layer to a GeoParquet file.

    Raises:
        OSError: If it cannot be written.
    """
    to_geodataframe(layer).to_parquet(path, index=False)


def shapefile_field_names(names: Sequence[str]) -> dict[str, str]:
    """Return the name in a shapefile of each column: at most 10 bytes, unique whatever the case.

    A longer name has a fixed short form, or loses its underscores and then its end; a number replaces the last
    letters of one that is taken.
    """
    result: dict[str, str] = {}
    taken: set[str] = set()
    # Names that fit come first, so that they stay as they are.
    for name in sorted(names, key=lambda name: len(name.encode()) > _FIELD_NAME):
        short = name if len(name.encode()) <= _FIELD_NAME else _SHORT_NAMES.get(name, name.replace("_", ""))
        candidate, number = _first_bytes(short, _FIELD_NAME), 1
        while candidate.lower() in taken:
            number += 1
            candidate = _first_bytes(short, _FIELD_NAME - len(str(number))) + str(number)
        taken.add(candidate.lower())
        result[name] = candidate
    return {name: result[name] for name in names}


def _short_text(text: str) -> str:
    return _first_bytes(text, _FIELD_TEXT)


def _first_bytes(text: str, num_bytes: int) -> str:
    """Return as much of a text as fits into so many bytes of UTF-8."""
    return text.encode()[:num_bytes].decode(errors="ignore")


def _write(
    frame: GeoDataFrame, path: Path, driver: str, layer: str, layer_options: Mapping[str, str] | None = None
) -> None:
    """Write a frame by GDAL; into a file that exists, as one more layer."""
    import pyogrio
    from pyogrio.errors import CRSError, DataLayerError, DataSourceError

    with warnings.catch_warnings():
        # A layer in pixels has no reference system on purpose.
        warnings.filterwarnings("ignore", "'crs' was not provided", UserWarning)
        try:
            pyogrio.write_dataframe(
                frame,
                path,
                layer=layer,
                driver=driver,
                geometry_type="Polygon",
                promote_to_multi=False,
                layer_options=dict(layer_options or {}),
            )
        except (CRSError, DataLayerError, DataSourceError) as error:
            raise OSError(str(error)) from error
