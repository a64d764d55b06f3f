# SPDX-License-Identifier: Apache-2.0
"""Our data sets as tasks of lmms-eval: one row per question, how it is asked, and how answers are scored.

The files in `tasks/` name these functions. A model other than GeoDiT is asked as the generic family of
[`geodit.evaluation.other_models`] is: for boxes in JSON, from 0 to 1000.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import datasets
from PIL import Image

from geodit.configuration.types_geodit import Item, JsonObject
from geodit.data.readers.reading import read_dataset
from geodit.data.schema import Question, QuestionDataset, StoredImage, decode_stored_image
from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.other_models.families import GENERIC_FAMILY
from geodit.evaluation.scoring import score_answers
from geodit.processing.tasks_geodit import DEFAULT_TASKS, names_several_classes

__all__ = [
    "DATA_FOLDER",
    "TASKS_FOLDER",
    "bleu4",
    "cider",
    "doc_to_text",
    "doc_to_visual",
    "f1",
    "ground_accuracy",
    "mean_iou",
    "only_caption",
    "only_detect",
    "only_ground",
    "only_vqa",
    "parse_rate",
    "precision",
    "prepare",
    "process_results",
    "recall",
    "text_accuracy",
    "write_questions",
]

TASKS_FOLDER = Path(__file__).parent / "tasks"
"""The task files, for `lmms_eval --include_path`."""

DATA_FOLDER = Path("geodit-data/lmms")
"""Where the task files look for data, below the folder in which lmms-eval is started."""

_METRICS = {
    "caption": ("cider", "bleu4", "parse_rate"),
    "ground": ("ground_accuracy", "mean_iou", "parse_rate"),
    "detect": ("f1", "precision", "recall", "parse_rate"),
    "vqa": ("text_accuracy", "parse_rate"),
}


def prepare(name: str, path: str | Path, output: str | Path | None = None, *, split: str = "test") -> Path:
    """Write a published data set as the task files read it.

    Args:
        name: Name of its reader, such as `vrsbench`.
        path: Folder with the download.
        output: Folder to make; by default the one where the task files look.
        split: The split to ask about.

    Returns:
        The folder.

    Raises:
        ValueError: If there is no such data set, or it cannot be read.
        FileExistsError: If the folder exists.
    """
    return write_questions(read_dataset(name, path, split), DATA_FOLDER / name if output is None else output)


def write_questions(dataset: datasets.Dataset, output: str | Path) -> Path:
    """Write the questions of a data set as a table with one row each, in a folder that `datasets` loads.

    The table names the files of images, which stay where they are; images that are in the data set itself are written
    beside the table, each once.

    Args:
        dataset: A data set as [`geodit.data.schema`] describes it.
        output: Folder to make.

    Returns:
        The folder.

    Raises:
        FileExistsError: If it exists.
        ValueError: If an image cannot be read.
    """
    folder = Path(output)
    if folder.exists():
        raise FileExistsError(f"{folder} exists: remove it, or name another folder")
    (folder / "images").mkdir(parents=True)
    images = dataset.select_columns(["image"]).cast_column("image", datasets.Image(decode=False))
    names = dataset.select_columns(["image_id"])["image_id"]
    questions = QuestionDataset(dataset)
    rows: list[JsonObject] = []
    described: dict[int, JsonObject] = {}
    for row, question in zip(questions.rows, questions.questions, strict=True):
        if row not in described:
            described = {row: _describe(images[row]["image"], folder.resolve() / "images" / f"{row}.png")}
        rows.append(
            {
                **described[row],
                "image_id": names[row],
                "task": question.task,
                "question": json.dumps(question.to_dict()),
            }
        )
    datasets.DatasetDict({"test": datasets.Dataset.from_list(rows)}).save_to_disk(folder)
    return folder


def _describe(stored: StoredImage, new_file: Path) -> JsonObject:
    """Return the file of an image, which is written if there is none, and its size in pixels."""
    image = decode_stored_image(stored)
    path = stored["path"] if stored["bytes"] is None else None
    if path is None:
        image.save(new_file)
        path = str(new_file)
    return {"image": path, "height": image.height, "width": image.width}


def doc_to_visual(doc: Item) -> list[Image.Image]:
    """Return the image of a question, upright and in RGB."""
    return [decode_stored_image({"bytes": None, "path": doc["image"]})]


def doc_to_text(doc: Item, lmms_eval_specific_kwargs: JsonObject | None = None) -> str:
    """Word a question.

    Args:
        doc: A row of the table.
        lmms_eval_specific_kwargs: `prompt` is `geodit` for GeoDiT's own prompts, and `generic` by default.
    """
    question = Question.from_dict(json.loads(doc["question"]))
    if (lmms_eval_specific_kwargs or {}).get("prompt") == "geodit":
        return DEFAULT_TASKS[question.task].format_prompt(question.query)
    return GENERIC_FAMILY.prompt(question).text


def process_results(doc: Item, results: Sequence[str]) -> dict[str, JsonObject]:
    """Read an answer; figures are computed of all of them together.

    Returns:
        The record of the answer, as [`AnswerRecord.to_dict`] returns it, under the name of every metric of the task.
    """
    question = Question.from_dict(json.loads(doc["question"]))
    text, size = results[0].strip(), (int(doc["height"]), int(doc["width"]))
    boxes: list[list[float]] = []
    labels: list[str] = []
    parsed = bool(text)
    if question.task in ("ground", "detect"):
        parse = GENERIC_FAMILY.notation.decode(text, size)
        several = question.task == "detect" and names_several_classes(question.query)
        boxes, parsed = parse.boxes, parse.parsed
        labels = [label if several and label else question.query for label in parse.labels]
    record = AnswerRecord(
        image_id=doc["image_id"],
        image_size=size,
        question=question,
        text=text,
        boxes=tuple((box[0], box[1], box[2], box[3]) for box in boxes),
        labels=tuple(labels),
        parsed=parsed,
        num_steps=0,
    ).to_dict()
    return dict.fromkeys(_METRICS[question.task], record)


def _of_task(task: str) -> Callable[[datasets.Dataset], datasets.Dataset]:
    def keep(dataset: datasets.Dataset) -> datasets.Dataset:
        tasks = dataset.select_columns(["task"])["task"]
        return dataset.select([index for index, one in enumerate(tasks) if one == task])

    return keep


def _figure(name: str) -> Callable[[Sequence[JsonObject]], float]:
    def aggregate(records: Sequence[JsonObject]) -> float:
        (figures,) = score_answers([AnswerRecord.from_dict(record) for record in records]).values()
        value = figures.get(name)
        return math.nan if value is None else float(value)

    return aggregate


only_caption, only_ground, only_detect, only_vqa = map(_of_task, _METRICS)
cider, bleu4, mean_iou, parse_rate = map(_figure, ("cider", "bleu4", "mean_iou", "parse_rate"))
precision, recall, f1 = map(_figure, ("precision", "recall", "f1"))
ground_accuracy = text_accuracy = _figure("accuracy")
