# SPDX-License-Identifier: Apache-2.0
"""What vLLM does beside decoding gives the answers of `generate()` as well: tiles, adapters, shared blocks."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from engines import answer, compare, engine, expected_answers
from mixed_requests import MixedRequest, mixed_requests
from PIL import Image
from safetensors.torch import save_file
from vllm.lora.request import LoRARequest

from geodit import GeoDiTForMaskedDiffusion, GeoDiTProcessor, bundled_checkpoint
from geodit.processing.image_processors import build_image_processor
from geodit.trainers.lora import LANGUAGE_MODEL_LINEARS

TOLERANCE = 1e-5


def resized(requests: list[MixedRequest], sizes: list[tuple[int, int]]) -> list[MixedRequest]:
    """Return requests about images of other (width, height)."""
    return [
        replace(request, image=Image.fromarray(np.asarray(request.image)).resize(sizes[number % len(sizes)]))
        for number, request in enumerate(requests)
    ]


class TestTiles:
    """With the hidden states of the last layer but one, as LLaDA-V has it."""

    SIZES = [(90, 60), (200, 100), (50, 150), (96, 96), (1, 400)]

    @pytest.fixture(params=["prefix", "full"])
    def checkpoint(self, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
        torch.manual_seed(0)
        model = GeoDiTForMaskedDiffusion.from_pretrained(
            bundled_checkpoint(),
            attention_mode=request.param,
            vision_aspect_ratio="anyres_max_2",
            image_grid_pinpoints=[[96, 96], [96, 192], [192, 96], [192, 192]],
            vision_feature_layer=-2,
        )
        model.save_pretrained(tmp_path)
        GeoDiTProcessor(
            image_processor=build_image_processor(model.config),
            tokenizer=GeoDiTProcessor.from_pretrained(bundled_checkpoint()).tokenizer,
            num_image_tokens=model.config.num_image_tokens,
            vision_aspect_ratio=model.config.vision_aspect_ratio,
        ).save_pretrained(tmp_path)
        return tmp_path

    def test_of_images_of_many_sizes(self, checkpoint: Path) -> None:
        requests = resized(mixed_requests(25), self.SIZES)
        expected = expected_answers(checkpoint, requests)
        with engine(checkpoint, max_model_len=384) as llm:
            difference = compare(answer(llm, requests), expected)
        assert not difference.wrong
        assert difference.confidence < TOLERANCE


class TestAnAdapter:
    """Written as PEFT writes it, with the target modules that GeoDiT's trainer asks for."""

    @staticmethod
    def _save(adapter: Path, merged: Path) -> None:
        """Save an adapter of noise, and a model that has what it does in its weights."""
        config = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": LANGUAGE_MODEL_LINEARS}
        adapter.mkdir()
        (adapter / "adapter_config.json").write_text(json.dumps(config))
        model = GeoDiTForMaskedDiffusion.from_pretrained(bundled_checkpoint(), dtype=torch.float32)
        generator = torch.Generator().manual_seed(0)
        tensors = {}
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Linear) and re.fullmatch(LANGUAGE_MODEL_LINEARS, name):
                down = 0.05 * torch.randn(8, module.in_features, generator=generator)
                up = 0.05 * torch.randn(module.out_features, 8, generator=generator)
                module.weight.data += 16 / 8 * up @ down
                tensors[f"base_model.model.{name}.lora_A.weight"] = down
                tensors[f"base_model.model.{name}.lora_B.weight"] = up
        save_file(tensors, adapter / "adapter_model.safetensors")
        model.save_pretrained(merged)
        GeoDiTProcessor.from_pretrained(bundled_checkpoint()).save_pretrained(merged)

    def test_beside_the_model_without_it(self, tmp_path: Path) -> None:
        adapter, merged = tmp_path / "adapter", tmp_path / "merged"
        self._save(adapter, merged)
        requests = mixed_requests(12)
        plain, adapted = (expected_answers(folder, requests) for folder in (bundled_checkpoint(), merged))
        with engine(enable_lora=True, max_lora_rank=8) as llm:
            without = compare(answer(llm, requests), plain)
            with_it = compare(answer(llm, requests, lora_request=LoRARequest("adapter", 1, str(adapter))), adapted)
            mistaken = compare(answer(llm, requests), adapted)
        assert mistaken.wrong
        assert mistaken.confidence > 100 * TOLERANCE
        assert not without.wrong
        assert not with_it.wrong
        assert max(without.confidence, with_it.confidence) < TOLERANCE


class TestBlocksOfAnImage:
    """An image of 64 tokens fills two blocks of 32, which all requests about it share."""

    IMAGE = mixed_requests(1)[0].image
    OTHER = Image.effect_noise((96, 96), 80).convert("RGB")

    def _requests(self) -> list[MixedRequest]:
        options = {"max_denoising_steps": 4}
        asked = [("detect", "ship"), ("detect", "tree"), ("caption", ""), ("detect", "ship")]
        return [MixedRequest(image, *task, options) for image in (self.IMAGE, self.OTHER) for task in asked]

    def test_are_shared_and_those_of_prompts_are_not(self) -> None:
        requests = self._requests()
        expected = expected_answers(bundled_checkpoint(), requests)
        token = GeoDiTProcessor.from_pretrained(bundled_checkpoint()).image_token_id
        cached, answers = [], []
        with engine(num_gpu_blocks_override=40) as llm:
            for request in requests:  # one after the other: blocks are found when they have been computed
                (output,) = llm.generate(request.prompt(token), request.sampling_params(), use_tqdm=False)
                cached.append(output.num_cached_tokens)
                answers.append(output.kv_transfer_params["geodit"])
        # A prompt that is asked again finds no more than any other.
        assert cached == [0, 64, 64, 64] * 2
        difference = compare(answers, expected)
        assert not difference.wrong
        assert difference.confidence < TOLERANCE

    def test_are_not_shared_where_they_see_the_prompt(self) -> None:
        request = self._requests()[0]
        with engine(hf_overrides={"attention_mode": "full"}) as llm:
            for _ in range(2):
                (output,) = llm.generate(
                    request.prompt(llm.get_tokenizer().convert_tokens_to_ids("<image>")),
                    request.sampling_params(),
                    use_tqdm=False,
                )
                assert not output.num_cached_tokens
