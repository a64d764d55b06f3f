# SPDX-License-Identifier: Apache-2.0
"""An engine that runs the text core by layers of its own encodes images by the model's own code."""

import pytest
import torch
from torch import nn

from geodit.modeling_geodit.image_encoding_geodit import ImageEncoderMixin
from on_device import OnDevice
from tiny_models import build_config, build_network


class Encoder(ImageEncoderMixin, nn.Module):
    """The parts of a model that encode images, and nothing of its text core."""

    def __init__(self, model):
        super().__init__()
        self.config = model.config
        self.vision_tower = model.model.vision_tower
        self.multi_modal_projector = model.model.multi_modal_projector
        self.image_newline = model.model.image_newline

    def forward(self, pixel_values, image_sizes=None):
        return self.encode_by(self.vision_tower, pixel_values, image_sizes).pooler_output


@pytest.mark.parametrize("layer", [-1, -2])
def test_gives_the_features_of_the_model(layer):
    model = build_network(build_config(vision_feature_layer=layer))
    side = model.config.vision_config.image_size
    pixel_values = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    expected = OnDevice(model).get_image_features(pixel_values).pooler_output
    found = OnDevice(Encoder(model))(pixel_values)
    assert found.shape == (2, model.config.num_image_tokens, model.config.text_config.hidden_size)
    torch.testing.assert_close(found, expected, atol=0, rtol=0)


def test_refuses_pictures_where_it_takes_tiles():
    model = build_network(build_config())
    side = model.config.vision_config.image_size
    with pytest.raises(ValueError, match="With vision_aspect_ratio='square' the model takes pixel_values"):
        OnDevice(Encoder(model))(torch.zeros(1, 2, 3, side, side), torch.tensor([[side, side]]))
