# SPDX-License-Identifier: Apache-2.0
"""Unpack the archives that labeling tools export, of which nobody says what is in them."""

from __future__ import annotations

import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

from geodit.configuration.text_files import check_regular_file
from geodit.data.readers.fields import brief

__all__ = ["unpack_zip"]

_MAX_FILES = 1_000_000
# Images are compressed already, and labels are small: what grows more was made to.
_MOST_GROWTH = 100
_ALWAYS_ALLOWED = 2**30
_BLOCK = 2**20
_ENCRYPTED = 0x1
# What macOS adds.
_PASSED_OVER = "__MACOSX"


def unpack_zip(path: Path, folder: Path) -> Path:
    """Unpack a ZIP file.

    Args:
        path: The file.
        folder: The folder to unpack into, which is made.

    Returns:
        The folder that the content is in: one that holds nothing but a folder is passed over.

    Raises:
        ValueError: If it is no ZIP file, it is damaged or encrypted, a name leads out of the folder or is there twice,
            something is neither a file nor a folder, or it grows by more than a hundred times and a gigabyte.
    """
    check_regular_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = [one for one in archive.infolist() if _PASSED_OVER not in PurePosixPath(one.filename).parts]
            _check_members(path, members)
            left = _MOST_GROWTH * path.stat().st_size + _ALWAYS_ALLOWED
            folder.mkdir(parents=True)
            for member in members:
                left -= _unpack_member(archive, member, folder, left, path)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeError) as error:
        raise ValueError(f"{path} is no ZIP file that can be read: {error}") from error
    return _content(folder)


def _check_members(path: Path, members: list[zipfile.ZipInfo]) -> None:
    if len(members) > _MAX_FILES:
        raise ValueError(f"{path} holds {len(members):,} files, more than {_MAX_FILES:,}: unpack it yourself")
    seen: set[str] = set()
    for member in members:
        name = member.filename
        if member.header_offset < 0:
            raise ValueError(f"{path} is no ZIP file that can be read: its directory is not where it says")
        parts = PurePosixPath(name).parts
        is_inside = bool(parts) and not PurePosixPath(name).is_absolute() and ".." not in parts
        if not is_inside or "\\" in name or "\0" in name or PureWindowsPath(name).drive:
            raise ValueError(f"{path} holds {brief(name)}, which leads out of its folder: do not unpack it")
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ValueError(f"{path} holds {brief(name)}, which is neither a file nor a folder: do not unpack it")
        if member.flag_bits & _ENCRYPTED:
            raise ValueError(f"{path} is encrypted: unpack it, and give the folder")
        key = "/".join(parts)
        if key in seen:
            raise ValueError(f"{path} holds {brief(name)} twice: unpack it, and give the folder")
        seen.add(key)


def _unpack_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, left: int, path: Path) -> int:
    """Write a file, and return its size.

    Raises:
        ValueError: If it is larger than what is left to be written, or in the place of a folder.
    """
    target = folder.joinpath(*PurePosixPath(member.filename).parts)
    size = 0
    try:
        if member.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            return 0
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(member) as source, target.open("xb") as file:
            while block := source.read(_BLOCK):
                size += len(block)
                if size > left:
                    raise ValueError(f"{path} grows more than labels and images do: do not unpack it")
                file.write(block)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise ValueError(f"{path} holds {brief(member.filename)} as a file and as a folder") from error
    return size


def _content(folder: Path) -> Path:
    while True:
        found = list(folder.iterdir())
        if len(found) != 1 or not found[0].is_dir():
            return folder
        folder = found[0]
