# SPDX-License-Identifier: Apache-2.0
"""Check a local raster, and all files that GDAL opens with it, before GDAL does.

* Overviews and masks next to a raster (`.ovr`, `.msk`) are TIFF themselves, and name no further file.
* Statistics and georeference next to it (`.aux.xml`) name no other file of overviews.
* The sources of a VRT are local files that pass the same checks; none is an address, a pipe or a device.

Needs the extra `geodit[geo]`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from geodit.configuration.text_files import check_regular_file, read_text
from geodit.rasters.gdal_access import LOCAL_DRIVERS, GdalAccess, local_options
from geodit.rasters.world_files import world_file_names

__all__ = ["TIFF_MAGIC", "check_local_raster", "check_overviews", "local_access"]

TIFF_MAGIC = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
"""Classic TIFF and BigTIFF, each in both byte orders."""

_VRT_MAGIC = b"<VRTDataset"
_HEADER_BYTES = 16_384
_MAX_VRT_DEPTH = 4
_MAX_SOURCES = 10_000
# Names, in small letters, of the elements of a VRT that name a file.
_FILE_NAMES = ("sourcefilename", "sourcedataset", "filename", "dempath")
# Items of metadata that name one.
_FILE_ITEMS = ("overview_file", "x_dataset", "y_dataset", "rpc_dem", "rpc_demsrs")
_TEXT_SIDECARS = (".aux", ".prj", ".hdr", ".rpb", "_rpc.txt", ".rpc", ".imd", ".ige", ".rrd", ".clr", ".stx", ".sta")


def local_access(path: Path) -> GdalAccess:
    """Return how GDAL opens a local file, after the checks of [`check_local_raster`]."""
    check_local_raster(path)
    # As an absolute path it is none of the names that GDAL gives a meaning of its own.
    return GdalAccess(str(path), os.path.abspath(path))  # noqa: PTH100  # links stay: files lie next to them


def check_local_raster(path: Path) -> None:
    """Check a raster and the files that GDAL opens with it.

    Raises:
        ValueError: If one of them would lead GDAL to a file or an address that the user does not expect.
    """
    _check(path, 0, set())


def check_overviews(access: GdalAccess) -> None:
    """Refuse a raster that names another file for its overviews.

    Raises:
        ValueError: If it does, or cannot be opened.
    """
    with access.environment(), access.open() as dataset:
        if others := dataset.tags(ns="OVERVIEWS"):
            raise ValueError(
                f"{access.name} says its overviews are in another file, {next(iter(others.values()))!r:.200}"
            )


def _alone(path: Path, drivers: tuple[str, ...]) -> GdalAccess:
    """Return how a file is opened without the files next to it."""
    absolute = os.path.abspath(path)  # noqa: PTH100
    return GdalAccess(str(path), absolute, drivers, local_options(with_sidecars=False))


def _check(path: Path, depth: int, seen: set[str]) -> None:
    if str(path.absolute()).startswith("/vsi"):
        raise ValueError(f"{path} is a name that GDAL does not take for a file: copy it to another directory")
    check_regular_file(path)
    key = str(path.absolute())
    if key in seen:
        return
    seen.add(key)
    if len(seen) > _MAX_SOURCES:
        raise ValueError(f"{path} is one of more than {_MAX_SOURCES:,} files of a VRT: make a GeoTIFF of them")
    _check_sidecars(path)
    if _VRT_MAGIC in _header(path):
        if depth >= _MAX_VRT_DEPTH:
            raise ValueError(f"{path} is a VRT in more than {_MAX_VRT_DEPTH} others: make a GeoTIFF of it")
        for source in _vrt_sources(path):
            _check(source, depth + 1, seen)
    elif depth:
        # Sources are opened by any of GDAL's formats; one of ours takes it, or it is refused.
        with _alone(path, LOCAL_DRIVERS).open():
            pass


def _check_sidecars(path: Path) -> None:
    for suffix in (".ovr", ".msk", ".msk.ovr", ".OVR", ".MSK", ".MSK.OVR"):
        beside = path.with_name(path.name + suffix)
        if not os.path.lexists(beside):
            continue
        _check_beside(path, beside)
        if not _header(beside).startswith(TIFF_MAGIC):
            raise ValueError(f"{beside}, which GDAL reads with {path.name}, is not a TIFF file: remove it")
        check_overviews(_alone(beside, ("GTiff",)))
        beside_it = beside.with_name(beside.name + ".aux.xml")
        if os.path.lexists(beside_it):
            _check_auxiliary(path, beside_it)
    for beside in _text_sidecars(path):
        _check_beside(path, beside)
    beside = path.with_name(path.name + ".aux.xml")
    if os.path.lexists(beside):
        _check_auxiliary(path, beside)


def _check_beside(path: Path, beside: Path) -> None:
    try:
        check_regular_file(beside)
    except (OSError, ValueError) as error:
        raise ValueError(f"{beside}, which GDAL reads with {path.name}, is no regular file: remove it") from error


def _text_sidecars(path: Path) -> Iterator[Path]:
    for suffix in _TEXT_SIDECARS:
        for form in (suffix, suffix.upper()):
            yield from _existing(path.with_name(path.stem + form), path.with_name(path.name + form))
    yield from _existing(*world_file_names(path))


def _existing(*paths: Path) -> Iterator[Path]:
    return (path for path in paths if os.path.lexists(path))


def _check_auxiliary(path: Path, beside: Path) -> None:
    _check_beside(path, beside)
    for _, attributes, text in _nodes(beside):
        _check_metadata(beside, attributes, text)


def _vrt_sources(path: Path) -> Iterator[Path]:
    """Yield the files that a VRT names, which are refused if they are not local.

    GDAL reads XML its own way: it does not tell elements from attributes, nor small from capital letters, and takes
    the first of several pieces of a text. What it may read in another way than Python is refused.
    """
    folder = Path(os.path.realpath(path)).parent
    for name, attributes, text in _nodes(path):
        _check_metadata(path, attributes, text)
        if name == "pixelfunctionlanguage" and text.strip().lower() != "builtin":
            raise ValueError(f"{path} has pixels that are computed by {text.strip()!r:.50}: make a GeoTIFF of it")
        if attributes.get("subclass", "").lower() == "vrtprocesseddataset":
            raise ValueError(f"{path} is a VRT of processing steps: make a GeoTIFF of it")
        if odd := sorted(attributes.keys() & set(_FILE_NAMES)):
            raise ValueError(f"{path} names a file by the attribute {odd[0]}: write it as an element")
        if name in _FILE_NAMES and text:
            relative = attributes.get("relativetovrt", "0") != "0"
            yield _local_source(path, text, folder if relative else None)


def _local_source(path: Path, source: str, folder: Path | None) -> Path:
    found = Path(source) if folder is None else folder / source
    if "://" in source or str(found).startswith("/vsi") or source.startswith("/vsi"):
        raise ValueError(
            f"{path} names {source!r:.200}, which is not a local file: only local files are read with a VRT"
        )
    try:
        check_regular_file(found)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} names {source!r:.200}, which is not a local file that can be read") from error
    return found


def _check_metadata(path: Path, attributes: dict[str, str], text: str) -> None:
    names = attributes.get("key", "").lower(), attributes.get("name", "").lower()
    if attributes.get("domain", "").lower() == "overviews" or any(name in _FILE_ITEMS for name in names):
        raise ValueError(f"{path} names another file in its metadata, {text.strip()!r:.200}: remove that")


def _nodes(path: Path) -> Iterator[tuple[str, dict[str, str], str]]:
    """Yield each element of an XML file: its name and attributes in small letters, and its text.

    Raises:
        ValueError: If it is not plain XML.
    """
    document = read_text(path, encoding="utf-8-sig")
    if found := next((mark for mark in ("<!DOCTYPE", "<!ENTITY", "<![CDATA[") if mark in document), None):
        raise ValueError(f"{path} contains {found}, which no such file needs: remove it")
    parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True, insert_pis=True))
    try:
        root = ElementTree.fromstring(document, parser)
    except ElementTree.ParseError as error:
        raise ValueError(f"{path} is not XML: {error}") from error
    for node in root.iter():
        if callable(node.tag):
            continue  # a comment
        name = _local_name(node.tag)
        if name in _FILE_NAMES and len(node):
            raise ValueError(f"{path} has something besides text in the name of a file: remove it")
        yield name, {_local_name(key): value for key, value in node.attrib.items()}, node.text or ""


def _local_name(name: str) -> str:
    return name.rpartition("}")[2].rpartition(":")[2].lower()


def _header(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEADER_BYTES)
