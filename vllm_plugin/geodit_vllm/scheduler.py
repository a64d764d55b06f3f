# SPDX-License-Identifier: Apache-2.0
"""vLLM's scheduler of diffusion models, with what GeoDiT needs beside it.

* A canvas is denoised as a whole. vLLM cuts what it schedules for a request where the tokens of a step are used up,
  and where a step ahead of the worker would pass the longest sequence; such a request waits for a step instead.
* The keys and values of an image depend on the image alone (`attention_mode="prefix"`), those of a prompt on all of
  the prompt. vLLM takes them all to depend on what stands before them. So whole blocks of an image may be found by
  other requests, and all others get hashes that nobody else has.
* A finished answer carries its boxes, scores and confidences.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from vllm.v1.core.kv_cache_utils import BlockHash
from vllm.v1.core.sched.diffusion_scheduler import (
    DiffusionAsyncScheduler,
    DiffusionScheduler,
    diffusion_canvas_width,
)
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.engine import EngineCoreOutputs
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request

from geodit_vllm.answer_facts import AnswerFacts
from geodit_vllm.requests import load_processor

if TYPE_CHECKING:
    from vllm.config import VllmConfig

__all__ = ["hide_prompt_blocks", "make_geodit_scheduler", "make_scheduler"]


def make_geodit_scheduler(*, vllm_config: VllmConfig, **kwargs: Any) -> Scheduler:
    """Make the scheduler, for `SchedulerConfig.scheduler_cls`: only now is it known which of vLLM's it builds on."""
    is_async = vllm_config.scheduler_config.async_scheduling
    base = DiffusionAsyncScheduler if is_async else DiffusionScheduler
    return make_scheduler(base)(vllm_config=vllm_config, **kwargs)


def make_scheduler(base: type[Scheduler]) -> type[Scheduler]:
    """Return a scheduler of vLLM with what GeoDiT needs beside it."""

    class GeoDiTScheduler(base):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._facts = AnswerFacts(load_processor(self.vllm_config.model_config))

        def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
            self._hold_back_cut_canvases()
            return super().schedule(throttle_prefills)

        def _hold_back_cut_canvases(self) -> None:
            budget = min(self.max_num_scheduled_tokens, self.scheduler_config.max_num_batched_tokens)
            for request in self.running:
                drafts = min(len(request.spec_token_ids), diffusion_canvas_width(request, self.num_spec_tokens))
                all_tokens = request.num_tokens + drafts + request.num_output_placeholders
                needed = all_tokens - request.num_computed_tokens
                if needed > min(budget, self.max_model_len - request.num_computed_tokens):
                    # `schedule` counts the step before it compares: this leaves out one step.
                    request.next_decode_eligible_step = max(request.next_decode_eligible_step, self.current_step + 2)
                else:
                    budget -= needed

        def update_from_output(
            self, scheduler_output: SchedulerOutput, model_runner_output: ModelRunnerOutput
        ) -> dict[int, EngineCoreOutputs]:
            answers = self._facts.of_step(self.requests, model_runner_output)
            outputs: dict[int, EngineCoreOutputs] = super().update_from_output(scheduler_output, model_runner_output)
            self._facts.attach(answers, outputs.values())
            return outputs

        def add_request(self, request: Request) -> None:
            hide_prompt_blocks(request, self.hash_block_size)
            super().add_request(request)

    GeoDiTScheduler.__name__ = GeoDiTScheduler.__qualname__ = f"GeoDiT{base.__name__}"
    return GeoDiTScheduler


def hide_prompt_blocks(request: Request, block_size: int) -> None:
    """Let no other request find the blocks of this one, but for those wholly inside its image.

    Hashes are a chain: those of blocks that come later follow from the last one, and nobody has them either.

    Args:
        request: Its hashes are replaced.
        block_size: Tokens of a block that has a hash.
    """
    positions = [feature.mm_position for feature in request.mm_features]
    num_shared = positions[0].length // block_size if positions and positions[0].offset == 0 else 0
    for index in range(num_shared, len(request.block_hashes)):
        request.block_hashes[index] = BlockHash(secrets.token_bytes(len(request.block_hashes[index])))
