# SPDX-License-Identifier: Apache-2.0
"""Items of a SpatioTemporal Asset Catalog: a JSON file that names the rasters of a scene.

Needs the extra `geodit[stac]`.
"""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from geodit.configuration.text_files import MAX_TEXT_BYTES, parse_json_object, read_json_object
from geodit.configuration.types_geodit import JsonObject

if TYPE_CHECKING:
    import pystac

__all__ = ["find_asset", "names_stac_item"]

# In this order: what is made to be looked at comes before single bands.
_ROLES = ("visual", "data")
_KEYS = ("visual", "image", "data")
_REMOTE = ("http://", "https://", "s3://", "gs://", "az://")
_SECONDS = 60
_ITEM = re.compile(r"(?P<item>.+\.(?:json|geojson))(?:\?[^#]*)?(?:#(?P<asset>.+))?", re.IGNORECASE)


def names_stac_item(name: str) -> bool:
    """Return whether a name is that of a STAC item, with or without the asset: `item.json`, `item.json#visual`."""
    return _ITEM.fullmatch(name) is not None


def find_asset(name: str) -> str:
    """Return the path or address of the raster that a STAC item names.

    Args:
        name: Path, or address with http(s), of an item. `#` and the key of an asset choose one; by default it is the
            one with the role `visual`, else the one called `visual`, `image` or `data`, else the only one with the
            role `data`.

    Raises:
        FileNotFoundError: If there is no such file.
        ModuleNotFoundError: If pystac is not installed.
        ValueError: If it is no STAC item, or has no such asset.
    """
    address, _, key = name.partition("#")
    item = _read_item(address)
    assets = item.assets
    if key and key not in assets:
        raise ValueError(f"{address} has no asset {key!r}, only {', '.join(assets) or 'none'}")
    asset = assets[key or _default_asset(address, item)]
    location: str | None = asset.get_absolute_href()
    if location is None:
        raise ValueError(f"{name} does not say where its asset is")
    if address.startswith(_REMOTE) and not location.startswith(_REMOTE):
        raise ValueError(f"{name} is on the network and names the local file {location!r:.200}, which is not read")
    return location.removeprefix("file://")


def _default_asset(address: str, item: pystac.Item) -> str:
    with_role: dict[str, list[str]] = {
        role: [key for key, asset in item.assets.items() if role in (asset.roles or ())] for role in _ROLES
    }
    named = [key for key in _KEYS if key in item.assets]
    for candidates in (with_role["visual"][:1], named[:1], with_role["data"], [*item.assets]):
        if len(candidates) == 1:
            return candidates[0]
    raise ValueError(
        f"{address} has the assets {', '.join(item.assets) or '(none)'}: choose one, for instance "
        f"{address}#{next(iter(item.assets), 'visual')}"
    )


def _read_item(address: str) -> pystac.Item:
    document = _read_document(address)
    if document.get("type") != "Feature" or not isinstance(document.get("assets"), dict):
        raise ValueError(f"{address} is not an image, nor a STAC item, which has assets")
    try:
        import pystac
    except ImportError as error:
        raise ModuleNotFoundError(
            f'{address} is a STAC item, which needs pystac: pip install "geodit[stac]"', name="pystac"
        ) from error
    try:
        return pystac.Item.from_dict(document, href=address)
    except (pystac.STACError, pystac.STACTypeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{address} is not a STAC item that can be read: {error}") from error


def _read_document(address: str) -> JsonObject:
    if not address.startswith(("http://", "https://")):
        if not Path(address).exists():
            raise FileNotFoundError(f"there is no image {address}")
        return read_json_object(address)
    try:
        with urllib.request.urlopen(address, timeout=_SECONDS) as response:  # its scheme is checked
            content = response.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{address} cannot be fetched: {error}") from error
    if len(content) > MAX_TEXT_BYTES:
        raise ValueError(f"{address} is larger than {MAX_TEXT_BYTES:,} bytes, which no STAC item is")
    return parse_json_object(content.decode("utf-8", errors="replace"), address)
