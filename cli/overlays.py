# SPDX-License-Identifier: Apache-2.0
"""Pictures of images with the boxes that were found."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from geodit.cli.errors import CommandError
from geodit.cli.output import check_can_write, make_directory, png_bytes, write_output

if TYPE_CHECKING:
    from geodit.pipelines.scenes.results import SceneResult

# A picture of a scene is for looking at: a larger one is drawn from overviews, or reduced.
_MAX_SIDE = 2048


def plan_overlays(images: Sequence[str], overlay: Path) -> dict[str, Path]:
    """Return where the picture of each image goes: `overlay` itself, or `<name>.png` in the directory `overlay`.

    Raises:
        CommandError: If several images would go to one file, or it cannot be written.
    """
    images = list(dict.fromkeys(images))
    sources = {Path(path).resolve() for path in images}
    if len(images) == 1 and not overlay.is_dir():
        check_can_write(overlay)
        if overlay.resolve() in sources:
            raise CommandError(f"--overlay would overwrite the image {overlay}: give another file")
        return {images[0]: overlay}
    if overlay.is_file() or overlay.suffix:
        raise CommandError(f"--overlay {overlay} is a file, but there are {len(images)} images: give a directory")
    pictures = {path: overlay / f"{Path(path).stem}.png" for path in images}
    if len(set(pictures.values())) < len(images):
        raise CommandError(
            "--overlay would write two images with the same name to one picture: draw each one separately"
        )
    make_directory(overlay)
    for picture in pictures.values():
        check_can_write(picture)
    overwritten = [str(picture) for picture in pictures.values() if picture.resolve() in sources]
    if overwritten:
        raise CommandError(f"--overlay would overwrite the image {overwritten[0]}: give another directory")
    return pictures


def write_overlay(picture: Path, scene: "SceneResult") -> None:
    """Draw the boxes of all queries on an image, which is reduced if it is large.

    Raises:
        ValueError: If the image cannot be read as a whole.
        CommandError: If the picture cannot be written.
    """
    from geodit.pipelines.visualization import draw_boxes
    from geodit.processing.turned_boxes_geodit import scaled_corners

    with scene.job.open(scene.image) as source:
        shape = source.fit_within(_MAX_SIDE)
        pixels = source.read(shape=shape).pixels
    x_factor, y_factor = shape[1] / scene.image_size[1], shape[0] / scene.image_size[0]
    found = scene.objects if scene.has_boxes else ()
    boxes = [
        (x1 * x_factor, y1 * y_factor, x2 * x_factor, y2 * y_factor) for x1, y1, x2, y2 in (one.box for one in found)
    ]
    corners = [one.corners and scaled_corners(one.corners, x_factor, y_factor) for one in found]
    drawn = draw_boxes(pixels, boxes, [one.label for one in found], [one.score for one in found], corners)
    write_output(picture, png_bytes(drawn))
