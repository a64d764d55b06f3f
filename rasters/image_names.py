# SPDX-License-Identifier: Apache-2.0
"""Names of rasters that are not simply paths: addresses, members of archives, parts of a file.

They count only because the user wrote them: a local file of that very name comes first, and no file can bring them up.
Needs the extra `geodit[geo]`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from geodit.configuration.text_files import check_regular_file
from geodit.rasters.gdal_access import SINGLE_FILE_DRIVERS, GdalAccess, local_options, remote_options
from geodit.rasters.local_rasters import check_local_raster

__all__ = ["find_raster"]

_REMOTE = {"http": "/vsicurl/http://", "https": "/vsicurl/https://", "s3": "/vsis3/", "gs": "/vsigs/", "az": "/vsiaz/"}
_ARCHIVES = {"zip": "/vsizip/", "tar": "/vsitar/"}
_REMOTE_FILES = re.compile(r"/vsi(curl|s3|gs|az|adls|oss|swift)[/?]")
_ARCHIVE_FILES = re.compile(r"/vsi(zip|tar)/")
# The archive, in braces as GDAL takes any name, or up to a suffix that says what it is.
_IN_BRACES = re.compile(r"\{(?P<archive>[^{}]+)\}/?(?P<member>.*)")
_BY_SUFFIX = re.compile(r"(?P<archive>.+?\.(?:zip|kmz|tar|tgz|tar\.gz))(?:/(?P<member>.*))?", re.IGNORECASE)
# A part of a file, such as a page of a TIFF: the format, what comes before the path of the file, and what after it.
_PARTS = (
    ("GTiff", re.compile(r"(?P<before>GTIFF_DIR:(?:off:)?\d+:)(?P<path>.+)(?P<after>)")),
    ("NITF", re.compile(r"(?P<before>NITF_IM:\d+:)(?P<path>.+)(?P<after>)")),
    ("GPKG", re.compile(r"(?P<before>GPKG:)(?P<path>.+)(?P<after>:[^:/]+)")),
    ("netCDF", re.compile(r'(?P<before>NETCDF:"?)(?P<path>[^"]+?)(?P<after>"?:[^:"]+)')),
    ("HDF5Image", re.compile(r'(?P<before>HDF5:"?)(?P<path>[^"]+?)(?P<after>"?:/?/[^:"]+)')),
)


def find_raster(name: str) -> GdalAccess | None:
    """Return how GDAL opens what a user names.

    Args:
        name: An address (`https://`, `http://`, `s3://`, `gs://`, `az://`), a member of an archive
            (`zip://scenes.zip!in/a.tif`, `zip+https://...!...`, `/vsizip/scenes.zip/in/a.tif`, and `tar` likewise),
            a name of GDAL's for a file on the network (`/vsicurl/...`), or a part of a file as GDAL names it
            (`GTIFF_DIR:2:pages.tif`, `NETCDF:"ice.nc":snow`).

    Returns:
        `None` if it is none of these, but a path.

    Raises:
        FileNotFoundError: If there is no such archive or file.
        ValueError: If it is a name of GDAL's of another kind.
    """
    if part := _part_of_file(name):
        return part
    location = _location(name)
    if location is None:
        return None
    if _ARCHIVE_FILES.match(location):
        return _member(name, location)
    if _REMOTE_FILES.match(location):
        return GdalAccess(_shown(name), location, SINGLE_FILE_DRIVERS, remote_options(location))
    raise ValueError(
        f"{name} is a name that GDAL does not take for a file: give a path, an address, or a member of an archive"
    )


def _location(name: str) -> str | None:
    """Return GDAL's own name for a URL."""
    if name.startswith("/vsi"):
        return name
    scheme, found, rest = name.partition("://")
    scheme = scheme.lower()
    if not found:
        return None
    if scheme in _REMOTE:
        return _REMOTE[scheme] + rest
    kind, _, inner = scheme.partition("+")
    if kind not in _ARCHIVES or (inner and inner not in _REMOTE):
        return None
    archive, _, member = rest.partition("!")
    return f"{_ARCHIVES[kind]}{{{_REMOTE[inner] if inner else ''}{archive}}}/{member.lstrip('/')}"


def _member(name: str, location: str) -> GdalAccess:
    prefix = location[: location.index("/", 1) + 1]
    rest = location.removeprefix(prefix)
    found = _IN_BRACES.fullmatch(rest) or _BY_SUFFIX.fullmatch(rest)
    if found is None:
        raise ValueError(f"{name} names no archive: its name ends in .zip or .tar, or give it as zip://archive!member")
    archive, member = found["archive"], found["member"] or ""
    remote = archive if archive.startswith("/vsi") else "/" + archive if archive.startswith("vsi") else None
    if remote is not None:
        if not _REMOTE_FILES.match(remote):
            raise ValueError(f"{name} names an archive in an archive: unpack the outer one")
        return GdalAccess(_shown(name), f"{prefix}{{{remote}}}/{member}", SINGLE_FILE_DRIVERS, remote_options(remote))
    try:
        check_regular_file(archive)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no archive {archive}") from None
    where = f"{prefix}{{{os.path.abspath(archive)}}}/{member}"  # noqa: PTH100
    return GdalAccess(name, where, SINGLE_FILE_DRIVERS, local_options(with_sidecars=False))


def _part_of_file(name: str) -> GdalAccess | None:
    for driver, pattern in _PARTS:
        found = pattern.fullmatch(name)
        if found is None:
            continue
        path = Path(found["path"])
        try:
            check_local_raster(path)
        except FileNotFoundError:
            raise FileNotFoundError(f"there is no image {path}, of which {name} is a part") from None
        absolute = os.path.abspath(path)  # noqa: PTH100
        return GdalAccess(name, found["before"] + absolute + found["after"], (driver,))
    return None


def _shown(name: str) -> str:
    """Leave out what follows a question mark, such as a signature that is a secret."""
    return name.partition("?")[0]
