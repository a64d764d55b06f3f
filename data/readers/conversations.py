# SPDX-License-Identifier: Apache-2.0
r"""Conversations in LLaVA's JSON: records with an image and the turns of a human and a model.

Layout: a JSON array, or one JSON object a line, of `{"image": "a/b.jpg", "conversations": [{"from": "human",
"value": "<image>\nWhat is this?"}, {"from": "gpt", "value": "A harbor."}, ...]}`. The images are beside the file, or
in `images/` there.

Source: `docs/Finetune_Custom_Data.md` and `llava/train/train.py` of github.com/haotian-liu/LLaVA.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from geodit.data.readers.fields import as_record, brief, clean_text, list_field, path_field
from geodit.data.readers.files import is_file, iter_json_array, iter_json_lines
from geodit.data.readers.reader import DatasetReader, Entry, Sample
from geodit.data.schema import Question

# What is added to a question to get a short answer; GeoDiT's canvas says how short it is.
_HINTS = (
    "Answer the question using a single word or phrase.",
    "Answer in one word or a short phrase.",
    "A short answer to the question is",
    "A short answer is",
)


class Turn(NamedTuple):
    """What the human asks, without the mark of the image, and what the model answers."""

    prompt: str
    answer: str


def parse_turns(record: Mapping[str, object]) -> list[Turn]:
    """Return the turns of a record.

    Raises:
        ValueError: If human and model do not take turns, or one says nothing.
    """
    messages = [as_record(message) for message in list_field(record, "conversations")]
    speakers = [message.get("from") for message in messages]
    if not messages or speakers != ["human", "gpt"] * (len(messages) // 2):
        raise ValueError(f"'conversations' should alternate between human and gpt, not be from {brief(speakers)}")
    values = [clean_text(_without_image(message.get("value")), "a message") for message in messages]
    return [Turn(prompt, answer) for prompt, answer in zip(values[::2], values[1::2], strict=True)]


def without_hint(prompt: str) -> str:
    """Remove from a question the request for a short answer that LLaVA's followers add to it."""
    for hint in _HINTS:
        if prompt.lower().endswith(hint.lower()) and len(prompt) > len(hint):
            question = prompt[: -len(hint)].rstrip()
            # As prompts of VRSBench are quoted: "Is it busy?. A short answer to the question is".
            return question[:-1] if question.endswith("?.") else question
    return prompt


def iter_conversations(path: Path) -> Iterator[object]:
    """Yield the records of a file.

    Raises:
        ValueError: If the file is not JSON.
    """
    return iter_json_lines(path) if path.suffix == ".jsonl" else iter_json_array(path)


def locate_image(path: str, folders: Sequence[Path]) -> Path:
    """Return the image in the first folder that has it, or in the first folder if none does."""
    return next((folder / path for folder in folders if is_file(folder / path)), folders[0] / path)


def _without_image(value: object) -> object:
    return value.replace("<image>", " ") if isinstance(value, str) else value


class LLaVAReader(DatasetReader):
    """Any data set in LLaVA's JSON. Every turn is a `vqa` question, since nothing else can be known of it."""

    name = "llava"
    description = "any JSON of conversations in LLaVA's form; the path is that of the file"
    splits = ("train",)
    download = "wherever it is published"
    layout = "a .json or .jsonl file, with its images beside it or in images/"
    licence = "that of the data set"

    def annotation_files(self, root: Path, split: str) -> list[Path]:
        """Return the file that the path names."""
        if root.suffix not in (".json", ".jsonl"):
            raise ValueError(f"{self.name} takes the path of a .json or .jsonl file, not {root}")
        return [self.require_file(root)]

    def entries(self, root: Path, split: str) -> Iterator[Entry]:
        """Yield one entry per conversation."""
        (path,) = self.annotation_files(root, split)
        folders = (path.parent, path.parent / "images")
        for index, record in enumerate(iter_conversations(path)):
            build = functools.partial(self._sample, folders, f"{path.name}#{index}", record)
            yield Entry(f"{path}, record {index}", build)

    def _sample(self, folders: Sequence[Path], record_id: str, record: object) -> Sample:
        record = as_record(record)
        image = locate_image(path_field(record, "image"), folders)
        turns = parse_turns(record)
        questions = tuple(Question("vqa", without_hint(turn.prompt), turn.answer) for turn in turns)
        return Sample(image, f"{self.name}/{record_id}", questions)
