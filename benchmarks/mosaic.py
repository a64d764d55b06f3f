# SPDX-License-Identifier: Apache-2.0
"""What detection loses when a scene is seen in tiles: a mosaic whose objects lie across the edges of tiles.

    python benchmarks/mosaic.py --overlap 0.5
    python benchmarks/mosaic.py --overlap 0.5 --mixed       # scenes of all types side by side

Synthetic test scenes, none of which was trained on, are asked for each class one by one, as in an evaluation, and then
put side by side to mosaics, each of scenes of one type, asked for the same classes in tiles as large as a scene
that do not lie on the scenes. Printed are F1 at IoU 0.5 of both, with their spread over the mosaics, and how many
objects were found twice.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

import geodit
from geodit.configuration.decoding_options import DecodingOptions
from geodit.pipelines.image_pipeline import GeoDiTPipeline
from geodit.pipelines.merging import MERGES, MergeOptions
from geodit.processing.box_ops import box_iou
from geodit.tiny.scenes.dataset import scene_seed
from geodit.tiny.scenes.rendering import render_scene
from geodit.tiny.scenes.scene import REFERENCE_SIZE, Scene, sample_scene
from geodit.tiny.scenes.vocabulary import label_names, scene_type_names

Box = tuple[float, float, float, float]


class Found(NamedTuple):
    """Boxes that are right, wrong, or of an object that another box has found already, and objects not found."""

    right: int
    wrong: int
    missed: int
    twice: int

    @property
    def f1(self) -> float:
        """F1, where a second box of an object is wrong."""
        return 2 * self.right / max(1, 2 * self.right + self.wrong + self.missed)


def compare(found: Sequence[Box], truth: Sequence[Box]) -> Found:
    """Match boxes, best first, with objects at IoU 0.5."""
    if not found or not truth:
        return Found(0, len(found), len(truth), 0)
    overlap = box_iou(np.array(found), np.array(truth))
    taken: set[int] = set()
    wrong = twice = 0
    for row in overlap:
        free = [index for index in np.argsort(-row) if row[index] >= 0.5 and index not in taken]
        if free:
            taken.add(int(free[0]))
        else:
            wrong += 1
            twice += bool((row >= 0.5).any())
    return Found(len(taken), wrong, len(truth) - len(taken), twice)


def total(parts: Sequence[Found]) -> Found:
    """Add up."""
    return Found(*(sum(column) for column in zip(*parts, strict=True)))


def boxes_of(scene: Scene, label: str, left: float = 0, top: float = 0) -> list[Box]:
    """Boxes of a class, moved to where the scene lies."""
    return [
        (x1 + left, y1 + top, x2 + left, y2 + top)
        for x1, y1, x2, y2 in (one.box for one in scene.objects if one.label == label)
    ]


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mosaics", type=int, default=len(scene_type_names))
    parser.add_argument("--mixed", action="store_true", help="scenes of all types in a mosaic, not of one")
    parser.add_argument("--side", type=int, default=4, help="scenes along either side of a mosaic")
    parser.add_argument("--overlap", type=float, default=0.25)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--merge", choices=MERGES, default="nms")
    parser.add_argument("--no-confirm", dest="confirm", action="store_false")
    parser.add_argument("--labels", nargs="+", default=list(label_names))
    arguments = parser.parse_args()

    pipeline = GeoDiTPipeline.from_pretrained("geodit-tiny", device="cpu", dtype="float32")
    options = DecodingOptions(max_denoising_steps=arguments.steps)
    merge = MergeOptions(arguments.merge, confirm=arguments.confirm)
    size, per_mosaic = REFERENCE_SIZE, arguments.side**2
    alone, tiled = [], []
    for mosaic in range(arguments.mosaics):
        numbers = range(mosaic * per_mosaic, (mosaic + 1) * per_mosaic)
        kind = None if arguments.mixed else scene_type_names[mosaic % len(scene_type_names)]
        scenes = [sample_scene(scene_seed("test", arguments.seed, number), scene_type=kind) for number in numbers]
        pictures = [render_scene(scene) for scene in scenes]
        starts = range(0, per_mosaic, arguments.side)
        whole = np.concatenate([np.concatenate(pictures[start : start + arguments.side], axis=1) for start in starts])
        of_alone, of_tiled = [], []
        for label in arguments.labels:
            for scene, prediction in zip(scenes, pipeline(pictures, "detect", label, options=options), strict=True):
                of_alone.append(compare(prediction.boxes, boxes_of(scene, label)))
            (prediction,) = pipeline(
                whole, "detect", label, tile_size=size, overlap=arguments.overlap, merge=merge, options=options
            )
            truth = [
                box
                for index, scene in enumerate(scenes)
                for box in boxes_of(scene, label, size * (index % arguments.side), size * (index // arguments.side))
            ]
            of_tiled.append(compare(prediction.boxes, truth))
        alone.append(total(of_alone))
        tiled.append(total(of_tiled))
        print(f"{kind or 'all types'}: F1 {alone[-1].f1:.3f} of the scenes, {tiled[-1].f1:.3f} in tiles", flush=True)
    print(
        f"\n$ python {' '.join(sys.argv)}\ngeodit {geodit.__version__}, geodit-tiny, {arguments.mosaics} mosaics of "
        f"{arguments.side} x {arguments.side} scenes, {total(alone).right + total(alone).missed} objects"
    )
    for name, parts in (("scenes one by one", alone), ("in tiles", tiled)):
        together = total(parts)
        spread = statistics.stdev(one.f1 for one in parts) if len(parts) > 1 else 0.0
        print(
            f"{name:18} F1@0.5 {together.f1:.3f} (standard deviation {spread:.3f}), {together.wrong} wrong boxes, "
            f"{together.missed} objects missed, {together.twice} found twice"
        )


if __name__ == "__main__":
    main()
