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
        self._coming: list[int] = []
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
        """Remove what only this page has used."""
        with self._lock:
            used = self._pages.pop(session, set())
            in_use = set().union(*self._pages.values())
        for path in used - in_use:
            self._remove(path)

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
        self._touch(found)
        with self._lock:
            if session in self._pages and not self._is_example(found):
                self._pages[session].add(found)
        return found

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
            if self._coming:
                return
            # What has come lies in a folder of its own.
            for path in self.folder.iterdir():
                if path.is_file():
                    self._remove(path)

    def sweep(self) -> None:
        """Remove the files that are not used any more, and empty folders."""
        with self._lock:
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

    def _sweep(self) -> None:
        while not self._closed.wait(max(0.2, min(30.0, self.keep_seconds / 4))):
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
