# SPDX-License-Identifier: Apache-2.0
"""DIOR-RSVG: 38,320 expressions, each about one object of a DIOR image.

Layout: `Annotations/00001.xml` (Pascal VOC with a `<description>` in each object), `JPEGImages/00001.jpg`, and
`train.txt`, `val.txt`, `test.txt`. A line of these is not the number of an image: it is the 0-based running number of
an object, counted over all XML files in the order of their paths. The split is one of expressions, so that an image
can be in several splits.

Each expression is a `ground` question. For each class of which a split has all the objects that the file describes
there is a `detect` question too. One about a class of several splits would show boxes of the test set in training.
DIOR-RSVG left objects out where many of one class stand close together: these answers are not complete.

Source: `data_loader.py` and `RSVGD/Annotations/00001.xml` of github.com/ZhanYang-nwpu/RSVG-pytorch (Zhan et al.,
"RSVG: Exploring Data and Models for Visual Grounding on Remote Sensing Data", TGRS 2023), whose author explains the
numbers in the split files there. That loader takes files in the order of the file system, which on Windows is the
order of their names.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

from geodit.data.readers.fields import brief, class_words, clean_text, inner_path
from geodit.data.readers.files import read_lines
from geodit.data.readers.reader import TOTAL, Count, DatasetReader, Entry, Sample
from geodit.data.schema import Question
from geodit.data.voc import VocAnnotation, read_voc

_SPLIT_FILES = {"train": "train.txt", "validation": "val.txt", "test": "test.txt"}


class DIORRSVGReader(DatasetReader):
    """DIOR-RSVG."""

    name = "dior-rsvg"
    description = "17,402 images with 38,320 referring expressions and boxes"
    splits = ("train", "validation", "test")
    download = "https://github.com/ZhanYang-nwpu/RSVG-pytorch"
    layout = "Annotations/, JPEGImages/, train.txt, val.txt and test.txt"
    licence = "not stated; research. The images are of DIOR"
    published = {
        "train": {"ground": Count(26991)},
        "validation": {"ground": Count(3829)},
        "test": {"ground": Count(7500)},
        TOTAL: {"images": Count(17402)},
    }

    def annotation_files(self, root: Path, split: str) -> list[Path]:
        """Return the list of the split, then all XML files in the order of their paths."""
        listed = self.require_file(root / _SPLIT_FILES[split])
        files = sorted(self.require_folder(root / "Annotations").glob("*.xml"))
        if not files:
            raise self.missing(str(root / "Annotations" / "*.xml"))
        return [listed, *files]

    def entries(self, root: Path, split: str) -> Iterator[Entry]:
        """Yield one entry per XML file that has an object of the split."""
        images = self.require_folder(root / "JPEGImages")
        listed, *files = self.annotation_files(root, split)
        wanted = _object_numbers(listed)
        first = 0
        for path in files:
            # A file that cannot be read is fatal: the numbers of all objects after it would be wrong.
            annotation = read_voc(path)
            chosen = [k for k in range(len(annotation.objects)) if first + k in wanted]
            first += len(annotation.objects)
            if chosen:
                yield Entry(str(path), functools.partial(self._sample, images, path, annotation, chosen))
        if wanted and max(wanted) >= first:
            raise ValueError(
                f"{listed} names object {max(wanted)}, but the files in {root / 'Annotations'} have {first} in all: "
                f"download both again from {self.download}"
            )

    def _sample(self, images: Path, path: Path, annotation: VocAnnotation, chosen: Sequence[int]) -> Sample:
        labels = [class_words(item.name) for item in annotation.objects]
        questions = []
        for index in chosen:
            phrase = clean_text(annotation.objects[index].description, f"<description> of object {index}")
            box = annotation.objects[index].box
            questions.append(Question("ground", phrase, boxes=(box,), labels=(labels[index],)))
        chosen_labels = [labels[index] for index in chosen]
        for label in dict.fromkeys(chosen_labels):
            if chosen_labels.count(label) == labels.count(label):
                boxes = tuple(annotation.objects[index].box for index in chosen if labels[index] == label)
                questions.append(Question("detect", label, boxes=boxes, labels=(label,) * len(boxes)))
        name = inner_path(annotation.filename or f"{path.stem}.jpg", "<filename>")
        return Sample(images / name, f"{self.name}/{name}", tuple(questions))


def _object_numbers(path: Path) -> frozenset[int]:
    lines = read_lines(path)
    wrong = next((line for line in lines if not (line.isascii() and line.isdecimal() and len(line) < 20)), None)
    if wrong is not None:
        raise ValueError(f"{path} should have the number of an object in each line, not {brief(wrong)}")
    return frozenset(int(line) for line in lines)
