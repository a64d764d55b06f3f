# SPDX-License-Identifier: Apache-2.0
"""Models small enough to be trained within a test, with their processors."""

from typing import Any

import torch

from geodit.tiny.new_model import new_model

GEOMETRY = {
    "text_config": {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "initializer_range": 0.1,
    },
    "vision_config": {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 96,
        "patch_size": 48,
        "vision_use_head": False,
    },
}
TEXTS = ["Detect: ship.", "Describe the image.", "a harbor with two ships", "How many ships are there?", "none"]


def build_model(**vision_config: Any) -> tuple[Any, Any]:
    """Return a model and its processor: the same weights each time.

    Args:
        **vision_config: Other fields of the vision tower.
    """
    torch.manual_seed(0)
    geometry = GEOMETRY | {"vision_config": GEOMETRY["vision_config"] | vision_config}
    return new_model(geometry, TEXTS, location_bins=16, vocab_size=400)
