# SPDX-License-Identifier: Apache-2.0
"""Logits of all places of a canvas by tensors of fixed shapes and places in memory, for a step that can be captured.

What a step reads is made once and written to again for the next prompts: keys and values of image and prompt,
positions and masks. The layers of Transformers run as they are; one of them can be compiled for all, as they differ in
their weights alone.

Shapes: B rows, P places of the prefix, L canvas length, d hidden size, D width of a head, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch

from geodit.modeling_geodit.cache_geodit import SegmentCache, write_keys_and_values
from geodit.modeling_geodit.compiled_layers_geodit import RunLayer
from geodit.modeling_geodit.graph_capture_geodit import Capture, CapturedCalls
from geodit.modeling_geodit.layer_runs_geodit import LayerCache, run_layer, write_segment
from geodit.modeling_geodit.model_types_geodit import MaskedDiffusionModel, head_dim
from geodit.modeling_geodit.predictors_geodit import EmbeddedPrompt, PrefixSegments, PromptBranch, Segment, guide

__all__ = [
    "PREFIX_PLACES",
    "FixedNetwork",
    "FullNetwork",
    "GuidedLogits",
    "LogitsOf",
    "PrefixNetwork",
    "RefreshedNetwork",
    "RunLayer",
    "round_up_places",
    "run_layer",
]

LogitsOf = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""What a [`FixedNetwork`] is when it is called."""

PREFIX_PLACES = 64
"""Prefixes take up multiples of so many places, so that few lengths are captured."""


def round_up_places(num_places: int) -> int:
    """Return the next multiple of [`PREFIX_PLACES`]."""
    return -(-num_places // PREFIX_PLACES) * PREFIX_PLACES


class FixedNetwork(ABC):
    """A network that gives logits of canvases after the prompts it was loaded with.

    Args:
        model: A `GeoDiTForMaskedDiffusion`.
        num_rows: B.
        prefix_places: P.
        canvas_length: L.
        run: Runs a layer, as [`run_layer`] does; any other function is compiled for each set of shapes.
        capture: Captures what `load` computes for all rows; by default nothing is captured.
    """

    def __init__(
        self,
        model: MaskedDiffusionModel,
        num_rows: int,
        prefix_places: int,
        canvas_length: int,
        run: RunLayer = run_layer,
        capture: Capture | None = None,
    ) -> None:
        self._text_core = model.model.language_model
        self._embed_tokens = model.get_input_embeddings()
        self._lm_head = model.get_output_embeddings()
        self._run = run
        self._capture = capture
        self._num_rows = num_rows
        self._prefix_places = prefix_places
        self._canvas_length = canvas_length
        self._num_key_value_heads: int = model.config.text_config.num_key_value_heads
        self._cosines, self._sines = (
            self._zeros(num_rows, self._num_positions, head_dim(self._text_core)) for _ in range(2)
        )
        self._reserve()

    @property
    @abstractmethod
    def _num_positions(self) -> int:
        """For how many of the last places positions are needed."""

    @abstractmethod
    def _reserve(self) -> None:
        """Make the memory that the steps read."""

    def _zeros(self, *shape: int) -> torch.Tensor:
        zeros: torch.Tensor = self._embed_tokens.weight.new_zeros(shape)
        return zeros

    def _canvas_positions(self, prompt: EmbeddedPrompt) -> torch.Tensor:
        """`(B, L)`: the canvas goes on where the prompt ends."""
        return prompt.lengths.unsqueeze(-1) + torch.arange(self._canvas_length, device=prompt.valid.device)

    def _set_positions(self, position_ids: torch.Tensor, rows: slice | torch.Tensor) -> None:
        cosines, sines = self._text_core.rotary_emb(self._cosines, position_ids=position_ids)
        self._cosines[rows] = cosines
        self._sines[rows] = sines

    def _run_canvas(
        self, canvas: torch.Tensor, valid: torch.Tensor, keys_and_values: Sequence[tuple[torch.Tensor, torch.Tensor]]
    ) -> torch.Tensor:
        """Run all layers on the canvas, after what they wrote to their keys and values for the prefix."""
        hidden_states: torch.Tensor = self._embed_tokens(canvas)
        mask = valid[:, None, None, :].expand(-1, -1, self._canvas_length, -1)
        positions = tuple(part[:, -self._canvas_length :] for part in (self._cosines, self._sines))
        for layer, (keys, values) in zip(self._text_core.layers, keys_and_values, strict=True):
            hidden_states = self._run(layer, hidden_states, mask, positions, keys, values, self._prefix_places)
        return hidden_states

    def project(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Logits `(..., V)` of hidden states `(..., d)`."""
        logits: torch.Tensor = self._lm_head(self._text_core.norm(hidden_states))
        return logits

    @classmethod
    @abstractmethod
    def places_of(cls, branch: PromptBranch) -> int:
        """Return how many places the prefix of prompts takes up at least."""

    def takes(self, branch: PromptBranch) -> bool:
        """Return whether prompts have no more places than the network."""
        return self.places_of(branch) <= self._prefix_places

    @abstractmethod
    def load(self, branch: PromptBranch, rows: torch.Tensor | None = None) -> None:
        """Take other prompts, of no more places.

        Args:
            branch: The prompts.
            rows: `(prompts,)` int64, the row that each of them takes; by default there is one for each row.
        """

    @abstractmethod
    def hidden_states(self, canvas: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """`(B, L, d)`, what [`project`] takes; arguments as in [`__call__`]."""

    def __call__(self, canvas: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Predict all places.

        Args:
            canvas: `(B, L)` int64.
            valid: `(B, L)` bool, false after the end of a shorter canvas.

        Returns:
            `(B * L, V)`.
        """
        return self.project(self.hidden_states(canvas, valid)).flatten(0, 1)


class PrefixNetwork(FixedNetwork):
    """Keys and values of image and prompt are computed by `load`; exact with `attention_mode="prefix"`."""

    @property
    def _num_positions(self) -> int:
        return self._canvas_length

    def _reserve(self) -> None:
        self._cache = self._make_cache(self._num_rows, self._prefix_places + self._canvas_length)
        # By the first place of a segment, and whether it is full.
        self._captured_writes: dict[tuple[int, bool], CapturedCalls[None]] = {}

    @classmethod
    def places_of(cls, branch: PromptBranch) -> int:
        """See [`FixedNetwork.places_of`]."""
        return branch.segments.num_places

    def load(self, branch: PromptBranch, rows: torch.Tensor | None = None) -> None:
        """See [`FixedNetwork.load`]."""
        if rows is None:
            self._cache.clear()
            self._write(branch, branch.segments, self._cache, self._capture)
        else:
            # Compiled, one prompt is like another, and two are not like three.
            size = len(rows) if self._run is run_layer else 1
            computed = self._make_cache(size, self._prefix_places)
            for first in range(0, len(rows), size):
                part = slice(first, first + size)
                computed.clear()
                self._write(branch.take(part), branch.segments.take(part), computed)
                self._cache.replace_rows(rows[first : first + size], computed)
        self._set_positions(self._canvas_positions(branch.prompt), slice(None) if rows is None else rows)

    def _make_cache(self, num_rows: int, capacity: int) -> SegmentCache:
        cache = SegmentCache.empty(len(self._text_core.layers), num_rows, capacity, self._cosines.device)
        cache.reserve(self._num_key_value_heads, self._cosines.shape[-1], self._cosines.dtype)
        return cache

    def _write(
        self, branch: PromptBranch, segments: PrefixSegments, cache: SegmentCache, capture: Capture | None = None
    ) -> None:
        """Compute keys and values of image and prompt; compiled or captured, all prompts take up as many places."""
        if self._run is not run_layer or capture is not None:
            segments = segments.pad(self._prefix_places)
        if not segments.copy_images(cache, branch.image_prefix, branch.image_rows):
            self._write_segment(cache, 0, segments.images, segments.images.is_full, capture)
        self._write_segment(cache, segments.num_image_places, segments.questions, segments.are_full, capture)

    def _write_segment(
        self, cache: SegmentCache, start: int, segment: Segment, is_full: bool, capture: Capture | None
    ) -> None:
        """Compute a segment; what is captured writes to the network's own cache, which stays where it is."""
        if capture is None:
            write_segment(self._text_core, self._run, cache, start, segment, is_full)
            return
        if not segment.valid.shape[1]:
            return

        def write(embeds: torch.Tensor, position_ids: torch.Tensor, valid: torch.Tensor) -> None:
            self._write_segment(cache, start, Segment(embeds, position_ids, valid, is_full), is_full, None)

        key = (start, is_full)
        if key not in self._captured_writes:
            self._captured_writes[key] = CapturedCalls(write, capture, most=1)
        self._captured_writes[key](segment.embeds, segment.position_ids, segment.valid)

    def hidden_states(self, canvas: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """See [`FixedNetwork.hidden_states`]."""
        self._cache.begin_segment(self._prefix_places, valid)
        layers = [self._cache.layer(index) for index in range(len(self._text_core.layers))]
        return self._run_canvas(canvas, self._cache.valid, layers)


class FullNetwork(FixedNetwork):
    """The text core on prompt and canvas in every step; exact with `attention_mode="full"`.

    The last layer has queries for the canvas alone. Nothing is computed by `load`, and so nothing of it is captured.
    """

    @property
    def _num_positions(self) -> int:
        return self._prefix_places + self._canvas_length

    def _reserve(self) -> None:
        rows, capacity = self._num_rows, self._num_positions
        self._prompt = self._zeros(rows, self._prefix_places, self._embed_tokens.weight.shape[1])
        self._valid = torch.zeros(rows, capacity, dtype=torch.bool, device=self._prompt.device)
        shape = (rows, self._num_key_value_heads, capacity, self._cosines.shape[-1])
        kept = [(self._zeros(*shape), self._zeros(*shape)) for _ in range(self._num_kept(len(self._text_core.layers)))]
        # Keys and values of each layer: memory that it has for itself, or that all write to one after the other.
        self._keys_and_values = [kept[index % len(kept)] for index in range(len(self._text_core.layers))]

    @classmethod
    def places_of(cls, branch: PromptBranch) -> int:
        """See [`FixedNetwork.places_of`]."""
        return branch.prompt.valid.shape[1]

    def _num_kept(self, num_layers: int) -> int:
        """Of how many layers keys and values are there at the end of a step."""
        del num_layers
        return 1

    def load(self, branch: PromptBranch, rows: torch.Tensor | None = None) -> None:
        """See [`FixedNetwork.load`]; keys and values of images that were encoded before are of no use here."""
        chosen = slice(None) if rows is None else rows
        prompt = branch.prompt
        padding = self._prefix_places - prompt.valid.shape[1]
        self._prompt[chosen] = torch.nn.functional.pad(prompt.embeds, (0, 0, 0, padding))
        canvas = self._canvas_positions(prompt)
        self._valid[chosen] = torch.nn.functional.pad(prompt.valid, (0, padding + self._canvas_length))
        positions = torch.nn.functional.pad(prompt.position_ids, (0, padding))
        self._set_positions(torch.cat([positions, canvas], dim=1), chosen)

    def hidden_states(self, canvas: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """See [`FixedNetwork.hidden_states`]."""
        places = self._prefix_places
        self._valid[:, places:] = valid
        hidden_states = torch.cat([self._prompt, self._embed_tokens(canvas)], dim=1)
        mask = self._valid[:, None, None, :]
        everywhere = mask.expand(-1, -1, hidden_states.shape[1], -1)
        *layers, last = self._text_core.layers
        for layer, (keys, values) in zip(layers, self._keys_and_values, strict=False):
            hidden_states = self._run(layer, hidden_states, everywhere, (self._cosines, self._sines), keys, values, 0)
        keys, values = self._keys_and_values[-1]
        write_keys_and_values(
            last,
            hidden_states[:, :places],
            (self._cosines[:, :places], self._sines[:, :places]),
            LayerCache(keys, values, 0),
        )
        return self._run(
            last,
            hidden_states[:, places:],
            mask.expand(-1, -1, canvas.shape[1], -1),
            (self._cosines[:, places:], self._sines[:, places:]),
            keys,
            values,
            places,
        )


class RefreshedNetwork(FullNetwork):
    """A [`FullNetwork`] that has a second, cheaper way: after keys and values of an earlier step.

    They are those of the prompt that the last call wrote, in all layers, for an earlier canvas: an approximation. All
    rows take the same way in a step.
    """

    def _num_kept(self, num_layers: int) -> int:
        return num_layers

    def between(self, canvas: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Predict all places by the canvas alone; see [`FixedNetwork.__call__`], which must have run before."""
        self._valid[:, self._prefix_places :] = valid
        return self.project(self._run_canvas(canvas, self._valid, self._keys_and_values)).flatten(0, 1)


class GuidedLogits:
    """Classifier-free guidance, see [`guide`].

    Args:
        conditional: Predicts after the prompt.
        unconditional: Predicts after a prompt that says nothing.
        scale: `guidance_scale`.
    """

    def __init__(self, conditional: LogitsOf, unconditional: LogitsOf, scale: float) -> None:
        self._conditional = conditional
        self._unconditional = unconditional
        self._scale = scale

    def __call__(self, canvas: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """See [`FixedNetwork.__call__`]."""
        return guide(self._conditional(canvas, valid), self._unconditional(canvas, valid), self._scale)
