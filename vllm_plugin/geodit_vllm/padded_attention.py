# SPDX-License-Identifier: Apache-2.0
"""Attention with heads of a width that the backend has no kernel for, such as those of a tiny model."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from vllm.config import get_current_vllm_config
from vllm.model_executor.layers.attention import Attention
from vllm.model_executor.models.llama import LlamaAttention

__all__ = ["GeoDiTAttention", "PaddedAttention"]


class PaddedAttention(nn.Module):
    """Pads queries, keys and values by zeros, which changes no score, and cuts them off the result.

    Args:
        inner: Attention with the padded heads, and the scale of the narrow ones.
        head_dim: Width of a head.
    """

    def __init__(self, inner: Attention, head_dim: int) -> None:
        super().__init__()
        self.inner = inner
        self.head_dim = head_dim

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Return `(T, heads * head_dim)` of queries, keys and values `(T, heads * head_dim)`."""
        padded = self.inner.head_size
        query, key, value = (
            functional.pad(x.view(*x.shape[:-1], -1, self.head_dim), (0, padded - self.head_dim)).flatten(-2)
            for x in (query, key, value)
        )
        output: torch.Tensor = self.inner(query, key, value)
        return output.view(*output.shape[:-1], -1, padded)[..., : self.head_dim].flatten(-2)


class GeoDiTAttention(LlamaAttention):
    """Llama's attention, padded where the backend asks for it."""

    attn: Any

    def __init__(
        self, *args: Any, cache_config: Any = None, quant_config: Any = None, prefix: str = "", **kwargs: Any
    ) -> None:
        super().__init__(*args, cache_config=cache_config, quant_config=quant_config, prefix=prefix, **kwargs)
        sizes = self.attn.attn_backend.get_supported_head_sizes()
        if not sizes or self.head_dim in sizes:
            return
        wider = [size for size in sizes if size > self.head_dim]
        if not wider:
            raise ValueError(f"The attention backend has no kernel for heads of width {self.head_dim}, only {sizes}.")
        # vLLM finds the layers that have keys and values by their names here, and refuses a second of a name.
        del get_current_vllm_config().compilation_config.static_forward_context[f"{prefix}.attn"]
        inner = Attention(
            self.num_heads,
            min(wider),
            self.scaling,
            num_kv_heads=self.num_kv_heads,
            cache_config=cache_config,
            quant_config=quant_config,
            prefix=f"{prefix}.attn",
        )
        self.attn = PaddedAttention(inner, self.head_dim)
