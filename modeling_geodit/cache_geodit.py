# SPDX-License-Identifier: Apache-2.0
"""Keys and values of image and prompt, computed once and attended to in every denoising step.

Shapes: B rows, S length of a segment, C capacity, H heads of keys and values, D width of a head.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import nn
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaDecoderLayer, rotate_half

__all__ = ["LAYER_CACHE_KEYWORD", "ImagePrefix", "SegmentCache", "cache_keyword", "write_keys_and_values"]

_CACHE_KEYWORDS = ("cache", "past_key_values")


def cache_keyword(layer_class: type[torch.nn.Module]) -> str:
    """Return the name by which a decoder layer of Transformers takes its cache.

    It is `cache` from Transformers 5.24 on and `past_key_values` before; the old name goes in 5.40.

    Args:
        layer_class: The class of the layer.

    Raises:
        ImportError: when its `forward` has neither.
    """
    parameters = inspect.signature(layer_class.forward).parameters
    for name in _CACHE_KEYWORDS:
        if name in parameters:
            return name
    raise ImportError(
        f"{layer_class.__name__} of this version of Transformers takes no cache by the name of "
        f"{' or '.join(_CACHE_KEYWORDS)}: install a version that GeoDiT was tested with."
    )


LAYER_CACHE_KEYWORD = cache_keyword(LlamaDecoderLayer)
"""That of the layers of the text core."""


class SegmentCache:
    """Keys and values of a sequence that is computed segment by segment, in buffers that are made once.

    A caller opens a segment with [`begin_segment`] and runs the text core on its tokens. The attention layers then
    call [`update`], as they do with a cache of Transformers: what they pass is written in place, and what they
    attend to is a view of everything up to the end of the segment. A segment may be opened again at the same
    place, which is what every denoising step does with the canvas.

    Args:
        num_layers: Layers of the text core.
        valid: `(B, C)` bool, false everywhere; tells the number of rows, the capacity and the device.
    """

    def __init__(self, num_layers: int, valid: torch.Tensor) -> None:
        self._buffers: list[tuple[torch.Tensor, torch.Tensor] | None] = [None] * num_layers
        self._cursors = [0] * num_layers
        self._valid = valid
        self._stop = 0

    @classmethod
    def empty(cls, num_layers: int, num_rows: int, capacity: int, device: torch.device) -> SegmentCache:
        """Make a cache of B rows with room for C tokens each; the buffers are made when a layer first writes."""
        return cls(num_layers, torch.zeros(num_rows, capacity, dtype=torch.bool, device=device))

    @property
    def num_rows(self) -> int:
        """B."""
        return self._valid.shape[0]

    @property
    def valid(self) -> torch.Tensor:
        """`(B, stop)` bool, true where a real token stands, up to the end of the open segment."""
        return self._valid[:, : self._stop]

    def clear(self) -> None:
        """Give up everything that was written; the buffers stay where they are."""
        self._valid.zero_()
        self._stop = 0

    def layer(self, layer_idx: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of a layer, `(B, H, C, D)` each; a layer must have written before.

        Args:
            layer_idx: The layer.

        Raises:
            RuntimeError: If none has.
        """
        buffers = self._buffers[layer_idx]
        if buffers is None:
            raise RuntimeError(f"Layer {layer_idx} has written nothing to the cache yet.")
        return buffers

    def reserve(self, num_heads: int, width: int, dtype: torch.dtype) -> None:
        """Make the buffers of all layers now.

        Args:
            num_heads: H.
            width: D.
            dtype: Their type.
        """
        shape = (self.num_rows, num_heads, self._valid.shape[1], width)
        keys, values = (
            [torch.zeros(shape, dtype=dtype, device=self._valid.device) for _ in self._buffers] for _ in range(2)
        )
        self._buffers = list(zip(keys, values, strict=True))

    def begin_segment(self, start: int, valid: torch.Tensor) -> None:
        """Open the segment that is computed next.

        Args:
            start: Its first place. What was written from there on is given up.
            valid: `(B, S)` bool, true for real tokens and false for padding.
        """
        self._stop = start + valid.shape[1]
        self._valid[:, start : self._stop] = valid
        self._cursors = [start] * len(self._cursors)

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        kwargs: Mapping[str, object] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the next tokens of the open segment for one layer.

        Args:
            key_states: `(B, H, S', D)`, with positions rotated in.
            value_states: `(B, H, S', D)`.
            layer_idx: The layer.
            kwargs: What else the layer was called with, which the layers pass from Transformers 5.24 on. Not needed.

        Returns:
            Keys and values `(B, H, written so far, D)`, views of the buffers.
        """
        del kwargs
        buffers = self._buffers_like(layer_idx, (key_states, value_states))
        start = self._cursors[layer_idx]
        stop = self._cursors[layer_idx] = start + key_states.shape[2]
        for buffer, states in zip(buffers, (key_states, value_states), strict=True):
            buffer[:, :, start:stop] = states
        return buffers[0][:, :, :stop], buffers[1][:, :, :stop]

    def _buffers_like(
        self, layer_idx: int, states: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the buffers of a layer, for keys and values `(..., H, ..., D)`."""
        buffers = self._buffers[layer_idx]
        if buffers is None:
            shape = (self.num_rows, states[0].shape[1], self._valid.shape[1], states[0].shape[3])
            # Zeros, as a place that is never written has no weight in attention but must be a number.
            buffers = self._buffers[layer_idx] = (states[0].new_zeros(shape), states[1].new_zeros(shape))
        return buffers

    def check_written(self, layer_idx: int) -> None:
        """Check that a layer has written the whole open segment.

        A layer that takes no notice of its cache attends to its own tokens alone, and the answers that come of it
        look like answers.

        Args:
            layer_idx: The layer.

        Raises:
            RuntimeError: if it has not.
        """
        if self._cursors[layer_idx] != self._stop:
            raise RuntimeError(
                f"Layer {layer_idx} wrote {self._cursors[layer_idx]} of {self._stop} tokens to the cache that it was "
                "given, so that the answer would be nonsense. Use a version of Transformers that GeoDiT was tested "
                "with and, under gradient checkpointing, call model.eval() first."
            )

    def copy_from(self, other: SegmentCache, rows: torch.Tensor) -> None:
        """Start with what another cache holds.

        Args:
            other: A cache of the same model, of no larger capacity.
            rows: `(B,)` int64, the row of `other` that each row starts with.
        """
        stop = other._stop
        self._stop = stop
        self._valid[:, :stop] = other.valid[rows]
        for layer_idx, source in enumerate(other._buffers):
            if source is None:
                continue
            for buffer, tensor in zip(self._buffers_like(layer_idx, source), source, strict=True):
                buffer[:, :, :stop] = tensor[rows.to(tensor.device), :, :stop]

    def replace_rows(self, rows: torch.Tensor, other: SegmentCache) -> None:
        """Have some rows hold what another cache holds, and nothing else.

        Args:
            rows: `(B',)` int64, the row that each row of `other` becomes.
            other: A cache of the same model, of no larger capacity.
        """
        stop = other._stop
        self._valid[rows] = torch.nn.functional.pad(other.valid, (0, self._valid.shape[1] - stop))
        for layer_idx, source in enumerate(other._buffers):
            if source is None:
                continue
            for buffer, tensor in zip(self._buffers_like(layer_idx, source), source, strict=True):
                buffer[rows.to(tensor.device), :, :stop] = tensor[:, :, :stop]

    def keep_rows(self, rows: Sequence[int]) -> None:
        """Give up all rows but some, in place: a row that stays moves to the front, and nothing is allocated.

        Args:
            rows: The rows that stay, ascending.
        """
        for target, source in enumerate(rows):
            if target == source:
                continue
            self._valid[target] = self._valid[source]
            for buffers in self._buffers:
                for buffer in buffers or ():
                    buffer[target] = buffer[source]
        count = len(rows)
        self._valid = self._valid[:count]
        self._buffers = [None if pair is None else (pair[0][:count], pair[1][:count]) for pair in self._buffers]


class _WritableCache(Protocol):
    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int) -> object: ...


def write_keys_and_values(
    layer: nn.Module,
    hidden_states: torch.Tensor,
    position_embeddings: tuple[torch.Tensor, torch.Tensor],
    cache: _WritableCache,
) -> None:
    """Run the part of a layer that other tokens need of these: no queries, no attention, no feed-forward.

    Args:
        layer: A decoder layer of Transformers.
        hidden_states: `(B, S, d)`.
        position_embeddings: Cosines and sines, `(B, S or more, D)`.
        cache: Where keys and values are written: something with the `update` of [`SegmentCache`].
    """
    attention = cast(LlamaAttention, layer.self_attn)
    device = attention.k_proj.weight.device
    if device.type != "meta":  # offloaded weights come to the hidden states, others do not
        hidden_states = hidden_states.to(device)
    normed = cast(nn.Module, layer.input_layernorm)(hidden_states)
    shape = (*normed.shape[:-1], -1, attention.head_dim)
    keys = attention.k_proj(normed).view(shape).transpose(1, 2)
    values = attention.v_proj(normed).view(shape).transpose(1, 2)
    length = normed.shape[1]
    cos, sin = (part[:, :length].unsqueeze(1).to(keys.device) for part in position_embeddings)
    cache.update(keys * cos + rotate_half(keys) * sin, values, attention.layer_idx)


@dataclass(frozen=True)
class ImagePrefix:
    """Encoded images, to ask any number of questions about. Made by `encode_image`.

    Args:
        features: `(images, n, d)`, or one `(n_i, d)` an image, as `get_image_features` returns them.
        cache: With `attention_mode="prefix"` the keys and values of every image, a row an image; `None` with
            `"full"`, where they depend on the question and the answer.
    """

    features: torch.Tensor | tuple[torch.Tensor, ...]
    cache: SegmentCache | None

    @property
    def num_images(self) -> int:
        """How many images were encoded."""
        return len(self.features)

    @property
    def lengths(self) -> list[int]:
        """How many tokens each image takes."""
        return [len(features) for features in self.features]
