# SPDX-License-Identifier: Apache-2.0
"""NWPU-Captions: 31,500 images of 45 scenes with five sentences each.

Layout: `dataset_nwpu.json`, an object with a list of images for each class, and the images in a folder for each class:
`NWPU_images/airplane/airplane_001.jpg`. An image has `filename`, `split` ("train", "val" or "test"), and its sentences
under `raw`, `raw_1`, ... `raw_4`.

Source: github.com/HaiyanHuang98/NWPU-Captions (Cheng et al., "NWPU-Captions Dataset and MLCA-Net for Remote Sensing
Image Captioning", TGRS 2022), the keys as two projects read them that train on it. One of them reports that
`airplane_111.jpg` is missing in the archive; then read with `bad_records="skip"`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

from geodit.data.readers.fields import as_record, inner_path, path_field, text_field
from geodit.data.readers.files import read_json
from geodit.data.readers.karpathy import caption_questions, may_belong, require_split
from geodit.data.readers.reader import TOTAL, Count, DatasetReader, Entry, Sample

_SENTENCES = ("raw", "raw_1", "raw_2", "raw_3", "raw_4")


class NWPUCaptionsReader(DatasetReader):
    """NWPU-Captions."""

    name = "nwpu-captions"
    description = "31,500 images of 45 scenes with five captions each"
    splits = ("train", "validation", "test")
    download = "https://github.com/HaiyanHuang98/NWPU-Captions"
    layout = "dataset_nwpu.json and NWPU_images/ with a folder for each class"
    licence = "not stated; research"
    published = {
        "train": {"images": Count(25200)},
        "validation": {"images": Count(3150)},
        "test": {"images": Count(3150)},
        TOTAL: {"images": Count(31500)},
    }

    def annotation_files(self, root: Path, split: str) -> list[Path]:
        """Return the JSON file."""
        return [self.require_file(root / "dataset_nwpu.json")]

    def entries(self, root: Path, split: str) -> Iterator[Entry]:
        """Yield one entry per image."""
        (path,) = self.annotation_files(root, split)
        images = self.require_folder(root / "NWPU_images", root / "images")
        classes = read_json(path)
        if not isinstance(classes, dict) or not all(isinstance(records, list) for records in classes.values()):
            raise ValueError(f"{path} should be an object with a list of images for each class")
        for scene, records in classes.items():
            for index, record in enumerate(records):
                if may_belong(record, split):
                    build = functools.partial(self._sample, images, split, scene, record)
                    yield Entry(f"{path}, {scene}, image {index}", build)

    def _sample(self, images: Path, split: str, scene: str, record: object) -> Sample:
        record = as_record(record)
        require_split(record, split)
        path = inner_path(f"{scene}/{path_field(record, 'filename')}", "class and 'filename'")
        sentences = [text_field(record, name) for name in _SENTENCES if record.get(name)]
        return Sample(images / path, f"{self.name}/{path}", caption_questions(sentences, split), {"scene": scene})
