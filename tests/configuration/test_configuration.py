# SPDX-License-Identifier: Apache-2.0
"""The configuration: published geometries as defaults, and nothing that cannot work."""

import pytest
import torch

from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion

SMALL = {
    "text_config": {"vocab_size": 64, "hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1},
    "vision_config": {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2, "image_size": 28},
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
    "mask_token_id": 2,
    "image_token_id": 3,
}


def test_the_default_text_core_is_llada_8b():
    with torch.device("meta"):
        model = GeoDiTForMaskedDiffusion(GeoDiTConfig())
    text_core = [*model.model.language_model.parameters(), *model.lm_head.parameters()]
    assert sum(parameter.numel() for parameter in text_core) == 8_015_581_184


def test_the_default_tower_is_siglip_so400m_with_729_patches():
    config = GeoDiTConfig()
    assert config.num_image_tokens == 729
    assert (config.vision_config.hidden_size, config.vision_config.num_hidden_layers) == (1152, 27)


def test_a_saved_configuration_loads_equal(tmp_path):
    config = GeoDiTConfig(**SMALL, attention_mode="prefix", vision_feature_layer=-2, vision_post_layernorm=False)
    config.save_pretrained(tmp_path)
    assert GeoDiTConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("mask_token_id", 64, "mask_token_id=64 is outside the vocabulary"),
        ("image_token_id", 2, "must differ"),
        ("vision_feature_layer", -4, "vision_feature_layer=-4 does not exist"),
        ("attention_mode", "causal", "full.*prefix"),
    ],
)
def test_what_cannot_work_is_refused_by_name(field, value, message):
    with pytest.raises(Exception, match=message):
        GeoDiTConfig(**{**SMALL, field: value})
