# SPDX-License-Identifier: Apache-2.0
"""Quantized loading through `quantization_config`, as any Transformers model, on a CPU.

The kernels of a GPU want matrices of other sizes than those of a small model.
"""

import pytest
import torch
from transformers import TorchAoConfig

from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion

quantization = pytest.importorskip("torchao.quantization")

# PIXELS (1, 3, 32, 32) fill the placeholders of a picture of 2 x 2 patches.
PIXELS = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def inputs(model):
    text = torch.arange(20, 30)
    return {
        "input_ids": torch.cat([torch.full((4,), model.config.image_token_id), text])[None],
        "pixel_values": PIXELS,
    }


@pytest.fixture(scope="module")
def model(checkpoint):
    return GeoDiTForMaskedDiffusion.from_pretrained(checkpoint).eval()


@pytest.fixture(scope="module", params=["int8 weights", "int8 weights and activations", "int4 weights"])
def quantized(request, checkpoint):
    scheme = {
        "int8 weights": quantization.Int8WeightOnlyConfig(),
        "int8 weights and activations": quantization.Int8DynamicActivationInt8WeightConfig(),
        "int4 weights": quantization.IntxWeightOnlyConfig(
            weight_dtype=torch.int4, granularity=quantization.PerGroup(16)
        ),
    }[request.param]
    config = TorchAoConfig(
        scheme, modules_to_not_convert=["model.vision_tower", "model.multi_modal_projector", "lm_head"]
    )
    return GeoDiTForMaskedDiffusion.from_pretrained(checkpoint, quantization_config=config).eval()


@torch.no_grad()
def test_logits_stay_close(model, quantized):
    expected, actual = (m(**inputs(m)).logits.flatten(0, 1) for m in (model, quantized))
    assert not torch.equal(expected, actual)
    assert torch.nn.functional.cosine_similarity(expected, actual, dim=-1).min() > 0.97


def test_only_the_text_core_is_quantized(model, quantized):
    layer = quantized.model.language_model.layers[0]
    assert type(layer.mlp.up_proj.weight).__module__.startswith("torchao")
    for part in ("vision_tower", "multi_modal_projector"):
        for name, parameter in getattr(quantized.model, part).named_parameters():
            assert torch.equal(parameter, dict(getattr(model.model, part).named_parameters())[name])


def test_it_generates_and_is_saved_as_it_is(quantized, tmp_path):
    options = {"max_new_tokens": 8, "max_denoising_steps": 4}
    sequences = quantized.generate(**inputs(quantized), **options)
    assert sequences.shape == (1, 22)
    quantized.save_pretrained(tmp_path)
    reloaded = GeoDiTForMaskedDiffusion.from_pretrained(tmp_path).eval()
    assert torch.equal(reloaded.generate(**inputs(reloaded), **options), sequences)
