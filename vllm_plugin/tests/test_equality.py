# SPDX-License-Identifier: Apache-2.0
"""vLLM gives the answers of `generate()`, whatever else is in the batch.

Of each answer all tokens of the canvas, the number of steps, the confidence of each token and the probabilities of
listed answers are compared. Tokens alone are a weak test: a wrong attention mask moves confidences more often.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.request import Request

import geodit_vllm.model_state as model_state
from engines import answer, compare, copy_with, engine, expected_answers
from geodit import bundled_checkpoint
from mixed_requests import MixedRequest, mixed_requests

TOLERANCE = 1e-5
MANY, SOME = 200, 40


@functools.cache
def requests_of(count: int) -> tuple[MixedRequest, ...]:
    return tuple(mixed_requests(count))


@functools.cache
def right_answers(folder: Path, count: int) -> list[Any]:
    return expected_answers(folder, requests_of(count))


@pytest.fixture(scope="module")
def full_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled checkpoint with `attention_mode="full"`, for which its weights were not trained."""
    return copy_with(tmp_path_factory.mktemp("full") / "model", attention_mode="full")


@pytest.fixture
def preempted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The requests that lose their blocks in the middle of denoising."""
    seen: list[str] = []
    preempt = Scheduler._preempt_request

    def note(self: Scheduler, request: Request, *args: Any, **kwargs: Any) -> None:
        seen.append(request.request_id)
        preempt(self, request, *args, **kwargs)

    monkeypatch.setattr(Scheduler, "_preempt_request", note)
    return seen


def test_requests_of_all_kinds_in_one_batch(preempted: list[str]) -> None:
    with engine() as llm:
        difference = compare(answer(llm, requests_of(MANY)), right_answers(bundled_checkpoint(), MANY))
    assert not preempted
    assert not difference.wrong
    assert difference.confidence < TOLERANCE


def test_requests_that_begin_anew(preempted: list[str]) -> None:
    with engine(num_gpu_blocks_override=10) as llm:
        difference = compare(answer(llm, requests_of(MANY)), right_answers(bundled_checkpoint(), MANY))
    assert len(preempted) > 10
    assert not difference.wrong
    assert difference.confidence < TOLERANCE


def test_with_full_attention(full_checkpoint: Path) -> None:
    with engine(full_checkpoint) as llm:
        difference = compare(answer(llm, requests_of(MANY)), right_answers(full_checkpoint, MANY))
    assert not difference.wrong
    assert difference.confidence < TOLERANCE


def test_a_causal_mask_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    build = model_state.build_attn_metadata
    monkeypatch.setattr(model_state, "build_attn_metadata", lambda **given: build(**{**given, "causal": True}))
    with engine() as llm:
        difference = compare(answer(llm, requests_of(SOME)), right_answers(bundled_checkpoint(), SOME))
    assert difference.wrong
    assert difference.confidence > 100 * TOLERANCE


def test_an_image_that_sees_its_prompt_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    add = model_state.GeoDiTModelState.add_request

    def add_without_image(self: model_state.GeoDiTModelState, req_index: int, new_req_data: Any) -> None:
        add(self, req_index, new_req_data)
        self._num_image_tokens[req_index] = 0

    monkeypatch.setattr(model_state.GeoDiTModelState, "add_request", add_without_image)
    with engine() as llm:
        difference = compare(answer(llm, requests_of(SOME)), right_answers(bundled_checkpoint(), SOME))
    assert difference.confidence > 100 * TOLERANCE


def test_two_processes_of_tensor_parallelism() -> None:
    """In a process of its own: vLLM's workers are forked from it."""
    script = Path(__file__).parent / "support" / "tensor_parallel.py"
    run = subprocess.run(
        [sys.executable, script, str(SOME)], capture_output=True, text=True, timeout=300, env=os.environ.copy()
    )
    assert run.returncode == 0, run.stderr[-3000:]
    wrong, difference = run.stdout.split()[-2:]
    assert wrong == "0"
    assert float(difference) < TOLERANCE
