# SPDX-License-Identifier: Apache-2.0
"""Asks a model about images and reads its answers: texts, scored boxes in pixels, and how they came about."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from geodit.configuration.decoding_options import DecodingOptions
from geodit.modeling_geodit.denoising_state_geodit import DenoisingState
from geodit.modeling_geodit.patterns_geodit import AnswerPattern
from geodit.pipelines.prediction import Denoising
from geodit.pipelines.tiling import Detection, as_box
from geodit.processing.answer_patterns import AnswerPatterns
from geodit.processing.asking import ImageQuestion, Reply, ask, ask_of_each
from geodit.processing.box_scores import DEFAULT_BOX_SCORE, BoxScore, get_box_score, score_boxes

if TYPE_CHECKING:
    from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
    from geodit.processing.processing_geodit import GeoDiTProcessor

__all__ = ["Answer", "Answerer", "AnswererLostError", "ImageAnswerer", "Inquiry", "NumberedAnswer"]


@dataclass(frozen=True)
class Inquiry:
    """What is asked about every image.

    Args:
        task: A task of the processor.
        queries: Phrases, classes or questions; a single empty one for tasks without.
        choices: The only answers that there are, for a task that is answered by a text.
        pattern: A regular expression that all of an answer matches, in their place.
        options: How to decode.
    """

    task: str
    queries: tuple[str, ...] = ("",)
    choices: tuple[str, ...] | None = None
    pattern: str | None = None
    options: DecodingOptions = field(default_factory=DecodingOptions)

    def __post_init__(self) -> None:
        if not self.queries:
            raise ValueError("there is nothing to ask: give at least one query")
        if len(set(self.queries)) < len(self.queries):
            raise ValueError("the same query is given twice: ask it once")


@dataclass(frozen=True)
class Answer:
    """The answer about one image or tile.

    Args:
        text: As the model wrote it.
        parsed: Whether all of it was understood.
        image_size: `(height, width)` of what the model saw, in pixels.
        detections: Its boxes, in pixels of that.
        denoising: How it came about.
        choice_probabilities: Of each of the choices, if it is one of them.
    """

    text: str
    parsed: bool
    image_size: tuple[int, int]
    detections: tuple[Detection, ...]
    denoising: Denoising
    choice_probabilities: tuple[float, ...] | None

    @property
    def score(self) -> float:
        """Geometric mean of the probabilities of its tokens, 0 to 1; the word for the end counts, what follows not."""
        tokens = self.denoising.tokens
        length = tokens.index("[EOS]") + 1 if "[EOS]" in tokens else len(tokens)
        confidences = self.denoising.confidences[:length]
        if not confidences or min(confidences) <= 0:
            return 0.0
        return math.exp(sum(math.log(confidence) for confidence in confidences) / len(confidences))


class NumberedAnswer(NamedTuple):
    """An answer with the number of its image and its query."""

    number: int
    query: str
    answer: Answer


class AnswererLostError(RuntimeError):
    """An answerer that will answer nothing any more, as what it asks has ended; another one may."""


class ImageAnswerer(ABC):
    """Answers questions about images, by a model that runs here or elsewhere.

    Args:
        processor: The `GeoDiTProcessor` of the model.
        box_score: A key of [`~geodit.processing.box_scores.BOX_SCORES`].

    Raises:
        ValueError: If there is no such score.
    """

    def __init__(self, processor: GeoDiTProcessor, box_score: str = DEFAULT_BOX_SCORE) -> None:
        self.rule: BoxScore = get_box_score(box_score)
        self.box_score = box_score
        self.processor = processor
        self._patterns = AnswerPatterns(processor)

    engine: str | None = None
    """What runs the model, if that is not GeoDiT's own code: the last digits of its numbers are others."""

    @property
    @abstractmethod
    def dtype(self) -> str:
        """Type of the weights, such as `"bfloat16"`."""

    @abstractmethod
    def answer(
        self, images: Iterable[ImageQuestion], inquiry: Inquiry, batch_size: int = 8
    ) -> Iterator[NumberedAnswer]:
        """Ask about each image.

        Args:
            images: With their numbers; their queries are not looked at. They are read in a thread, and a list of them
                is needed where answers have several forms.
            inquiry: What to ask.
            batch_size: Images that are encoded at once, and questions that are answered at once.

        Yields:
            The answers, whichever is finished first.

        Raises:
            ValueError: As [`check`] does.
            AnswererLostError: If what it asks has ended.
        """

    def check(self, inquiry: Inquiry) -> None:
        """Check whether the model can be asked this.

        Raises:
            ValueError: If there is no such task, a query does not fit it, or no answer matches.
            ModuleNotFoundError: If there is a regular expression, and outlines-core is not installed.
        """
        for query in inquiry.queries:
            self.processor.format_prompt(inquiry.task, query)
            self.pattern_of(inquiry, query)

    @property
    def image_side(self) -> int:
        """Largest side, in pixels, of what the model takes in."""
        grids = getattr(self.processor.image_processor, "image_grid_pinpoints", None) or []
        return max([self.tile_side, *(int(side) for grid in grids for side in grid)])

    @property
    def tile_side(self) -> int:
        """Side, in pixels, of the pictures that the vision tower sees."""
        sides = dict(self.processor.image_processor.size)
        return max(int(side) for side in sides.values() if side)

    def lists_objects(self, task: str) -> bool:
        """Return whether a task is answered by any number of boxes, so that an image can be seen in tiles."""
        return bool(self.processor.tasks[task].answer == "boxes") and task != "ground"

    def has_boxes(self, task: str) -> bool:
        """Return whether a task is answered by boxes."""
        return bool(self.processor.tasks[task].answer == "boxes")

    def pattern_of(self, inquiry: Inquiry, query: str) -> AnswerPattern | None:
        """Return what answers to a query look like; `None` if any text may be the answer.

        Raises:
            ValueError, ModuleNotFoundError: As [`check`] does.
        """
        return self._patterns.find(
            inquiry.task,
            query,
            choices=inquiry.choices,
            expression=inquiry.pattern,
            structured=inquiry.options.structured,
        )

    def _read(self, reply: Reply) -> Answer:
        answer, tokens, image_size = reply.answer, reply.tokens, reply.question.image_size
        ids = tokens.canvas.tolist()
        confidences = tokens.confidences.tolist()
        scores = score_boxes(self.processor, tokens, image_size, self.rule) if answer["boxes"] else []
        corners = answer.get("corners") or [None] * len(scores)
        detections = tuple(
            Detection(as_box(box), label, score, corners=turned)
            for box, label, score, turned in zip(answer["boxes"], answer["labels"], scores, corners, strict=True)
        )
        probabilities = tokens.answer_probabilities
        return Answer(
            answer["text"],
            answer["parsed"],
            image_size,
            detections,
            Denoising(
                self.token_texts(ids), tuple(tokens.commit_steps.tolist()), tuple(confidences), tokens.steps_made
            ),
            None if probabilities is None else tuple(probabilities.tolist()),
        )

    def token_texts(self, ids: Sequence[int], mask_token_id: int | None = None) -> tuple[str, ...]:
        """Return tokens as text: the end of an answer is `"[EOS]"`, and what is not committed `"[M]"`.

        Args:
            ids: The tokens.
            mask_token_id: Id of `[M]`, where there may be any.
        """
        tokenizer = self.processor.tokenizer
        named = {mask_token_id: "[M]", tokenizer.eos_token_id: "[EOS]"}
        return tuple(named[index] if index in named else str(tokenizer.decode([index])) for index in ids)


class Answerer(ImageAnswerer):
    """A model in this process, its processor and what is known of the form of its answers.

    Args:
        model: A `GeoDiTForMaskedDiffusion` in evaluation mode.
        processor: Its `GeoDiTProcessor`.
        box_score: A key of [`~geodit.processing.box_scores.BOX_SCORES`].

    Raises:
        ValueError: If there is no such score.
    """

    def __init__(
        self, model: GeoDiTForMaskedDiffusion, processor: GeoDiTProcessor, box_score: str = DEFAULT_BOX_SCORE
    ) -> None:
        super().__init__(processor, box_score)
        self.model = model

    @property
    def dtype(self) -> str:
        """Type of the weights."""
        return str(self.model.dtype).removeprefix("torch.")

    def answer(
        self,
        images: Iterable[ImageQuestion],
        inquiry: Inquiry,
        batch_size: int = 8,
        *,
        step_callback: Callable[[DenoisingState], None] | None = None,
        num_alternatives: int = 0,
    ) -> Iterator[NumberedAnswer]:
        """Ask about each image; see [`ImageAnswerer.answer`].

        An image is encoded once for all queries whose answers have one form; see [`build_answer_pattern`].

        Args:
            images: See there.
            inquiry: Likewise.
            batch_size: Likewise.
            step_callback: For a single query: called after every step with the state of a batch; what it raises ends
                the call.
            num_alternatives: How many alternatives of each token that state has.

        Raises:
            ValueError: As [`check`] does, and for a callback with several queries.
        """
        if step_callback is not None and len(inquiry.queries) > 1:
            raise ValueError("step_callback is for one query: ask one after the other")
        watching = _Watching(step_callback, num_alternatives)
        forms = self._forms(inquiry)
        again = images if len(forms) == 1 else list(images)
        for pattern, queries in forms:
            for reply in self._ask(again, inquiry, queries, pattern, batch_size, watching):
                yield NumberedAnswer(reply.question.number, reply.question.query, self._read(reply))

    def _ask(
        self,
        images: Iterable[ImageQuestion],
        inquiry: Inquiry,
        queries: Sequence[str],
        pattern: AnswerPattern | None,
        batch_size: int,
        watching: _Watching,
    ) -> Iterator[Reply]:
        if len(queries) > 1:
            return ask_of_each(
                self.model,
                self.processor,
                inquiry.task,
                images,
                queries,
                options=inquiry.options,
                pattern=pattern,
                batch_size=batch_size,
            )
        questions = (ImageQuestion(one.image, queries[0], one.number) for one in images)
        return ask(
            self.model,
            self.processor,
            inquiry.task,
            questions,
            options=inquiry.options,
            pattern=pattern,
            batch_size=batch_size,
            step_callback=watching.callback,
            num_alternatives=watching.num_alternatives,
        )

    def _forms(self, inquiry: Inquiry) -> list[tuple[AnswerPattern | None, list[str]]]:
        """Return the forms of answers, and the queries of each."""
        forms: dict[AnswerPattern | None, list[str]] = {}
        for query in inquiry.queries:
            forms.setdefault(self.pattern_of(inquiry, query), []).append(query)
        return list(forms.items())


class _Watching(NamedTuple):
    callback: Callable[[DenoisingState], None] | None
    num_alternatives: int
