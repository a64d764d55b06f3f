# SPDX-License-Identifier: Apache-2.0
"""Read the features of a vector file. Needs the extra `geodit[geo]`.

A file is somebody else's, and GDAL opens further files and addresses that some formats name, such as a VRT. Such files
are refused by how they begin, before GDAL sees them, and by a list of the formats that are read.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geodit.configuration.text_files import check_regular_file

if TYPE_CHECKING:
    from geopandas import GeoSeries

__all__ = ["MAX_FEATURES", "VectorFeatures", "read_features"]

MAX_FEATURES = 5_000_000
"""Features of a layer at most: they are held in memory."""

_DRIVERS = frozenset(
    {
        "CSV",
        "DXF",
        "ESRI Shapefile",
        "ESRIJSON",
        "FlatGeobuf",
        "GML",
        "GPKG",
        "GPX",
        "GeoJSON",
        "GeoJSONSeq",
        "GeoRSS",
        "JSONFG",
        "KML",
        "LIBKML",
        "MapInfo File",
        "OpenFileGDB",
        "SQLite",
        "TopoJSON",
    }
)
_HEAD_BYTES = 2**16
_MAX_MEMBERS = 1000
_SPACE = b"\xef\xbb\xbf \t\r\n"
_XML_ROOT = re.compile(rb"<(?![?!])(?:[\w.-]+:)?([\w.-]+)")
_XML_ROOTS = frozenset({b"kml", b"gpx", b"rss", b"feed", b"FeatureCollection", b"WFS_FeatureCollection"})
_NAMES_OTHERS = re.compile(rb"<OGRVRTDataSource|<OGRWFSDataSource|gdal_streamed_alg|<!DOCTYPE|<!ENTITY", re.IGNORECASE)
_PARQUET = b"PAR1"
_DEGREES = (-180.0, -90.0, 180.0, 90.0)
_MOST_NAMES = 20


@dataclass(frozen=True)
class VectorFeatures:
    """Features of a layer, in the order of the file.

    Args:
        geometries: In the reference system that it states, without z; `None` where there is none.
        labels: The class of each; empty where there is none.
    """

    geometries: GeoSeries
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)


def read_features(
    path: str, *, label_field: str | None = None, default_label: str | None = None, layer: str | None = None
) -> VectorFeatures:
    """Read a layer of a local file that pyogrio reads, such as GeoPackage, GeoJSON, a shapefile, or GeoParquet.

    Args:
        path: The file, a zip archive of one, or a folder that is a file geodatabase.
        label_field: The field with the class of a feature.
        default_label: The class of features for which the field says none, or of all.
        layer: Its name, where the file has several.

    Raises:
        ModuleNotFoundError: If the extra is not installed.
        ValueError: If the file cannot be read, is of a format that names other files, or has no such layer or field,
            no features, or no reference system that could be assumed.
    """
    _check_content(Path(path))
    has_class = label_field is not None or bool(default_label)
    if _is_parquet(Path(path)):
        frame = _read_parquet(path, label_field, has_class)
    else:
        frame = _read_by_gdal(path, label_field, layer, has_class)
    import geopandas
    import shapely

    if not len(frame):
        raise ValueError(f"{path} has no features")
    if not isinstance(frame, geopandas.GeoDataFrame):
        raise ValueError(f"{path} is a table without geometries: give a layer of polygons or points")
    geometries = frame.geometry
    if geometries.crs is None:
        left, bottom, right, top = _DEGREES
        x1, y1, x2, y2 = geometries.total_bounds
        if not (left <= x1 and bottom <= y1 and x2 <= right and y2 <= top):
            raise ValueError(
                f"{path} states no reference system, and its coordinates are not longitudes and latitudes: write it "
                "again with its reference system"
            )
        geometries = geometries.set_crs("EPSG:4326")
    values = [None] * len(frame) if label_field is None else frame[label_field].tolist()
    labels = tuple(_as_label(value) or (default_label or "") for value in values)
    return VectorFeatures(geopandas.GeoSeries(shapely.force_2d(geometries.array), crs=geometries.crs), labels)


def _check_content(path: Path) -> None:
    """Refuse what names other files or addresses, as far as its beginning tells.

    Raises:
        ValueError: If it does, or cannot be read.
    """
    try:
        if path.is_dir():
            if path.suffix.lower() != ".gdb":
                raise ValueError(f"{path} is a folder: name a file, such as a GeoPackage or GeoJSON")
            return
        check_regular_file(path)
        for name, head in _heads(path):
            text = head.lstrip(_SPACE)
            root = _XML_ROOT.search(text) if text.startswith(b"<") else None
            foreign = text.startswith(b"<") and (root is None or root[1] not in _XML_ROOTS)
            if foreign or _NAMES_OTHERS.search(text):
                raise ValueError(
                    f"{name} may name other files or addresses, which are not followed: write its features as "
                    "GeoPackage or GeoJSON"
                )
    except FileNotFoundError as error:
        raise ValueError(f"there is no file {path}: addresses have to be downloaded first") from error
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def _heads(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield how a file, or each member of an archive, begins."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head.startswith(b"PK\x03\x04"):
        yield str(path), head
        return
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > _MAX_MEMBERS:
            raise ValueError(f"{path} has {len(members):,} members, more than {_MAX_MEMBERS:,}: unpack it")
        for member in members:
            with archive.open(member) as file:
                yield f"{path}!{member.filename}", file.read(_HEAD_BYTES)


def _is_parquet(path: Path) -> bool:
    if path.is_dir():
        return False
    with path.open("rb") as file:
        return file.read(len(_PARQUET)) == _PARQUET


def _read_parquet(path: str, label_field: str | None, has_class: bool) -> Any:
    import geopandas
    import pyarrow
    from pyarrow import parquet

    try:
        _check_count(path, parquet.read_metadata(path).num_rows)
        frame = geopandas.read_parquet(path)
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, LookupError, RuntimeError) as error:
        raise ValueError(f"{path} cannot be read as GeoParquet: {_one_line(error)}") from error
    _check_field(path, label_field, has_class, [name for name in frame.columns if name != frame.geometry.name])
    return frame


def _read_by_gdal(path: str, label_field: str | None, layer: str | None, has_class: bool) -> Any:
    import pyogrio
    from pyogrio.errors import DataLayerError, DataSourceError, FieldError
    from pyproj.exceptions import CRSError
    from shapely.errors import ShapelyError

    # Absolute, so that no part of it is taken for a prefix that GDAL knows.
    location = Path(path).resolve()
    try:
        names = [str(name) for name, _ in pyogrio.list_layers(location)]
        chosen = _choose_layer(path, names, layer)
        facts = pyogrio.read_info(location, layer=chosen, force_feature_count=True)
        if facts["driver"] not in _DRIVERS:
            raise ValueError(
                f"{facts['driver']} is not among the formats that are read: {', '.join(sorted(_DRIVERS))}"
            )
        _check_count(path, facts["features"])
        _check_field(path, label_field, has_class, [str(name) for name in facts["fields"]])
        columns = [] if label_field is None else [label_field]
        return pyogrio.read_dataframe(location, layer=chosen, columns=columns, on_invalid="ignore")
    except (
        DataSourceError,
        DataLayerError,
        FieldError,
        CRSError,
        ShapelyError,
        ValueError,
        TypeError,
        LookupError,
        ArithmeticError,
        OSError,
        RuntimeError,
    ) as error:
        said = _one_line(error)
        raise ValueError(
            said if said.startswith(path) else f"{path} cannot be read as a vector file: {said}"
        ) from error


def _choose_layer(path: str, names: Sequence[str], layer: str | None) -> str:
    shown = ", ".join(names[:_MOST_NAMES])
    if layer is not None and layer not in names:
        raise ValueError(f"{path} has no layer {layer}; its layers are {shown}")
    if not names:
        raise ValueError(f"{path} has no layers")
    if layer is None and len(names) > 1:
        raise ValueError(f"{path} has {len(names)} layers: choose one of {shown} by --layer (layer)")
    return names[0] if layer is None else layer


def _check_count(path: str, count: int) -> None:
    if count > MAX_FEATURES:
        raise ValueError(f"{path} has {count:,} features, more than {MAX_FEATURES:,}: clip it to the images first")


def _check_field(path: str, label_field: str | None, has_class: bool, fields: Sequence[str]) -> None:
    shown = ", ".join(fields[:_MOST_NAMES]) or "none"
    if not has_class:
        raise ValueError(
            f"{path} has the fields {shown}: say which of them has the class by --label-field (label_field), or give "
            "all features one class by --default-label (default_label)"
        )
    if label_field is not None and label_field not in fields:
        raise ValueError(f"{path} has no field {label_field}; its fields are {shown}")


def _as_label(value: object) -> str:
    """Return the value of a field as the name of a class; pandas keeps whole numbers next to empty ones as floats."""
    import pandas

    if value is None or (pandas.api.types.is_scalar(value) and pandas.isna(value)):
        return ""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return " ".join(str(value).split())


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
