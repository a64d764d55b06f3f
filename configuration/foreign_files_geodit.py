# SPDX-License-Identifier: Apache-2.0
"""Files of a repository that somebody else made: whatever is wrong with them ends in one `ValueError`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["refusing_broken_files"]

# What says by itself what is wrong: bad values, files that are not there, packages that are not installed.
_CLEAR = (ValueError, OSError, ImportError, MemoryError)
_OUT_OF_MEMORY = "OutOfMemoryError"  # of torch, which configurations do without


@contextmanager
def refusing_broken_files(name: str | os.PathLike[str] | None) -> Iterator[None]:
    """Raise a `ValueError` for whatever Transformers, tokenizers or safetensors raise on damaged files.

    A configuration may hold any JSON value in the place of any other, and fails wherever the value is used first: as
    `TypeError`, `KeyError`, `IndexError`, `RecursionError` and more. The exception itself is the cause of the error.

    Args:
        name: Folder or Hub id that is being loaded, for the error.

    Raises:
        ValueError: If anything was raised but the errors of files, packages and memory, which stay as they are.
    """
    try:
        yield
    except _CLEAR:
        raise
    except Exception as error:
        if type(error).__name__ == _OUT_OF_MEMORY:
            raise
        # Validation of a configuration wraps what its validators raise.
        cause = error.__cause__ if "Validation" in type(error).__name__ and error.__cause__ is not None else error
        reason = " ".join(str(cause).split())[:500]
        if not isinstance(cause, ValueError):
            reason = f"{type(cause).__name__}: {reason}"
        raise ValueError(f"{name} cannot be loaded, its files are damaged or not GeoDiT's: {reason}") from error
