# SPDX-License-Identifier: Apache-2.0
"""Whether a device gives the results that are known to be right: those of LLaDA's code, and those of the processor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.configuration.text_files import read_json_object
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.pipelines.image_pipeline import GeoDiTPipeline
from geodit.weights.bundled import bundled_checkpoint
from geodit.weights.conversion_llada import load_llada_text_state, read_llada_config

__all__ = ["Answer", "Golden", "ask_demo_scenes", "compare_with_golden"]

_SCENES = Path(__file__).parent.parent / "tiny" / "demo_scenes"


@dataclass(frozen=True)
class Golden:
    """How far a device is from the outputs of LLaDA's code in float32.

    Args:
        attention: Implementation of attention.
        logits_differ_by: The greatest difference of a logit.
        equal: Cases whose generated tokens are the same.
        cases: All cases.
    """

    attention: str
    logits_differ_by: float
    equal: int
    cases: int


@torch.no_grad()
def compare_with_golden(folder: Path, device: torch.device) -> list[Golden]:
    """Compute logits and generate, with each implementation of attention.

    Args:
        folder: A checkpoint in LLaDA's layout, with `expected.safetensors` and `expected.json`: the logits of
            `forward.input_ids`, and the sequences that each case generates after `generate.prompt_ids`.
        device: Where to compute, in float32.

    Raises:
        FileNotFoundError: If a file is missing.
    """
    for name in ("expected.safetensors", "expected.json", "config.json"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} is no folder of golden outputs: it lacks {name}")
    expected = load_file(folder / "expected.safetensors")
    cases = read_json_object(folder / "expected.json")["cases"]
    ids = [tensor for tensor in expected.values() if not tensor.is_floating_point()]
    used = {token for tensor in ids for token in tensor.unique().tolist()}
    results = []
    for attention in ("sdpa", "eager"):
        model: Any = _llada_model(folder, attention, used)
        model.to(device).eval()
        logits = model(expected["forward.input_ids"].to(device)).logits.cpu()
        equal = 0
        for case in cases:
            sequences = model.generate(
                expected["generate.prompt_ids"].to(device),
                max_new_tokens=case["gen_length"],
                max_denoising_steps=case["steps"],
                block_length=case["block_length"],
                guidance_scale=1 + case.get("cfg_scale", 0.0),
                fill_after_eos=False,
            )
            equal += torch.equal(sequences.cpu(), expected[f"{case['name']}.sequences"])
        difference = float((logits - expected["forward.logits"]).abs().max())
        results.append(Golden(attention, difference, equal, len(cases)))
    return results


def _llada_model(folder: Path, attention: str, used: set[int]) -> GeoDiTForMaskedDiffusion:
    """Load the text core of a checkpoint in LLaDA's layout, with the smallest tower, which sees nothing.

    One of the tokens that are not used becomes the placeholder of images, which is never generated.
    """
    llada = read_llada_config(folder)
    special = {llada.eos_token_id, llada.pad_token_id}
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
        image_token_id=next(token for token in range(llada.mask_token_id)[::-1] if token not in used | special),
        mask_token_id=llada.mask_token_id,
        eos_token_id=llada.eos_token_id,
        pad_token_id=llada.pad_token_id,
        bos_token_id=None,
        tie_word_embeddings=llada.tie_word_embeddings,
    )
    model = GeoDiTForMaskedDiffusion(config)
    model.set_attn_implementation(attention)
    model.load_state_dict(load_llada_text_state(folder), strict=False)
    return model


@dataclass(frozen=True)
class Answer:
    """What `geodit-tiny` says.

    Args:
        image: Name of the image.
        task: Task of the processor.
        query: What it was asked.
        text: The answer.
    """

    image: str
    task: str
    query: str
    text: str


def ask_demo_scenes(device: torch.device, num_scenes: int) -> list[Answer]:
    """Ask `geodit-tiny`, in float32, all questions of the demo scenes that are PNG images.

    Args:
        device: Where to compute.
        num_scenes: Images at most; there are two.
    """
    pipeline = GeoDiTPipeline.from_pretrained(bundled_checkpoint(), device=device, dtype=torch.float32)
    return [
        Answer(name, task, query, pipeline(str(_SCENES / name), task=task, query=query)[0].text)
        for name, task, query in _questions(num_scenes)
    ]


def _questions(num_scenes: int) -> Iterator[tuple[str, str, str]]:
    scenes = read_json_object(_SCENES / "scenes.json")["scenes"]
    for scene in [scene for scene in scenes if scene["image"].endswith(".png")][:num_scenes]:
        for question in scene["questions"]:
            yield scene["image"], question["task"], question["query"]
