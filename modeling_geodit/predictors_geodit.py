# SPDX-License-Identifier: Apache-2.0
"""Logits of a canvas after a fixed prompt: the part of `generate()` that knows the network.

Several ways lead to the same logits, or nearly so:

* [`FullPredictor`] runs the text core on image, prompt and canvas in every step. Exact for both attention modes.
* [`PrefixCachedPredictor`] runs it on image and prompt once and on the canvas in every step. Exact, and for
  `attention_mode="prefix"` only.
* [`RefreshedPredictor`] does the same with `attention_mode="full"`, where image and prompt see the canvas: between two
  refreshes their keys and values are those of an earlier canvas. An approximation.

[`GuidedPredictor`] joins two of them for classifier-free guidance. In all of them the last layer computes queries for
the canvas alone, and the output projection runs only where a token is wanted.

Shapes: B rows, P prompt length, L canvas length, n image tokens, d hidden size, V vocabulary, K wanted positions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch

from geodit.configuration.types_geodit import Arguments
from geodit.modeling_geodit.cache_geodit import ImagePrefix, SegmentCache
from geodit.modeling_geodit.model_types_geodit import MaskedDiffusionModel, TextCore

__all__ = [
    "CanvasPredictor",
    "EmbeddedPrompt",
    "FullPredictor",
    "GuidedPredictor",
    "PrefixCachedPredictor",
    "PrefixSegments",
    "PromptBranch",
    "RefreshedPredictor",
    "Segment",
    "guide",
]

Rows = slice | list[int]
"""Rows of a batch: neighbours, of which views are taken, or any."""


@dataclass(frozen=True)
class EmbeddedPrompt:
    """Prompts as the text core takes them, images included.

    Args:
        embeds: `(B, P, d)`.
        valid: `(B, P)` bool, false for padding.
        is_image: `(B, P)` bool, true for image tokens.
        counts: Of each row how many image tokens and how many others it has, where the host knows it.
    """

    embeds: torch.Tensor
    valid: torch.Tensor
    is_image: torch.Tensor
    counts: tuple[tuple[int, int], ...] | None = None

    @cached_property
    def lengths(self) -> torch.Tensor:
        """`(B,)` int64, the real tokens of each row."""
        return self.valid.sum(-1)

    @cached_property
    def position_ids(self) -> torch.Tensor:
        """`(B, P)` int64: the real tokens of a row count from 0."""
        return (self.valid.long().cumsum(-1) - 1).clamp(min=0)

    def take(self, rows: Rows) -> EmbeddedPrompt:
        """Return the prompts of some rows."""
        counts = self.counts
        if counts is not None:
            counts = counts[rows] if isinstance(rows, slice) else tuple(counts[row] for row in rows)
        return EmbeddedPrompt(self.embeds[rows], self.valid[rows], self.is_image[rows], counts)

    def select(self, images: bool) -> Segment:
        """Return the tokens of a kind, moved together; nothing is read back where the host knows the counts.

        Args:
            images: Whether to take the image tokens, or the others.
        """
        chosen = self.valid & (self.is_image if images else ~self.is_image)
        count = chosen.sum(-1)
        counts = count.tolist() if self.counts is None else [row[0 if images else 1] for row in self.counts]
        order = chosen.long().argsort(dim=-1, descending=True, stable=True)[:, : max(counts)]
        valid = torch.arange(order.shape[1], device=order.device) < count.unsqueeze(-1)
        embeds = self.embeds.gather(1, order.unsqueeze(-1).expand(-1, -1, self.embeds.shape[-1]))
        return Segment(embeds, self.position_ids.gather(1, order), valid, len(set(counts)) == 1)


class Segment(NamedTuple):
    """Tokens of a kind.

    Args:
        embeds: `(B, S, d)`.
        position_ids: `(B, S)` int64.
        valid: `(B, S)` bool, false where a row has fewer than S of them.
        is_full: Whether that is true everywhere.
    """

    embeds: torch.Tensor
    position_ids: torch.Tensor
    valid: torch.Tensor
    is_full: bool

    def take(self, rows: Rows) -> Segment:
        """Return the tokens of some rows, in as many places."""
        return Segment(self.embeds[rows], self.position_ids[rows], self.valid[rows], self.is_full)

    def pad(self, num_places: int) -> Segment:
        """Return the same tokens in more places."""
        padding = num_places - self.valid.shape[1]
        pad = torch.nn.functional.pad
        return Segment(
            pad(self.embeds, (0, 0, 0, padding)),
            pad(self.position_ids, (0, padding)),
            pad(self.valid, (0, padding)),
            self.is_full and not padding,
        )


@dataclass(frozen=True)
class PrefixSegments:
    """Image and prompt as two segments, the image first: it sees the image, the prompt sees both.

    Args:
        images: The image tokens.
        questions: The other tokens.
        num_image_places: Places that the images take up.
    """

    images: Segment
    questions: Segment
    num_image_places: int

    @classmethod
    def of(cls, prompt: EmbeddedPrompt, image_prefix: ImagePrefix | None = None) -> PrefixSegments:
        """Take prompts apart.

        Args:
            prompt: The prompts.
            image_prefix: Their images, if they are encoded already.
        """
        images = prompt.select(images=True)
        num_image_places = images.valid.shape[1]
        if image_prefix is not None and image_prefix.cache is not None:
            num_image_places = image_prefix.cache.valid.shape[1]
        return cls(images, prompt.select(images=False), num_image_places)

    def take(self, rows: Rows) -> PrefixSegments:
        """Return the segments of some rows; they take up as many places."""
        return PrefixSegments(self.images.take(rows), self.questions.take(rows), self.num_image_places)

    @property
    def num_places(self) -> int:
        """Places of the longest row."""
        return self.num_image_places + self.questions.valid.shape[1]

    @property
    def are_full(self) -> bool:
        """Whether no place of any row is padding."""
        return self.images.is_full and self.questions.is_full and self.images.valid.shape[1] == self.num_image_places

    def pad(self, num_places: int) -> PrefixSegments:
        """Return the same segments, the questions padded so that both take up so many places."""
        questions = self.questions.pad(num_places - self.num_image_places)
        return PrefixSegments(self.images, questions, self.num_image_places)

    def copy_images(
        self, cache: SegmentCache, image_prefix: ImagePrefix | None, image_rows: torch.Tensor | None
    ) -> bool:
        """Write keys and values of images that are encoded already; false if they are not."""
        if image_prefix is None or image_prefix.cache is None or image_rows is None:
            return False
        cache.copy_from(image_prefix.cache, image_rows)
        return True

    def write(
        self,
        text_core: TextCore,
        cache: SegmentCache,
        image_prefix: ImagePrefix | None,
        image_rows: torch.Tensor | None,
    ) -> None:
        """Compute keys and values.

        Args:
            text_core: The text core.
            cache: Where they are written, from its first place on.
            image_prefix: The images, if they are encoded already.
            image_rows: `(B,)` int64, the image of each row in `image_prefix`.
        """
        if not self.copy_images(cache, image_prefix, image_rows):
            _run_segment(text_core, cache, 0, self.images)
        _run_segment(text_core, cache, self.num_image_places, self.questions)


def _run_segment(text_core: TextCore, cache: SegmentCache, start: int, segment: Segment) -> None:
    if segment.valid.shape[1]:
        cache.begin_segment(start, segment.valid)
        text_core(inputs_embeds=segment.embeds, position_ids=segment.position_ids, cache=cache, num_outputs=0)


@dataclass(frozen=True)
class PromptBranch:
    """Prompts with their images.

    Args:
        prompt: The prompts.
        image_prefix: Their images, if they are encoded already.
        image_rows: `(B,)` int64, the image of each row in `image_prefix`.
        known_segments: The prompts, taken apart, where that is known.
    """

    prompt: EmbeddedPrompt
    image_prefix: ImagePrefix | None = None
    image_rows: torch.Tensor | None = None
    known_segments: PrefixSegments | None = None

    @cached_property
    def segments(self) -> PrefixSegments:
        """The prompts, taken apart."""
        return self.known_segments or PrefixSegments.of(self.prompt, self.image_prefix)

    def take(self, rows: Rows) -> PromptBranch:
        """Return some of the prompts. If all were taken apart, these take up as many places."""
        image_rows = None if self.image_rows is None else self.image_rows[rows]
        known = self.known_segments or vars(self).get("segments")
        segments = None if known is None else known.take(rows)
        return PromptBranch(self.prompt.take(rows), self.image_prefix, image_rows, segments)


class CanvasPredictor(ABC):
    """Logits of a canvas, for rows that may leave one after the other."""

    @abstractmethod
    def __call__(
        self, canvas: torch.Tensor, valid: torch.Tensor, wanted: torch.Tensor, *, begins_block: bool
    ) -> torch.Tensor:
        """Predict.

        Args:
            canvas: `(B, L)` int64, the tokens so far, `[M]` where there is none.
            valid: `(B, L)` bool, false after the end of a shorter canvas.
            wanted: `(B, L)` bool, the positions to predict.
            begins_block: Whether this is the first step of a block.

        Returns:
            `(K, V)`, a row for each true element of `wanted`, in the order of `tensor[wanted]`. The caller may
            overwrite it.
        """

    @abstractmethod
    def keep_rows(self, rows: Sequence[int]) -> None:
        """Go on with some rows only.

        Args:
            rows: Ascending indices into the rows that there are.
        """


class _TextCorePredictor(CanvasPredictor):
    """What the predictors of one branch share.

    Args:
        model: A `GeoDiTForMaskedDiffusion`.
        prompt: The prompts.
    """

    def __init__(self, model: MaskedDiffusionModel, prompt: EmbeddedPrompt) -> None:
        self._text_core = model.model.language_model
        self._num_layers: int = model.config.text_config.num_hidden_layers
        self._embed_tokens = model.get_input_embeddings()
        self._lm_head = model.get_output_embeddings()
        self._prompt = prompt

    def _canvas_positions(self, canvas: torch.Tensor) -> torch.Tensor:
        """`(B, L)`: the canvas goes on where the prompt ends."""
        return self._prompt.lengths.unsqueeze(-1) + torch.arange(canvas.shape[1], device=canvas.device)

    def _everything(self, canvas: torch.Tensor) -> Arguments:
        """Prompt and canvas for a run of the text core on both, with outputs for the canvas `(B, L)` alone."""
        prompt = self._prompt
        return {
            "inputs_embeds": torch.cat([prompt.embeds, self._embed_tokens(canvas)], dim=1),
            "position_ids": torch.cat([prompt.position_ids, self._canvas_positions(canvas)], dim=1),
            "num_outputs": canvas.shape[1],
        }

    def _project(self, hidden_states: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self._lm_head(hidden_states[wanted.to(hidden_states.device)])
        return logits.to(wanted.device)

    def keep_rows(self, rows: Sequence[int]) -> None:
        """See [`CanvasPredictor.keep_rows`]."""
        self._prompt = self._prompt.take(list(rows))


class FullPredictor(_TextCorePredictor):
    """Runs the text core on everything in every step.

    Args:
        model: A `GeoDiTForMaskedDiffusion`.
        prompt: The prompts.
    """

    def __init__(self, model: MaskedDiffusionModel, prompt: EmbeddedPrompt) -> None:
        super().__init__(model, prompt)
        self._levels: torch.Tensor | None = None
        if model.config.attention_mode == "prefix":
            self._levels = (~prompt.is_image).long()

    def __call__(
        self, canvas: torch.Tensor, valid: torch.Tensor, wanted: torch.Tensor, *, begins_block: bool
    ) -> torch.Tensor:
        """See [`CanvasPredictor.__call__`]."""
        del begins_block
        visibility = None
        if self._levels is not None:
            visibility = torch.cat([self._levels, torch.full_like(canvas, 2)], dim=1)
        outputs = self._text_core(
            attention_mask=torch.cat([self._prompt.valid, valid], dim=1),
            visibility=visibility,
            **self._everything(canvas),
        )
        return self._project(outputs.last_hidden_state, wanted)

    def keep_rows(self, rows: Sequence[int]) -> None:
        """See [`CanvasPredictor.keep_rows`]."""
        super().keep_rows(rows)
        if self._levels is not None:
            self._levels = self._levels[list(rows)]


class _CachedPredictor(_TextCorePredictor):
    """Runs the text core on the canvas alone, after keys and values that are in a cache."""

    _cache: SegmentCache
    _prefix_length: int

    def _predict_canvas(self, canvas: torch.Tensor, valid: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        self._cache.begin_segment(self._prefix_length, valid)
        outputs = self._text_core(
            inputs_embeds=self._embed_tokens(canvas),
            position_ids=self._canvas_positions(canvas),
            cache=self._cache,
        )
        return self._project(outputs.last_hidden_state, wanted)

    def keep_rows(self, rows: Sequence[int]) -> None:
        """See [`CanvasPredictor.keep_rows`]."""
        super().keep_rows(rows)
        self._cache.keep_rows(rows)


class PrefixCachedPredictor(_CachedPredictor):
    """Computes keys and values of image and prompt once; exact with `attention_mode="prefix"`.

    The image sees the image, the prompt sees image and prompt, the canvas sees all. So they are three segments, each
    of which attends to everything before it and to itself, and no mask but that of padding is needed.

    Args:
        model: A `GeoDiTForMaskedDiffusion` with `attention_mode="prefix"`.
        branch: The prompts; with images that are encoded already every row begins with one of them.
        canvas_length: L at most.
    """

    def __init__(self, model: MaskedDiffusionModel, branch: PromptBranch, canvas_length: int) -> None:
        prompt = branch.prompt
        super().__init__(model, prompt)
        segments = branch.segments
        self._prefix_length = segments.num_places
        capacity = self._prefix_length + canvas_length
        self._cache = SegmentCache.empty(self._num_layers, len(prompt.valid), capacity, prompt.valid.device)
        segments.write(self._text_core, self._cache, branch.image_prefix, branch.image_rows)

    def __call__(
        self, canvas: torch.Tensor, valid: torch.Tensor, wanted: torch.Tensor, *, begins_block: bool
    ) -> torch.Tensor:
        """See [`CanvasPredictor.__call__`]."""
        del begins_block
        return self._predict_canvas(canvas, valid, wanted)


class RefreshedPredictor(_CachedPredictor):
    """Computes keys and values of image and prompt anew every few steps; an approximation.

    For `attention_mode="full"`, where they depend on the canvas. At the first step of a block, and every
    `refresh_steps` steps from there, the text core runs on everything; in between on the canvas alone.

    Args:
        model: A `GeoDiTForMaskedDiffusion`.
        prompt: The prompts.
        canvas_length: L at most.
        refresh_steps: 1 runs it on everything in every step, which is exact.
    """

    def __init__(
        self, model: MaskedDiffusionModel, prompt: EmbeddedPrompt, canvas_length: int, refresh_steps: int
    ) -> None:
        super().__init__(model, prompt)
        num_rows, self._prefix_length = prompt.valid.shape
        capacity = self._prefix_length + canvas_length
        self._cache = SegmentCache.empty(self._num_layers, num_rows, capacity, prompt.valid.device)
        self._refresh_steps = refresh_steps
        self._age = 0

    def __call__(
        self, canvas: torch.Tensor, valid: torch.Tensor, wanted: torch.Tensor, *, begins_block: bool
    ) -> torch.Tensor:
        """See [`CanvasPredictor.__call__`]."""
        if begins_block:
            self._age = 0
        refresh = self._age % self._refresh_steps == 0
        self._age += 1
        if not refresh:
            return self._predict_canvas(canvas, valid, wanted)
        self._cache.begin_segment(0, torch.cat([self._prompt.valid, valid], dim=1))
        outputs = self._text_core(cache=self._cache, **self._everything(canvas))
        return self._project(outputs.last_hidden_state, wanted)


def guide(conditional: torch.Tensor, unconditional: torch.Tensor, scale: float) -> torch.Tensor:
    """Classifier-free guidance of logits: `unconditional + scale * (conditional - unconditional)`, in float32."""
    conditional, unconditional = conditional.float(), unconditional.float()
    return unconditional + scale * (conditional - unconditional)


class GuidedPredictor(CanvasPredictor):
    """Classifier-free guidance, see [`guide`].

    Args:
        conditional: Predicts after the prompt.
        unconditional: Predicts after a prompt that says nothing.
        scale: `guidance_scale`; 1 would be the conditional branch alone.
    """

    def __init__(self, conditional: CanvasPredictor, unconditional: CanvasPredictor, scale: float) -> None:
        self._conditional = conditional
        self._unconditional = unconditional
        self._scale = scale

    def __call__(
        self, canvas: torch.Tensor, valid: torch.Tensor, wanted: torch.Tensor, *, begins_block: bool
    ) -> torch.Tensor:
        """See [`CanvasPredictor.__call__`]."""
        conditional = self._conditional(canvas, valid, wanted, begins_block=begins_block)
        unconditional = self._unconditional(canvas, valid, wanted, begins_block=begins_block)
        return guide(conditional, unconditional, self._scale)

    def keep_rows(self, rows: Sequence[int]) -> None:
        """See [`CanvasPredictor.keep_rows`]."""
        self._conditional.keep_rows(rows)
        self._unconditional.keep_rows(rows)
