# SPDX-License-Identifier: Apache-2.0
"""What a captured graph reads stays where it is, and canvases that grow are seen as far as they are there."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from vllm.config.compilation import CUDAGraphMode
from vllm.v1.worker.gpu.input_batch import InputBatch

from engines import engine
from geodit_vllm import model_state
from geodit_vllm.model_state import GeoDiTModelState

WIDTH = 8


@pytest.fixture(scope="module", params=["prefix", "full"])
def runner(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Yield the model runner of an engine that is asked nothing."""
    with engine(hf_overrides={"attention_mode": request.param}) as llm:
        yield llm.llm_engine.engine_core.engine_core.model_executor.driver_worker.worker.model_runner


def canvases(runner: Any, count: int, prompt: int) -> InputBatch:
    """Return a step of canvases, all of one width, after prompts of one length."""
    full = runner.model.config.attention_mode == "full"
    width = WIDTH + (prompt if full else 0)
    batch = InputBatch.make_dummy(count, count * width, runner.input_buffers)
    batch.prefill_len_np[:] = prompt
    batch.num_computed_tokens_np[:] = prompt
    batch.cu_num_logits_np = np.arange(count + 1, dtype=np.int32) * width
    batch.seq_lens += prompt
    return batch


def metadata_of(runner: Any, batch: InputBatch, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what the attention backend is told of a step that replays a graph."""
    told: dict[str, Any] = {}
    monkeypatch.setattr(model_state, "build_attn_metadata", lambda **given: told.update(given))
    state: GeoDiTModelState = runner.model_state
    tables, slots = runner.block_tables.get_dummy_block_tables(batch.num_reqs), runner.block_tables.slot_mappings
    state.preprocess_state(batch, tables, runner.kv_cache_config, runner.req_states.num_computed_tokens.gpu)
    state.prepare_attn(
        batch, CUDAGraphMode.FULL, tables, slots[:, : batch.num_tokens], runner.attn_groups, runner.kv_cache_config
    )
    told["inputs"] = state.prepare_inputs(batch, runner.req_states)
    return told


def test_a_graph_finds_everything_where_it_was_captured(runner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = SimpleNamespace(canvas_ends=lambda batch: torch.full((batch.num_reqs,), WIDTH))
    monkeypatch.setattr(runner.model_state, "sampler", whole)
    first, second = (metadata_of(runner, canvases(runner, 3, prompt), monkeypatch) for prompt in (10, 20))
    for name in ("seq_lens", "query_start_loc_gpu", "slot_mappings"):
        assert first[name].data_ptr() == second[name].data_ptr(), name
    assert [table.data_ptr() for table in first["block_tables"]] == [
        table.data_ptr() for table in second["block_tables"]
    ]
    captured = runner.model_state.prepare_dummy_inputs(3, 3 * WIDTH)
    for name, tensor in second["inputs"].items():
        assert tensor.data_ptr() == captured[name].data_ptr(), name
    assert second["seq_lens"].tolist() == [20 + WIDTH] * 3


def test_a_canvas_is_seen_as_far_as_it_is_there(runner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = SimpleNamespace(canvas_ends=lambda batch: torch.tensor([3, 8, 100])[: batch.num_reqs])
    monkeypatch.setattr(runner.model_state, "sampler", sampler)
    told = metadata_of(runner, canvases(runner, 3, 10), monkeypatch)
    assert told["seq_lens"].tolist() == [13, 18, 18]
    assert told["max_seq_len"] == 18


def test_logits_are_those_of_canvases(runner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = canvases(runner, 2, 10)
    metadata_of(runner, batch, monkeypatch)
    hidden = torch.zeros(batch.num_tokens, runner.model.config.text_config.hidden_size)
    assert runner.model.compute_logits(hidden).shape == (2 * WIDTH, runner.model.config.text_config.vocab_size)
    assert runner.model.logits_rows is None
    assert runner.model.compute_logits(hidden[:0]).shape == (0, runner.model.config.text_config.vocab_size)
