# SPDX-License-Identifier: Apache-2.0
"""Arrays in JSON that is too large to be held in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from geodit.data.readers.files import iter_json_array

__all__ = ["iter_array"]


def iter_array(path: Path, key: str | None = None) -> Iterator[object]:
    """Yield the elements of an array, as [`~geodit.data.readers.files.iter_json_array`] does.

    Args:
        path: A JSON file that is an array, or an object with one.
        key: The name of the array if the file is an object.

    Raises:
        ValueError: If the file is not such JSON. Elements before the fault have been yielded by then.
    """
    try:
        yield from iter_json_array(path, key)
    except ValueError as error:
        # Its advice is for published data.
        raise ValueError(str(error).removesuffix(" Download it again.")) from error
