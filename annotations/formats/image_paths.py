# SPDX-License-Identifier: Apache-2.0
"""Find the images that annotations name.

A file of annotations may come from anybody, and its images end up in a data set that may be published. So it can only
bring up images in its own folder, or in the one that the user names. Paths of the machine that it was written on are
matched by their last parts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from geodit.data.readers.fields import brief
from geodit.data.readers.files import IMAGE_SUFFIXES, is_file

__all__ = ["ImageFinder", "files_below", "is_image_name", "split_of"]

_ADVICE = "name the folder of the images by --images (images)"
_MAX_NAME = 4096  # characters
_SUFFIXES = IMAGE_SUFFIXES | {".webp", ".gif", ".jp2", ".vrt"}
_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
_SPLIT = re.compile(rf"(?<![a-z])({'|'.join(sorted(_SPLITS, key=len, reverse=True))})(?![a-z])")


class ImageFinder:
    """Finds images by the names that annotations have for them.

    Args:
        *folders: Where they may be. Relative names start from the first one.
        images: The folder that the user names for them, which is looked into first.
    """

    def __init__(self, *folders: Path, images: Path | None) -> None:
        self._start = os.path.abspath(folders[0])  # noqa: PTH100  # links stay as they are
        named = () if images is None else (images,)
        self._folders = [os.path.abspath(folder) for folder in (*named, *folders)]  # noqa: PTH100
        self._stems: dict[str, str] | None = None

    def find(self, name: object) -> str:
        """Return the absolute path of an image.

        Args:
            name: As the annotation has it: a name, or a path with slashes of either kind.

        Raises:
            ValueError: If it is no name, or there is no such image.
        """
        if not isinstance(name, str) or not name.strip() or len(name) > _MAX_NAME or "\0" in name:
            raise ValueError(f"it should name an image, not {brief(name)}")
        parts = [part for part in name.strip().replace("\\", "/").split("/") if part not in ("", ".")]
        for path in self._candidates(parts):
            if is_file(Path(path)):
                return path
        raise ValueError(f"the image {brief(name)} is not in {self._folders[0]}: {_ADVICE}")

    def find_stem(self, stem: str) -> str:
        """Return the absolute path of the image of a name without its suffix, directly in one of the folders.

        Raises:
            ValueError: If there is none.
        """
        if self._stems is None:
            self._stems = {}
            for folder in map(Path, self._folders):
                for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                    if is_image_name(path.name):
                        self._stems.setdefault(path.stem, str(path))
        if stem not in self._stems:
            raise ValueError(f"there is no image {brief(stem)} in {self._folders[0]}: {_ADVICE}")
        return self._stems[stem]

    def _candidates(self, parts: Sequence[str]) -> Iterator[str]:
        if ".." in parts:
            # "../images/a.png" is fine if that folder is one of those that count.
            path = os.path.normpath(os.path.join(self._start, *parts))  # noqa: PTH118
            if any(path.startswith(os.path.join(folder, "")) for folder in self._folders):  # noqa: PTH118
                yield path
        for folder in self._folders:
            for number in range(len(parts)):
                if ".." not in parts[number:]:
                    yield os.path.join(folder, *parts[number:])  # noqa: PTH118


def is_image_name(name: str) -> bool:
    """Return whether a file of this name should be an image."""
    return Path(name).suffix.lower() in _SUFFIXES and not name.startswith(".")


def files_below(folder: Path, *suffixes: str) -> Iterator[Path]:
    """Yield the files of a folder and of those in it, ordered by their paths; links to folders are not followed.

    Args:
        folder: Where to begin.
        *suffixes: In lower case, with the dot. Without any, all images.
    """
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.startswith("."):
                continue
            if (Path(name).suffix.lower() in suffixes) if suffixes else is_image_name(name):
                yield Path(where, name)


def split_of(path: Path, root: Path | None = None) -> str:
    """Return the split that the name of a file, or of a folder of it, says: "train", "validation", "test" or "".

    Args:
        path: A file.
        root: The folder whose own name, and those above it, say nothing; by default that of the file.
    """
    relative = path.relative_to(path.parent if root is None else root)
    for part in (relative.stem, *reversed(relative.parts[:-1])):
        if found := _SPLIT.search(part.lower()):
            return _SPLITS[found[0]]
    return ""
