# SPDX-License-Identifier: Apache-2.0
"""What can be seen of an answer after each denoising step, while the model is at work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from geodit.configuration.types_geodit import JsonObject
from geodit.modeling_geodit.denoising_state_geodit import DenoisingState
from geodit.modeling_geodit.patterns_geodit import BoxListPattern
from geodit.pipelines.answering import Answerer, Inquiry
from geodit.pipelines.prediction import Box, Denoising
from geodit.pipelines.tiling import as_box
from geodit.processing.partial_boxes import read_partial_boxes

__all__ = ["DenoisingStep", "StepCallback", "StepReader"]

_TOKENS_PER_BOX = 4


@dataclass(frozen=True)
class DenoisingStep:
    """An answer after a denoising step.

    Args:
        number: Of the step, counted from 1.
        denoising: The canvas so far; its token is `"[M]"` where nothing is committed.
        boxes: `(x1, y1, x2, y2)` in pixels of the image, of the boxes whose tokens are all committed.
        labels: One per box.
        scores: One per box, 0 to 1.
        spans: Of each box the place of its first token on the canvas, and one past its last.
    """

    number: int
    denoising: Denoising
    boxes: tuple[Box, ...] = ()
    labels: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    spans: tuple[tuple[int, int], ...] = ()

    def to_dict(self) -> JsonObject:
        """Return the step in types that JSON has."""
        return {
            "number": self.number,
            **self.denoising.to_dict(),
            "boxes": [list(box) for box in self.boxes],
            "labels": list(self.labels),
            "scores": list(self.scores),
            "spans": [list(span) for span in self.spans],
        }


StepCallback = Callable[[DenoisingStep], None]
"""Is given each step; what it raises ends the call of the pipeline, and nothing more is computed."""


@dataclass(frozen=True)
class StepReader:
    """Reads the states of `generate()` about a single question.

    Args:
        answerer: Who is asked.
        inquiry: What; its first query.
    """

    answerer: Answerer
    inquiry: Inquiry

    def read(self, state: DenoisingState, image_size: tuple[int, int]) -> DenoisingStep:
        """Read what is committed.

        Args:
            state: The state, of one row.
            image_size: `(height, width)` of the image, in whose pixels boxes are.
        """
        ids = state.canvas[0].tolist()
        confidences = state.confidences[0].tolist()
        answerer, task = self.answerer, self.inquiry.task
        mask_token_id = self._mask_token_id
        denoising = Denoising(
            answerer.token_texts(ids, mask_token_id),
            tuple(state.commit_steps[0].tolist()),
            tuple(confidences),
            int(state.steps_made[0]),
            self._alternatives(state),
        )
        if not answerer.has_boxes(task):
            return DenoisingStep(denoising.num_steps, denoising)
        is_list = isinstance(answerer.pattern_of(self.inquiry, self.inquiry.queries[0]), BoxListPattern)
        found = read_partial_boxes(
            answerer.processor,
            task,
            self.inquiry.queries[0],
            ids,
            image_size,
            confidences,
            state.end_probabilities[0].tolist(),
            mask_token_id=mask_token_id,
            rule=answerer.rule,
            tokens_per_box=_TOKENS_PER_BOX if is_list else None,
        )
        return DenoisingStep(
            denoising.num_steps,
            denoising,
            tuple(as_box(one.box) for one in found),
            tuple(one.label for one in found),
            tuple(one.score for one in found),
            tuple((one.start, one.stop) for one in found),
        )

    @property
    def _mask_token_id(self) -> int:
        model = self.answerer.model
        of_generation = getattr(model.generation_config, "mask_token_id", None)
        return int(model.config.mask_token_id if of_generation is None else of_generation)

    def _alternatives(self, state: DenoisingState) -> tuple[tuple[tuple[str, float], ...], ...]:
        if state.alternatives is None:
            return ()
        tokens, values = state.alternatives.tokens[0].tolist(), state.alternatives.probabilities[0].tolist()
        return tuple(
            tuple((text, value) for text, value in zip(self.answerer.token_texts(ids), row, strict=True) if value > 0)
            for ids, row in zip(tokens, values, strict=True)
        )
