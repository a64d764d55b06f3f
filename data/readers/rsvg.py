# SPDX-License-Identifier: Apache-2.0
"""RSVG: 7,933 expressions about objects in 4,239 images of Google Earth.

Layout: `images/` beside `rsvg_train.pth`, `rsvg_val.pth` and `rsvg_test.pth`, each a list of tuples that begin with
the name of the image, the box and the expression; or beside `rsvg_train.jsonl` ... (also in `metainfo/`), each line
with `image_id`, `bbox` and `question`, as refGeo redistributes it with images in `images/rsvg/`. Boxes are x1, y1, x2,
y2 in pixels. The first kind is read by PyTorch's weights-only loader, which builds data and runs nothing.

Source: the project page https://sunyuxi.github.io/publication/GeoVG (Sun et al., "Visual Grounding in Remote Sensing
Images", ACM MM 2022), the tuples and the order of the coordinates as several projects that evaluate on it read them,
the JSON lines as GeoGround's. The authors' own loader was not seen.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from geodit.data.readers.reader import TOTAL, Count
from geodit.data.readers.refgeo import ExpressionReader

_FILE_SPLITS = {"train": "train", "validation": "val", "test": "test"}

# What the loader raises on files that are cut off or altered, those of PyTorch before 1.6 among them.
_DAMAGE = (
    pickle.UnpicklingError,
    OSError,
    RuntimeError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    ImportError,
    MemoryError,
    struct.error,
)


class RSVGReader(ExpressionReader):
    """RSVG."""

    name = "rsvg"
    description = "4,239 images with 7,933 referring expressions and boxes"
    splits = ("train", "validation", "test")
    download = "https://sunyuxi.github.io/publication/GeoVG"
    layout = "images/, rsvg_train.pth, rsvg_val.pth and rsvg_test.pth (or .jsonl)"
    licence = "not stated; research. The images are Google Earth's"
    published = {
        "train": {"ground": Count(5505)},
        "validation": {"ground": Count(1201)},
        "test": {"ground": Count(1227)},
        TOTAL: {"images": Count(4239)},
    }
    image_folder = "rsvg"

    def annotation_files(self, root: Path, split: str) -> list[Path]:
        """Return the file of the split."""
        stem = f"rsvg_{_FILE_SPLITS[split]}"
        return [self.require_file(root / f"{stem}.pth", root / f"{stem}.jsonl", root / "metainfo" / f"{stem}.jsonl")]

    def records(self, path: Path) -> Iterable[object]:
        """Return the records of a file: tuples of one of PyTorch's, objects of one of JSON lines."""
        return _load_list(path) if path.suffix == ".pth" else super().records(path)

    def image_name(self, record: object) -> str:
        """Return the name of the image of a record; "" if it is too odd to tell."""
        if isinstance(record, list | tuple) and record:
            return record[0] if isinstance(record[0], str) else ""
        return super().image_name(record)

    def fields(self, record: object) -> Mapping[str, object]:
        """Return a record with named fields, which those of a tuple get.

        Raises:
            ValueError: If it is no record, or a tuple that is too short.
        """
        if isinstance(record, list | tuple) and len(record) >= 3:
            return {"image_id": record[0], "bbox": record[1], "question": record[2]}
        return super().fields(record)


def _load_list(path: Path) -> list[object]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGE as error:
        reason = f"{str(error).splitlines()[0]:.300}" if str(error) else type(error).__name__
        raise ValueError(f"{path} is damaged, or holds more than plain data, which is not loaded: {reason}") from error
    if not isinstance(loaded, list):
        raise ValueError(f"{path} should be a list of tuples, not {type(loaded).__name__}")
    return loaded
