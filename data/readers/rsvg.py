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

import functools
import pickle
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from geodit.data.readers.fields import as_record, brief, clean_text, numbers, path_field
from geodit.data.readers.files import iter_json_lines
from geodit.data.readers.reader import TOTAL, Count, DatasetReader, Entry, Sample
from geodit.data.schema import Question

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


class _Expression(NamedTuple):
    image: str
    phrase: str
    box: tuple[float, float, float, float]


class RSVGReader(DatasetReader):
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

    def annotation_files(self, root: Path, split: str) -> list[Path]:
        """Return the file of the split."""
        stem = f"rsvg_{_FILE_SPLITS[split]}"
        return [self.require_file(root / f"{stem}.pth", root / f"{stem}.jsonl", root / "metainfo" / f"{stem}.jsonl")]

    def entries(self, root: Path, split: str) -> Iterator[Entry]:
        """Yield one entry per image with all its expressions."""
        images = self.require_folder(root / "images")
        if (images / "rsvg").is_dir():
            images = images / "rsvg"
        (path,) = self.annotation_files(root, split)
        records = _load_list(path) if path.suffix == ".pth" else iter_json_lines(path)
        by_image: dict[str, list[tuple[int, object]]] = {}
        for index, record in enumerate(records):
            by_image.setdefault(_image_name(record), []).append((index, record))
        for name, numbered in by_image.items():
            build = functools.partial(self._sample, images, numbered)
            yield Entry(f"{path}, image {brief(name)}", build)

    def _sample(self, images: Path, numbered: Sequence[tuple[int, object]]) -> Sample:
        expressions = []
        for index, record in numbered:
            try:
                expressions.append(_parse(record))
            except ValueError as error:
                raise ValueError(f"record {index}: {error}") from error
        questions = tuple(Question("ground", phrase, boxes=(box,), labels=(phrase,)) for _, phrase, box in expressions)
        name = expressions[0].image
        return Sample(images / name, f"{self.name}/{name}", questions)


def _load_list(path: Path) -> list[object]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGE as error:
        reason = f"{str(error).splitlines()[0]:.300}" if str(error) else type(error).__name__
        raise ValueError(f"{path} is damaged, or holds more than plain data, which is not loaded: {reason}") from error
    if not isinstance(loaded, list):
        raise ValueError(f"{path} should be a list of tuples, not {type(loaded).__name__}")
    return loaded


def _image_name(record: object) -> str:
    """Return what the records of one image have in common; "" if a record is too odd to tell."""
    name: object = ""
    if isinstance(record, dict):
        name = record.get("image_id")
    elif isinstance(record, list | tuple) and record:
        name = record[0]
    return name if isinstance(name, str) else ""


def _parse(record: object) -> _Expression:
    if isinstance(record, list | tuple) and len(record) >= 3:
        record = {"image_id": record[0], "bbox": record[1], "question": record[2]}
    fields = as_record(record)
    x1, y1, x2, y2 = numbers(fields.get("bbox"), 4)
    phrase = clean_text(fields.get("question"), "the expression")
    return _Expression(path_field(fields, "image_id"), phrase, (x1, y1, x2, y2))
