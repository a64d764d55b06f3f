# SPDX-License-Identifier: Apache-2.0
"""Layers as tables: GeoDataFrame and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geodit.pipelines.scenes.layers import ColumnType, Layer, Value

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from pandas import Series

__all__ = ["csv_bytes", "to_geodataframe"]


def to_geodataframe(layer: Layer) -> GeoDataFrame:
    """Return a layer as a GeoDataFrame of polygons with the columns and the reference system of the layer.

    Missing numbers are NaN in columns of floats; other columns with missing values have a nullable type of pandas.
    A layer in pixels gives a frame without a reference system.
    """
    import geopandas
    import shapely

    columns = {name: _series(layer.values(name), layer.types[name]) for name in layer.columns}
    lengths = [len(ring) for ring in layer.rings]
    points = np.concatenate([np.empty((0, 2)), *layer.rings])
    rings = shapely.linearrings(points, indices=np.repeat(np.arange(len(layer)), lengths))
    geometry = geopandas.GeoSeries(shapely.polygons(rings), crs=layer.crs)
    return geopandas.GeoDataFrame(columns, geometry=geometry)


def _series(values: Sequence[Value], kind: ColumnType) -> Series:
    import pandas

    if kind is str:
        return pandas.Series([_text(value) for value in values], dtype="string")
    if kind is float:
        return pandas.Series(values, dtype="float64")
    missing = any(value is None for value in values)
    if kind is bool:
        return pandas.Series(values, dtype="boolean" if missing else "bool")
    return pandas.Series(values, dtype="Int64" if missing else "int64")


def _text(value: Value) -> str | None:
    """Return a text that any file can hold: UTF-8, without a zero, at which C would end it."""
    if value is None:
        return None
    return str(value).replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="backslashreplace").decode()


def csv_bytes(layer: Layer) -> bytes:
    """Encode a layer as CSV in UTF-8: the polygon as well-known text, the columns, and the reference system.

    The first column is `WKT`, as GDAL and QGIS know it. The last one is `reference_system`, which is empty for a layer
    in pixels.
    """
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(["WKT", *layer.columns, "reference_system"])
    columns = [[_cell(value) for value in layer.values(name)] for name in layer.columns]
    for index, ring in enumerate(layer.rings):
        writer.writerow([_well_known_text(ring), *(column[index] for column in columns), layer.crs or ""])
    return output.getvalue().encode(errors="backslashreplace")


def _cell(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _well_known_text(ring: NDArray[np.float64]) -> str:
    points = ring.tolist()
    return f"POLYGON (({', '.join(f'{x!r} {y!r}' for x, y in [*points, points[0]])}))"
