# SPDX-License-Identifier: Apache-2.0
"""LLaDA's own sequences come out of `attention_mode="full"`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file
from vllm import SamplingParams

from engines import engine
from geodit import GeoDiTConfig, GeoDiTForMaskedDiffusion, bundled_checkpoint
from geodit.weights.conversion_llada import load_llada_text_state, read_llada_config

GOLDEN = Path(__file__).parents[2] / "tests" / "fixtures" / "llada-tiny"
IMAGE_TOKEN_ID = 510  # in none of the golden prompts


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LLaDA's text core with a vision tower that nothing is asked of, and a processor, as vLLM loads one."""
    folder = tmp_path_factory.mktemp("llada") / "model"
    shutil.copytree(bundled_checkpoint(), folder, ignore=shutil.ignore_patterns("results", "training", "assets"))
    llada = read_llada_config(GOLDEN)
    config = GeoDiTConfig(
        text_config=llada.text_config.to_dict(),
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 1,
            "image_size": 96,
            "patch_size": 12,
            "vision_use_head": False,
        },
        image_token_id=IMAGE_TOKEN_ID,
        mask_token_id=llada.mask_token_id,
        eos_token_id=llada.eos_token_id,
        pad_token_id=llada.pad_token_id,
        bos_token_id=None,
        tie_word_embeddings=llada.tie_word_embeddings,
    )
    model = GeoDiTForMaskedDiffusion(config)
    model.load_state_dict(load_llada_text_state(GOLDEN), strict=False)
    (folder / "generation_config.json").unlink()
    model.save_pretrained(folder)
    return folder


def test_sequences_are_those_of_llada(checkpoint: Path) -> None:
    expected = load_file(GOLDEN / "expected.safetensors")
    cases = [case for case in json.loads((GOLDEN / "expected.json").read_text())["cases"] if not case.get("cfg_scale")]
    prompts = expected["generate.prompt_ids"].tolist()
    # Its code neither fills in what follows an EOS nor keeps tokens out.
    asked = [
        (
            {"prompt_token_ids": prompt},
            SamplingParams(
                detokenize=False,
                extra_args={
                    "max_new_tokens": case["gen_length"],
                    "max_denoising_steps": case["steps"],
                    "block_length": case["block_length"],
                    "fill_after_eos": False,
                },
            ),
        )
        for case in cases
        for prompt in prompts
    ]
    with engine(
        checkpoint, max_num_seqs=8, hf_overrides={"canvas_length": max(case["gen_length"] for case in cases)}
    ) as llm:
        outputs = llm.generate([prompt for prompt, _ in asked], [params for _, params in asked], use_tqdm=False)
    found = [output.kv_transfer_params["geodit"]["token_ids"] for output in outputs]
    wanted = [row[len(prompts[0]) :].tolist() for case in cases for row in expected[f"{case['name']}.sequences"]]
    assert len(wanted) >= 15
    assert found == wanted
