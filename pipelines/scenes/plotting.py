# SPDX-License-Identifier: Apache-2.0
"""Pictures of what was found, by matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geodit.pipelines.scenes.objects import SceneObject

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_objects"]


def plot_objects(
    objects: Sequence[SceneObject],
    pixels: NDArray[np.uint8],
    image_size: tuple[int, int],
    has_boxes: bool,
    ax: Axes | None = None,
) -> Axes:
    """Draw objects as boxes, or answers as tiles that are filled by a color for each text, on an image.

    Args:
        objects: What was found, in pixels of the image.
        pixels: `(H, W, 3)` uint8, the image at any size.
        image_size: `(height, width)` of the image.
        has_boxes: Whether the objects are boxes.
        ax: Axes to draw in; by default those of a new figure.

    Returns:
        The axes, in pixels of the image.
    """
    from matplotlib import colormaps, pyplot
    from matplotlib.patches import Patch, Polygon, Rectangle

    if ax is None:
        _, ax = pyplot.subplots(figsize=(8, 8))
    height, width = image_size
    ax.imshow(pixels, extent=(0, width, height, 0))
    labels = list(dict.fromkeys(one.label for one in objects))
    colors = colormaps["tab10"]
    for one in objects:
        x1, y1, x2, y2 = one.box
        color = colors(labels.index(one.label) % colors.N)
        style = {"facecolor": "none"} if has_boxes else {"facecolor": color, "alpha": 0.35}
        patch = Rectangle((x1, y1), x2 - x1, y2 - y1) if one.corners is None else Polygon(one.corners)
        patch.set(edgecolor=color, linewidth=1.5, **style)
        ax.add_patch(patch)
    legend = [Patch(color=colors(index % colors.N), label=label) for index, label in enumerate(labels[: colors.N])]
    if legend:
        ax.legend(handles=legend, loc="upper right")
    ax.set(xlim=(0, width), ylim=(height, 0))
    return ax
