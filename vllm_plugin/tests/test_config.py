# SPDX-License-Identifier: Apache-2.0
"""How vLLM is set up for a checkpoint, without flags of the user and with them."""

from __future__ import annotations

from typing import Any

import pytest
from vllm.config import VllmConfig
from vllm.engine.arg_utils import EngineArgs

import geodit
import geodit_vllm
from geodit_vllm import releases
from geodit_vllm.releases import check_release
from geodit_vllm.served_canvas import ServedCanvas

LONGEST_POSITIONS = 512
"""What the text core of the bundled checkpoint was made for."""


def configure(**given: Any) -> VllmConfig:
    """Return vLLM's configuration for the bundled checkpoint."""
    config: VllmConfig = EngineArgs(model=str(geodit.bundled_checkpoint()), **given).create_engine_config()
    return config


class TestWithoutFlags:
    @pytest.fixture(scope="class", params=["prefix", "full"])
    @classmethod
    def config(cls, request: pytest.FixtureRequest) -> VllmConfig:
        return configure(hf_overrides={"attention_mode": request.param})

    def test_prompts_and_canvases_may_be_as_long_as_the_model_can(self, config: VllmConfig) -> None:
        limits = ServedCanvas.of(config.model_config.hf_config, config.model_config.max_model_len)
        assert limits.longest_request == LONGEST_POSITIONS
        assert limits.longest_canvas == config.model_config.try_get_generation_config()["max_new_tokens"]
        assert config.diffusion_config is not None
        assert config.diffusion_config.canvas_length == limits.widest == config.num_speculative_tokens

    def test_nothing_is_causal_and_no_prompt_is_cut(self, config: VllmConfig) -> None:
        assert config.attention_config.use_non_causal
        assert not config.scheduler_config.enable_chunked_prefill
        assert config.scheduler_config.max_num_batched_tokens >= LONGEST_POSITIONS

    def test_the_image_is_cached_where_it_depends_on_nothing_else(self, config: VllmConfig) -> None:
        is_prefix = config.model_config.hf_config.attention_mode == "prefix"
        assert config.cache_config.enable_prefix_caching == is_prefix

    def test_vllm_takes_no_default_from_the_checkpoint_that_it_would_refuse(self, config: VllmConfig) -> None:
        defaults = config.model_config.get_diff_sampling_param()
        assert defaults.get("temperature") == 1.0
        assert "max_tokens" not in defaults


class TestWithFlags:
    def test_a_longer_canvas_is_served(self) -> None:
        config = configure(diffusion_config={"canvas_length": 100})
        limits = ServedCanvas.of(config.model_config.hf_config, config.model_config.max_model_len)
        assert limits.longest_canvas == config.num_speculative_tokens == 100

    def test_a_shorter_model_is_served(self) -> None:
        config = configure(max_model_len=128, hf_overrides={"attention_mode": "full"})
        limits = ServedCanvas.of(config.model_config.hf_config, config.model_config.max_model_len)
        assert (limits.longest_request, limits.widest) == (128, 128)

    def test_few_tokens_of_a_step_become_as_many_as_a_request_may_have(self) -> None:
        config = configure(max_num_batched_tokens=256, max_num_seqs=4)
        assert config.scheduler_config.max_num_batched_tokens == LONGEST_POSITIONS

    @pytest.mark.parametrize(
        ("given", "name"),
        [({"pipeline_parallel_size": 2}, "pipeline-parallel-size"), ({"enable_prompt_embeds": True}, "prompt-embeds")],
    )
    def test_what_cannot_be_served_is_named(self, given: dict[str, Any], name: str) -> None:
        with pytest.raises(ValueError, match=f"GeoDiT is not served with --.*{name}: leave it out"):
            configure(**given)


class TestReleases:
    def test_of_vllm_that_this_is_for_are_accepted(self) -> None:
        check_release()
        geodit_vllm.register()

    @pytest.mark.parametrize("version", ["0.31.2", "0.33.0", "0.320.0", "1.32.0"])
    def test_of_others_are_refused(self, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(releases.importlib.metadata, "version", lambda name: version)
        with pytest.raises(ImportError, match=f"made for vLLM 0.32, but vllm {version} is installed: run `pip "):
            check_release()

    def test_others_go_on_without(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(releases.importlib.metadata, "version", lambda name: "0.33.0")
        with pytest.warns(UserWarning, match="made for vLLM 0.32"):
            geodit_vllm.register()
