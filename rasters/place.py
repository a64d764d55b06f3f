# SPDX-License-Identifier: Apache-2.0
"""Find out where a raster is on Earth: by its transform, control points or camera. Needs the extra `geodit[geo]`."""

from __future__ import annotations

from pathlib import Path

from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.io import DatasetReader
from transformers.utils import logging

from geodit.configuration.text_files import read_text
from geodit.rasters.control_points import ControlPointReference, RpcReference
from geodit.rasters.georeference import GeoReference, MapReference

__all__ = ["find_place"]

logger = logging.get_logger(__name__)

_LONGITUDE_AND_LATITUDE = "EPSG:4326"


def find_place(dataset: DatasetReader, path: Path | None, crs: str | None) -> MapReference | None:
    """Return where the pixels of a raster are on Earth.

    A transform, which may come from a world file, comes before control points, and these before the model of a camera.
    Control points and cameras that fit no map are warned of.

    Args:
        dataset: The raster.
        path: Its file, if it is a local one: a `.prj` next to it may state the reference system.
        crs: What the user says is the reference system if the raster states none. It comes before a `.prj`.

    Raises:
        ValueError: If a reference system is none, or `crs` is given for a raster with neither transform nor points.
    """
    stated = None if crs is None else _parse_crs(crs)
    if not dataset.transform.is_identity:
        found = dataset.crs or stated or _crs_of_prj(path)
        return None if found is None else GeoReference(found.to_string(), tuple(dataset.transform)[:6])
    try:
        found_otherwise = _place_without_transform(dataset, stated)
    except ValueError as error:
        logger.warning("%s has no place on Earth: %s", dataset.name, error)
        return None
    if found_otherwise is None and stated is not None:
        raise ValueError(f"it has no transform that {crs} could be of: put a world file next to it, or leave crs out")
    return found_otherwise


def _place_without_transform(dataset: DatasetReader, stated: CRS | None) -> MapReference | None:
    points, crs_of_points = dataset.gcps
    found = crs_of_points or stated
    if points and found is not None:
        rows = tuple((point.row, point.col, point.x, point.y) for point in points)
        return ControlPointReference(found.to_string(), rows)
    if coefficients := dataset.tags(ns="RPC"):
        height = float(coefficients.get("HEIGHT_OFF", "0").split()[0])
        return RpcReference(_LONGITUDE_AND_LATITUDE, coefficients, height)
    return None


def _parse_crs(text: str) -> CRS:
    try:
        return CRS.from_user_input(text)
    except CRSError as error:
        raise ValueError(f"{text!r} is no coordinate reference system: give one such as EPSG:32631") from error


def _crs_of_prj(path: Path | None) -> CRS | None:
    beside = next((file for file in _prj_files(path) if file.is_file()), None)
    if beside is None:
        return None
    try:
        return CRS.from_wkt(read_text(beside, encoding="utf-8-sig"), morph_from_esri_dialect=True)
    except (CRSError, ValueError) as error:
        raise ValueError(f"{beside.name} next to it is no coordinate reference system in WKT: remove it") from error


def _prj_files(path: Path | None) -> tuple[Path, ...]:
    return () if path is None else (path.with_suffix(".prj"), path.with_suffix(".PRJ"))
