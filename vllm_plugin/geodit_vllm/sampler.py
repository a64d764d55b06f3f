# SPDX-License-Identifier: Apache-2.0
"""The step of all requests at once: GeoDiT's own policies on the logits of vLLM.

vLLM schedules the tokens of a canvas as draft tokens behind the prompt. All of them are rejected until the canvas is
finished, so that its keys and values are written over in the next step; then all are accepted, and the request ends.

Nothing is read back from the device in a step, and nothing is done for one request after the other.

Shapes: R requests of a step, L longest canvas, W longest width of a request, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from vllm.config import VllmConfig
from vllm.sampling_params import SamplingParams
from vllm.v1.worker.gpu.input_batch import InputBatch
from vllm.v1.worker.gpu.sample.output import SamplerOutput
from vllm.v1.worker.gpu.sample.states import SamplingStates
from vllm.v1.worker.gpu.states import RequestState

from geodit.modeling_geodit.host_copies_geodit import index_on, to_device
from geodit.modeling_geodit.random_geodit import RowStreams
from geodit.modeling_geodit.row_denoiser import RowDenoiser
from geodit_vllm.answer_channel import pack_facts
from geodit_vllm.requests import CanvasRequest, read_request, served_defaults
from geodit_vllm.served_canvas import ServedCanvas

__all__ = ["GeoDiTSampler"]

_GRID_BYTES = 2**30
"""Logits of canvases that are looked at together; each copy of them that a policy makes is as large."""


class _NoPenalties:
    """What the model runner asks the sampler for: the tokens that are counted for penalties; there are none."""

    output_bin_counts = None


class _VllmSampler(Protocol):
    """What of vLLM's own sampler is kept."""

    sampling_states: SamplingStates
    req_states: RequestState


class GeoDiTSampler:
    """Denoises the canvases of all requests of a step.

    Args:
        sampler: vLLM's own.
        vllm_config: vLLM's configuration.
        device: Where steps run.
        grid_bytes: Logits of so many bytes are looked at together.
    """

    penalties_state = _NoPenalties()
    compute_nans = False

    def __init__(
        self,
        sampler: _VllmSampler,
        vllm_config: VllmConfig,
        device: torch.device,
        *,
        grid_bytes: int = _GRID_BYTES,
    ) -> None:
        self.sampling_states, self._states = sampler.sampling_states, sampler.req_states
        model_config = vllm_config.model_config
        self._defaults = served_defaults(model_config, vllm_config.additional_config)
        self._canvas = ServedCanvas.of(model_config.hf_config, model_config.max_model_len)
        self._device, self._grid_bytes = device, grid_bytes
        max_num_reqs = vllm_config.scheduler_config.max_num_seqs
        # The last slot is of no request: it is finished, and stands where a request has no canvas yet.
        self._no_slot = max_num_reqs
        limits = self._defaults.limits
        self.denoiser = RowDenoiser(
            max_num_reqs + 1,
            self._canvas.longest_canvas,
            self._defaults.mask_token_id,
            self._defaults.eos_token_ids,
            device,
            # `[M]` and the placeholder of images beside those that a request names.
            max_suppressed=limits.max_suppressed + 2,
            max_answers=limits.max_answers,
        )
        # Of each slot, on the host: the canvas, what stands in front of it in its width, and whether it draws.
        self._lengths = np.zeros(max_num_reqs, dtype=np.int64)
        self._offsets = np.zeros(max_num_reqs, dtype=np.int64)
        self._draws = np.zeros(max_num_reqs, dtype=np.bool_)
        self._given = torch.ones(max_num_reqs + 1, dtype=torch.bool, device=device)
        self._waiting: dict[int, CanvasRequest] = {}

    def add_request(self, req_idx: int, sampling_params: SamplingParams) -> None:
        """Take a request that runs from the next step on, in a slot; also one that was preempted and begins anew."""
        self.sampling_states.add_request(req_idx, sampling_params)
        self._waiting[req_idx] = read_request(sampling_params.extra_args, self._defaults)

    def apply_staged_writes(self) -> None:
        """Begin the canvases of requests that were added."""
        self.sampling_states.apply_staged_writes()
        if not self._waiting:
            return
        slots, requests = list(self._waiting), list(self._waiting.values())
        self._waiting = {}
        self._lengths[slots] = [request.length for request in requests]
        self._offsets[slots] = self._states.prompt_len.np[slots] if self._canvas.full else 0
        self._draws[slots] = [request.draws for request in requests]
        keys = [RowStreams.spawn(1, torch.device("cpu"), seed=request.seed or 0).keys for request in requests]
        self.denoiser.begin(
            slots,
            [request.plan for request in requests],
            [request.length for request in requests],
            RowStreams(to_device(torch.cat(keys), self._device)),
        )
        rows = index_on(self._device, slots)
        self._given.index_fill_(0, rows, value=False)
        self._write_drafts(rows, self._prompts_in_front(slots))

    def release(self, req_idx: int) -> None:
        """Forget a request that has ended, was given up, or is preempted."""
        self._waiting.pop(req_idx, None)
        self.denoiser.release([req_idx])

    def canvas_ends(self, input_batch: InputBatch) -> torch.Tensor:
        """`(R,)`, of how many tokens the canvases are so far."""
        rows = to_device(torch.from_numpy(self._slots(input_batch)), self._device)
        return self.denoiser.canvas_ends(rows)

    def _slots(self, input_batch: InputBatch) -> NDArray[np.int64]:
        """`(R,)`, the slots of requests whose canvas is denoised in a step; a slot of no request for the others."""
        num_reqs = input_batch.num_reqs
        slots = input_batch.idx_mapping_np[:num_reqs]
        widths = np.diff(input_batch.cu_num_logits_np[: num_reqs + 1])
        # vLLM warms up with requests that were never added.
        has_canvas = (widths > 0) & (widths == self._lengths[slots] + self._offsets[slots])
        found: NDArray[np.int64] = np.where(has_canvas, slots, self._no_slot).astype(np.int64)
        return found

    def __call__(
        self, logits: torch.Tensor, input_batch: InputBatch, draft_logits: torch.Tensor | None = None
    ) -> SamplerOutput:
        """Denoise once.

        Args:
            logits: `(rows, V)`, of the canvases of the requests that have one, one after the other.
            input_batch: The requests of the step.
            draft_logits: Not used.
        """
        del draft_logits
        slots = self._slots(input_batch)
        for some, index in self._grids(slots, logits):
            self.denoiser.step(index_on(self._device, some.tolist()), logits.index_select(0, index))
        if len(with_canvas := slots[slots != self._no_slot]):
            self._write_drafts(index_on(self._device, with_canvas.tolist()), None)
        return self._output(to_device(torch.from_numpy(slots), self._device), slots, input_batch)

    def _grids(
        self, slots: NDArray[np.int64], logits: torch.Tensor
    ) -> Iterator[tuple[NDArray[np.int64], torch.Tensor]]:
        """Yield slots that are denoised together, and of every position of their canvases the row of its logits."""
        with_canvas = slots[slots != self._no_slot]
        lengths = self._lengths[with_canvas]
        first = np.cumsum(lengths) - lengths
        longest = self._canvas.longest_canvas
        at_once = max(1, self._grid_bytes // (longest * logits.shape[-1] * 4))
        draws = self._draws[with_canvas]
        for alike in (np.flatnonzero(~draws), np.flatnonzero(draws)):
            for start in range(0, len(alike), at_once):
                some = alike[start : start + at_once]
                # A shorter canvas has no logits behind its end: any stand there, without meaning.
                places = np.minimum(np.arange(longest), lengths[some, None] - 1) + first[some, None]
                yield with_canvas[some], to_device(torch.from_numpy(places.ravel()), self._device)

    def _output(self, rows: torch.Tensor, slots: NDArray[np.int64], input_batch: InputBatch) -> SamplerOutput:
        state, num_reqs = self.denoiser.state, input_batch.num_reqs
        # A step may be on its way already when the last one is seen to have finished an answer: it is given once.
        ends = ~state.active.index_select(0, rows) & ~self._given.index_select(0, rows)
        self._given.index_copy_(0, rows, self._given.index_select(0, rows) | ends)
        lengths = to_device(torch.from_numpy(np.append(self._lengths, 0)[slots]), self._device)
        has_canvas = to_device(torch.from_numpy(slots != self._no_slot), self._device)
        num_sampled = torch.where(ends, lengths, 0).int()
        num_scheduled = input_batch.query_start_loc[: num_reqs + 1].diff()
        return SamplerOutput(
            sampled_token_ids=state.canvas.index_select(0, rows).int(),
            logprobs_tensors=pack_facts(state, rows, self._defaults.eos_token_ids[0]),
            num_nans=None,
            num_sampled=num_sampled,
            num_rejected=torch.where(has_canvas, num_scheduled - num_sampled, 0).int(),
        )

    def _prompts_in_front(self, slots: list[int]) -> torch.Tensor | None:
        """`(R, W)`, what stands in front of canvases that repeat their prompt."""
        if not self._canvas.full:
            return None
        width = self._states.draft_tokens.shape[1]
        prompts: torch.Tensor = self._states.all_token_ids.gpu[index_on(self._device, slots), :width].long()
        return prompts

    def _write_drafts(self, rows: torch.Tensor, prompts: torch.Tensor | None) -> None:
        """Write canvases into the tokens that the next step is asked with."""
        drafts, canvas = self._states.draft_tokens, self.denoiser.state.canvas.index_select(0, rows)
        before = drafts.index_select(0, rows) if prompts is None else prompts
        offsets = to_device(torch.from_numpy(self._offsets), self._device).index_select(0, rows)
        places = torch.arange(drafts.shape[1], device=self._device) - offsets.unsqueeze(-1)
        in_canvas = (places >= 0) & (places < canvas.shape[1])
        tokens = torch.where(in_canvas, canvas.gather(1, places.clamp(0, canvas.shape[1] - 1)), before)
        drafts.index_copy_(0, rows, tokens.to(drafts.dtype))
