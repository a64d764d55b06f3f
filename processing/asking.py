# SPDX-License-Identifier: Apache-2.0
"""Asking a model questions about images: prepare them, generate the answers in slots, and read them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from PIL import Image

from geodit.configuration.decoding_options import DecodingOptions
from geodit.configuration.types_geodit import JsonObject
from geodit.modeling_geodit.patterns_geodit import AnswerPattern
from geodit.modeling_geodit.random_geodit import seeded_generator
from geodit.modeling_geodit.slots_geodit import FinishedAnswer
from geodit.processing.prefetching import prefetch

if TYPE_CHECKING:
    from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
    from geodit.processing.processing_geodit import GeoDiTProcessor

__all__ = ["ImageQuestion", "Reply", "ask"]


@dataclass(frozen=True)
class ImageQuestion:
    """A question about an image.

    Args:
        image: The image.
        query: The phrase, class or question; empty for tasks without one.
        number: Number of the question among all, which its random numbers depend on.
    """

    image: Image.Image
    query: str = ""
    number: int = 0

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the image, in pixels."""
        return self.image.height, self.image.width


@dataclass(frozen=True)
class Reply:
    """The answer to a question.

    Args:
        question: The question.
        answer: The answer as `GeoDiTProcessor.post_process_generation` returns it: `text`, `boxes` in pixels of the
            image, `labels` and `parsed`.
        tokens: The answer as it was generated.
    """

    question: ImageQuestion
    answer: JsonObject
    tokens: FinishedAnswer


def ask(
    model: GeoDiTForMaskedDiffusion,
    processor: GeoDiTProcessor,
    task: str,
    questions: Iterable[ImageQuestion],
    *,
    options: DecodingOptions | None = None,
    pattern: AnswerPattern | None = None,
    batch_size: int = 8,
    by_model: bool = True,
) -> Iterator[Reply]:
    """Ask a model questions of one task.

    Images are read and prepared in a thread while the model answers others.

    Args:
        model: A [`GeoDiTForMaskedDiffusion`] in evaluation mode.
        processor: Its [`GeoDiTProcessor`].
        task: The task.
        questions: The questions; iterated over in a thread.
        options: How to decode. With a seed, a question draws its random numbers from the seed and its number.
        pattern: What every answer must look like; see [`build_answer_pattern`].
        batch_size: Number of questions that are answered at once.
        by_model: Whether the model decides on what the options leave open; see
            [`DecodingOptions.generate_arguments`].

    Yields:
        The replies as they are finished, in any order.

    Raises:
        ValueError: If an argument is not allowed, or the processor has no such task.
    """
    options = options or DecodingOptions()
    seed = options.seed
    arguments = options.generate_arguments(by_model=by_model)
    if seed is not None:
        arguments["seed"] = None  # Each question brings a generator.
    asked: dict[int, ImageQuestion] = {}
    places = itertools.count()

    def prepare() -> Iterator[dict[str, object]]:
        remaining = iter(questions)
        while batch := list(itertools.islice(remaining, batch_size)):
            images, queries = [question.image for question in batch], [question.query for question in batch]
            inputs: dict[str, object] = dict(processor(images=images, text=queries, task=task, return_tensors="pt"))
            if seed is not None:
                inputs["generator"] = [seeded_generator(seed, question.number, bits=32) for question in batch]
            # `places` comes second: zip() stops at the end of the batch before it takes a place too many.
            asked.update((place, question) for question, place in zip(batch, places, strict=False))
            yield inputs

    with closing(prefetch(prepare())) as batches:
        finished = model.generate_many(
            batches, max_new_tokens=processor.canvas_length(task), answer_pattern=pattern, **arguments
        )
        for tokens in finished:
            question = asked.pop(tokens.index)
            text = cast(str, processor.decode_canvas(tokens.canvas))
            answer = processor.post_process_generation(text, task, question.image_size, query=question.query)
            yield Reply(question, answer, tokens)
