# SPDX-License-Identifier: Apache-2.0
"""A folder with two images, and what annotations of it say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

from geodit.annotations.formats.registry import FORMATS, find_format
from geodit.annotations.records import BadRecord, LabeledImage


class Annotations(NamedTuple):
    """Images by the name of their file, and bad records as "origin: reason", without the folder."""

    images: dict[str, LabeledImage]
    bad: list[str]


Read = Callable[..., Annotations]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a.png of 80 x 40 pixels and b.png of 60 x 50."""
    Image.new("RGB", (80, 40)).save(tmp_path / "a.png")
    Image.new("RGB", (60, 50)).save(tmp_path / "b.png")
    return tmp_path


@pytest.fixture
def read() -> Read:
    """Reads a source in a format, which is told by its content if none is named."""

    def read_source(source: Path, name: str | None = None, images: Path | None = None) -> Annotations:
        form = find_format(source) if name is None else FORMATS[name]
        if name is not None:
            assert form.matches(source) in (True, False)
        found: dict[str, LabeledImage] = {}
        bad = []
        for record in form.read(source, images=images):
            if isinstance(record, BadRecord):
                origin = record.origin.removeprefix(str(source)).removeprefix("/")
                bad.append(f"{origin}: {record.reason}".removeprefix(", "))
            else:
                assert Path(record.image).is_file()
                name = Path(record.image).name
                assert name not in found
                found[name] = record
        return Annotations(found, bad)

    return read_source
