# SPDX-License-Identifier: Apache-2.0
"""What is looked at before a file is published: where it really lies, what is in it, and that it stays as it is."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath

from geodit.configuration.secrets import find_secrets
from geodit.configuration.text_files import check_regular_file

__all__ = ["Unchanged", "is_path_in_repo", "refuse_foreign_files", "refuse_secrets_in_files"]

# What a push may read at the top of a folder, and the folders that it looks into. Whatever else lies there stays.
_READ = re.compile(r".*\.(?:csv|jinja|json|jsonl|md|py|safetensors|yaml)|LICENSE")
_LOOKED_INTO = ("training", "results", "assets")
_WEIGHTS = ".safetensors"
# Gigabytes of numbers or images, compressed in tables; the state of training has its text at the beginning.
_STATES = (".bin", ".pt", ".pth", ".parquet")
_STATE_BYTES = 2**20
_MAX_HEADER_BYTES = 100_000_000
_BLOCK_BYTES = 2**24
# Longer than any secret, so that one on the border of two blocks is seen in the second.
_OVERLAP_BYTES = 2**13


def refuse_foreign_files(
    folder: Path, origin: Path | None = None, *, looked_into: Collection[str] = _LOOKED_INTO
) -> None:
    """Refuse links that lead out of a folder to be published, and what is no file, before anything is opened.

    A snapshot in the cache of `huggingface_hub` may link to the blobs of its own repository.

    Args:
        folder: The folder.
        origin: The folder that `folder` is a view of, if it is one: links may lead into it, too.
        looked_into: Folders in it of which files are published, too.

    Raises:
        ValueError: If there is one; the message names it.
    """
    roots = [root for start in (folder, origin) if start is not None for root in _roots(start.resolve())]
    for path in _read_paths(folder, looked_into):
        try:
            real = path.resolve(strict=True)
            if path.is_symlink() and not any(real.is_relative_to(root) for root in roots):
                raise ValueError(
                    f"{path} is a link that leads out of its folder: a push takes no other file than those of the "
                    "folder; put a copy there, or take the link away"
                )
            if not real.is_dir():
                check_regular_file(real)
        except (OSError, RuntimeError) as error:  # a link to nothing, or in a circle
            raise ValueError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def refuse_secrets_in_files(contents: Mapping[str, Path | bytes], known: Iterable[str] = ()) -> None:
    """Refuse to publish a file with a token, key or password in it.

    Of weights the header is looked at, and of the state of training (`*.pt`, `*.pth`, `*.bin`) and of tables
    (`*.parquet`) the first megabyte.

    Args:
        contents: The files by their paths in the repository.
        known: Secrets to look for by their values, such as the token in use.

    Raises:
        ValueError: If one has. The message names file and kind, and does not repeat it.
    """
    known = tuple(known)
    for name, content in contents.items():
        for text in (name, *_texts(name, content)):
            if kinds := find_secrets(text, known):
                shown = "the name of a file" if text is name else name
                raise ValueError(
                    f"{shown} has something that looks like {' and '.join(kinds)}: take it out before you publish"
                )


def is_path_in_repo(path: object) -> bool:
    """Return whether something is a file's path in a repository: relative, inside it, the same on every system."""
    if not isinstance(path, str) or path in ("", ".") or "\\" in path or not path.isprintable():
        return False
    pure = PurePosixPath(path)
    return not pure.is_absolute() and not PureWindowsPath(path).drive and ".." not in pure.parts and str(pure) == path


class Unchanged:
    """Files as they were when this was made.

    Args:
        paths: The files.

    Raises:
        ValueError: If one is not there.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._states = {path: self._state(path) for path in paths}

    def check(self) -> None:
        """Find out whether they still are as they were.

        Raises:
            ValueError: If one has changed, or is gone; the message names it.
        """
        changed = [str(path) for path, state in self._states.items() if self._state(path) != state]
        if changed:
            raise ValueError(
                f"{', '.join(changed)} changed while it was pushed, and nothing was committed: push again when "
                "nothing writes to it"
            )

    @staticmethod
    def _state(path: Path) -> tuple[int, ...] | None:
        try:
            found = path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _roots(folder: Path) -> Iterator[Path]:
    yield folder
    for parent in folder.parents:
        if parent.name == "snapshots" and (parent.parent / "blobs").is_dir():
            yield parent.parent / "blobs"


def _read_paths(folder: Path, looked_into: Collection[str]) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name in looked_into:
            yield path
            # Links to folders are not followed: they are refused, or lead to what is looked at in its own place.
            for parent, folders, files in os.walk(path):
                yield from (Path(parent, name) for name in sorted([*folders, *files]))
        elif _READ.fullmatch(path.name):
            yield path


def _texts(name: str, content: Path | bytes) -> Iterator[str]:
    """Yield the text of a file in blocks, whatever its encoding: all secrets are ASCII."""
    if isinstance(content, bytes):
        yield _ascii(content)
        return
    with content.open("rb") as file:
        left = _STATE_BYTES if name.endswith(_STATES) else None
        if name.endswith(_WEIGHTS):
            length = file.read(8)
            left = min(struct.unpack("<Q", length)[0], _MAX_HEADER_BYTES) if len(length) == 8 else 0
        before = b""
        while block := file.read(_BLOCK_BYTES if left is None else min(_BLOCK_BYTES, left)):
            yield _ascii(before + block)
            before = block[-_OVERLAP_BYTES:]
            left = None if left is None else left - len(block)


def _ascii(content: bytes) -> str:
    # Without NUL, UTF-16 reads as ASCII, too.
    return content.replace(b"\0", b"").decode("latin-1")
