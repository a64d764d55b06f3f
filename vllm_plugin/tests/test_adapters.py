# SPDX-License-Identifier: Apache-2.0
"""An adapter as GeoDiT's trainer writes it is served beside its base model."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from safetensors.torch import save_file
from vllm.lora.request import LoRARequest

from engines import answer, compare, engine, expected_answers
from geodit import GeoDiTForMaskedDiffusion, GeoDiTProcessor, bundled_checkpoint
from geodit.trainers.lora import LANGUAGE_MODEL_LINEARS
from mixed_requests import mixed_requests

TOLERANCE = 1e-5
RANK, ALPHA = 8, 16


def save_adapter(folder: Path, merged: Path) -> None:
    """Save an adapter of noise as PEFT does, and the checkpoint that it makes of the bundled one."""
    model = GeoDiTForMaskedDiffusion.from_pretrained(bundled_checkpoint(), dtype=torch.float32)
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "target_modules": LANGUAGE_MODEL_LINEARS}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and re.fullmatch(LANGUAGE_MODEL_LINEARS, name):
            down = 0.05 * torch.randn(RANK, module.in_features, generator=generator)
            up = 0.05 * torch.randn(module.out_features, RANK, generator=generator)
            module.weight.data += ALPHA / RANK * up @ down
            tensors[f"base_model.model.{name}.lora_A.weight"] = down
            tensors[f"base_model.model.{name}.lora_B.weight"] = up
    save_file(tensors, folder / "adapter_model.safetensors")
    model.save_pretrained(merged)
    GeoDiTProcessor.from_pretrained(bundled_checkpoint()).save_pretrained(merged)


def test_requests_with_and_without_an_adapter(tmp_path: Path) -> None:
    requests, merged = mixed_requests(8), tmp_path / "merged"
    save_adapter(tmp_path, merged)
    plain, adapted = (expected_answers(folder, requests) for folder in (bundled_checkpoint(), merged))
    with engine(enable_lora=True, max_lora_rank=RANK) as llm:
        of_base = answer(llm, requests)
        of_adapter = answer(llm, requests, lora_request=LoRARequest("noise", 1, str(tmp_path)))
    for found, expected, other in ((of_base, plain, adapted), (of_adapter, adapted, plain)):
        assert not compare(found, expected).wrong
        assert compare(found, expected).confidence < TOLERANCE
        assert compare(found, other).wrong
