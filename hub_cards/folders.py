# SPDX-License-Identifier: Apache-2.0
"""Folders that appear complete or not at all."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

__all__ = ["check_free_space", "new_folder"]


@contextlib.contextmanager
def new_folder(output_dir: Path) -> Iterator[Path]:
    """A folder to fill, which takes its name when all went well and is removed when not.

    It stands beside `output_dir` as `.<name>.partial`. What a process that was killed left there is removed first.

    Args:
        output_dir: The folder to make.

    Yields:
        The folder to write to.

    Raises:
        FileExistsError: If `output_dir` exists and is not an empty folder.
    """
    if output_dir.exists() and not (output_dir.is_dir() and not any(output_dir.iterdir())):
        raise FileExistsError(f"{output_dir} exists; name a new folder")
    partial = output_dir.parent / f".{output_dir.name}.partial"
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    try:
        yield partial
        partial.rename(output_dir)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


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
