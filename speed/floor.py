# SPDX-License-Identifier: Apache-2.0
"""The floor: the time of the least arithmetic that an answer takes, and of nothing else.

Each `attention_mode` has its own. The least work of `"prefix"` is: the vision tower and the projector once an image;
image and prompt once through every layer, of the last one only the keys and values; the canvas once a step through
every layer, attending to the prefix; the vocabulary projection in every step at the positions that are masked. With
`"full"` image and prompt see the canvas: everything goes through every layer once a step, and of the last one only
the keys and values of what is not canvas.

Of this work the floor runs the matrix products and the attention, each on tensors that exist before the clock starts
and have the shapes, types and strides of the real ones: the weights are the model's own, so that as many bytes travel
from memory; activations are random and do not depend on each other. There are no norms, activations, rotations,
residuals, softmax over the vocabulary or choice of tokens, and no code between two operations but a loop over a list.
On a GPU it can be captured in CUDA graphs, which leaves no loop either.

What generation takes above the floor is therefore the cost of everything else. A program could be below it only with
products that are faster than PyTorch's, or by doing less, as in the last layer, whose queries are needed at masked
positions alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol, cast

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.models.llama.modeling_llama import LlamaDecoderLayer
from transformers.models.siglip.modeling_siglip import SiglipEncoderLayer

from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.speed.graphs import capture
from geodit.speed.workloads import Workload

__all__ = ["Attention", "AttentionMode", "Floor", "Operation", "Product"]

AttentionMode = Literal["full", "prefix"]

_BYTES_OF_CACHES = 4 << 30
"""Keys and values of so many bytes are in no processor's caches when they are read again."""


@dataclass(frozen=True)
class Product:
    """`x @ weight.T`, with the bias if there is one, as a linear layer computes it.

    Args:
        rows: Rows of x.
        weight: `(out, in)`.
        bias: `(out,)` or `None`.
    """

    rows: int
    weight: torch.Tensor
    bias: torch.Tensor | None

    @property
    def reads(self) -> int:
        """Elements of x."""
        return self.rows * self.weight.shape[1]

    @property
    def writes(self) -> int:
        """Elements of the result."""
        return self.rows * self.weight.shape[0]

    @property
    def flops(self) -> int:
        """Floating point operations, two a multiplication with its addition."""
        return 2 * self.rows * self.weight.numel()

    def bind(self, source: torch.Tensor, sink: torch.Tensor) -> Callable[[], object]:
        """Return the call, from elements of one flat buffer to another."""
        x = source[: self.reads].view(self.rows, -1)
        out = sink[: self.writes].view(self.rows, -1)
        if self.bias is None:
            return partial(torch.mm, x, self.weight.t(), out=out)
        return partial(torch.addmm, self.bias, x, self.weight.t(), out=out)


@dataclass(frozen=True)
class Attention:
    """Attention of some queries to all keys, without a mask.

    Args:
        num_heads: Heads of the queries.
        num_queries: Queries of each row.
        keys: `(B, heads of keys, keys, head width)`.
        values: As `keys`.
    """

    num_heads: int
    num_queries: int
    keys: torch.Tensor
    values: torch.Tensor

    @property
    def reads(self) -> int:
        """Elements of the queries."""
        return self.keys.shape[0] * self.num_heads * self.num_queries * self.keys.shape[3]

    writes = 0
    """The result is allocated: the operation has no place to give it."""

    @property
    def flops(self) -> int:
        """Floating point operations of its two products."""
        return 4 * self.reads * self.keys.shape[2]

    def bind(self, source: torch.Tensor, sink: torch.Tensor) -> Callable[[], object]:
        """Return the call; the queries are laid out as a projection leaves them, token by token."""
        del sink
        rows, key_heads, _, width = self.keys.shape
        queries = source[: self.reads].view(rows, self.num_queries, self.num_heads, width).transpose(1, 2)
        return partial(
            scaled_dot_product_attention,
            queries,
            self.keys,
            self.values,
            enable_gqa=self.num_heads != key_heads,
        )


Operation = Product | Attention


class Floor:
    """The least work of a workload, ready to run.

    Args:
        model: Gives the weights. It must be made for the workload's number of image tokens.
        workload: What is asked.
        attention: The `attention_mode` whose least work it is.
    """

    def __init__(
        self, model: GeoDiTForMaskedDiffusion, workload: Workload, attention: AttentionMode = "prefix"
    ) -> None:
        work = (_LeastWork if attention == "prefix" else _LeastFullWork)(model, workload)
        self._device = model.device
        self.prefix: tuple[Operation, ...] = tuple(work.prefix())
        self.passes: tuple[tuple[Operation, ...], ...] = tuple(
            tuple(work.one_pass(masked)) for masked in workload.masked_per_pass
        )
        parts = (self.prefix, *self.passes)
        everything = [operation for part in parts for operation in part]
        self.flops: int = sum(operation.flops for operation in everything)
        source = work.random(max(operation.reads for operation in everything))
        sink = source.new_empty(max(operation.writes for operation in everything))
        self._parts = [[operation.bind(source, sink) for operation in part] for part in parts]

    @torch.no_grad()
    def run(self, mark: Callable[[int], None] | None = None) -> None:
        """Run everything once.

        Args:
            mark: Called with 0 when the prefix is done and with s after the s-th pass.
        """
        for step, calls in enumerate(self._parts):
            for call in calls:
                call()
            if mark is not None:
                mark(step)

    @torch.no_grad()
    def capture(self) -> None:
        """Put the prefix and each pass in a CUDA graph of its own; anywhere but on CUDA do nothing.

        Raises:
            RuntimeError: If CUDA cannot capture them.
        """
        if self._device.type == "cuda":
            self._parts = [[replay] for replay in capture(self._parts, self._device)]


class _Work:
    """Lists the operations of a workload in the order of the network."""

    def __init__(self, model: GeoDiTForMaskedDiffusion, workload: Workload) -> None:
        self._model = model
        self._workload = workload
        self._like = model.lm_head.weight.detach()
        self._layers = cast(list[LlamaDecoderLayer], list(model.model.language_model.layers))
        self._num_heads: int = model.config.text_config.num_attention_heads

    def keys_and_values(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return keys and values of a layer of the text core, for all rows."""
        config, work = self._model.config.text_config, self._workload
        tokens = work.prefix_length + work.canvas_length
        shape = (work.num_rows, config.num_key_value_heads, tokens, config.head_dim)
        return self.random(*shape), self.random(*shape)

    def random(self, *shape: int) -> torch.Tensor:
        """Draw standard normal numbers of the model's type, where the model is."""
        numbers: torch.Tensor = self._like.new_empty(shape).normal_()
        return numbers

    def vision(self) -> Iterable[Operation]:
        """Tower and projector, once an image."""
        work, tower = self._workload, self._model.model.vision_tower
        tokens, heads = work.batch_size * work.num_image_tokens, tower.config.num_attention_heads
        embedding = tower.embeddings.patch_embedding
        # A convolution whose stride is its size is a product with the flattened patches.
        yield Product(tokens, embedding.weight.detach().flatten(1), cast(torch.Tensor, embedding.bias).detach())
        width = tower.config.hidden_size // heads
        shape = (work.batch_size, heads, work.num_image_tokens, width)
        # What a layer attends to has just been written: one pair stands for those of all layers.
        keys, values = self.random(*shape), self.random(*shape)
        for layer in cast(list[SiglipEncoderLayer], list(tower.encoder.layers)):
            yield from _qkv(tokens, layer.self_attn)
            yield Attention(heads, work.num_image_tokens, keys, values)
            yield from _products(tokens, layer.self_attn.out_proj, layer.mlp.fc1, layer.mlp.fc2)
        projector = self._model.model.multi_modal_projector
        yield from _products(tokens, projector.linear_1, projector.linear_2)


class _LeastWork(_Work):
    """What `attention_mode="prefix"` takes."""

    def __init__(self, model: GeoDiTForMaskedDiffusion, workload: Workload) -> None:
        super().__init__(model, workload)
        # Each layer has keys and values of its own, as far as that makes a difference to the processor's caches.
        caches = [self.keys_and_values()]
        bytes_of_one = 2 * caches[0][0].nbytes
        while len(caches) < len(self._layers) and len(caches) * bytes_of_one < _BYTES_OF_CACHES:
            caches.append(self.keys_and_values())
        self._caches = [caches[index % len(caches)] for index in range(len(self._layers))]

    def prefix(self) -> Iterable[Operation]:
        """Yield tower, projector, and image and prompt through the text core."""
        yield from self.vision()
        work = self._workload
        images, patches = work.batch_size, work.num_image_tokens
        tokens = images * patches + work.num_rows * work.prompt_length
        *layers, last = self._layers
        for layer, (keys, values) in zip(layers, self._caches, strict=False):
            yield from _qkv(tokens, layer.self_attn)
            # The image sees itself alone; a prompt sees its image and itself.
            yield Attention(self._num_heads, patches, keys[:images, :, :patches], values[:images, :, :patches])
            seen = slice(work.prefix_length)
            yield Attention(self._num_heads, work.prompt_length, keys[:, :, seen], values[:, :, seen])
            yield from _rest_of_layer(tokens, layer)
        yield from _products(tokens, last.self_attn.k_proj, last.self_attn.v_proj)

    def one_pass(self, num_masked: int) -> Iterable[Operation]:
        """Yield one denoising step; the vocabulary projection runs on this many positions of each row."""
        work = self._workload
        tokens = work.num_rows * work.canvas_length
        for layer, (keys, values) in zip(self._layers, self._caches, strict=True):
            yield from _qkv(tokens, layer.self_attn)
            yield Attention(self._num_heads, work.canvas_length, keys, values)
            yield from _rest_of_layer(tokens, layer)
        yield from _products(work.num_rows * num_masked, self._model.lm_head)


class _LeastFullWork(_Work):
    """What `attention_mode="full"` takes."""

    def __init__(self, model: GeoDiTForMaskedDiffusion, workload: Workload) -> None:
        super().__init__(model, workload)
        # What a layer attends to has just been written: one pair stands for those of all layers.
        self._keys, self._values = self.keys_and_values()

    def prefix(self) -> Iterable[Operation]:
        """Tower and projector: all that is computed once."""
        yield from self.vision()

    def one_pass(self, num_masked: int) -> Iterable[Operation]:
        """Yield one denoising step; the vocabulary projection runs on this many positions of each row."""
        work = self._workload
        length = work.prefix_length + work.canvas_length
        *layers, last = self._layers
        for layer in layers:
            yield from _qkv(work.num_rows * length, layer.self_attn)
            yield Attention(self._num_heads, length, self._keys, self._values)
            yield from _rest_of_layer(work.num_rows * length, layer)
        canvas = work.num_rows * work.canvas_length
        yield from _products(canvas, last.self_attn.q_proj)
        yield from _products(work.num_rows * length, last.self_attn.k_proj, last.self_attn.v_proj)
        yield Attention(self._num_heads, work.canvas_length, self._keys, self._values)
        yield from _rest_of_layer(canvas, last)
        yield from _products(work.num_rows * num_masked, self._model.lm_head)


class _Projections(Protocol):
    """Attention of a tower or of a text core: both call their projections the same."""

    q_proj: torch.nn.Linear
    k_proj: torch.nn.Linear
    v_proj: torch.nn.Linear


def _qkv(tokens: int, attention: _Projections) -> Sequence[Product]:
    return _products(tokens, attention.q_proj, attention.k_proj, attention.v_proj)


def _rest_of_layer(tokens: int, layer: LlamaDecoderLayer) -> Sequence[Product]:
    """Return what follows attention in a layer of the text core."""
    return _products(tokens, layer.self_attn.o_proj, layer.mlp.gate_proj, layer.mlp.up_proj, layer.mlp.down_proj)


def _products(tokens: int, *layers: torch.nn.Linear) -> Sequence[Product]:
    return [
        Product(tokens, layer.weight.detach(), None if layer.bias is None else layer.bias.detach()) for layer in layers
    ]
