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
# Names that would say little if they were cut off.
_SHORT_NAMES = {"model_revision": "model_rev"}


def write_geopackage(path: Path, layers: Sequence[Layer]) -> None:
    """Write layers to a new GeoPackage.

    Raises:
        OSError: If it cannot be written; the message is GDAL's reason.
    """
    for layer in layers:
        _write(to_geodataframe(layer), path, "GPKG", layer.name)
    indexes = "SELECT count(*) FROM gpkg_extensions WHERE extension_name = 'gpkg_rtree_index'"
    try:
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("UPDATE gpkg_contents SET last_change = ?", [f"{_DATE}T00:00:00.000Z"])
            (num_indexes,) = database.execute(indexes).fetchone()
    except sqlite3.Error as error:
        raise OSError(str(error)) from error
    # GDAL makes the spatial indexes when it closes the file, and does not say if that failed.
    _check_whole(num_indexes == len(layers))


def write_flatgeobuf(path: Path, layer: Layer) -> None:
    """Write a layer to a FlatGeobuf file with a spatial index, whose order the polygons take.

    Raises:
        OSError: If it cannot be written; the message is GDAL's reason.
    """
    import pyogrio

    _write(to_geodataframe(layer), path, "FlatGeobuf", layer.name)
    # The end of the file is written when it is closed, and errors of that are lost.
    try:
        fids, _ = pyogrio.read_bounds(path)
    except (pyogrio.errors.DataLayerError, pyogrio.errors.DataSourceError) as error:
        raise OSError(str(error)) from error
    _check_whole(len(fids) == len(layer))


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
    # As above. The headers of .shp and .shx have their lengths in 16-bit words; that of .dbf has the number and the
    # length of its records.
    for part in (path, path.with_suffix(".shx")):
        _check_whole(part.stat().st_size == 2 * int.from_bytes(_head(part)[24:28], "big"))
    table = path.with_suffix(".dbf")
    head = _head(table)
    num_records, header_size, record_size = (
        int.from_bytes(head[start:end], "little") for start, end in ((4, 8), (8, 10), (10, 12))
    )
    _check_whole(num_records == len(layer) and table.stat().st_size >= header_size + num_records * record_size)


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


def _check_whole(whole: bool) -> None:
    if not whole:
        raise OSError("only a part of it was written, as on a full disk")


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(32)


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
