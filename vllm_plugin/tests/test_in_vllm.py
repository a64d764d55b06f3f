# SPDX-License-Identifier: Apache-2.0
"""The engine's part of the plugin gives GeoDiT's own tokens and confidences."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from vllm import LLM, SamplingParams
from vllm.lora.request import LoRARequest

import geodit
from engine_cases import (
    Answer,
    Question,
    answers_of,
    ask,
    engine,
    greatest_difference,
    mixed_questions,
    noise,
    read_model,
)
from geodit import GeoDiTForMaskedDiffusion, GeoDiTProcessor
from geodit.processing.image_processors import build_image_processor
from geodit.trainers.lora import LANGUAGE_MODEL_LINEARS

LIMIT = 1e-5
"""Of a confidence in float32. A wrong mask moves confidences by 0.02 to 0.9, and often no token."""

FEW_BLOCKS = 12
"""Of 32 tokens: requests are preempted."""


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    return mixed_questions(16)


@pytest.fixture(scope="module")
def bundled() -> tuple[GeoDiTForMaskedDiffusion, GeoDiTProcessor]:
    return read_model(geodit.bundled_checkpoint())


@pytest.fixture(scope="module")
def expected(bundled: tuple[GeoDiTForMaskedDiffusion, GeoDiTProcessor], questions: list[Question]) -> list[Answer]:
    return answers_of(*bundled, questions)


@pytest.fixture(scope="class")
def llm() -> Iterator[LLM]:
    with engine(num_gpu_blocks_override=FEW_BLOCKS) as llm:
        yield llm


class TestPrefixAttention:
    def test_gives_the_answers_of_generate(
        self, llm: LLM, bundled: Any, questions: list[Question], expected: list[Answer]
    ) -> None:
        assert greatest_difference(ask(llm, bundled[1], questions), expected) < LIMIT

    def test_a_causal_mask_would_be_noticed(
        self,
        llm: LLM,
        bundled: Any,
        questions: list[Question],
        expected: list[Answer],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        from geodit_vllm import model_state

        build = model_state.build_attn_metadata
        monkeypatch.setattr(model_state, "build_attn_metadata", lambda **given: build(**{**given, "causal": True}))
        llm.reset_prefix_cache()
        assert greatest_difference(ask(llm, bundled[1], questions), expected) > 1000 * LIMIT
        llm.reset_prefix_cache()

    def test_an_image_that_sees_the_prompt_would_be_noticed(
        self,
        llm: LLM,
        bundled: Any,
        questions: list[Question],
        expected: list[Answer],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        from geodit_vllm import model_state

        add = model_state.GeoDiTModelState.add_request

        def forget_image(state: Any, index: int, new: Any) -> None:
            add(state, index, new)
            state._num_image_tokens[index] = 0

        monkeypatch.setattr(model_state.GeoDiTModelState, "add_request", forget_image)
        llm.reset_prefix_cache()
        assert greatest_difference(ask(llm, bundled[1], questions), expected) > 1000 * LIMIT
        llm.reset_prefix_cache()


class TestTheImagesBlocks:
    """An image of 64 tokens fills two blocks of 32, of which the same image in other requests is made."""

    @pytest.fixture
    def asked(self) -> list[Question]:
        queries = ["ship", "tree", "a red car next to the road", "ship"]
        return [Question("detect", query, noise(1), 16, {"max_denoising_steps": 4}) for query in queries]

    def test_are_shared_and_those_of_prompts_are_not(self, bundled: Any, asked: list[Question]) -> None:
        expected = answers_of(*bundled, asked)
        with engine(num_gpu_blocks_override=40) as llm:
            for question, answer in zip(asked, expected, strict=True):
                assert greatest_difference(ask(llm, bundled[1], [question]), [answer]) < LIMIT
            # When a prompt is asked again, its own blocks are not found either.
            assert self._cached_tokens(llm, bundled[1], asked[0]) == bundled[0].config.num_image_tokens == 64

    @staticmethod
    def _cached_tokens(llm: LLM, processor: GeoDiTProcessor, question: Question) -> int:
        inputs = processor(images=question.image, text=question.query, task=question.task)["input_ids"][0]
        text = [token for token in inputs if token != processor.image_token_id]
        output = llm.generate(
            {
                "prompt_token_ids": [processor.image_token_id, *text],
                "multi_modal_data": {"image": question.image},
            },
            SamplingParams(max_tokens=16, ignore_eos=True, extra_args={"diffusion_canvas_length": 16}),
            use_tqdm=False,
        )
        assert output[0].num_cached_tokens is not None
        return output[0].num_cached_tokens


class TestFullAttention:
    def test_gives_the_answers_of_generate(self, bundled: Any, questions: list[Question]) -> None:
        model, processor = read_model(geodit.bundled_checkpoint())
        model.config.attention_mode = "full"
        expected = answers_of(model, processor, questions)
        with engine(hf_overrides={"attention_mode": "full"}, num_gpu_blocks_override=18) as llm:
            assert greatest_difference(ask(llm, processor, questions), expected) < LIMIT


@pytest.fixture(scope="module")
def tiled_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiles")
    torch.manual_seed(0)
    model = GeoDiTForMaskedDiffusion.from_pretrained(
        geodit.bundled_checkpoint(),
        vision_aspect_ratio="anyres_max_2",
        image_grid_pinpoints=[[96, 96], [96, 192], [192, 96]],
        vision_feature_layer=-2,
    )
    processor = GeoDiTProcessor.from_pretrained(geodit.bundled_checkpoint())
    model.save_pretrained(folder)
    GeoDiTProcessor(
        image_processor=build_image_processor(model.config),
        tokenizer=processor.tokenizer,
        num_image_tokens=model.config.num_image_tokens,
        vision_aspect_ratio="anyres_max_2",
    ).save_pretrained(folder)
    return folder


class TestTiles:
    @pytest.mark.parametrize("mode", ["prefix", "full"])
    def test_give_the_answers_of_generate(self, tiled_checkpoint: Path, mode: str) -> None:
        model, processor = read_model(tiled_checkpoint)
        model.config.attention_mode = mode
        asked = mixed_questions(8, sizes=[(90, 60), (200, 100), (50, 150)])
        expected = answers_of(model, processor, asked)
        with engine(tiled_checkpoint, hf_overrides={"attention_mode": mode}, max_model_len=384) as llm:
            assert greatest_difference(ask(llm, processor, asked), expected) < LIMIT


class TestTwoProcesses:
    def test_give_the_answers_of_generate(
        self, bundled: Any, questions: list[Question], expected: list[Answer]
    ) -> None:
        with engine(tensor_parallel_size=2, distributed_executor_backend="mp") as llm:
            assert greatest_difference(ask(llm, bundled[1], questions), expected) < LIMIT


class TestAnAdapter:
    """Written as PEFT writes it, with the target modules that GeoDiT's trainer asks for."""

    @staticmethod
    def _save(folder: Path, model: GeoDiTForMaskedDiffusion) -> None:
        """Save an adapter of noise, and add what it does to the weights."""
        config = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": LANGUAGE_MODEL_LINEARS}
        (folder / "adapter_config.json").write_text(json.dumps(config))
        generator = torch.Generator().manual_seed(0)
        tensors = {}
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Linear) and re.fullmatch(LANGUAGE_MODEL_LINEARS, name):
                down = 0.05 * torch.randn(8, module.in_features, generator=generator)
                up = 0.05 * torch.randn(module.out_features, 8, generator=generator)
                module.weight.data += 16 / 8 * up @ down
                tensors[f"base_model.model.{name}.lora_A.weight"] = down
                tensors[f"base_model.model.{name}.lora_B.weight"] = up
        assert tensors
        save_file(tensors, folder / "adapter_model.safetensors")

    def test_gives_the_answers_of_generate(self, tmp_path: Path) -> None:
        model, processor = read_model(geodit.bundled_checkpoint())
        asked = mixed_questions(4)
        plain = answers_of(model, processor, asked)
        self._save(tmp_path, model)
        adapted = answers_of(model, processor, asked)
        assert greatest_difference([[answer] for answer in plain], adapted) > 1000 * LIMIT
        with engine(enable_lora=True, max_lora_rank=8) as llm:
            assert greatest_difference(ask(llm, processor, asked), plain) < LIMIT
            adapter = LoRARequest("adapter", 1, str(tmp_path))
            assert greatest_difference(ask(llm, processor, asked, lora_request=adapter), adapted) < LIMIT
