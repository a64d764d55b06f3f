# SPDX-License-Identifier: Apache-2.0
"""The layers of Transformers, run one by one: as they are, with masks and caches of one's own.

One function runs them all, so that it can be compiled once. What stands against doing so, such as a hook on the text
core as a whole, is not asked here.

Shapes: B rows, S tokens, C capacity, H heads of keys and values, D width of a head, d hidden size.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from geodit.modeling_geodit.cache_geodit import LAYER_CACHE_KEYWORD, SegmentCache, write_keys_and_values
from geodit.modeling_geodit.compiled_layers_geodit import RunLayer
from geodit.modeling_geodit.model_types_geodit import TextCore
from geodit.modeling_geodit.predictors_geodit import Segment

__all__ = ["LayerCache", "run_layer", "write_segment"]


class LayerCache:
    """The keys and values of one layer, from some place on written by the layer itself.

    Args:
        keys: `(B, H, C, D)`.
        values: Likewise.
        start: The place.
    """

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, start: int) -> None:
        self._keys = keys
        self._values = values
        self._start = start

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        kwargs: Mapping[str, object] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take keys and values as the layers of Transformers give them; see [`SegmentCache.update`]."""
        del layer_idx, kwargs
        stop = self._start + key_states.shape[2]
        self._keys[:, :, self._start : stop] = key_states
        self._values[:, :, self._start : stop] = value_states
        return self._keys[:, :, :stop], self._values[:, :, :stop]


def run_layer(
    layer: torch.nn.Module,
    hidden_states: torch.Tensor,
    mask: torch.Tensor | None,
    position_embeddings: tuple[torch.Tensor, torch.Tensor],
    keys: torch.Tensor,
    values: torch.Tensor,
    start: int,
) -> torch.Tensor:
    """Run a decoder layer after the keys and values of `start` places.

    Args:
        layer: The layer.
        hidden_states: `(B, S, d)`.
        mask: `(B, 1, S, start + S)` bool, true where a query may attend; by default everywhere.
        position_embeddings: Cosines and sines, each `(B, S, D)`.
        keys: `(B, H, C, D)`; those of the new places are written here.
        values: Likewise.
        start: Where the new places begin.
    """
    output: torch.Tensor = layer(
        hidden_states,
        attention_mask=mask,
        position_embeddings=position_embeddings,
        **{LAYER_CACHE_KEYWORD: LayerCache(keys, values, start)},
    )
    return output


def write_segment(
    text_core: TextCore, run: RunLayer, cache: SegmentCache, start: int, segment: Segment, is_full: bool
) -> None:
    """Compute keys and values of a segment: what [`GeoDiTTextModel`] does with `num_outputs=0`.

    Args:
        text_core: The text core.
        run: Runs a layer, as [`run_layer`] does.
        cache: A cache whose buffers are there.
        start: The first place of the segment.
        segment: The segment.
        is_full: Whether neither it nor what is in front has padding, so that there is nothing to mask.
    """
    hidden_states, position_ids, valid, _ = segment
    if not valid.shape[1]:
        return
    cache.begin_segment(start, valid)
    positions = text_core.rotary_emb(hidden_states, position_ids=position_ids)
    mask = None if is_full else cache.valid[:, None, None, :].expand(-1, -1, valid.shape[1], -1)
    *layers, last = text_core.layers
    for index, layer in enumerate(layers):
        hidden_states = run(layer, hidden_states, mask, positions, *cache.layer(index), start)
    write_keys_and_values(last, hidden_states, positions, LayerCache(*cache.layer(len(layers)), start))
