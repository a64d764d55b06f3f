# SPDX-License-Identifier: Apache-2.0
"""Read XML that somebody else wrote."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from geodit.configuration.text_files import read_text
from geodit.data.readers.fields import brief

__all__ = ["number_attribute", "read_xml"]

_MAX_BYTES = 2**28


def read_xml(path: Path) -> ElementTree.Element:
    """Read an XML file.

    Returns:
        Its outermost element.

    Raises:
        ValueError: If it is not XML of UTF-8 text, is larger than 256 MiB, or has a DOCTYPE: entities are declared in
            one, and can be made to expand without bound.
    """
    text = read_text(path, max_bytes=_MAX_BYTES, encoding="utf-8-sig")
    if "<!DOCTYPE" in text:
        raise ValueError(f"{path} has a DOCTYPE, which is not read")
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise ValueError(f"{path} is not XML: {error}") from error


def number_attribute(element: ElementTree.Element, name: str, default: float | None = None) -> float:
    """Return the finite number that is an attribute of an element.

    Raises:
        ValueError: If it is missing and there is no default, or it is not such a number.
    """
    text = element.get(name)
    if text is None:
        if default is None:
            raise ValueError(f"<{element.tag}> has no {name}")
        return default
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{name} of <{element.tag}> is {brief(text)}, not a number")
    return number
