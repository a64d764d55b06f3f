# SPDX-License-Identifier: Apache-2.0
"""The ground: textures of materials, and the clutter on it."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from geodit.tiny.scenes.ground import REFERENCE_SIZE, Clutter, Color

# Strength of the coarse, middle and fine mottling of a material, in grey levels.
_MOTTLING: dict[str, tuple[float, float, float]] = {
    "grass": (9.0, 7.0, 7.0),
    "mown": (5.0, 3.0, 4.0),
    "crop": (6.0, 4.0, 5.0),
    "soil": (9.0, 8.0, 7.0),
    "sand": (9.0, 6.0, 4.0),
    "asphalt": (5.0, 4.0, 4.0),
    "concrete": (6.0, 5.0, 4.0),
    "slabs": (5.0, 3.0, 3.0),
    "water": (7.0, 3.0, 2.5),
}
# Stripes across the texture's direction: period in pixels of a 96-pixel image, and strength in grey levels.
_STRIPES: dict[str, tuple[float, float]] = {
    "mown": (11.0, 6.0),
    "crop": (3.2, 13.0),
    "sand": (7.0, 5.0),
    "water": (4.5, 4.0),
}


def _field(rng: np.random.Generator, cells: int, size: int) -> NDArray[np.float32]:
    """Smooth noise (size, size) of unit variance at the grid points of `cells` x `cells`."""
    values = rng.standard_normal((cells, cells), dtype=np.float32)
    return np.asarray(Image.fromarray(values).resize((size, size), Image.Resampling.BICUBIC))


def texture(material: str, color: Color, size: int, angle: float, rng: np.random.Generator) -> Image.Image:
    """Return a square of a material.

    Args:
        material: A name in `_MOTTLING`.
        color: Mean RGB.
        size: Height and width in pixels.
        angle: Direction of its stripes, in radians.
        rng: Source of the noise.
    """
    coarse, middle, fine = _MOTTLING[material]
    wave = _field(rng, 4, size)
    luma = coarse * wave + middle * _field(rng, 16, size)
    luma += fine * rng.standard_normal((size, size), dtype=np.float32)
    if material in _STRIPES:
        period, strength = _STRIPES[material]
        step = 2 * math.pi * REFERENCE_SIZE / (size * period)
        along = np.arange(size, dtype=np.float32) * step
        phase = along[:, None] * math.cos(angle) - along[None, :] * math.sin(angle)
        # Rows of a field are straight; waves and ripples are bent by the coarse noise.
        stripes = np.sin(phase if material in ("crop", "mown") else phase + 1.5 * wave)
        luma += strength * (np.sign(stripes) if material == "mown" else stripes)
    # A little of the coarse noise goes into the hue, as in ground that is drier in places.
    pixels = np.empty((size, size, 3), dtype=np.float32)
    for channel, hue in enumerate((0.35, 0.0, -0.25)):
        pixels[..., channel] = luma + (color[channel] + hue * coarse * wave)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def draw_clutter(canvas: Image.Image, clutter: tuple[Clutter, ...], scale: int, rng: np.random.Generator) -> None:
    """Draw the clutter of a scene on a canvas that is `scale` times finer than the image."""
    draw = ImageDraw.Draw(canvas)
    size = canvas.width
    for item in clutter:
        points = [(x * scale, y * scale) for x, y in item.points]
        if item.kind == "fill":
            draw.polygon(points, fill=item.color)
        elif item.kind == "line":
            _draw_line(draw, points, item, scale)
        elif item.kind == "area":
            mask = Image.new("1", canvas.size)
            ImageDraw.Draw(mask).polygon(points, fill=1)
            ground = texture(item.material, item.color, size // scale, item.angle, rng)
            canvas.paste(ground.resize(canvas.size, Image.Resampling.NEAREST), mask=mask)
        elif item.kind == "canopy":
            _draw_canopy(draw, points, item.color, size, rng)
        else:
            raise ValueError(f"unknown kind of clutter {item.kind!r}; it is area, fill, line or canopy")


def _draw_line(draw: ImageDraw.ImageDraw, points: list[tuple[float, float]], item: Clutter, scale: int) -> None:
    width = max(1, round(item.width * scale))
    if not item.dash:
        draw.line(points, fill=item.color, width=width, joint="curve" if len(points) > 2 else None)
        return
    for (x1, y1), (x2, y2) in itertools.pairwise(points):
        dashes = max(1, int(math.hypot(x2 - x1, y2 - y1) / (2 * item.dash * scale)))
        for k in range(dashes):
            a, b = k / dashes, (k + 0.5) / dashes
            dash = [(x1 + a * (x2 - x1), y1 + a * (y2 - y1)), (x1 + b * (x2 - x1), y1 + b * (y2 - y1))]
            draw.line(dash, fill=item.color, width=width)


def _draw_canopy(
    draw: ImageDraw.ImageDraw,
    points: list[tuple[float, float]],
    color: Color,
    size: int,
    rng: np.random.Generator,
) -> None:
    """Close a polygon with crowns that run into each other, unlike those of trees that stand alone."""
    draw.polygon(points, fill=(color[0] - 16, color[1] - 18, color[2] - 14))
    mask = Image.new("1", (size, size))
    ImageDraw.Draw(mask).polygon(points, fill=1)
    inside = np.asarray(mask)
    step = size / 15
    grid = (np.indices((17, 17)).reshape(2, -1).T - 0.5 + rng.uniform(-0.45, 0.45, (289, 2))) * step
    rng.shuffle(grid)
    radii = rng.uniform(0.45, 0.72, len(grid)) * step
    shades = rng.integers(-12, 13, len(grid))
    for (x, y), r, shade in zip(grid.tolist(), radii.tolist(), shades.tolist(), strict=True):
        if not inside[min(max(int(y), 0), size - 1), min(max(int(x), 0), size - 1)]:
            continue
        red, green, blue = color[0] + shade, color[1] + shade, color[2] + shade
        draw.ellipse((x - r, y - r, x + r, y + r), fill=(red, green, blue))
        q = 0.4 * r
        draw.ellipse((x - 2 * q, y - 2 * q, x + q, y + q), fill=(red + 11, green + 13, blue + 6))
