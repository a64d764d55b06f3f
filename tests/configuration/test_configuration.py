# SPDX-License-Identifier: Apache-2.0
"""The configuration: published geometries as defaults, and nothing that cannot work."""

import pytest
import torch
from transformers import SiglipVisionConfig

from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.configuration.older_transformers_geodit import has_pooling_head
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


def test_by_default_an_image_is_one_picture_without_tiles():
    config = GeoDiTConfig(**SMALL)
    assert (config.vision_aspect_ratio, config.image_grid_pinpoints) == ("square", None)


def test_tiles_come_with_the_grids_of_llada_v(tmp_path):
    config = GeoDiTConfig(**SMALL, vision_aspect_ratio="anyres_max_6")
    assert len(config.image_grid_pinpoints) == 36
    assert config.image_grid_pinpoints[:7] == [*([28, 28 * width] for width in range(1, 7)), [56, 28]]
    config.save_pretrained(tmp_path)
    assert GeoDiTConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()


def test_grids_of_ones_own_are_kept():
    config = GeoDiTConfig(**SMALL, vision_aspect_ratio="anyres_max_2", image_grid_pinpoints=[[28, 56]])
    assert config.image_grid_pinpoints == [[28, 56]]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"vision_aspect_ratio": "pad"}, '"square" or "anyres_max_<k>".*such as "anyres_max_4", got \'pad\''),
        ({"vision_aspect_ratio": "anyres_max_0"}, "positive integer k.*anyres_max_0"),
        ({"image_grid_pinpoints": [[28, 28]]}, 'go with vision_aspect_ratio="anyres_max_<k>"'),
        (
            {"vision_aspect_ratio": "anyres_max_4", "image_grid_pinpoints": []},
            r"give image_grid_pinpoints.*\[28, 56\]",
        ),
        ({"vision_aspect_ratio": "anyres_max_4", "image_grid_pinpoints": [[28, 40]]}, r"multiples of 28.*\[28, 40\]"),
        ({"vision_aspect_ratio": "anyres_max_4", "image_grid_pinpoints": [[0, 28]]}, r"multiples of 28.*\[0, 28\]"),
        ({"vision_aspect_ratio": "anyres_max_4", "image_grid_pinpoints": [[28]]}, r"pairs.*\[28\]"),
        (
            {"vision_aspect_ratio": "anyres_max_1", "image_grid_pinpoints": [[28, 56]]},
            "up to 2 tiles on a side, but anyres_max_1 with 1 patches on the side of a tile allows 1",
        ),
    ],
)
def test_tiles_that_cannot_work_are_refused_by_name(fields, message):
    with pytest.raises(Exception, match=message):
        GeoDiTConfig(**SMALL, **fields)


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


@pytest.mark.parametrize("given", [{}, {"vision_use_head": True}, SiglipVisionConfig(image_size=28, patch_size=14)])
def test_the_tower_never_has_a_pooling_head(given):
    config = GeoDiTConfig(vision_config=given)
    assert config.vision_config.vision_use_head is False
    # A configuration that was handed in is left as it is.
    assert not isinstance(given, SiglipVisionConfig) or has_pooling_head(given)
