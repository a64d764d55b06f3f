# SPDX-License-Identifier: Apache-2.0
"""One call for all requests of a step, which reads nothing back and gives each answer once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from vllm import SamplingParams
from vllm.v1.worker.gpu.sample.output import SamplerOutput

from geodit import GeoDiTConfig, bundled_checkpoint
from geodit_vllm.sampler import GeoDiTSampler

SLOTS, PROMPT, LONGEST = 4, 6, 12
V = 574
REQUESTS: tuple[dict[str, Any], ...] = (
    {"max_new_tokens": 8, "max_denoising_steps": 4},
    {"max_new_tokens": 12, "max_denoising_steps": 3, "temperature": 0.7, "seed": 5},
    {"task": "detect", "query": "ship", "max_new_tokens": 12, "max_denoising_steps": 4},
)


@pytest.fixture(params=["prefix", "full"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def make_sampler(mode: str, **arguments: Any) -> GeoDiTSampler:
    hf_config = GeoDiTConfig.from_pretrained(bundled_checkpoint(), attention_mode=mode)
    hf_config.longest_canvas = LONGEST
    folder = str(bundled_checkpoint())
    model_config = SimpleNamespace(
        hf_config=hf_config, model=folder, tokenizer=folder, revision=None, tokenizer_revision=None, max_model_len=64
    )
    config: Any = SimpleNamespace(
        model_config=model_config, additional_config=None, scheduler_config=SimpleNamespace(max_num_seqs=SLOTS)
    )
    width = PROMPT + LONGEST if mode == "full" else LONGEST
    states = SimpleNamespace(
        prompt_len=SimpleNamespace(np=np.full(SLOTS, PROMPT)),
        all_token_ids=SimpleNamespace(gpu=torch.arange(SLOTS * 64, dtype=torch.int32).view(SLOTS, 64) + 10),
        draft_tokens=torch.zeros(SLOTS, width, dtype=torch.long),
    )
    idle = SimpleNamespace(add_request=lambda *_: None, apply_staged_writes=lambda: None)
    vllm_sampler: Any = SimpleNamespace(sampling_states=idle, req_states=states)
    sampler = GeoDiTSampler(vllm_sampler, config, torch.device("cpu"), **arguments)
    for slot, extra_args in enumerate(REQUESTS):
        sampler.add_request(slot, SamplingParams(extra_args=extra_args))
    sampler.apply_staged_writes()
    return sampler


def batch_of(sampler: GeoDiTSampler, slots: list[int], prefills: list[int] = ()) -> Any:  # type: ignore[assignment]
    """A step of canvases in some slots, and of prompts in others."""
    in_front = PROMPT if sampler._canvas.full else 0
    widths = [REQUESTS[slot]["max_new_tokens"] + in_front for slot in slots] + [0] * len(prefills)
    scheduled = widths[: len(slots)] + [PROMPT] * len(prefills)
    starts = np.concatenate([[0], np.cumsum(scheduled)])
    return SimpleNamespace(
        num_reqs=len(scheduled),
        idx_mapping_np=np.array([*slots, *prefills]),
        cu_num_logits_np=np.concatenate([[0], np.cumsum(widths)]),
        query_start_loc=torch.tensor(starts),
    )


def logits_of(slots: list[int]) -> torch.Tensor:
    """Of the canvases of slots, the same in each step: none of them ends early."""
    rows = [
        torch.randn(REQUESTS[slot]["max_new_tokens"], V, generator=torch.Generator().manual_seed(slot))
        for slot in slots
    ]
    logits = torch.cat(rows)
    logits[:, 0] = -30.0  # EOS
    return logits


def step(sampler: GeoDiTSampler, slots: list[int], prefills: list[int] = ()) -> SamplerOutput:  # type: ignore[assignment]
    return sampler(logits_of(slots), batch_of(sampler, slots, prefills))


def test_an_answer_is_accepted_as_a_whole_and_once(mode: str) -> None:
    sampler, slots = make_sampler(mode), [0, 1, 2]
    in_front = PROMPT if mode == "full" else 0
    outputs = [step(sampler, slots) for _ in range(5)]
    # Slot 1 is finished after three steps, the others after four; a step that was on its way already gives nothing.
    assert [output.num_sampled.tolist() for output in outputs] == [
        [0, 0, 0],
        [0, 0, 0],
        [0, 12, 0],
        [8, 0, 12],
        [0, 0, 0],
    ]
    scheduled = [REQUESTS[slot]["max_new_tokens"] + in_front for slot in slots]
    for output in outputs:
        accepted = (output.num_sampled + output.num_rejected).tolist()
        assert accepted == scheduled
    tokens = outputs[3].sampled_token_ids[0, :8]
    assert not (tokens == sampler._defaults.mask_token_id).any()


def test_drafts_are_the_canvas_behind_what_it_repeats(mode: str) -> None:
    sampler = make_sampler(mode)
    drafts, mask = sampler._states.draft_tokens, sampler._defaults.mask_token_id
    in_front = PROMPT if mode == "full" else 0
    prompts = sampler._states.all_token_ids.gpu[:3, :in_front].long()
    assert torch.equal(drafts[:3, :in_front], prompts)
    assert (drafts[0, in_front : in_front + 8] == mask).all()
    output = step(sampler, [2, 0, 1])
    assert output.sampled_token_ids.shape == (3, LONGEST)
    assert torch.equal(drafts[:3, :in_front], prompts)
    committed = drafts[0, in_front : in_front + 8] != mask
    assert int(committed.sum()) == 2


def test_prefills_and_rows_that_are_no_requests_are_left_alone(mode: str) -> None:
    sampler = make_sampler(mode)
    alone, beside = make_sampler(mode), make_sampler(mode)
    assert step(alone, [0]).num_rejected.tolist() == [batch_of(alone, [0]).query_start_loc[1].item()]
    output = step(beside, [0], prefills=[1])
    assert (output.num_sampled[1], output.num_rejected[1]) == (0, 0)
    assert torch.equal(beside.denoiser.state.canvas[0], alone.denoiser.state.canvas[0])
    # vLLM measures its memory with rows of one logit each before there is a request.
    warm_up = SimpleNamespace(
        num_reqs=2, idx_mapping_np=np.arange(2), cu_num_logits_np=np.arange(3), query_start_loc=torch.arange(3)
    )
    assert sampler(torch.randn(2, V), warm_up).num_sampled.tolist() == [0, 0]


def test_parts_of_a_step_are_as_large_as_memory_allows(mode: str) -> None:
    whole, in_parts = make_sampler(mode), make_sampler(mode, grid_bytes=1)
    for _ in range(4):
        step(whole, [0, 1, 2])
        step(in_parts, [0, 1, 2])
    for ours, theirs in zip(whole.denoiser.state.tensors, in_parts.denoiser.state.tensors, strict=True):
        assert torch.equal(ours, theirs)


def test_a_request_that_is_preempted_begins_anew(mode: str) -> None:
    sampler, other = make_sampler(mode), make_sampler(mode)
    step(sampler, [0, 1, 2])
    sampler.release(1)
    sampler.add_request(3, SamplingParams(extra_args=REQUESTS[1]))
    sampler.apply_staged_writes()
    assert int(sampler.denoiser.state.steps_made[3]) == 0
    step(other, [1])
    sampler(logits_of([1]), SimpleNamespace(**{**vars(batch_of(sampler, [1])), "idx_mapping_np": np.array([3])}))
    assert torch.equal(sampler.denoiser.state.canvas[3], other.denoiser.state.canvas[1])


def test_nothing_is_read_back_from_the_device(mode: str) -> None:
    sampler, slots = make_sampler(mode), [0, 1, 2]
    batch, logits = batch_of(sampler, slots), logits_of(slots)
    sampler(logits.clone(), batch)  # constants come to the device
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        batch.query_start_loc = fake.from_tensor(batch.query_start_loc)
        assert sampler.canvas_ends(batch).shape == (3,)
        output = sampler(fake.from_tensor(logits), batch)
    assert output.sampled_token_ids.shape == (3, LONGEST)
