# SPDX-License-Identifier: Apache-2.0
"""AID and WHU-RS19: scene classification, a folder of images for each class.

Layout: `Airport/airport_1.jpg` ... in the folder, or in the one folder that the archive makes.

Neither has an official split. Half of the images of each class (rounded down) are "train", the rest "test": the first
half in the order of the SHA-256 of "0 <class folder>/<file name>", where 0 is the seed. "all" is every image, for a
model that was trained on neither.

Source: https://captain-whu.github.io/AID/ (Xia et al., "AID: A Benchmark Data Set for Performance Evaluation of Aerial
Scene Classification", TGRS 2017) and https://captain-whu.github.io/BED4RS/ (Xia et al., "Structural High-Resolution
Satellite Image Indexing", 2010); the folders as torchrs reads them. Xia et al. train on 20% or 50% of AID; which
images these are, is drawn at random and not published.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from geodit.data.readers.fields import class_words
from geodit.data.readers.files import IMAGE_SUFFIXES
from geodit.data.readers.reader import TOTAL, Count, DatasetReader, Entry, Sample
from geodit.data.schema import Question

_SEED = 0


class SceneFolderReader(DatasetReader):
    """Images in a folder for each class.

    Attributes:
        archive_folders: Folders that the archive may make around those of the classes.
    """

    splits = ("train", "test", "all")
    overlapping_splits = ("all",)
    archive_folders: ClassVar[tuple[str, ...]]

    def annotation_files(self, root: Path, split: str) -> list[Path]:
        """Return all images, those of the other split included, since the split is drawn from them."""
        for folder in (root, *(root / name for name in self.archive_folders)):
            if folder.is_dir():
                files = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in IMAGE_SUFFIXES)
                if files:
                    return files
        raise self.missing(f"a folder of images for each class in {root}")

    def entries(self, root: Path, split: str) -> Iterator[Entry]:
        """Yield one entry per image."""
        by_class: dict[str, list[Path]] = {}
        for path in self.annotation_files(root, split):
            by_class.setdefault(path.parent.name, []).append(path)
        for scene, files in by_class.items():
            for path in self._chosen(files, split):
                yield Entry(str(path), functools.partial(self._sample, scene, path))

    def _chosen(self, files: list[Path], split: str) -> list[Path]:
        if split == "all":
            return files
        half = set(sorted(files, key=_draw)[: len(files) // 2])
        return [path for path in files if (path in half) == (split == "train")]

    def _sample(self, scene: str, path: Path) -> Sample:
        question = Question("classify", answer=class_words(scene))
        return Sample(path, f"{self.name}/{scene}/{path.name}", (question,), {"class": scene})


def _draw(path: Path) -> bytes:
    return hashlib.sha256(f"{_SEED} {path.parent.name}/{path.name}".encode()).digest()


class AIDReader(SceneFolderReader):
    """AID."""

    name = "aid"
    description = "10,000 images of 30 scenes"
    archive_folders = ("AID", "images")
    download = "https://captain-whu.github.io/AID/"
    layout = "a folder for each class, such as Airport/ with airport_1.jpg"
    licence = "not stated; research. The images are Google Earth's"
    published = {"all": {"images": Count(10000)}, TOTAL: {"images": Count(10000)}}


class WHURS19Reader(SceneFolderReader):
    """WHU-RS19."""

    name = "whu-rs19"
    description = "1,005 images of 19 scenes"
    archive_folders = ("WHU-RS19", "RSDataset", "Images")
    download = "https://captain-whu.github.io/BED4RS/"
    layout = "a folder for each class, such as Airport/ with airport_01.jpg"
    licence = "not stated; research. The images are Google Earth's"
    published = {"all": {"images": Count(1005)}, TOTAL: {"images": Count(1005)}}
