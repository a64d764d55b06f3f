# SPDX-License-Identifier: Apache-2.0
"""What vLLM's model runner asks before and after each pass of the network.

A request is a prefill of image and prompt in one step, then a step of the canvas after another: vLLM schedules the
canvas as draft tokens after the prompt. All of them are rejected until the canvas is finished, so that the next step
writes over their keys and values, and all are accepted at the last one. [`GeoDiTSampler`] decides that; who sees whom
in a step is told by [`AttentionRows`].

With `attention_mode="full"` the canvas repeats its prompt, and vLLM forgets the features of an image after its
prefill: they are kept in one buffer of (requests at once, features of the largest image, width of the text core)
elements.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from vllm.config import VllmConfig
from vllm.config.compilation import CUDAGraphMode
from vllm.logger import init_logger
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.utils.torch_utils import async_tensor_h2d
from vllm.v1.core.sched.output import NewRequestData
from vllm.v1.kv_cache_interface import KVCacheConfig
from vllm.v1.worker.gpu.attn_utils import build_attn_metadata
from vllm.v1.worker.gpu.block_table import BlockTables
from vllm.v1.worker.gpu.input_batch import InputBatch
from vllm.v1.worker.gpu.mm.encoder_cache import EncoderCache
from vllm.v1.worker.gpu.model_states.default import DefaultModelState
from vllm.v1.worker.gpu.states import RequestState
from vllm.v1.worker.utils import AttentionGroup

from geodit_vllm.attention_rows import AttentionRows, Ints, StepTokens
from geodit_vllm.model import GeoDiTForVllm

__all__ = ["GeoDiTModelState"]

logger = init_logger(__name__)


@dataclass(frozen=True)
class _Step:
    """What a step is, from before its attention is prepared until its logits are computed."""

    tokens: StepTokens
    rows: AttentionRows
    slots: Ints  # `(R,)`: where the requests of the batch are kept


class GeoDiTModelState(DefaultModelState):
    """Prepares the steps of a [`GeoDiTForVllm`]."""

    # A step of the canvas gives its draft tokens and nothing beyond.
    num_new_sampled_tokens_per_step = 0
    supports_prompt_embeds = False

    model: GeoDiTForVllm

    def __init__(
        self, vllm_config: VllmConfig, model: GeoDiTForVllm, encoder_cache: EncoderCache | None, device: torch.device
    ) -> None:
        super().__init__(vllm_config, model, encoder_cache, device)
        self._full = model.config.attention_mode == "full"
        self._num_image_tokens = np.zeros(self.max_num_reqs, dtype=np.int64)
        # Graphs that are captured read these where they are.
        self._key_lens = torch.zeros(2 * self.max_num_reqs, dtype=torch.int32, device=device)
        self._positions = torch.zeros(self.max_num_tokens, dtype=torch.int64, device=device)
        self._image_features: torch.Tensor | None = None
        if self._full and self.supports_mm_inputs:
            self._image_features = self._make_feature_buffer()
        self._block_tables: BlockTables | None = None
        self._step: _Step | None = None
        self._slots: dict[str, int] = {}

    def _make_feature_buffer(self) -> torch.Tensor | None:
        info = MULTIMODAL_REGISTRY.create_processor(self.model_config).info
        if not info.allowed_mm_limits.get("image"):
            return None
        largest = info.count_image_tokens(info.largest_image())
        shape = (self.max_num_reqs, largest, self.inputs_embeds_size)
        features = torch.zeros(shape, dtype=self.dtype, device=self.device)
        logger.info("Features of images for attention_mode='full' take %.1f MiB.", features.nbytes / 2**20)
        return features

    def get_supported_generation_tasks(self) -> tuple[Any, ...]:
        """Return what vLLM may ask of this model."""
        return ("generate",)

    def initialize_kv_cache(self, kv_cache_config: KVCacheConfig, block_tables: BlockTables) -> None:
        """Keep the tables of the blocks of keys and values."""
        super().initialize_kv_cache(kv_cache_config, block_tables)
        self._block_tables = block_tables

    def custom_sampler(self, sampler: Any) -> tuple[Any, Any]:
        """Return the sampler of canvases, in place of vLLM's."""
        from geodit_vllm.sampler import GeoDiTSampler

        self.sampler = GeoDiTSampler(sampler, self.vllm_config, self.device)
        return self.sampler, None

    def add_request(self, req_index: int, new_req_data: NewRequestData) -> None:
        """Note how many tokens the image has."""
        super().add_request(req_index, new_req_data)
        positions = [feature.mm_position for feature in new_req_data.mm_features]
        in_front = positions and positions[0].offset == 0
        self._num_image_tokens[req_index] = positions[0].length if in_front else 0
        self._slots[new_req_data.req_id] = req_index

    def remove_request(self, req_id: str) -> None:
        """Free what is kept of a request that has ended, was given up, or is preempted."""
        super().remove_request(req_id)
        if (slot := self._slots.pop(req_id, None)) is not None:
            self.sampler.release(slot)

    def preprocess_state(
        self,
        input_batch: InputBatch,
        block_tables: tuple[torch.Tensor, ...],
        kv_cache_config: KVCacheConfig,
        num_computed_tokens: torch.Tensor,
    ) -> None:
        """Find out what the step is; vLLM does not call this for runs without requests."""
        num_reqs = input_batch.num_reqs
        slots = input_batch.idx_mapping_np[:num_reqs].astype(np.int64)
        tokens = StepTokens(
            scheduled=np.asarray(input_batch.num_scheduled_tokens[:num_reqs], dtype=np.int64),
            computed=np.asarray(input_batch.num_computed_tokens_np[:num_reqs], dtype=np.int64),
            prompt=np.asarray(input_batch.prefill_len_np[:num_reqs], dtype=np.int64),
            image=self._num_image_tokens[slots],
            is_canvas=np.diff(input_batch.cu_num_logits_np[: num_reqs + 1]) > 0,
            full=self._full,
        )
        self._step = _Step(tokens, AttentionRows.of(tokens), slots)
        if not self._full:
            return
        # The canvas repeats its prompt in the same places, and its keys and values are written there.
        positions = self._positions[: input_batch.num_tokens_after_padding]
        positions[input_batch.num_tokens :].zero_()
        async_tensor_h2d(tokens.positions, out=positions[: input_batch.num_tokens])
        if self._block_tables is None:
            raise RuntimeError("vLLM did not announce its blocks of keys and values.")
        self._block_tables.compute_slot_mappings(
            input_batch.idx_mapping, input_batch.query_start_loc, positions, input_batch.num_tokens_after_padding
        )

    def prepare_attn(
        self,
        input_batch: InputBatch,
        cudagraph_mode: CUDAGraphMode,
        block_tables: tuple[torch.Tensor, ...],
        slot_mappings: torch.Tensor,
        attn_groups: list[list[AttentionGroup]],
        kv_cache_config: KVCacheConfig,
        for_capture: bool = False,
        ubatch_idx: int = 0,
        **kwargs: object,
    ) -> dict[str, Any]:
        """Tell the attention backend who sees whom."""
        is_full_graph = cudagraph_mode == CUDAGraphMode.FULL
        num_reqs = input_batch.num_reqs_after_padding if is_full_graph else input_batch.num_reqs
        num_tokens = input_batch.num_tokens_after_padding if is_full_graph else input_batch.num_tokens
        # Without requests vLLM measures, warms up or captures.
        rows = None if self._step is None or for_capture else self._step.rows
        query_starts_cpu = torch.from_numpy(input_batch.query_start_loc_np[: num_reqs + 1])
        query_starts = input_batch.query_start_loc[: num_reqs + 1]
        max_query_len = input_batch.max_query_len or int(input_batch.num_scheduled_tokens.max())
        max_key_len = self.max_model_len
        key_lens_cpu = input_batch.seq_lens_cpu_upper_bound
        if rows is None:
            key_lens = self._key_lens[:num_reqs]
            key_lens.copy_(input_batch.seq_lens[:num_reqs])
        else:
            num_rows = len(rows.requests)
            if rows.are_requests:
                num_rows = num_reqs
            else:
                if is_full_graph:
                    raise RuntimeError("vLLM replays a captured step that holds a prefill with an image.")
                num_reqs = num_rows
                query_starts_cpu = torch.from_numpy(rows.query_starts.astype(np.int32))
                query_starts = async_tensor_h2d(query_starts_cpu, device=self.device)
                index = async_tensor_h2d(rows.requests, device=self.device)
                block_tables = tuple(table[index] for table in block_tables)
                max_query_len = int(rows.query_lens.max())
            key_lens = self._write_key_lens(input_batch, rows, num_rows)
            key_lens_cpu = torch.zeros(num_rows, dtype=torch.int32)
            key_lens_cpu[: len(rows.requests)] = torch.from_numpy(rows.key_lens)
            max_key_len = int(rows.key_lens.max())
        metadata: dict[str, Any] = build_attn_metadata(
            attn_groups=attn_groups,
            num_reqs=num_reqs,
            num_tokens=num_tokens,
            query_start_loc_gpu=query_starts,
            query_start_loc_cpu=query_starts_cpu,
            max_query_len=max_query_len,
            seq_lens=key_lens,
            max_seq_len=max_key_len,
            block_tables=block_tables,
            slot_mappings=slot_mappings,
            kv_cache_config=kv_cache_config,
            seq_lens_cpu_upper_bound=key_lens_cpu,
            positions=self._positions if self._full else input_batch.positions,
            for_cudagraph_capture=for_capture,
            causal=False,
            ubatch_idx=ubatch_idx,
        )
        return metadata

    def _write_key_lens(self, input_batch: InputBatch, rows: AttentionRows, num_rows: int) -> torch.Tensor:
        """Return `(num_rows,)` on the device: how many keys each row sees, 0 for rows that pad a graph."""
        key_lens = self._key_lens[:num_rows]
        written = key_lens[: len(rows.requests)]
        key_lens[len(rows.requests) :].zero_()
        if not rows.canvas_lens.any():
            async_tensor_h2d(rows.key_lens.astype(np.int32), out=written)
            return key_lens
        async_tensor_h2d(rows.base_lens.astype(np.int32), out=written)
        limits = async_tensor_h2d(rows.canvas_lens.astype(np.int32), device=self.device)
        ends = self.sampler.canvas_ends(input_batch)
        if not rows.are_requests:
            ends = ends[async_tensor_h2d(rows.requests, device=self.device)]
        written += torch.minimum(ends.to(torch.int32), limits)
        return key_lens

    def prepare_inputs_embeds(
        self, scheduled_encoder_inputs: dict[str, list[int]], input_batch: InputBatch, req_states: RequestState
    ) -> torch.Tensor:
        """Return the embeddings of the step's tokens `(T, d)`, with images in their places."""
        embeds: torch.Tensor = super().prepare_inputs_embeds(scheduled_encoder_inputs, input_batch, req_states)
        if self._image_features is None or self._step is None:
            return embeds
        tokens, slots = self._step.tokens, self._step.slots
        requests, positions = tokens.requests, tokens.positions
        is_image = positions < tokens.image[requests]
        for is_canvas in (False, True):
            places = np.flatnonzero(is_image & (tokens.is_canvas[requests] == is_canvas))
            if not len(places):
                continue
            indices = np.stack([places, slots[requests[places]], positions[places]])
            place, slot, position = async_tensor_h2d(indices, device=self.device)
            if is_canvas:
                embeds[place] = self._image_features[slot, position]
            else:
                self._image_features[slot, position] = embeds[place]
        return embeds

    def prepare_inputs(self, input_batch: InputBatch, req_states: RequestState) -> dict[str, torch.Tensor | None]:
        """Return what the network is given beside tokens, and prepare for its logits."""
        step, self._step = self._step, None
        self.model.logits_rows = None
        if step is None or not self._full:
            return {} if not self._full else self._own_positions(input_batch.num_tokens_after_padding)
        rows = step.tokens.logits
        if rows is not None:
            self.model.logits_rows = async_tensor_h2d(rows, device=self.device)
        return self._own_positions(input_batch.num_tokens_after_padding)

    def prepare_dummy_inputs(self, num_reqs: int, num_tokens: int) -> dict[str, Any]:
        """Return what a graph is captured with."""
        inputs: dict[str, Any] = super().prepare_dummy_inputs(num_reqs, num_tokens)
        if self._full:
            inputs |= self._own_positions(num_tokens)
        return inputs

    def _own_positions(self, num_tokens: int) -> dict[str, torch.Tensor | None]:
        return {"positions": self._positions[:num_tokens]}
