# SPDX-License-Identifier: Apache-2.0
"""A sampler that decodes one request at a time by GeoDiT's own loop: slow, and simple enough to be believed.

The engine's part of the plugin is tested with it, apart from the sampler that serves. vLLM loads it into each of its
processes as a plugin, as it loads the tested one; it stands in where `GEODIT_VLLM_STAND_IN` is set.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from vllm.v1.worker.gpu.sample.output import SamplerOutput

from geodit.configuration.generation_configuration_geodit import GeoDiTGenerationConfig
from geodit.modeling_geodit.decoding_plan_geodit import DecodingPlan, plan_decoding
from geodit.modeling_geodit.denoising_state_geodit import DenoisingState
from geodit_vllm.served_canvas import ServedCanvas

__all__ = ["GeoDiTSampler", "finished", "install", "read_finished"]

_NAMES = (
    "block_length",
    "confidence_threshold",
    "entropy_bound",
    "fill_after_eos",
    "initial_canvas_length",
    "max_denoising_steps",
    "remasking",
)

finished: dict[tuple[int, ...], list[torch.Tensor]] = {}
"""Confidences of each answer, by its tokens."""


def install() -> None:
    """Stand in, if that is asked for."""
    if os.environ.get("GEODIT_VLLM_STAND_IN"):
        sys.modules["geodit_vllm.sampler"] = sys.modules[__name__]


def read_finished(worker: object) -> dict[tuple[int, ...], list[torch.Tensor]]:
    """Return and forget what was finished in a process of a worker."""
    copy = dict(finished)
    finished.clear()
    return copy


def _denoise(plan: DecodingPlan, state: DenoisingState) -> Generator[None, torch.Tensor, None]:
    """Do what `denoise` does with one canvas, and be sent the logits `(L, V)` of each step."""
    initial_length = plan.config.initial_canvas_length
    for block in plan.blocks:
        if initial_length is not None:
            state.stop = max(block.stop, initial_length)
        for steps_left in range(block.steps, 0, -1):
            masked, canvas = state.masked, state.canvas
            wanted = torch.zeros_like(masked)
            wanted[:, block.start : block.stop] = masked[:, block.start : block.stop]
            if not wanted.any():
                break
            logits = (yield)[wanted[0]]
            state.commit(plan.rules.decide(logits, canvas, masked, wanted, steps_left, None), state.rows)
            state.step += 1
            if plan.rules.ends_answers:
                state.end_answers(plan.rules.eos_token_ids)
            state.finish_rows(plan.rules.eos_token_ids)
            if not state.active.any():
                return


@dataclass
class _Canvas:
    state: DenoisingState
    steps: Generator[None, torch.Tensor, None]

    def step(self, logits: torch.Tensor) -> bool:
        """Make a step, and return whether it was the last one."""
        try:
            self.steps.send(logits)
        except StopIteration:
            return True
        return False


class GeoDiTSampler:
    """Stands in for `geodit_vllm.sampler.GeoDiTSampler`."""

    penalties_state = SimpleNamespace(output_bin_counts=None)
    compute_nans = False

    def __init__(self, sampler: Any, vllm_config: Any, device: torch.device) -> None:
        self.sampling_states, self.req_states = sampler.sampling_states, sampler.req_states
        self._config = vllm_config.model_config.hf_config
        self._limits = ServedCanvas.of(self._config, vllm_config.model_config.max_model_len)
        self._device = device
        self._asked: dict[int, dict[str, Any]] = {}
        self._canvases: dict[int, _Canvas] = {}

    def add_request(self, req_idx: int, sampling_params: Any) -> None:
        """Note what a request asks for."""
        self.sampling_states.add_request(req_idx, sampling_params)
        self._asked[req_idx] = dict(sampling_params.extra_args or {})
        self._canvases.pop(req_idx, None)

    def apply_staged_writes(self) -> None:
        """Do what vLLM's sampler does."""
        self.sampling_states.apply_staged_writes()

    def canvas_ends(self, input_batch: Any) -> torch.Tensor:
        """Return how much of each canvas is there."""
        slots = input_batch.idx_mapping_np[: input_batch.num_reqs].tolist()
        canvases = [self._canvases.get(slot) for slot in slots]
        return torch.tensor([0 if c is None else c.state.stop for c in canvases], device=self._device)

    def __call__(self, logits: torch.Tensor, input_batch: Any, draft_logits: Any = None) -> SamplerOutput:
        """Decide for each request of a step."""
        num_reqs = input_batch.num_reqs
        slots = input_batch.idx_mapping_np[:num_reqs].tolist()
        drafts = np.diff(input_batch.cu_num_logits_np[: num_reqs + 1])
        sampled = torch.zeros(num_reqs, self._limits.longest_canvas, dtype=torch.int32)
        num_sampled, num_rejected = torch.zeros(2, num_reqs, dtype=torch.int32)
        row = 0
        for i, slot in enumerate(slots):
            if "diffusion_canvas_length" not in self._asked.get(slot, {}):  # vLLM warms up
                continue
            offset = int(self.req_states.prefill_len.np[slot]) if self._limits.full else 0
            if drafts[i] == 0:
                self._begin(slot, offset)
                continue
            canvas = self._canvases[slot]
            length = canvas.state.canvas.shape[1]
            assert drafts[i] == offset + length, (drafts[i], offset, length)
            done = canvas.step(logits[row : row + length].float().cpu().clone())
            row += length
            tokens = canvas.state.canvas[0]
            self.req_states.draft_tokens[slot, offset : offset + length] = tokens.to(self._device)
            if done:
                sampled[i, :length], num_sampled[i] = tokens.int(), length
                finished.setdefault(tuple(tokens.tolist()), []).append(canvas.state.confidences[0])
            num_rejected[i] = int(drafts[i]) - (length if done else 0)
        assert row == len(logits) or not row, (row, len(logits))
        return SamplerOutput(
            sampled_token_ids=sampled.to(self._device),
            logprobs_tensors=None,
            num_nans=None,
            num_sampled=num_sampled.to(self._device),
            num_rejected=num_rejected.to(self._device),
        )

    def _begin(self, slot: int, offset: int) -> None:
        asked = self._asked[slot]
        length = int(asked["diffusion_canvas_length"]) - offset
        model: Any = SimpleNamespace(config=self._config, generation_config=GeoDiTGenerationConfig())
        named = {name: asked[name] for name in _NAMES if name in asked}
        plan = plan_decoding(model, None, None, None, None, None, max_new_tokens=length, **named)
        state = DenoisingState.fully_masked(torch.tensor([length]), length, plan.mask_token_id, plan.fill)
        self._canvases[slot] = _Canvas(state, _denoise(plan, state))
        next(self._canvases[slot].steps)
        drafts = self.req_states.draft_tokens
        drafts[slot, offset : offset + length] = plan.mask_token_id
        if offset:
            drafts[slot, :offset] = self.req_states.all_token_ids.gpu[slot, :offset].long()
