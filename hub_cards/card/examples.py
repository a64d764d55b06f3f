# SPDX-License-Identifier: Apache-2.0
"""Example predictions: what a checkpoint answers about the scenes that come with this package.

The images are drawn by this package's own generator, from seeds that training never uses, and every question of theirs
is shown, whether the answer is right or not.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from geodit.configuration.decoding_options import DecodingOptions
from geodit.configuration.files_geodit import write_atomically
from geodit.configuration.types_geodit import JsonObject
from geodit.hub_cards.card.checkpoint_files import Field, read_fields
from geodit.hub_cards.card.markdown import Markdown, Table, as_markdown, code, image
from geodit.processing.answer_patterns import AnswerPatterns
from geodit.processing.asking import ImageQuestion, ask

if TYPE_CHECKING:
    from geodit.data.schema import Question
    from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
    from geodit.modeling_geodit.patterns_geodit import AnswerPattern
    from geodit.processing.processing_geodit import GeoDiTProcessor

__all__ = [
    "ASSETS_FOLDER",
    "EXAMPLES_FILE",
    "Example",
    "examples_table",
    "pictures_table",
    "read_examples",
    "write_examples",
]

ASSETS_FOLDER = "assets"
EXAMPLES_FILE = f"{ASSETS_FOLDER}/examples.json"

DrawAnswer = Callable[[Image.Image, "Question", JsonObject], Image.Image]
"""Draws an answer, as `post_process_generation` returns it, on the image that was asked about."""

_SCENES = Path("tiny", "demo_scenes")
_DRAWN = "detect"


@dataclass(frozen=True)
class Example:
    """A question about a scene, with the truth and the answer.

    Args:
        scene: Name of the scene.
        task: The task.
        query: What was asked; empty for tasks that ask nothing.
        answer: What the model said: text, or boxes in pixels as text.
        truth: The same of the truth.
        picture: Path of a picture of the answer in the repository; `None` if it is not drawn.
    """

    scene: str
    task: str
    query: str
    answer: str
    truth: str
    picture: str | None = None


def write_examples(
    checkpoint_dir: Path,
    model: GeoDiTForMaskedDiffusion,
    processor: GeoDiTProcessor,
    draw_answer: DrawAnswer | None = None,
) -> list[Example]:
    """Answer the questions about the bundled scenes, and keep answers and pictures in `assets/` of a checkpoint.

    Answers are decoded as the model's generation configuration says, boxes by their pattern, as in [`GeoDiTPipeline`].

    Args:
        checkpoint_dir: Folder of the checkpoint; what an earlier call left is replaced.
        model: Its [`GeoDiTForMaskedDiffusion`], or a copy with its adapter merged.
        processor: Its [`GeoDiTProcessor`].
        draw_answer: Draws the answers to `detect`; without it there are no pictures.

    Raises:
        ValueError: If the processor lacks a task of the questions.
    """
    from geodit.data.schema import Question

    scenes = Path(str(files("geodit"))) / _SCENES
    examples: list[Example] = []
    pictures: dict[str, bytes] = {}
    patterns = AnswerPatterns(processor)
    model.train(False)
    for scene in read_fields(scenes / "scenes.json")["scenes"].elements():
        path = scenes / scene["image"].text()
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        for document in scene["questions"].elements():
            question = Question.from_dict(document.mapping())
            asked, pattern = ImageQuestion(image, question.query), _pattern(patterns, question)
            [reply] = ask(model, processor, question.task, [asked], options=DecodingOptions(seed=0), pattern=pattern)
            answer = reply.answer
            picture = None
            if draw_answer is not None and question.task == _DRAWN:
                picture = f"{ASSETS_FOLDER}/example-{path.stem}.jpg"
                pictures[picture] = _jpeg(draw_answer(image, question, answer))
            said = _boxes(answer["boxes"]) if answer["boxes"] else str(answer["text"])
            truth = _boxes(question.boxes) if question.boxes else question.answer
            examples.append(Example(path.stem, question.task, question.query, said, truth, picture))
    folder = checkpoint_dir / ASSETS_FOLDER
    folder.mkdir(exist_ok=True)
    for earlier in folder.glob("example-*.jpg"):
        earlier.unlink()
    for name, content in pictures.items():
        write_atomically(checkpoint_dir / name, content)
    text = json.dumps({"examples": [example.__dict__ for example in examples]}, indent=1, ensure_ascii=False)
    write_atomically(checkpoint_dir / EXAMPLES_FILE, f"{text}\n".encode())
    return examples


def read_examples(folder: Path) -> list[Example]:
    """Read what `write_examples` has kept; none if it was never called.

    Raises:
        ValueError: If the file is not one of `write_examples`, or a picture is missing.
    """
    path = folder / EXAMPLES_FILE
    if not path.is_file():
        return []
    return [_read(example, folder) for example in read_fields(path)["examples"].elements()]


def examples_table(examples: Sequence[Example]) -> Table | None:
    """Build a table of every question with its answer; return `None` without examples."""
    if not examples:
        return None
    rows = [
        (example.scene, example.task, example.query, _quoted(example.answer), _quoted(example.truth))
        for example in examples
    ]
    return Table(("scene", "task", "question", "answer", "truth"), tuple(rows), num_left=5)


def pictures_table(examples: Sequence[Example]) -> Table | None:
    """Build a table of the pictures side by side; return `None` if nothing is drawn."""
    drawn = [example for example in examples if example.picture is not None]
    if not drawn:
        return None
    header = tuple(Markdown(f"{as_markdown(example.task)} {code(example.query)}") for example in drawn)
    pictures = tuple(image(_description(example), str(example.picture)) for example in drawn)
    return Table(header, (pictures,), num_left=len(drawn))


def _description(example: Example) -> str:
    scene, query = as_markdown(example.scene), as_markdown(example.query)
    return f"{scene}: boxes that the model gives for {query}, and the true ones"


def _pattern(patterns: AnswerPatterns, question: Question) -> AnswerPattern | None:
    try:
        return patterns.find(question.task, question.query)
    except ValueError:  # No box fits the canvas: the card shows what the model writes on it.
        return None


def _read(example: Field, folder: Path) -> Example:
    picture = example.get("picture")
    texts = {name: example[name].text() for name in ("scene", "task", "query", "answer", "truth")}
    read = Example(**texts, picture=None if picture is None else picture.text())
    if read.picture is not None:
        path = Path(read.picture)
        if path.parent != Path(ASSETS_FOLDER) or not (folder / path).is_file():
            raise ValueError(
                f"{example.file}: {example.trail}.picture is no file in {ASSETS_FOLDER}: {read.picture!r}"
            )
    return read


def _boxes(boxes: Sequence[Sequence[float]]) -> str:
    return " ".join(f"[{', '.join(f'{value:.0f}' for value in box)}]" for box in boxes)


def _jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, format="JPEG", quality=85, optimize=True)
    return buffer.getvalue()


def _quoted(text: str) -> str:
    return code(text) if text.strip() else ""
