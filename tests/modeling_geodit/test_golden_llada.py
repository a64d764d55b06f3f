# SPDX-License-Identifier: Apache-2.0
"""Equality with LLaDA's reference code.

`tests/fixtures/llada-tiny` is a checkpoint in LLaDA's own layout (random weights, 3 layers, 512 tokens) with the
outputs of LLaDA's code for it in float32: logits, schedules, and sequences of its `generate`.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from unrolled_schedule import tokens_per_step

from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.weights.conversion_llada import load_llada_text_state, read_llada_config
from on_device import OnDevice

GOLDEN = Path(__file__).parents[1] / "fixtures" / "llada-tiny"
EXPECTED = load_file(GOLDEN / "expected.safetensors")
CASES = json.loads((GOLDEN / "expected.json").read_text())["cases"]
SCHEDULES = sorted(key for key in EXPECTED if key.startswith("schedule."))
IMAGE_TOKEN_ID = 510  # in none of the golden prompts


@pytest.fixture(scope="module", params=["eager", "sdpa"])
def model(request):
    llada = read_llada_config(GOLDEN)
    config = GeoDiTConfig(
        text_config=llada.text_config.to_dict(),
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 1,
            "image_size": 12,
            "patch_size": 4,
            "vision_use_head": False,
        },
        image_token_id=IMAGE_TOKEN_ID,
        mask_token_id=llada.mask_token_id,
        eos_token_id=llada.eos_token_id,
        pad_token_id=llada.pad_token_id,
        bos_token_id=None,
        tie_word_embeddings=llada.tie_word_embeddings,
        attn_implementation=request.param,
    )
    model = GeoDiTForMaskedDiffusion(config).eval()
    loaded = model.load_state_dict(load_llada_text_state(GOLDEN), strict=False)
    assert not loaded.unexpected_keys
    assert not [key for key in loaded.missing_keys if "vision_tower" not in key and "projector" not in key]
    assert model.config._attn_implementation == request.param
    return OnDevice(model)


@torch.no_grad()
def test_logits_of_text(model):
    logits = model(EXPECTED["forward.input_ids"]).logits
    torch.testing.assert_close(logits, EXPECTED["forward.logits"], atol=1e-5, rtol=0)


@torch.no_grad()
def test_logits_behind_embeddings_that_stand_before_the_text(model):
    text_embeds = OnDevice(model.get_input_embeddings())(EXPECTED["multimodal.input_ids"])
    logits = model(inputs_embeds=torch.cat([EXPECTED["multimodal.prefix_embeds"], text_embeds], dim=1)).logits
    torch.testing.assert_close(logits, EXPECTED["multimodal.logits"], atol=1e-5, rtol=0)


@torch.no_grad()
def test_logits_behind_an_image_whose_features_are_those_embeddings(model):
    features, text = EXPECTED["multimodal.prefix_embeds"], EXPECTED["multimodal.input_ids"]
    placeholders = torch.full(features.shape[:2], IMAGE_TOKEN_ID)
    logits = model(torch.cat([placeholders, text], dim=1), image_features=features).logits
    torch.testing.assert_close(logits, EXPECTED["multimodal.logits"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_generate(model, case):
    sequences = model.generate(
        EXPECTED["generate.prompt_ids"],
        max_new_tokens=case["gen_length"],
        max_denoising_steps=case["steps"],
        block_length=case["block_length"],
        guidance_scale=1 + case.get("cfg_scale", 0.0),
        fill_after_eos=False,
    )
    assert torch.equal(sequences, EXPECTED[f"{case['name']}.sequences"])


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule(name):
    # "schedule.bB.sS": B masked positions in the first row and B - 3 in the second, S steps.
    positions, steps = (int(part[1:]) for part in name.split(".")[1:])
    schedule = tokens_per_step(torch.tensor([positions, positions - 3]), steps)
    assert schedule.dtype == EXPECTED[name].dtype
    assert torch.equal(schedule, EXPECTED[name])
