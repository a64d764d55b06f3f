# SPDX-License-Identifier: Apache-2.0
"""SkyScript: 5.2 million images with captions made from OpenStreetMap.

Layout: `images2/` ... `images7/` beside CSV files with the columns `filepath` (relative to the folder of the images),
`title` (about the object in focus) and `title_multi_objects` (about its surroundings too). File names hold the
OpenStreetMap object, the alias of the image source and the year: `a198234555_CH_19.jpg`. The pickled `meta` archives
are not read.

Source: the README and `src/training/data.py` of github.com/wangzhecheng/SkyScript (Wang et al., "SkyScript: A Large
and Semantically Diverse Vision-Language Dataset for Remote Sensing", AAAI 2024). Published numbers are rounded there.
The language-polished CSV files were not seen; `filepath` and `title` are required of them, no more.
"""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from geodit.data.readers.fields import brief, path_field, text_field
from geodit.data.readers.files import MAX_VALUE_LENGTH, open_text
from geodit.data.readers.reader import Count, DatasetReader, Entry, Sample, bad_record
from geodit.data.schema import Question

_CSV_SPLITS = {"train": "train", "validation": "val", "test": "test"}
_IMAGE_NAME = re.compile(r"(?P<object>\w+)_(?P<source>[A-Za-z0-9]+)_(?P<year>\d{2})")
_PUBLISHED = {
    "train_unfiltered_5M": 5_100_000,
    "train_unfiltered_5M_language_polished": 4_700_000,
    "train_top50pct": 2_600_000,
    "train_top30pct": 1_500_000,
    "val_5K": 5_000,
    "test_30K": 30_000,
}


class SkyScriptReader(DatasetReader):
    """SkyScript; the path may be its folder, or one of its CSV files where the folder has several of a split."""

    name = "skyscript"
    description = "5.2 million images with captions made from OpenStreetMap"
    splits = ("train", "validation", "test")
    download = "https://github.com/wangzhecheng/SkyScript"
    layout = "images2/ to images7/ and SkyScript_train_*.csv (or val, test), the latter also in dataframe/"
    licence = "MIT (code); the image sources have terms of their own"

    def annotation_files(self, root: Path, split: str) -> list[Path]:
        """Return the CSV file of the split."""
        pattern = f"SkyScript_{_CSV_SPLITS[split]}_*.csv"
        if root.is_file():
            if not root.match(pattern):
                raise FileNotFoundError(f"{root} is not the file of the split {split!r}, which is called {pattern}")
            return [root]
        found = sorted(root.glob(pattern)) or sorted((root / "dataframe").glob(pattern))
        if not found:
            raise self.missing(f"{root / pattern}")
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise ValueError(f"{root} has several files of the split {split!r}: {names}. Give one of them as the path")
        return found

    def entries(self, root: Path, split: str) -> Iterator[Entry]:
        """Yield one entry per line."""
        (path,) = self.annotation_files(root, split)
        folder = path.parent.parent if path.parent.name == "dataframe" else path.parent
        with open_text(path, newline="") as file:
            rows = csv.DictReader(iter(functools.partial(file.readline, MAX_VALUE_LENGTH), ""))
            try:
                columns = rows.fieldnames or ()
            except csv.Error as error:
                raise ValueError(f"{path} is not a CSV file: {error}") from error
            if not {"filepath", "title"} <= set(columns):
                raise ValueError(f"{path} needs the columns filepath and title, it has {brief(columns)}")
            while True:
                try:
                    row = next(rows)
                except StopIteration:
                    return
                except csv.Error as error:  # a field without an end, for instance; the next line begins anew
                    yield bad_record(f"{path}, line {rows.reader.line_num}", ValueError(f"it is not CSV: {error}"))
                    continue
                yield Entry(f"{path}, line {rows.line_num}", functools.partial(self._sample, folder, split, row))

    def _sample(self, folder: Path, split: str, row: Mapping[str, object]) -> Sample:
        path = path_field(row, "filepath")
        title = text_field(row, "title")
        references = [title]
        if row.get("title_multi_objects"):
            references.append(text_field(row, "title_multi_objects"))
        caption = Question("caption", answer=title, references=tuple(dict.fromkeys(references)))
        named = _IMAGE_NAME.fullmatch(Path(path).stem)
        return Sample(folder / path, f"{self.name}/{path}", (caption,), named.groupdict() if named else {})

    def published_counts(self, root: Path, split: str) -> Mapping[str, Count]:
        """Return the size of the variant that the CSV file is named after."""
        if split not in self.splits:
            return {}
        (path,) = self.annotation_files(root, split)
        stem = path.stem.removeprefix("SkyScript_")
        # The longest prefix, because the polished captions extend the name of the file they are made from.
        known = [prefix for prefix in _PUBLISHED if stem.startswith(prefix)]
        return {"images": Count(_PUBLISHED[max(known, key=len)], exact=False)} if known else {}
