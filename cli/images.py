# SPDX-License-Identifier: Apache-2.0
"""The images that a command is given: files, folders, patterns, lists and addresses."""

import glob
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from geodit.cli.errors import CommandError

# Files of a folder with another suffix are passed over; so are GeoPackages, most of which hold no raster.
_SUFFIXES = {
    ".asc", ".bil", ".bip", ".bmp", ".bsq", ".dem", ".ers", ".gif", ".hgt", ".img", ".j2k", ".jp2", ".jpeg", ".jpg",
    ".nitf", ".ntf", ".png", ".tif", ".tiff", ".vrt", ".webp",
}  # fmt: skip
_NAME = re.compile(r"/vsi|[A-Za-z0-9+]+://|[A-Z][A-Z0-9_]+:")


def expand_images(arguments: Sequence[str], *, keep_going: bool = False) -> list[str]:
    """Return the images that some arguments name, each once.

    Args:
        arguments: Files, addresses such as `https://...` or `/vsizip/...`, folders, patterns with `*`, or text files
            that end in `.txt` and name one of these a line.
        keep_going: Whether a file that is missing is left to whoever opens it.

    Raises:
        CommandError: If a file is missing, a folder or a list is empty, a list names a list, or nothing matches a
            pattern.
    """
    images = list(dict.fromkeys(image for argument in arguments for image in _expand_argument(argument, keep_going)))
    if not images:
        raise CommandError("there is no image to ask about")
    return images


def _expand_argument(argument: str, keep_going: bool) -> Iterator[str]:
    path = Path(argument)
    if not _is_list(path):
        yield from _expand(argument, keep_going)
        return
    for line in map(str.strip, _read_list(path).splitlines()):
        if not line or line.startswith("#"):
            continue
        # A path in a list is relative to it.
        named = line if is_name_of_gdal(line) else str(path.parent / line)
        if _is_list(Path(named)):
            raise CommandError(f"{path} names the list {named}: a list names images")
        yield from _expand(named, keep_going)


def _expand(argument: str, keep_going: bool) -> Iterator[str]:
    path = Path(argument)
    if is_name_of_gdal(argument) and not os.path.lexists(argument):
        yield argument
    elif path.is_dir():
        # macOS puts a hidden file beside each on some disks.
        found = sorted(
            str(one)
            for one in path.iterdir()
            if one.suffix.lower() in _SUFFIXES and not one.name.startswith(".") and one.is_file()
        )
        if not found:
            raise CommandError(f"there is no image in the folder {argument}")
        yield from found
    elif glob.has_magic(argument) and not os.path.lexists(argument):
        # Path.glob takes no absolute pattern.
        found = sorted(one for one in glob.glob(argument, recursive=True) if Path(one).is_file())  # noqa: PTH207
        if not found:
            raise CommandError(f"no file matches {argument}")
        yield from found
    elif path.is_file() or keep_going:
        yield argument
    else:
        raise CommandError(f"{argument} is not an image" if path.exists() else f"there is no image {argument}")


def is_name_of_gdal(argument: str) -> bool:
    """Return whether an argument names something else than the path of a file.

    Addresses, members of archives, parts of a file such as `GTIFF_DIR:2:pages.tif`, and assets of a STAC item such as
    `item.json#visual` are left to whoever opens them.
    """
    item, separator, _ = argument.partition("#")
    return _NAME.match(argument) is not None or (bool(separator) and item.endswith(".json"))


def _is_list(path: Path) -> bool:
    return path.suffix.lower() == ".txt" and path.is_file()


def _read_list(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CommandError(f"{path} is not a list of images: it is not text") from error
