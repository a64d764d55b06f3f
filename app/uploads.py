# SPDX-License-Identifier: Apache-2.0
"""The temporary folder of the page: what was uploaded, for as long as it is of use.

A file that an open page uses stays until that page is closed; any other is removed some time after its last use.
Gradio gives each file a folder whose name nobody can guess.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

from geodit.rasters.uploads import check_upload

__all__ = ["Uploads"]

_EXAMPLES = "examples"
_MAX_NOTING_SECONDS = 5.0
"""How long it may take from the end of an upload until its page says that it has it."""


class Uploads:
    """A folder for uploads, removed by [`close`].

    Args:
        max_pixels: Width times height of an image at most.
        max_total_bytes: What all uploads together may take.
        keep_seconds: How long a file stays after its last use if no open page uses it.
    """

    def __init__(self, max_pixels: int, max_total_bytes: int, keep_seconds: float = 600.0) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="geodit-app-")).resolve()
        self.examples = self.folder / _EXAMPLES
        self.examples.mkdir()
        self.max_pixels = max_pixels
        self.max_total_bytes = max_total_bytes
        self.keep_seconds = keep_seconds
        self._lock = threading.Lock()
        self._pages: dict[str, set[Path]] = {}
        self._left: set[Path] = set()
        self._coming: list[int] = []
        self._last_came = float("-inf")
        self._closed = threading.Event()
        threading.Thread(target=self._sweep, name="geodit-app-sweep", daemon=True).start()

    def add_example(self, path: Path) -> Path:
        """Copy a file of the package to where the page may show it; it stays."""
        return Path(shutil.copy(path, self.examples / path.name))

    def open_page(self, session: str) -> None:
        """Note that a page is open in a browser."""
        with self._lock:
            self._pages.setdefault(session, set())

    def close_page(self, session: str) -> None:
        """Remove what only this page has used.

        Equal files are one here. Where an upload is coming or has just come, its page may not have noted it yet:
        [`sweep`] removes what was used a little later.
        """
        with self._lock:
            self._left |= self._pages.pop(session, set())
            self._remove_left()

    def use(self, path: str | Path, session: str | None = None) -> Path:
        """Check an upload, each time that it is used.

        Args:
            path: Where gradio has put it.
            session: The page that asks.

        Returns:
            The path.

        Raises:
            ValueError: If it lies elsewhere, or is no image that may be read.
            FileNotFoundError: If it has been removed.
        """
        found = Path(path).resolve()
        if self.folder not in found.parents:
            raise ValueError("this file was not uploaded here: upload it")
        check_upload(found, found.name, self.max_pixels)
        if session is not None:
            self.keep(found, session)
        self._touch(found)
        return found

    def keep(self, path: str | Path, session: str) -> None:
        """Note that an open page has an upload, which stays as long as the page; any other path is ignored."""
        found = Path(path).resolve()
        if self.folder not in found.parents or self._is_example(found):
            return
        with self._lock:
            if session in self._pages and found.is_file():
                self._pages[session].add(found)

    @property
    def num_bytes(self) -> int:
        """What all files take, in bytes."""
        return sum(size for _, size, _ in self._files())

    def begin(self, num_bytes: int) -> bool:
        """Reserve the room of an upload that comes; [`end`] gives it back.

        Args:
            num_bytes: What it may take at most.

        Returns:
            Whether there is room, uploads that are still coming included.
        """
        with self._lock:
            if self.num_bytes + sum(self._coming) + num_bytes > self.max_total_bytes:
                return False
            self._coming.append(num_bytes)
            return True

    def end(self, num_bytes: int) -> None:
        """Note that an upload has come, or was cut off: what is left of it is removed when no other is coming."""
        with self._lock:
            self._coming.remove(num_bytes)
            self._last_came = time.monotonic()
            if self._coming:
                return
            # What has come lies in a folder of its own.
            for path in self.folder.iterdir():
                if path.is_file():
                    self._remove(path)

    def sweep(self) -> None:
        """Remove the files that are not used any more, and empty folders."""
        with self._lock:
            self._remove_left()
            in_use = set().union(*self._pages.values())
        now = time.time()
        for path, _, changed in self._files():
            if path not in in_use and now - changed > self.keep_seconds:
                self._remove(path)
        for folder in self.folder.iterdir():
            if folder.is_dir() and folder != self.examples:
                with contextlib.suppress(OSError):
                    if now - folder.stat().st_mtime > self.keep_seconds:
                        folder.rmdir()

    def close(self) -> None:
        """Remove the folder with all that is in it."""
        self._closed.set()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _remove_left(self) -> None:
        """Remove what pages that are closed have used, unless another page may have it; the lock is held."""
        if self._coming or time.monotonic() - self._last_came < _MAX_NOTING_SECONDS:
            return
        for path in self._left.difference(*self._pages.values()):
            self._remove(path)
        self._left.clear()

    def _sweep(self) -> None:
        while not self._closed.wait(max(0.2, min(5.0, self.keep_seconds / 4))):
            with contextlib.suppress(OSError):
                self.sweep()

    def _files(self) -> list[tuple[Path, int, float]]:
        """Return the uploads with their sizes and times of last use."""
        found = []
        for path in self.folder.rglob("*"):
            with contextlib.suppress(OSError):
                if not self._is_example(path) and path.is_file():
                    status = path.stat()
                    found.append((path, status.st_size, status.st_mtime))
        return found

    def _is_example(self, path: Path) -> bool:
        return path.is_relative_to(self.examples)

    def _touch(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            os.utime(path)

    def _remove(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            path.unlink()
            if path.parent != self.folder:
                path.parent.rmdir()
