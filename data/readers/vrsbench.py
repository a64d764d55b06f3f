# SPDX-License-Identifier: Apache-2.0
"""VRSBench: captions, referring expressions and questions about 29,614 images of 512 pixels.

Layout, with the splits "train" and "test" (which the files call val or EVAL):

* train: `VRSBench_train.json` in LLaVA's form, each prompt with `[caption]`, `[vqa]` or `[refer]` in front; without it
  one JSON file an image in `Annotations_train/`. Images in `Images_train/`.
* test: `VRSBench_EVAL_Cap.json`, `VRSBench_EVAL_referring.json` and `VRSBench_EVAL_vqa.json`, or those of them that
  are there; without any `Annotations_val/`. Images in `Images_val/`.

Boxes are `{<x1><y1><x2><y2>}`, integers from 0 to 100 relative to the image, which is what the authors' evaluation
compares with; in the files an image they are the corners of a turned rectangle relative to the image (`obj_corner`),
of which the surrounding box is taken. Where an object's class is known (`obj_cls`), there is a `detect` question for
each class of an image; its answer are the objects that expressions refer to.

Source: the data set card of huggingface.co/datasets/xiang709/VRSBench; `extract_patch_json.py`,
`prepare_eval_all.ipynb` and `eval_fianl/compute_metrics.ipynb` of github.com/lx709/VRSBench (Li et al., "VRSBench",
NeurIPS 2024) on the keys; prompts, number of records and coordinates above 100 of the training file as projects that
train on it report them.
"""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from geodit.data.readers.conversations import Turn, locate_image, parse_turns, without_hint
from geodit.data.readers.fields import (
    as_record,
    brief,
    class_words,
    list_field,
    marked_phrase,
    numbers,
    path_field,
    text_field,
)
from geodit.data.readers.files import iter_json_array, read_image_size, read_json
from geodit.data.readers.reader import TOTAL, Count, DatasetReader, Entry, Sample
from geodit.data.schema import Box, Question

_TRAIN_FILE = "VRSBench_train.json"
_EVAL_FILES = ("VRSBench_EVAL_Cap.json", "VRSBench_EVAL_referring.json", "VRSBench_EVAL_vqa.json")
_FOLDERS = {"train": "train", "test": "val"}
_TAG = re.compile(r"\[(?P<tag>caption|vqa|refer)\]\s*(?P<rest>.*)", re.IGNORECASE)
_BOX = re.compile(r"\{\s*<(\d+)>\s*<(\d+)>\s*<(\d+)>\s*<(\d+)>\s*\}", re.ASCII)


class VRSBenchReader(DatasetReader):
    """VRSBench."""

    name = "vrsbench"
    description = "29,614 images with captions, referring expressions and questions"
    splits = ("train", "test")
    download = "https://huggingface.co/datasets/xiang709/VRSBench"
    layout = (
        "VRSBench_train.json or Annotations_train/, VRSBench_EVAL_{Cap,referring,vqa}.json or Annotations_val/, and "
        "the unzipped Images_train/ and Images_val/"
    )
    licence = "CC-BY-4.0; the images have the terms of DOTA and DIOR"
    published = {
        "train": {"images": Count(20264), "caption": Count(20264), "ground": Count(36313), "vqa": Count(85813)},
        "test": {"images": Count(9350), "caption": Count(9350), "ground": Count(16159), "vqa": Count(37409)},
        TOTAL: {"images": Count(29614)},
    }

    def annotation_files(self, root: Path, split: str) -> list[Path]:
        """Return the file of conversations or the files to evaluate on, or else one file per image."""
        names = (_TRAIN_FILE,) if split == "train" else _EVAL_FILES
        found = [root / name for name in names if (root / name).is_file()]
        if found:
            return found
        folders = [root / f"Annotations_{_FOLDERS[split]}"]
        folders.append(folders[0] / folders[0].name)  # as some tools unzip it
        files = sorted(path for folder in folders for path in folder.glob("*.json"))
        # What the captions and questions were generated from lies beside them.
        files = [path for path in files if not path.name.endswith("input.json")]
        if not files:
            raise self.missing(f"{root / names[0]} (or {folders[0]})")
        return files

    def entries(self, root: Path, split: str) -> Iterator[Entry]:
        """Yield one entry per image with everything that is asked about it."""
        folder = self.require_folder(root / f"Images_{_FOLDERS[split]}")
        folders = (folder, folder / folder.name)
        files = self.annotation_files(root, split)
        if files[0].name == _TRAIN_FILE:
            yield from self._grouped(files, folders, "image", self._conversation_image)
        elif files[0].name in _EVAL_FILES:
            yield from self._grouped(files, folders, "image_id", self._evaluated_image)
        else:
            for path in files:
                yield Entry(str(path), functools.partial(self._annotated_image, folders, path))

    def _grouped(
        self, files: Sequence[Path], folders: Sequence[Path], key: str, read: Callable[..., Sample]
    ) -> Iterator[Entry]:
        """Yield one entry per image from files that have several records of it."""
        by_image: dict[str, list[tuple[str, object]]] = defaultdict(list)
        for path in files:
            for index, record in enumerate(iter_json_array(path)):
                name = record.get(key) if isinstance(record, dict) else None
                by_image[name if isinstance(name, str) else ""].append((f"{path.name}, record {index}", record))
        for name, records in by_image.items():
            yield Entry(f"{files[0].parent}, image {brief(name)}", functools.partial(read, folders, records))

    def _conversation_image(self, folders: Sequence[Path], records: Sequence[tuple[str, object]]) -> Sample:
        def questions(record: Mapping[str, object], image: Path) -> list[Question]:
            return [tagged_question(turn, image) for turn in parse_turns(record)]

        name, image, found = _interpret(folders, records, "image", questions)
        return Sample(image, f"{self.name}/{name}", tuple(found))

    def _evaluated_image(self, folders: Sequence[Path], records: Sequence[tuple[str, object]]) -> Sample:
        name, image, found = _interpret(folders, records, "image_id", _evaluation_questions)
        return Sample(image, f"{self.name}/{name}", (*found, *_detections(found)))

    def _annotated_image(self, folders: Sequence[Path], path: Path) -> Sample:
        record = as_record(read_json(path))
        name = path_field(record, "image")
        image = locate_image(name, folders)
        caption = text_field(record, "caption")
        questions = [Question("caption", answer=caption, references=(caption,))]
        for value in list_field(record, "objects"):
            item = as_record(value)
            label = class_words(text_field(item, "obj_cls"))
            box = corner_box(item.get("obj_corner"), read_image_size(image))
            questions.append(Question("ground", text_field(item, "referring_sentence"), boxes=(box,), labels=(label,)))
        for value in list_field(record, "qa_pairs"):
            pair = as_record(value)
            kind = text_field(pair, "type").lower()
            questions.append(Question("vqa", text_field(pair, "question"), text_field(pair, "answer"), kind=kind))
        return Sample(image, f"{self.name}/{name}", (*questions, *_detections(questions)))


def _interpret(
    folders: Sequence[Path],
    records: Sequence[tuple[str, object]],
    key: str,
    questions: Callable[[Mapping[str, object], Path], list[Question]],
) -> tuple[str, Path, list[Question]]:
    """Return the name of an image, its file, and the questions of all its records."""
    found: list[Question] = []
    for location, record in records:
        try:
            fields = as_record(record)
            name = path_field(fields, key)
            image = locate_image(name, folders)
            found.extend(questions(fields, image))
        except ValueError as error:
            raise ValueError(f"{location}: {error}") from error
    return name, image, found


def percent_box(text: str, image_size: tuple[int, int]) -> Box:
    """Return the box `{<x1><y1><x2><y2>}` in pixels. Numbers above 100 are kept: they extend beyond the image.

    Raises:
        ValueError: If the text is not one such box.
    """
    match = _BOX.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"a box should be written as {{<x1><y1><x2><y2>}}, not {brief(text)}")
    height, width = image_size
    x1, y1, x2, y2 = (int(number) / 100 for number in match.groups())
    return x1 * width, y1 * height, x2 * width, y2 * height


def corner_box(corners: object, image_size: tuple[int, int]) -> Box:
    """Return the box in pixels around four corners whose x and y are relative to the image.

    Raises:
        ValueError: If these are not eight numbers.
    """
    values = numbers(corners, 8)
    height, width = image_size
    return min(values[::2]) * width, min(values[1::2]) * height, max(values[::2]) * width, max(values[1::2]) * height


def tagged_question(turn: Turn, image: Path) -> Question:
    """Convert a turn of the training file into a question.

    Raises:
        ValueError: If its prompt has no tag, or its answer does not fit the tag.
    """
    tag = _TAG.fullmatch(turn.prompt)
    kind = tag["tag"].lower() if tag else ""
    if tag is None:
        raise ValueError(f"a prompt should begin with [caption], [vqa] or [refer]: {brief(turn.prompt)}")
    if kind == "caption":
        return Question("caption", answer=turn.answer, references=(turn.answer,))
    if kind == "vqa":
        return Question("vqa", without_hint(tag["rest"]), turn.answer)
    query = marked_phrase(turn.prompt)
    if query is None:
        raise ValueError(f"[refer] should be followed by <p>a phrase</p>: {brief(turn.prompt)}")
    box = percent_box(turn.answer, read_image_size(image))
    return Question("ground", query, boxes=(box,), labels=(query,))


def _evaluation_questions(record: Mapping[str, object], image: Path) -> list[Question]:
    sort = text_field(record, "type")
    answer = text_field(record, "ground_truth")
    if sort == "caption":
        return [Question("caption", answer=answer, references=(answer,))]
    if sort == "ref":
        box, label = percent_box(answer, read_image_size(image)), class_words(text_field(record, "obj_cls"))
        return [Question("ground", text_field(record, "question"), boxes=(box,), labels=(label,))]
    return [Question("vqa", text_field(record, "question"), answer, kind=sort.lower())]


def _detections(questions: Sequence[Question]) -> Iterator[Question]:
    """Yield a question for each class of the objects that expressions refer to."""
    boxes: dict[str, list[Box]] = defaultdict(list)
    for question in questions:
        if question.task == "ground":
            (label,), (box,) = question.labels, question.boxes
            if box not in boxes[label]:
                boxes[label].append(box)
    for label, found in boxes.items():
        yield Question("detect", label, boxes=tuple(found), labels=(label,) * len(found))
