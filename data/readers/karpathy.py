# SPDX-License-Identifier: Apache-2.0
"""RSICD, UCM-Captions and Sydney-Captions: five sentences an image, in Karpathy's JSON.

Layout: one JSON file, `{"images": [{"filename", "split", "sentences": [{"raw", ...}], ...}], "dataset"}`, with the
splits "train", "val" and "test" inside, beside a folder of images. UCM and Sydney are also handed on as text:
`filenames/` with `descriptions_SYDNEY.txt` (or `_UCM`), each line the number of an image and a sentence, and
`filenames_train.txt`, `filenames_val.txt` and `filenames_test.txt`, each line a file name such as `12.tif`.

Source: github.com/201528014227051/RSICD_optimal (Lu et al., "Exploring Models and Data for Remote Sensing Image
Caption Generation", TGRS 2017; UCM and Sydney: Qu et al., "Deep semantic understanding of high resolution remote
sensing image", CITS 2016); the keys as torchrs and CLIP-rsicd read them, the text files as several captioning projects
read UCM's. Those of Sydney were not seen: that they are like UCM's is taken from their names.
"""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from geodit.data.readers.fields import as_record, brief, clean_text, inner_path, list_field, path_field, text_field
from geodit.data.readers.files import iter_json_array, read_lines
from geodit.data.readers.reader import TOTAL, Count, DatasetReader, Entry, Sample, bad_record
from geodit.data.schema import Question

KARPATHY_SPLITS = {"train": "train", "validation": "val", "test": "test"}
_DESCRIPTION = re.compile(r"(?P<number>\d+)(?:\.\w+)?\s+(?P<sentence>\S.*)")


def caption_questions(sentences: Sequence[str], split: str) -> tuple[Question, ...]:
    """Return the questions of an image with several captions.

    In the training split every different sentence is an answer of its own, elsewhere the first one is; all are
    references, repeated ones too, as they are published.

    Raises:
        ValueError: If there is no sentence.
    """
    if not sentences:
        raise ValueError("it has no caption")
    answers = dict.fromkeys(sentences) if split == "train" else sentences[:1]
    return tuple(Question("caption", answer=answer, references=tuple(sentences)) for answer in answers)


def parse_description(line: str) -> tuple[str, str]:
    """Parse a line such as `12 there is a lawn .` into the number of an image and the sentence.

    Raises:
        ValueError: If the line is not of that form.
    """
    match = _DESCRIPTION.fullmatch(line.strip())
    if match is None:
        raise ValueError(f"a line should be the number of an image and a sentence, not {brief(line)}")
    return str(int(match["number"])), clean_text(match["sentence"], "the sentence")


def may_belong(record: object, split: str) -> bool:
    """Return whether to read a record that has a `split`: it is of the split asked for, or of no known split."""
    named = record.get("split") if isinstance(record, dict) else None
    return named == KARPATHY_SPLITS[split] or named not in KARPATHY_SPLITS.values()


def require_split(record: Mapping[str, object], split: str) -> None:
    """Raise a ValueError if a record is of no known split."""
    if record.get("split") != KARPATHY_SPLITS[split]:
        raise ValueError(f"'split' should be one of train, val and test, not {brief(record.get('split'))}")


class KarpathyReader(DatasetReader):
    """A captioning data set in Karpathy's JSON, or in text files.

    Attributes:
        json_names: Paths at which the JSON file may be.
        image_folders: Paths at which the images may be.
        descriptions: Name of the file of sentences in `filenames/`, or "" if there are no text files.
    """

    splits = ("train", "validation", "test")
    json_names: ClassVar[tuple[str, ...]]
    image_folders: ClassVar[tuple[str, ...]]
    descriptions: ClassVar[str] = ""

    def annotation_files(self, root: Path, split: str) -> list[Path]:
        """Return the JSON file, or the files of sentences and of the names in the split."""
        candidates = [root / name for name in self.json_names]
        if any(path.is_file() for path in candidates) or not (self.descriptions and (root / "filenames").is_dir()):
            return [self.require_file(*candidates)]
        lists = root / "filenames"
        names = (self.descriptions, f"filenames_{KARPATHY_SPLITS[split]}.txt")
        return [self.require_file(lists / name) for name in names]

    def entries(self, root: Path, split: str) -> Iterator[Entry]:
        """Yield one entry per image."""
        images = self.require_folder(*(root / name for name in self.image_folders))
        files = self.annotation_files(root, split)
        if len(files) == 1:
            yield from self._json_entries(files[0], images, split)
        else:
            descriptions, names = files
            yield from self._text_entries(descriptions, names, images, split)

    def _json_entries(self, path: Path, images: Path, split: str) -> Iterator[Entry]:
        for index, record in enumerate(iter_json_array(path, "images")):
            if may_belong(record, split):
                build = functools.partial(self._json_sample, images, split, record)
                yield Entry(f"{path}, image {index}", build)

    def _json_sample(self, images: Path, split: str, record: object) -> Sample:
        record = as_record(record)
        require_split(record, split)
        name = path_field(record, "filename")
        sentences = [text_field(as_record(sentence), "raw") for sentence in list_field(record, "sentences")]
        return Sample(images / name, f"{self.name}/{name}", caption_questions(sentences, split))

    def _text_entries(self, descriptions: Path, names: Path, images: Path, split: str) -> Iterator[Entry]:
        sentences: dict[str, list[str]] = defaultdict(list)
        for index, line in enumerate(read_lines(descriptions)):
            try:
                number, sentence = parse_description(line)
            except ValueError as error:
                yield bad_record(f"{descriptions}, sentence {index}", error)
            else:
                sentences[number].append(sentence)
        for name in read_lines(names):
            build = functools.partial(self._text_sample, images, split, name, sentences)
            yield Entry(f"{names}, {name:.300}", build)

    def _text_sample(self, images: Path, split: str, name: str, sentences: dict[str, list[str]]) -> Sample:
        name = inner_path(name, "the line")
        number = Path(name).stem
        found = sentences.get(str(int(number)), []) if number.isdecimal() else []
        if not found:
            raise ValueError(f"{self.descriptions} has no sentence about it")
        return Sample(images / name, f"{self.name}/{name}", caption_questions(found, split))


class RSICDReader(KarpathyReader):
    """RSICD."""

    name = "rsicd"
    description = "10,921 images with five captions each"
    json_names = ("dataset_rsicd.json", "annotations_rsicd/dataset_rsicd.json")
    image_folders = ("RSICD_images", "images")
    download = "https://github.com/201528014227051/RSICD_optimal"
    layout = "dataset_rsicd.json and RSICD_images/"
    licence = "not stated; research"
    published = {
        "train": {"images": Count(8734)},
        "validation": {"images": Count(1094)},
        "test": {"images": Count(1093)},
        TOTAL: {"images": Count(10921)},
    }


class UCMCaptionsReader(KarpathyReader):
    """UCM-Captions."""

    name = "ucm-captions"
    description = "2,100 images with five captions each"
    json_names = ("dataset.json", "dataset_ucm.json")
    image_folders = ("imgs", "images")
    descriptions = "descriptions_UCM.txt"
    download = "https://github.com/201528014227051/RSICD_optimal"
    layout = "dataset.json (or filenames/descriptions_UCM.txt and filenames_{train,val,test}.txt) and imgs/"
    licence = "not stated; research. The images are of the UC Merced Land Use data set"
    published = {
        "train": {"images": Count(1680)},
        "validation": {"images": Count(210)},
        "test": {"images": Count(210)},
        TOTAL: {"images": Count(2100)},
    }


class SydneyCaptionsReader(KarpathyReader):
    """Sydney-Captions."""

    name = "sydney-captions"
    description = "613 images of Sydney with five captions each"
    json_names = ("dataset.json", "dataset_sydney.json")
    image_folders = ("imgs", "images")
    descriptions = "descriptions_SYDNEY.txt"
    download = "https://github.com/201528014227051/RSICD_optimal"
    layout = "dataset.json (or filenames/descriptions_SYDNEY.txt and filenames_{train,val,test}.txt) and imgs/"
    licence = "not stated; research"
    published = {
        "train": {"images": Count(497)},
        "validation": {"images": Count(58)},
        "test": {"images": Count(58)},
        TOTAL: {"images": Count(613)},
    }
