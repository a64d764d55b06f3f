# SPDX-License-Identifier: Apache-2.0
"""Folders that appear complete or not at all."""

from __future__ import annotations

import contextlib
import errno
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from geodit.configuration.file_lock import FileLock

__all__ = ["check_free_space", "new_folder", "partial_folder"]


@contextlib.contextmanager
def new_folder(output_dir: Path) -> Iterator[Path]:
    """Yield a temporary folder; rename it on success, delete it on failure.

    It stands beside `output_dir` as `.<name>.geodit-<32 hexadecimal digits>`. What a process that was killed left
    there is removed first.

    Args:
        output_dir: The folder to make.

    Yields:
        The folder to write to.

    Raises:
        FileExistsError: If `output_dir` exists and is not an empty folder.
        BlockingIOError: If another process is making it.
    """
    _refuse_existing(output_dir)
    name = f".{output_dir.name}.geodit"
    with FileLock(output_dir.parent / f"{name}.lock", output_dir) as lock:
        _refuse_existing(output_dir)  # by a process that had the lock until now
        if lock.held:
            for left in output_dir.parent.iterdir():
                if _is_partial(left.name, f"{name}-") and left.is_dir() and not left.is_symlink():
                    shutil.rmtree(left)
        partial = partial_folder(output_dir)
        partial.mkdir()
        try:
            yield partial
            _refuse_existing(output_dir)
            partial.rename(output_dir)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def partial_folder(output_dir: Path) -> Path:
    """Return a name for a folder that is there only while another one is made, and is not made yet.

    If a process that made it inside [`new_folder`] is killed, the next one removes it.

    Args:
        output_dir: The other folder.
    """
    return output_dir.parent / f".{output_dir.name}.geodit-{uuid.uuid4().hex}"


def _refuse_existing(folder: Path) -> None:
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists; name a new folder")


def _is_partial(name: str, start: str) -> bool:
    digits = name.removeprefix(start)
    return digits != name and len(digits) == 32 and set(digits) <= set("0123456789abcdef")


def check_free_space(folder: Path, num_bytes: int) -> None:
    """Find out before a long copy whether it will fit.

    Raises:
        OSError: If the file system of `folder` has less than `num_bytes` left.
    """
    free = shutil.disk_usage(folder).free
    if free < num_bytes:
        raise OSError(
            errno.ENOSPC, f"{num_bytes / 1e9:.1f} GB are needed, but {free / 1e9:.1f} GB are left", str(folder)
        )
