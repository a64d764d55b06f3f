# SPDX-License-Identifier: Apache-2.0
"""What the model answers while it trains: every so often a picture for each of a few held-out questions."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from transformers import TrainerCallback, TrainerControl, TrainerState

from geodit.configuration.decoding_options import DecodingOptions
from geodit.configuration.files_geodit import write_atomically
from geodit.data.schema import Question
from geodit.modeling_geodit.patterns_geodit import AnswerPattern
from geodit.processing.answer_patterns import AnswerPatterns
from geodit.processing.asking import ImageQuestion, ask
from geodit.processing.processing_geodit import GeoDiTProcessor
from geodit.trainers.answering_mode import answering_mode
from geodit.trainers.conversations import is_conversation
from geodit.trainers.data_collator import item_questions
from geodit.trainers.item_records import item_id
from geodit.trainers.training_arguments import GeoDiTTrainingArguments

DrawAnswer = Callable[[Image.Image, Question, Mapping[str, Any]], Image.Image]
"""Draws an answer, as `post_process_generation` returns it, on the image that was asked about."""

_SEEDED = DecodingOptions(seed=0)


@dataclass(frozen=True)
class Sample:
    """A question whose answers are followed.

    Args:
        name: What it is called in the record.
        image: The image.
        question: The question, with the true answer.
    """

    name: str
    image: Image.Image
    question: Question


def choose_samples(dataset: Any, number: int) -> list[Sample]:
    """Choose questions that are spread over a data set; of one that is streamed the first.

    Args:
        dataset: Items as [`GeoDiTDataCollator`] takes them. Those without an image are passed over, and so are
            conversations, which have no task.
        number: How many questions, of as many items.

    Raises:
        ValueError: if no item has a question about an image.
    """
    items: Iterable[Mapping[str, Any]]
    if hasattr(dataset, "__len__"):
        count = min(number, len(dataset))
        items = (dataset[index * len(dataset) // count] for index in range(count))
    else:
        items = itertools.islice(dataset, number)
    samples = []
    for index, item in enumerate(items):
        if item.get("image") is not None and not is_conversation(item):
            questions = item_questions(item)
            # Another place in each item, for different tasks.
            question = questions[index % len(questions)]
            samples.append(Sample(item_id(item), item["image"], question))
    if not samples:
        raise ValueError("sample_every_steps needs held-out questions about images, and there are none.")
    return samples


class SampleCallback(TrainerCallback):
    """Writes `samples/step-<step>/` in the output folder every `args.sample_every_steps` updates.

    It holds `answers.json` and, with `draw`, a picture for each question, which TensorBoard shows, too, if
    `args.report_to` names it. Answers are decoded as the model's
    generation configuration says, boxes by their pattern, as in [`GeoDiTPipeline`]. Training goes on as if nothing had
    happened: no random number of it is used.

    Args:
        processor: The model's processor.
        samples: The questions, for instance of [`choose_samples`].
        draw: Draws an answer; without it there are no pictures.

    Raises:
        ValueError: If no box fits the canvas of a question that is answered by boxes.
    """

    def __init__(self, processor: GeoDiTProcessor, samples: Sequence[Sample], draw: DrawAnswer | None = None) -> None:
        self._processor = processor
        self._samples = list(samples)
        self._draw = draw
        patterns = AnswerPatterns(processor)
        self._patterns = [patterns.find(sample.question.task, sample.question.query) for sample in self._samples]

    def on_step_end(  # type: ignore[override]
        self,
        args: GeoDiTTrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        **kwargs: Any,
    ) -> None:
        """Answer the questions, if it is time to. All processes do: parameters may be shared among them."""
        if not args.sample_every_steps or state.global_step % args.sample_every_steps:
            return
        with answering_mode(model, args):
            answers = [self._answer(model, *asked) for asked in zip(self._samples, self._patterns, strict=True)]
        if state.is_world_process_zero:
            output = Path(str(args.output_dir))
            pictures = self._write(output / "samples" / f"step-{state.global_step:06d}", answers)
            if pictures and "tensorboard" in (args.report_to or ()):
                _show_in_tensorboard(output / "runs" / "samples", pictures, state.global_step)

    def _answer(self, model: Any, sample: Sample, pattern: AnswerPattern | None) -> dict[str, Any]:
        question = ImageQuestion(sample.image, sample.question.query)
        [reply] = ask(model, self._processor, sample.question.task, [question], options=_SEEDED, pattern=pattern)
        return reply.answer

    def _write(self, folder: Path, answers: Sequence[Mapping[str, Any]]) -> dict[str, Image.Image]:
        """Write the record, and the pictures, if there are any; return these by name."""
        folder.mkdir(parents=True, exist_ok=True)
        records = [
            {"item": sample.name, "question": sample.question.to_dict(), "answer": dict(answer)}
            for sample, answer in zip(self._samples, answers, strict=True)
        ]
        write_atomically(folder / "answers.json", json.dumps(records, indent=1).encode())
        pictures: dict[str, Image.Image] = {}
        if self._draw is None:
            return pictures
        for index, (sample, answer) in enumerate(zip(self._samples, answers, strict=True)):
            name = f"{index:02d}-{sample.question.task}"
            pictures[name] = self._draw(sample.image, sample.question, answer)
            buffer = io.BytesIO()
            pictures[name].save(buffer, format="PNG")
            write_atomically(folder / f"{name}.png", buffer.getvalue())
        return pictures


def _show_in_tensorboard(folder: Path, pictures: Mapping[str, Image.Image], step: int) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        for name, picture in pictures.items():
            writer.add_image(f"samples/{name}", np.asarray(picture.convert("RGB")), step, dataformats="HWC")
