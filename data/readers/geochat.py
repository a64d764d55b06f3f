# SPDX-License-Identifier: Apache-2.0
"""GeoChat-Instruct: 318 thousand conversations about images of seven data sets.

Layout: `GeoChat_Instruct.json` in LLaVA's form, and the images in `images/` or deeper, where the archive puts them. A
box is `{<x1><y1><x2><y2>|<theta>}`, integers from 0 to 100 and an angle in degrees: see [`GeoChatBoxCodec`], which
gives the axis-aligned box around the turned one. A word in brackets says what a turn is about:

* `[refer] where is <p>phrase</p> ?`, answered by boxes: `ground` with one box, `detect` with several;
* `[grounding] describe ...`: `caption` of kind "grounded", without the boxes in the text;
* `[identify] {<box>} what is it`: left out, since the schema has no question with a box in it.

"Classify the given image ..." is `classify`, "Describe the image ..." is `caption`, everything else is `vqa`.

Source: `docs/Data.md` and `geochat/eval/` of github.com/mbzuai-oryx/GeoChat (Kuckreja et al., "GeoChat: Grounded Large
Vision-Language Model for Remote Sensing", CVPR 2024), and records of the file as projects that convert it quote them.
They report coordinates above 100 and boxes without area: those records are bad ones.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from geodit.data.readers.conversations import (
    Turn,
    iter_conversations,
    locate_image,
    parse_turns,
    without_hint,
)
from geodit.data.readers.fields import as_record, brief, clean_text, marked_phrase, path_field
from geodit.data.readers.files import read_image_size
from geodit.data.readers.reader import Count, DatasetReader, Entry, Sample
from geodit.data.schema import Box, Question
from geodit.processing.boxes_geodit import GeoChatBoxCodec

_ARCHIVE_FOLDER = "share/softwares/kartik/GeoChat_finetuning/final_images_llava"
_TAG = re.compile(r"\[(?P<tag>refer|grounding|identify)\]\s*", re.IGNORECASE)
_BOX = re.compile(r"\{[^{}]*\}")
_SPACE_BEFORE_MARK = re.compile(r"\s+(?=[.,;])")


class GeoChatReader(DatasetReader):
    """GeoChat-Instruct."""

    name = "geochat-instruct"
    description = "318 thousand conversations about images of seven data sets"
    splits = ("train",)
    download = "https://huggingface.co/datasets/MBZUAI/GeoChat_Instruct"
    layout = "GeoChat_Instruct.json and images/ (cat images_parta* > images.zip; unzip images.zip -d images)"
    licence = "Apache-2.0 (conversations); the images have the terms of their data sets"
    published = {"train": {"records": Count(318_000, exact=False)}}

    def annotation_files(self, root: Path, split: str) -> list[Path]:
        """Return the JSON file."""
        return [self.require_file(root / "GeoChat_Instruct.json")]

    def entries(self, root: Path, split: str) -> Iterator[Entry]:
        """Yield one entry per conversation."""
        (path,) = self.annotation_files(root, split)
        images = self.require_folder(root / "images", root / "final_images_llava")
        folders = (images, images / "final_images_llava", images / _ARCHIVE_FOLDER)
        for index, record in enumerate(iter_conversations(path)):
            yield Entry(f"{path}, record {index}", functools.partial(self._sample, folders, index, record))

    def _sample(self, folders: Sequence[Path], index: int, record: object) -> Sample:
        record = as_record(record)
        image = locate_image(path_field(record, "image"), folders)
        questions = [geochat_question(turn, image) for turn in parse_turns(record)]
        kept = tuple(question for question in questions if question is not None)
        return Sample(image, f"{self.name}/{index}", kept)


def geochat_question(turn: Turn, image: Path) -> Question | None:
    """Convert a turn into a question; return `None` if the schema has no place for it.

    Args:
        turn: The turn.
        image: The image file, whose size is read if the answer has boxes.

    Raises:
        ValueError: If the turn is not of GeoChat's form.
    """
    tag = _TAG.search(turn.prompt)
    kind = tag["tag"].lower() if tag else ""
    if kind == "identify" or (kind != "refer" and _BOX.search(turn.prompt)):
        return None
    if kind == "refer":
        return _referring(turn, image)
    if kind == "grounding" or turn.prompt.lower().startswith("describe"):
        answer = plain_description(turn.answer)
        return Question("caption", answer=answer, references=(answer,), kind="grounded" if kind else "")
    if turn.prompt.lower().startswith("classify the given image"):
        return Question("classify", answer=plain_description(turn.answer))
    return Question("vqa", plain_description(without_hint(turn.prompt)), plain_description(turn.answer))


def plain_description(text: str) -> str:
    """Remove the boxes and the marks of phrases from a description.

    Raises:
        ValueError: If nothing is left.
    """
    words = _BOX.sub(" ", text).replace("<p>", " ").replace("</p>", " ").replace("<delim>", " ")
    return _SPACE_BEFORE_MARK.sub("", clean_text(words, "the text without its boxes"))


def _referring(turn: Turn, image: Path) -> Question:
    query = marked_phrase(turn.prompt)
    if query is None:
        raise ValueError(f"[refer] should be followed by <p>a phrase</p>: {brief(turn.prompt)}")
    parse = GeoChatBoxCodec().decode(turn.answer, read_image_size(image))
    if not parse.parsed or not parse.boxes:
        raise ValueError(
            "the answer to [refer] should be boxes {<x1><y1><x2><y2>|<theta>} with an area and numbers from 0 to 100, "
            f"not {brief(turn.answer)}"
        )
    boxes: tuple[Box, ...] = tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in parse.boxes)
    task = "ground" if len(boxes) == 1 else "detect"
    return Question(task, query, boxes=boxes, labels=(query,) * len(boxes))
