# SPDX-License-Identifier: Apache-2.0
"""The stock image processor that makes what a configuration's vision tower sees."""

from __future__ import annotations

from transformers import LlavaOnevisionImageProcessorPil, SiglipImageProcessorPil

from geodit.configuration.configuration_geodit import GeoDiTConfig


def build_image_processor(config: GeoDiTConfig) -> SiglipImageProcessorPil | LlavaOnevisionImageProcessorPil:
    """Make SigLIP's image processor or, to see images in tiles, LLaVA-OneVision's with SigLIP's normalization.

    Args:
        config: Gives the side of a picture or tile, `vision_aspect_ratio` and `image_grid_pinpoints`.

    Returns:
        An image processor on Pillow. Both resize by bicubic interpolation.
    """
    side = config.vision_config.image_size
    size = {"height": side, "width": side}
    if config.image_grid_pinpoints is None:
        return SiglipImageProcessorPil(size=size)
    return LlavaOnevisionImageProcessorPil(
        size=size,
        image_mean=SiglipImageProcessorPil.image_mean,
        image_std=SiglipImageProcessorPil.image_std,
        image_grid_pinpoints=config.image_grid_pinpoints,
    )
