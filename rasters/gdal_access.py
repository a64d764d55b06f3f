# SPDX-License-Identifier: Apache-2.0
"""What GDAL is given to open, and what it may do then. Needs the extra `geodit[geo]`.

GDAL can be made to open further files, and addresses on the network, by what it reads. Here every raster is opened
with a list of formats, and with settings that keep a local file off the network. What a local file names beside itself
is checked before it is opened, see [`geodit.rasters.local_rasters`].
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field

import rasterio
from rasterio._err import CPLE_BaseError  # rasterio.errors does not have it
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader

__all__ = [
    "GDAL_ERRORS",
    "LOCAL_DRIVERS",
    "SINGLE_FILE_DRIVERS",
    "GdalAccess",
    "gdal_reason",
    "local_options",
    "remote_options",
]

GDAL_ERRORS = (RasterioError, CPLE_BaseError, OSError)
"""What rasterio raises where GDAL fails."""

SINGLE_FILE_DRIVERS = (
    "GTiff",
    "JP2OpenJPEG",
    "JP2ECW",
    "JP2KAK",
    "JP2MrSID",
    "PNG",
    "JPEG",
    "JPEGXL",
    "WEBP",
    "BMP",
    "GIF",
    "BIGGIF",
)
"""Formats of which one file holds all: what is read from archives and over the network."""

LOCAL_DRIVERS = (
    *SINGLE_FILE_DRIVERS,
    "VRT",
    "HFA",
    "ENVI",
    "NITF",
    "GPKG",
    "MBTiles",
    "PCIDSK",
    "EHdr",
    "AAIGrid",
    "DTED",
    "SRTMHGT",
    "PNM",
)
"""Formats of local files.

None of them is a list of addresses on the network, as those of WMS and STACIT are. netCDF and HDF5 are left out: their
libraries may end the process on a damaged file, and HDF5 files may link to others. They are read by a variable's name.
"""

_MOST_REASONS = 4

# A proxy that there cannot be: whatever GDAL would fetch fails before a connection.
_NO_PROXY = "http://0.0.0.0:0"
_OFF_THE_NETWORK = {
    "CPL_VSIL_CURL_ALLOWED_FILENAME": "none",
    "GDAL_HTTP_PROXY": _NO_PROXY,
    "GDAL_HTTPS_PROXY": _NO_PROXY,
    "GDAL_VRT_ENABLE_PYTHON": "NO",
}
_NO_OTHER_FILES = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_PAM_ENABLED": "NO"}


def local_options(*, with_sidecars: bool) -> dict[str, str]:
    """Return GDAL's settings for a local file, with or without the files next to it."""
    return _OFF_THE_NETWORK | ({"GDAL_DISABLE_READDIR_ON_OPEN": "TRUE"} if with_sidecars else _NO_OTHER_FILES)


def remote_options(address: str | None) -> dict[str, str]:
    """Return GDAL's settings for a raster on the network, of which only `address` is fetched, if given."""
    options = _NO_OTHER_FILES | {"GDAL_HTTP_CONNECTTIMEOUT": "30", "GDAL_HTTP_MAX_RETRY": "3"}
    return options if address is None else options | {"CPL_VSIL_CURL_ALLOWED_FILENAME": address}


@dataclass(frozen=True)
class GdalAccess:
    """A raster that GDAL opens.

    Args:
        name: What the user called it, for errors.
        location: What GDAL is given.
        drivers: Formats that are tried.
        options: GDAL's settings while it is opened and read.
    """

    name: str
    location: str
    drivers: tuple[str, ...] = LOCAL_DRIVERS
    options: Mapping[str, str] = field(default_factory=lambda: local_options(with_sidecars=True))

    def environment(self) -> rasterio.Env:
        """Return the context in which the raster is opened and read."""
        return rasterio.Env(**self.options)

    def open(self) -> DatasetReader:
        """Open the raster.

        Raises:
            ValueError: If none of the formats fits.
        """
        try:
            with self.environment(), warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                return DatasetReader(self.location, driver=list(self.drivers), sharing=False)
        except GDAL_ERRORS as error:
            raise ValueError(f"{self.name} cannot be read as an image: {self.reason(error)}") from error

    def reason(self, error: BaseException) -> str:
        """Return what GDAL says of an error, see [`gdal_reason`], with the name instead of what may hold a secret."""
        return gdal_reason(error).replace(self.location, self.name)


def gdal_reason(error: BaseException) -> str:
    """Return what GDAL says of an error in one line, with all that led to it, the last first."""
    said: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(said) < _MOST_REASONS:
        text = " ".join(str(cause).split()).replace("Read failed. See previous exception for details.", "").rstrip(".")
        if text and not any(text in earlier for earlier in said):
            said.append(text)
        cause = cause.__cause__ or cause.__context__
    return "; ".join(said) or type(error).__name__
