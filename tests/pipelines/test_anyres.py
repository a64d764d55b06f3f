# SPDX-License-Identifier: Apache-2.0
"""Pipelines with a model that sees images in tiles: nothing to set, and boxes of the original image."""

import numpy as np
import pytest

from geodit.pipelines.image_pipeline import GeoDiTPipeline
from tiny_models import build_model


@pytest.fixture(scope="module")
def pipe(device):
    model, processor = build_model(
        text={"initializer_range": 0.5},
        vision={"image_size": 32, "patch_size": 8},
        vision_aspect_ratio="anyres_max_4",
        initializer_range=0.5,  # clear preferences: no answer hangs on rounding errors
    )
    return GeoDiTPipeline(model, processor, device)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for height, width in ((30, 150), (64, 64))]


def test_images_of_different_sizes_are_answered_as_if_each_were_alone(pipe, images):
    together = pipe(images, task="detect", query="ship")
    for image, prediction in zip(images, together, strict=True):
        assert prediction.text == pipe(image, task="detect", query="ship")[0].text
        assert prediction.image_size == image.shape[:2]


def test_boxes_are_in_pixels_of_the_original_image(pipe):
    result = pipe.processor.post_process_generation("<loc_0><loc_8><loc_7><loc_15>", "detect", (30, 150), "ship")
    # Bins are 150 / 16 pixels wide and 30 / 16 high, whatever the grid of tiles.
    assert result["boxes"] == [pytest.approx([4.6875, 15.9375, 70.3125, 29.0625])]
