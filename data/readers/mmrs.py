# SPDX-License-Identifier: Apache-2.0
"""MMRS-1M: a million instructions about optical, SAR and infrared images of 34 data sets.

Layout: `data/` with `json/` and the images in `caption/`, `classification/`, `detection/`, `RSVG/` and `VQA/`. Below
`json/` a folder for each of these tasks holds files in LLaVA's form, in which images are called `data/caption/...`;
`json/total.json`, all of them once more, is not read. By task:

* caption: every turn is a reference of the image;
* classification: `classify`; VQA: `vqa`;
* RSVG: "... bounding box coordinate ... described as: PHRASE in this remote sensing image" is `ground`. The opposite
  direction, from a box to a phrase, is left out, since the schema has no question with a box in it;
* detection: an answer such as "There are <p>2 ships</p>[0.1,0.2,0.15,0.3;0.5,0.5,0.6,0.7]" is a `detect` question for
  each class.

Boxes are relative to the image padded to a square, with the image in the middle of its longer side:
[`PaddedSquareBoxCodec`] takes the padding off. Turned boxes with eight numbers become the box around their corners.

Source: the README of github.com/wivizhang/EarthGPT (Zhang et al., "EarthGPT: A Universal Multimodal Large Language
Model for Multisensor Image Comprehension in Remote Sensing Domain", TGRS 2024) on the padding; file names, prompts and
the form of answers as three projects that convert the data set read them. Not verified: how it writes the plurals of
irregular class names, and that turned boxes have eight numbers.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from geodit.data.readers.conversations import Turn, iter_conversations, parse_turns, without_hint
from geodit.data.readers.fields import as_record, brief, class_words, clean_text, numbers, path_field
from geodit.data.readers.files import read_image_size
from geodit.data.readers.karpathy import caption_questions
from geodit.data.readers.reader import DatasetReader, Entry, Sample
from geodit.data.schema import Box, Question
from geodit.processing.boxes_geodit import PaddedSquareBoxCodec

_SAR = ("HRSID", "HRISD", "SARV2", "AIR-SARShip", "SSDD")
_INFRARED = ("HIT-UAV", "infrared", "IR")
_NUMBER_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_GROUP = re.compile(r"<p>(?P<phrase>[^<>]*)</p>\s*\[(?P<boxes>[^\[\]]*)\]")
_COUNTED = re.compile(rf"(?P<number>\d+|{'|'.join(_NUMBER_WORDS)}|an?)\s+(?P<name>.+)", re.IGNORECASE)
_SINGLE_BOX = re.compile(r"\[([^\[\]]*)\]")
# Two patterns, because one around both would take a time that grows with the square of the length of a prompt.
_PHRASE_START = re.compile(r"described\s+as\s*:?\s*", re.IGNORECASE)
_PHRASE_END = re.compile(r"\s+in\s+this\s+remote\s+sensing\s+image\s*[.?]?", re.IGNORECASE)


class MMRSReader(DatasetReader):
    """MMRS-1M. The split "train" is all of it; "optical", "sar" and "infrared" are its parts by sensor."""

    name = "mmrs-1m"
    description = "a million instructions about optical, SAR and infrared images"
    splits = ("train", "optical", "sar", "infrared")
    overlapping_splits = ("optical", "sar", "infrared")
    download = "https://github.com/wivizhang/EarthGPT"
    layout = "data/ with json/, caption/, classification/, detection/, RSVG/ and VQA/"
    licence = "not stated; research. The images have the terms of their data sets"

    def annotation_files(self, root: Path, split: str) -> list[Path]:
        """Return all JSON files below the folders of the tasks."""
        folder = self.require_folder(root / "data" / "json", root / "json")
        files = [path for path in sorted(folder.rglob("*.json")) if path.parent != folder]
        unknown = [path for path in files if path.relative_to(folder).parts[0] not in _TASKS]
        if unknown:
            raise ValueError(f"{unknown[0]} is in none of the folders {', '.join(_TASKS)} of {folder}")
        if not files:
            raise self.missing(f"a JSON file below {folder}")
        return files

    def entries(self, root: Path, split: str) -> Iterator[Entry]:
        """Yield one entry per conversation."""
        base = self.require_folder(root / "data" / "json", root / "json").parent
        for path in self.annotation_files(root, split):
            relative = path.relative_to(base / "json")
            for index, record in enumerate(iter_conversations(path)):
                if split == "train" or sensor(record.get("image") if isinstance(record, dict) else None) == split:
                    build = functools.partial(self._sample, base, relative, index, record)
                    yield Entry(f"{path}, record {index}", build)

    def _sample(self, base: Path, relative: Path, index: int, record: object) -> Sample:
        record = as_record(record)
        image = base / path_field(record, "image").removeprefix("data/")
        questions = _TASKS[relative.parts[0]](parse_turns(record), image)
        return Sample(image, f"{self.name}/{relative.as_posix()}#{index}", questions)


def sensor(image: object) -> str:
    """Return the sensor that took an image, as the name of its folder says: "optical", "sar" or "infrared"."""
    parts = image.replace("\\", "/").removeprefix("data/").split("/") if isinstance(image, str) else []
    folder = parts[1] if len(parts) > 2 and parts[0] == "detection" else ""
    if folder.startswith(_SAR):
        return "sar"
    return "infrared" if folder.startswith(_INFRARED) else "optical"


def object_name(phrase: str) -> str:
    """Return the class in a phrase such as "13 ships", "one harbor" or "2 baseball fields".

    Raises:
        ValueError: If there is none.
    """
    name = clean_text(phrase, "the class")
    counted = _COUNTED.fullmatch(name)
    if counted is None:
        return class_words(name)
    name = class_words(counted["name"])
    if counted["number"].lower() in ("1", "one", "a", "an"):
        return name
    # "buses", but not "courses" and "warehouses".
    if name.endswith(("sses", "xes", "ches", "shes")) or name.split()[-1] == "buses":
        return name[:-2]
    if name.endswith("ies"):
        return f"{name[:-3]}y"
    return name[:-1] if name.endswith("s") and not name.endswith("ss") else name


def padded_box(text: str, image_size: tuple[int, int]) -> Box:
    """Convert four or eight numbers, 0 to 1 on the image padded to a square, into a box in pixels.

    Args:
        text: `x1,y1,x2,y2`, or the x and y of four corners.
        image_size: (height, width) of the image in pixels.

    Raises:
        ValueError: If it is something else, or the box does not lie in the image or has no area.
    """
    values = numbers(text.split(","), 4, 8)
    corners = (min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2]))
    written = f"[{', '.join(f'{value:.6f}' for value in corners)}]"
    # Two digits are all that the data set has, so that the border of the image may be a hundredth off.
    parse = PaddedSquareBoxCodec(decimals=2).decode(written, image_size)
    if len(parse.boxes) != 1:
        height, width = image_size
        raise ValueError(f"[{text:.200}] is no box with an area inside a padded image of {width} x {height} pixels")
    x1, y1, x2, y2 = parse.boxes[0]
    return x1, y1, x2, y2


def _captions(turns: list[Turn], image: Path) -> tuple[Question, ...]:
    return caption_questions([turn.answer for turn in turns], "train")


def _classes(turns: list[Turn], image: Path) -> tuple[Question, ...]:
    return tuple(Question("classify", answer=turn.answer) for turn in turns)


def _answers(turns: list[Turn], image: Path) -> tuple[Question, ...]:
    return tuple(Question("vqa", without_hint(turn.prompt), turn.answer) for turn in turns)


def _expressions(turns: list[Turn], image: Path) -> tuple[Question, ...]:
    questions = []
    for turn in turns:
        if _SINGLE_BOX.search(turn.prompt):
            continue  # from a box to its phrase
        start, box = _PHRASE_START.search(turn.prompt), _SINGLE_BOX.fullmatch(turn.answer)
        end = _PHRASE_END.search(turn.prompt, start.end()) if start else None
        if start is None or end is None or box is None:
            raise ValueError(
                f"a turn should ask for what is described as a phrase and get a box: {brief(tuple(turn))}"
            )
        query = clean_text(turn.prompt[start.end() : end.start()], "the phrase")
        boxes = (padded_box(box[1], read_image_size(image)),)
        questions.append(Question("ground", query, boxes=boxes, labels=(query,)))
    return tuple(questions)


def _objects(turns: list[Turn], image: Path) -> tuple[Question, ...]:
    boxes: dict[str, list[Box]] = {}
    for turn in turns:
        groups = list(_GROUP.finditer(turn.answer))
        if not groups or "[" in _GROUP.sub("", turn.answer):
            raise ValueError(
                f"an answer should have <p>a class</p>[boxes], separated by semicolons: {brief(turn.answer)}"
            )
        for group in groups:
            size = read_image_size(image)
            found = [padded_box(text, size) for text in group["boxes"].split(";") if text.strip()]
            boxes.setdefault(object_name(group["phrase"]), []).extend(found)
    return tuple(
        Question("detect", name, boxes=tuple(found), labels=(name,) * len(found)) for name, found in boxes.items()
    )


_TASKS: Mapping[str, Callable[[list[Turn], Path], tuple[Question, ...]]] = {
    "caption": _captions,
    "classification": _classes,
    "detection": _objects,
    "RSVG": _expressions,
    "VQA": _answers,
}
