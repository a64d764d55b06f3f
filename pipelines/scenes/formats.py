# SPDX-License-Identifier: Apache-2.0
"""Files of layers: the suffix of a file decides its format, and a file is whole or not there."""

from __future__ import annotations

import errno
import importlib.util
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from geodit.pipelines.scenes.geography import check_crs, check_has_wgs84, to_wgs84
from geodit.pipelines.scenes.geojson import feature_collection, geojson_bytes
from geodit.pipelines.scenes.layers import Layer
from geodit.pipelines.scenes.leftovers import staging_prefix
from geodit.pipelines.scenes.tables import csv_bytes
from geodit.pipelines.scenes.vector_files import write_flatgeobuf, write_geopackage, write_geoparquet, write_shapefile

__all__ = ["FORMATS", "Format", "find_format", "write_layers"]


@dataclass(frozen=True)
class Format:
    """A file format for layers.

    Args:
        suffix: Suffix of its files, in lower case, with the dot.
        name: Name of the format.
        write: Writes layers to a new file and returns how many polygons were left out.
        packages: Packages that `write` imports.
        in_wgs84: Whether files are in longitude and latitude; otherwise they are in the layer's reference system.
        holds_all_layers: Whether a file holds all layers; otherwise only the first one.
        companions: Suffixes of files that may belong to the file and have its stem. Those of a file that is replaced
            are deleted.
        endings: The same for files whose names are the name of the file and an ending.
    """

    suffix: str
    name: str
    write: Callable[[Path, Sequence[Layer]], int]
    packages: tuple[str, ...] = ()
    in_wgs84: bool = False
    holds_all_layers: bool = False
    companions: tuple[str, ...] = ()
    endings: tuple[str, ...] = ()

    def check_available(self) -> None:
        """Check whether the packages that write this format are installed.

        Raises:
            ModuleNotFoundError: If one is not.
        """
        for package in self.packages:
            if importlib.util.find_spec(package) is None:
                message = f"writing {self.suffix} needs the package {package}: pip install 'geodit[geo]'"
                raise ModuleNotFoundError(message, name=package)

    def check_crs(self, crs: str | None) -> None:
        """Check before long work whether a file can be in a reference system; None is pixels of an image.

        Raises:
            ValueError: If it cannot be read, or has no longitude and latitude and the format needs them.
        """
        if self.in_wgs84:
            check_has_wgs84(crs)
        elif crs is not None and self.packages:
            check_crs(crs)


def find_format(path: Path, other_suffixes: Sequence[str] = ()) -> Format:
    """Return the format that the suffix of a file stands for, in any case.

    Args:
        path: A file to write.
        other_suffixes: Suffixes that the caller writes itself, for the message of the error.

    Raises:
        ValueError: If there is no such format.
    """
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        *most, last = [*FORMATS, *other_suffixes]
        what = f"has the unknown suffix {path.suffix}" if path.suffix else "has no suffix"
        raise ValueError(f"{path} {what}: give {', '.join(most)} or {last}") from None


def write_layers(path: Path, layers: Sequence[Layer]) -> int:
    """Write layers to a file in the format of its suffix, whole or not at all; an existing file is replaced.

    The same layers give the same bytes. A format that holds one layer takes the first one. The several files of a
    shapefile are all written before the first of them is moved to its place.

    Returns:
        How many polygons were left out because they have no longitude and latitude; always 0 in formats that keep
        the reference system.

    Raises:
        ModuleNotFoundError: If a package that writes the format is not installed.
        OSError: If the file cannot be written, such as on a full disk.
        ValueError: If the suffix is unknown, there are no layers, two have the same name, or the format cannot hold
            their reference system.
    """
    form = find_format(path)
    form.check_available()
    if not layers:
        raise ValueError(f"there are no layers to write to {path}: give at least one")
    if not form.holds_all_layers:
        layers = layers[:1]
    names = {layer.name.lower() for layer in layers}
    if len(names) < len(layers):
        raise ValueError(f"two layers to write to {path} have the same name: give unique names")
    for layer in layers:
        form.check_crs(layer.crs)
    target = path.resolve()  # a link stays a link
    staged = target
    try:
        # In the same directory, from which files move to their places without being copied.
        with tempfile.TemporaryDirectory(prefix=staging_prefix(target), dir=target.parent) as folder:
            if target.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            staged = Path(folder) / f"{target.stem}{form.suffix}"  # GDAL knows suffixes in lower case
            num_left_out = form.write(staged, layers)
            _move(form, staged, target)
    except OSError as error:
        # The reason alone, without the name of a file that is no more.
        reason = (error.strerror or str(error)).replace(str(staged), path.name)
        raise OSError(f"cannot write {path}: {' '.join(reason.split())}") from error
    return num_left_out


def _move(form: Format, staged: Path, target: Path) -> None:
    """Move all that was written for a file to its place, the file itself last."""
    written = sorted(staged.parent.iterdir(), key=lambda new: (new == staged, new.name))
    if target.exists():
        old = [target.with_suffix(suffix) for suffix in form.companions]
        old += [target.with_name(target.name + ending) for ending in form.endings]
        for path in old:
            # Those of the older file would say something wrong about the new one.
            if path.name not in {new.name for new in written}:
                path.unlink(missing_ok=True)
    for new in written:
        new.replace(target if new == staged else target.with_name(new.name))


def _one(write: Callable[[Path, Layer], None]) -> Callable[[Path, Sequence[Layer]], int]:
    """Return the `write` of a format that holds one layer, in the reference system of the layer."""

    def write_one(path: Path, layers: Sequence[Layer]) -> int:
        write(path, layers[0])
        return 0

    return write_one


def _write_csv(path: Path, layer: Layer) -> None:
    path.write_bytes(csv_bytes(layer))


def _write_geojson(path: Path, layers: Sequence[Layer]) -> int:
    geometries = to_wgs84(layers[0])
    path.write_bytes(geojson_bytes(feature_collection(layers[0], geometries)))
    return geometries.num_left_out


def _write_geopackage(path: Path, layers: Sequence[Layer]) -> int:
    write_geopackage(path, layers)
    return 0


# What GDAL, QGIS and ArcGIS put next to a shapefile: its parts and their indexes.
_SHAPEFILE = ("ain", "aih", "atx", "cpg", "dbf", "fbn", "fbx", "ixs", "mxs", "prj", "qix", "qpj", "sbn", "sbx", "shx")
_GDAL = ("geopandas", "pyogrio")

FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        form.suffix: form
        for form in (
            Format(".geojson", "GeoJSON", _write_geojson, ("pyproj", "shapely"), in_wgs84=True),
            Format(
                ".gpkg",
                "GeoPackage",
                _write_geopackage,
                _GDAL,
                holds_all_layers=True,
                endings=("-journal", "-shm", "-wal"),  # SQLite would apply them to the new file
            ),
            Format(".parquet", "GeoParquet", _one(write_geoparquet), ("geopandas", "pyarrow")),
            Format(".fgb", "FlatGeobuf", _one(write_flatgeobuf), _GDAL),
            Format(
                ".shp",
                "Shapefile",
                _one(write_shapefile),
                _GDAL,
                companions=tuple(f".{suffix}" for suffix in _SHAPEFILE),
                endings=(".xml",),
            ),
            Format(".csv", "CSV", _one(_write_csv)),
        )
    }
)
"""The formats by suffix."""
