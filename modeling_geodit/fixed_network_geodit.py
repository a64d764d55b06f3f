# SPDX-License-Identifier: Apache-2.0
"""Logits of all places of a canvas by tensors of fixed shapes and places in memory, for a step that can be captured.

What a step reads is made once and written to again for the next prompts: keys and values of image and prompt,
positions and masks. The layers of Transformers run as they are; one of them can be compiled for all, as they differ in
their weights alone.

Shapes: B rows, P places of the prefix, L canvas length, d hidden size, D width of a head, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch

from geodit.modeling_geodit.cache_geodit import SegmentCache, cache_keyword, write_keys_and_values
from geodit.modeling_geodit.predictors_geodit import PromptBranch

RunLayer = Callable[..., torch.Tensor]

PREFIX_PLACES = 64
"""Prefixes take up multiples of so many places, so that few lengths are captured."""


class _LayerCache:
    """The keys and values of one layer, from some place on written by the layer itself."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, start: int) -> None:
        self._keys = keys
        self._values = values
        self._start = start

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        kwargs: Mapping[str, Any] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What the layers of Transformers call; see [`SegmentCache.update`]."""
        del layer_idx, kwargs
        stop = self._start + key_states.shape[2]
        self._keys[:, :, self._start : stop] = key_states
        self._values[:, :, self._start : stop] = value_states
        return self._keys[:, :, :stop], self._values[:, :, :stop]


def run_layer(
    layer: torch.nn.Module,
    hidden_states: torch.Tensor,
    mask: torch.Tensor,
    position_embeddings: tuple[torch.Tensor, torch.Tensor],
    keys: torch.Tensor,
    values: torch.Tensor,
    start: int,
) -> torch.Tensor:
    """Run a decoder layer of Transformers behind the keys and values of `start` places.

    Args:
        layer: The layer.
        hidden_states: `(B, L, d)`.
        mask: `(B, 1, L, start + L)` bool, true where a query may attend.
        position_embeddings: Cosines and sines, each `(B, L, D)`.
        keys: `(B, H, start + L, D)`; those of the new places are written here.
        values: Likewise.
        start: Where the new places begin.
    """
    keyword = cache_keyword(type(layer))
    output: torch.Tensor = layer(
        hidden_states,
        attention_mask=mask,
        position_embeddings=position_embeddings,
        **{keyword: _LayerCache(keys, values, start)},
    )
    return output


class FixedNetwork(ABC):
    """A network that gives logits of canvases behind the prompts it was loaded with."""

    @abstractmethod
    def load(self, branch: PromptBranch) -> None:
        """Take other prompts, of as many rows and no more places.

        Args:
            branch: The prompts.
        """

    @abstractmethod
    def __call__(self, canvas: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Predict all places.

        Args:
            canvas: `(B, L)` int64.
            valid: `(B, L)` bool, false behind the end of a shorter canvas.

        Returns:
            `(B * L, V)`.
        """


class PrefixNetwork(FixedNetwork):
    """Keys and values of image and prompt are computed by `load`; exact with `attention_mode="prefix"`.

    Args:
        model: A `GeoDiTForMaskedDiffusion`.
        num_rows: B.
        prefix_places: P.
        canvas_length: L.
        run: Runs a layer, as [`run_layer`] does.
    """

    def __init__(
        self, model: Any, num_rows: int, prefix_places: int, canvas_length: int, run: RunLayer = run_layer
    ) -> None:
        self._model = model
        self._text_core = model.model.language_model
        self._run = run
        self._prefix_places = prefix_places
        device, dtype = model.get_input_embeddings().weight.device, model.get_input_embeddings().weight.dtype
        num_layers = model.config.text_config.num_hidden_layers
        self._cache = SegmentCache.empty(num_layers, num_rows, prefix_places + canvas_length, device)
        self._valid = torch.zeros(num_rows, prefix_places + canvas_length, dtype=torch.bool, device=device)
        width = self._text_core.layers[0].self_attn.head_dim
        shape = (num_rows, canvas_length, width)
        self._cosines, self._sines = (torch.zeros(shape, dtype=dtype, device=device) for _ in range(2))

    def load(self, branch: PromptBranch) -> None:
        """See [`FixedNetwork.load`]."""
        self._cache.clear()
        branch.segments.write(self._text_core, self._cache, branch.image_prefix, branch.image_rows)
        self._valid[:, : self._prefix_places] = self._cache.places(self._prefix_places)
        places = torch.arange(self._cosines.shape[1], device=self._cosines.device)
        cosines, sines = self._text_core.rotary_emb(
            self._cosines, position_ids=branch.prompt.lengths.unsqueeze(-1) + places
        )
        self._cosines.copy_(cosines)
        self._sines.copy_(sines)

    def __call__(self, canvas: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """See [`FixedNetwork.__call__`]."""
        self._valid[:, self._prefix_places :] = valid
        mask = self._valid[:, None, None, :].expand(-1, -1, canvas.shape[1], -1)
        hidden_states = self._model.get_input_embeddings()(canvas)
        for index, layer in enumerate(self._text_core.layers):
            keys, values = self._cache.layer(index)
            hidden_states = self._run(
                layer, hidden_states, mask, (self._cosines, self._sines), keys, values, self._prefix_places
            )
        logits: torch.Tensor = self._model.get_output_embeddings()(self._text_core.norm(hidden_states))
        return logits.flatten(0, 1)


class FullNetwork(FixedNetwork):
    """The text core on prompt and canvas in every step; exact with `attention_mode="full"`.

    The last layer has queries for the canvas alone.

    Args:
        model: A `GeoDiTForMaskedDiffusion` with `attention_mode="full"`.
        num_rows: B.
        prefix_places: P.
        canvas_length: L.
        run: Runs a layer, as [`run_layer`] does.
    """

    def __init__(
        self, model: Any, num_rows: int, prefix_places: int, canvas_length: int, run: RunLayer = run_layer
    ) -> None:
        self._model = model
        self._text_core = model.model.language_model
        self._run = run
        self._prefix_places = prefix_places
        weight = model.get_input_embeddings().weight
        capacity = prefix_places + canvas_length
        attention = self._text_core.layers[0].self_attn
        width, heads = attention.head_dim, model.config.text_config.num_key_value_heads
        self._prompt = torch.zeros(num_rows, prefix_places, weight.shape[1], dtype=weight.dtype, device=weight.device)
        self._valid = torch.zeros(num_rows, capacity, dtype=torch.bool, device=weight.device)
        shape = (num_rows, capacity, width)
        self._cosines, self._sines = (torch.zeros(shape, dtype=weight.dtype, device=weight.device) for _ in range(2))
        # Of one layer at a time.
        of_layer = (num_rows, heads, capacity, width)
        self._keys, self._values = (torch.zeros(of_layer, dtype=weight.dtype, device=weight.device) for _ in range(2))

    def load(self, branch: PromptBranch) -> None:
        """See [`FixedNetwork.load`]; keys and values of images that were encoded before are of no use here."""
        prompt = branch.prompt
        length, places = prompt.valid.shape[1], self._prefix_places
        self._prompt.zero_()
        self._prompt[:, :length] = prompt.embeds
        self._valid[:, :places] = False
        self._valid[:, :length] = prompt.valid
        canvas_length = self._cosines.shape[1] - places
        canvas = prompt.lengths.unsqueeze(-1) + torch.arange(canvas_length, device=prompt.valid.device)
        padding = canvas.new_zeros(len(canvas), places - length)
        position_ids = torch.cat([prompt.position_ids, padding, canvas], dim=1)
        cosines, sines = self._text_core.rotary_emb(self._cosines, position_ids=position_ids)
        self._cosines.copy_(cosines)
        self._sines.copy_(sines)

    def __call__(self, canvas: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """See [`FixedNetwork.__call__`]."""
        places = self._prefix_places
        self._valid[:, places:] = valid
        hidden_states = torch.cat([self._prompt, self._model.get_input_embeddings()(canvas)], dim=1)
        mask = self._valid[:, None, None, :]
        everywhere = mask.expand(-1, -1, hidden_states.shape[1], -1)
        *layers, last = self._text_core.layers
        for layer in layers:
            hidden_states = self._run(
                layer, hidden_states, everywhere, (self._cosines, self._sines), self._keys, self._values, 0
            )
        write_keys_and_values(
            last,
            hidden_states[:, :places],
            (self._cosines[:, :places], self._sines[:, :places]),
            _LayerCache(self._keys, self._values, 0),
        )
        hidden_states = self._run(
            last,
            hidden_states[:, places:],
            mask.expand(-1, -1, canvas.shape[1], -1),
            (self._cosines[:, places:], self._sines[:, places:]),
            self._keys,
            self._values,
            places,
        )
        logits: torch.Tensor = self._model.get_output_embeddings()(self._text_core.norm(hidden_states))
        return logits.flatten(0, 1)


class GuidedLogits:
    """Classifier-free guidance: `unconditional + scale * (conditional - unconditional)`, in single precision.

    Args:
        conditional: Predicts behind the prompt.
        unconditional: Predicts behind a prompt that says nothing.
        scale: `guidance_scale`.
    """

    def __init__(self, conditional: FixedNetwork, unconditional: FixedNetwork, scale: float) -> None:
        self._conditional = conditional
        self._unconditional = unconditional
        self._scale = scale

    def __call__(self, canvas: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """See [`FixedNetwork.__call__`]."""
        conditional = self._conditional(canvas, valid).float()
        unconditional = self._unconditional(canvas, valid).float()
        return unconditional + self._scale * (conditional - unconditional)


__all__ = ["PREFIX_PLACES", "FixedNetwork", "FullNetwork", "GuidedLogits", "PrefixNetwork", "RunLayer", "run_layer"]
