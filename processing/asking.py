# SPDX-License-Identifier: Apache-2.0
"""Asking a model questions about images: prepare them, generate the answers in slots, and read them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias, cast

from PIL import Image
from transformers import BatchFeature

from geodit.configuration.decoding_options import DecodingOptions
from geodit.configuration.types_geodit import JsonObject
from geodit.modeling_geodit.denoising_state_geodit import DenoisingState
from geodit.modeling_geodit.patterns_geodit import AnswerPattern
from geodit.modeling_geodit.random_geodit import seeded_generator
from geodit.modeling_geodit.slots_geodit import FinishedAnswer
from geodit.processing.prefetching import prefetch

if TYPE_CHECKING:
    from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
    from geodit.processing.processing_geodit import GeoDiTProcessor

__all__ = ["ImageQuestion", "Reply", "ask", "ask_of_each"]


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
    step_callback: Callable[[DenoisingState], None] | None = None,
    num_alternatives: int = 0,
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
        step_callback: Called after every step with the state of a batch; what it raises ends the call.
        num_alternatives: How many alternatives of each token that state has.

    Yields:
        The replies as they are finished, in any order.

    Raises:
        ValueError: If an argument is not allowed, or the processor has no such task.
    """
    options = options or DecodingOptions()

    def with_prompts(prepared: Iterable[_Prepared]) -> Iterator[_Asked]:
        for batch, inputs in prepared:
            queries, sizes = [one.query for one in batch], [one.image_size for one in batch]
            prompts = processor.prompt_inputs(task, queries, sizes)
            yield batch, {**inputs, **prompts, **_generators(batch, options)}

    watching: dict[str, object] = {}
    if step_callback is not None or num_alternatives:
        watching = {"step_callback": step_callback, "num_alternatives": num_alternatives}
    with closing(prefetch(_prepare_images(processor, questions, batch_size))) as prepared:
        yield from _answer(model, processor, task, with_prompts(prepared), options, pattern, by_model, watching)


def ask_of_each(
    model: GeoDiTForMaskedDiffusion,
    processor: GeoDiTProcessor,
    task: str,
    images: Iterable[ImageQuestion],
    queries: Sequence[str],
    *,
    options: DecodingOptions | None = None,
    pattern: AnswerPattern | None = None,
    batch_size: int = 8,
    by_model: bool = True,
) -> Iterator[Reply]:
    """Ask a model the same questions about each image. An image is encoded once for all of them.

    Args:
        model: As for [`ask`].
        processor: Likewise.
        task: Likewise.
        images: The images and their numbers; their queries are not looked at.
        queries: The questions. All of an image draw the same random numbers, those of [`ask`] with one of them.
        options: As for [`ask`].
        pattern: Likewise.
        batch_size: Number of images that are encoded at once, and of questions that are answered at once.
        by_model: As for [`ask`].

    Yields:
        The replies as they are finished, in any order.

    Raises:
        ValueError: As [`ask`] does.
    """
    options = options or DecodingOptions()

    def encode(prepared: Iterable[_Prepared]) -> Iterator[_Asked]:
        # Here, and not in the thread: the model does one thing at a time.
        for batch, inputs in prepared:
            prefix = model.encode_image(
                inputs["pixel_values"], inputs.get("image_sizes"), compile_step=options.compile_step
            )
            for query in queries:
                asked = [replace(one, query=query) for one in batch]
                prompts = processor.prompt_inputs(task, [query] * len(batch), [one.image_size for one in batch])
                yield asked, {**prompts, "image_prefix": prefix, **_generators(asked, options)}

    with closing(prefetch(_prepare_images(processor, images, batch_size))) as prepared:
        yield from _answer(model, processor, task, encode(prepared), options, pattern, by_model)


_Prepared: TypeAlias = tuple[list[ImageQuestion], BatchFeature]
"""Questions, and the pixels of their images."""

_Asked: TypeAlias = tuple[list[ImageQuestion], dict[str, object]]
"""Questions, and what `generate` takes to answer them."""


def _prepare_images(
    processor: GeoDiTProcessor, questions: Iterable[ImageQuestion], batch_size: int
) -> Iterator[_Prepared]:
    """Prepare the images of batches, in a thread. A tokenizer is for one thread at a time: it stays with the other."""
    remaining = iter(questions)
    while batch := list(itertools.islice(remaining, batch_size)):
        yield batch, processor(images=[one.image for one in batch], return_tensors="pt")


def _generators(batch: Iterable[ImageQuestion], options: DecodingOptions) -> dict[str, object]:
    """Return the random numbers of each question, if there is a seed."""
    seed = options.seed
    if seed is None:
        return {}
    return {"generator": [seeded_generator(seed, question.number, bits=32) for question in batch]}


def _answer(
    model: GeoDiTForMaskedDiffusion,
    processor: GeoDiTProcessor,
    task: str,
    batches: Iterable[_Asked],
    options: DecodingOptions,
    pattern: AnswerPattern | None,
    by_model: bool,
    watching: Mapping[str, object] = MappingProxyType({}),
) -> Iterator[Reply]:
    """Answer batches of questions and read the answers; `watching` has what `generate_many` takes about steps."""
    arguments = {**options.generate_arguments(by_model=by_model), **watching}
    if options.seed is not None:
        arguments["seed"] = None  # Each question brings a generator.
    asked: dict[int, ImageQuestion] = {}
    places = itertools.count()

    def inputs() -> Iterator[dict[str, object]]:
        for batch, of_batch in batches:
            # `places` comes second: zip() stops at the end of the batch before it takes a place too many.
            asked.update((place, question) for question, place in zip(batch, places, strict=False))
            yield of_batch

    finished = model.generate_many(
        inputs(), max_new_tokens=processor.canvas_length(task), answer_pattern=pattern, **arguments
    )
    for tokens in finished:
        question = asked.pop(tokens.index)
        text = cast(str, processor.decode_canvas(tokens.canvas))
        answer = processor.post_process_generation(text, task, question.image_size, query=question.query)
        yield Reply(question, answer, tokens)
