# SPDX-License-Identifier: Apache-2.0
"""No step holds a part of a canvas, and no request finds blocks of another's prompt."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from vllm.engine.arg_utils import EngineArgs
from vllm.sampling_params import SamplingParams
from vllm.utils.hashing import sha256
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.core.sched.diffusion_scheduler import DiffusionAsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request
from vllm.v1.structured_output import StructuredOutputManager

import geodit
from geodit_vllm.scheduler import hide_prompt_blocks, make_scheduler

BLOCK = 16
CANVAS = 32


@pytest.fixture(autouse=True)
def _first_hash() -> None:
    init_none_hash(sha256)


def make_request(name: str, prompt: list[int], image_length: int = 0, image: str = "image") -> Request:
    """Make a request with an image of so many tokens in front."""
    features: list[Any] = []
    if image_length:
        position = SimpleNamespace(offset=0, length=image_length, is_embed=None, get_num_embeds=lambda: image_length)
        features = [SimpleNamespace(mm_position=position, identifier=image, mm_hash=image, modality="image")]
    return Request(
        request_id=name,
        prompt_token_ids=prompt,
        mm_features=features,
        sampling_params=SamplingParams(
            temperature=1.0, max_tokens=CANVAS, ignore_eos=True, extra_args={"diffusion_canvas_length": CANVAS}
        ),
        pooling_params=None,
        block_hasher=get_request_block_hasher(BLOCK, sha256),
    )


class TestHiddenBlocks:
    def test_are_all_but_those_inside_the_image(self) -> None:
        prompt = [3] * 40 + list(range(10, 50))
        first, second = (make_request(name, prompt, image_length=40) for name in "ab")
        plain = list(first.block_hashes)
        hide_prompt_blocks(first, BLOCK)
        hide_prompt_blocks(second, BLOCK)
        assert len(plain) == 5
        assert first.block_hashes[:2] == second.block_hashes[:2] == plain[:2]
        assert not set(first.block_hashes[2:]) & {*second.block_hashes, *plain}
        first.append_output_token_ids(list(range(100, 100 + BLOCK)))
        second.append_output_token_ids(list(range(100, 100 + BLOCK)))
        assert first.block_hashes[5] != second.block_hashes[5]

    def test_of_a_prompt_without_an_image_are_all(self) -> None:
        first, second = (make_request(name, list(range(40))) for name in "ab")
        for request in (first, second):
            hide_prompt_blocks(request, BLOCK)
        assert not set(first.block_hashes) & set(second.block_hashes)

    def test_of_other_images_are_other_blocks(self) -> None:
        first, second = (make_request(name, [3] * 40, image_length=32, image=name) for name in "ab")
        assert first.block_hashes[0] != second.block_hashes[0]


def make_async_scheduler(**given: Any) -> Scheduler:
    """Make a scheduler that runs ahead of the worker, which vLLM does on a GPU only."""
    config = EngineArgs(
        model=str(geodit.bundled_checkpoint()), max_num_seqs=4, block_size=BLOCK, **given
    ).create_engine_config()
    config.scheduler_config.async_scheduling = True
    config.cache_config.num_gpu_blocks = 200
    spec = FullAttentionSpec(block_size=BLOCK, num_kv_heads=1, head_size=1, dtype=torch.float32)
    return make_scheduler(DiffusionAsyncScheduler)(
        vllm_config=config,
        kv_cache_config=KVCacheConfig(
            num_blocks=200,
            kv_cache_tensors=[],
            kv_cache_groups=[KVCacheGroupSpec(["layer"], spec)],
        ),
        structured_output_manager=StructuredOutputManager(config),
        block_size=BLOCK,
        hash_block_size=BLOCK,
    )


def reply(output: SchedulerOutput, tokens: dict[str, list[int]] | None = None) -> ModelRunnerOutput:
    """Return what a worker gives that denoises, and accepts the canvases of `tokens`."""
    names = list(output.num_scheduled_tokens)
    return ModelRunnerOutput(
        req_ids=names,
        req_id_to_index={name: index for index, name in enumerate(names)},
        sampled_token_ids=[(tokens or {}).get(name, []) for name in names],
        prompt_logprobs_dict={},
    )


class TestRunningAhead:
    def test_cuts_no_canvas_where_the_longest_sequence_ends(self) -> None:
        # The second canvas ahead of the worker would end 16 tokens above it.
        scheduler = make_async_scheduler(max_model_len=128)
        scheduler.add_request(make_request("a", list(range(10, 90))))
        pending, widths = [], []
        for _ in range(6):
            output = scheduler.schedule()
            widths.append(output.total_num_scheduled_tokens)
            pending.append(output)
            if len(pending) == 2:
                first = pending.pop(0)
                if first.total_num_scheduled_tokens:
                    scheduler.update_from_output(first, reply(first))
        assert widths[:2] == [80, CANVAS]
        assert set(widths[2:]) == {0, CANVAS}
        assert widths.count(CANVAS) >= 2

    def test_runs_two_steps_ahead_where_there_is_room(self) -> None:
        scheduler = make_async_scheduler(max_model_len=256)
        scheduler.add_request(make_request("a", list(range(10, 90))))
        assert [scheduler.schedule().total_num_scheduled_tokens for _ in range(3)] == [80, CANVAS, CANVAS]

    def test_cuts_no_canvas_where_the_tokens_of_a_step_end(self) -> None:
        scheduler = make_async_scheduler(max_model_len=128, max_num_batched_tokens=128)
        assert scheduler.max_num_scheduled_tokens == 128
        for name in "abc":
            scheduler.add_request(make_request(name, list(range(10, 50))))
        scheduler.max_num_scheduled_tokens = 3 * 40
        output = scheduler.schedule()
        assert output.total_num_scheduled_tokens == 3 * 40
        scheduler.update_from_output(output, reply(output))
        scheduler.max_num_scheduled_tokens = 2 * CANVAS + 5
        output = scheduler.schedule()
        assert output.num_scheduled_tokens == {"a": CANVAS, "b": CANVAS}
        scheduler.update_from_output(output, reply(output, {"a": list(range(CANVAS)), "b": list(range(CANVAS))}))
        assert scheduler.schedule().num_scheduled_tokens == {"c": CANVAS}
