# SPDX-License-Identifier: Apache-2.0
"""Pixels of a synthetic scene."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from geodit.tiny.scenes.backgrounds import draw_clutter, texture
from geodit.tiny.scenes.drawing import draw_objects, draw_shadows
from geodit.tiny.scenes.scene import REFERENCE_SIZE, Scene

# Every pixel is the mean of 3 x 3 drawn ones.
_SUPERSAMPLING = 3
_HAZE = (206.0, 212.0, 220.0)


def render_scene(scene: Scene) -> NDArray[np.uint8]:
    """Render a scene.

    Args:
        scene: The scene. The same scene gives the same pixels.

    Returns:
        uint8 array (H, W, 3) in RGB.
    """
    size, scale = scene.image_size, _SUPERSAMPLING
    rng = np.random.default_rng(scene.seed)
    ground = texture(scene.material, scene.color, size, scene.angle, rng)
    canvas = ground.resize((size * scale, size * scale), Image.Resampling.NEAREST)
    draw_clutter(canvas, scene.clutter, scale, rng)
    draw_shadows(canvas, scene, scale)
    draw_objects(canvas, scene, scale)
    image = canvas.reduce(scale)
    return _expose(image, scene, rng)


def _expose(image: Image.Image, scene: Scene, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Apply light, haze, blur and the sensor's noise."""
    air, size = scene.atmosphere, scene.image_size
    if air.blur:
        image = image.filter(ImageFilter.GaussianBlur(air.blur * size / REFERENCE_SIZE))
    pixels: NDArray[np.floating] = np.asarray(image, dtype=np.float32)
    gain = np.array(air.tint, dtype=np.float32) * (air.brightness * air.contrast)
    pixels = pixels * gain + 118.0 * (1.0 - air.contrast)
    if air.haze:
        patches = Image.fromarray(rng.uniform(0.4, 1.0, (3, 3)).astype(np.float32))
        veil = np.asarray(patches.resize((size, size), Image.Resampling.BICUBIC))[..., None] * air.haze
        pixels = pixels * (1.0 - veil) + np.array(_HAZE, dtype=np.float32) * veil
    pixels = pixels + air.noise * rng.standard_normal(pixels.shape, dtype=np.float32)
    return pixels.clip(0, 255).astype(np.uint8)
