# SPDX-License-Identifier: Apache-2.0
"""Augmentation of overhead images: other views, light, air and sensors. Boxes and words follow; nothing is lost.

No object leaves the image, so that counts and captions stay right: an image is tilted or shrunk as a whole, with black
around it, as where a raster has no data.
"""

from __future__ import annotations

import io
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from geodit.configuration.types_geodit import Item
from geodit.data.epochs import EpochDataset
from geodit.data.schema import Box, Question
from geodit.data.views import VIEWS, are_turnable
from geodit.processing.polygons import box_corners, clip_to_frame, surrounding_box
from geodit.processing.turned_boxes_geodit import Point, as_corners

__all__ = ["Augmentation", "AugmentedDataset"]


@dataclass(frozen=True)
class Augmentation:
    """What may be done to an image, and how much of it.

    Args:
        turn: Whether the image is seen in one of the eight [`~geodit.data.views.VIEWS`], each as likely.
        tilt: Up to so many degrees in either direction.
        shrink: Up to such a share of the side.
        geometry: How often an image is tilted and shrunk, 0 to 1.
        brightness: Up to such a share brighter or darker; likewise the distance to mid-gray.
        haze: Up to such a weight of white.
        blur: Up to such a standard deviation, in pixels.
        jpeg: The lowest quality of a JPEG file that it was, 1 to 95.
        noise: Up to such a standard deviation of each band, in gray levels, and such a percentage of its gain.
        pixels: How often each of the last five is done, 0 to 1.

    Raises:
        ValueError: If a value is out of range.
    """

    turn: bool = True
    tilt: float = 8.0
    shrink: float = 0.1
    geometry: float = 0.25
    brightness: float = 0.15
    haze: float = 0.2
    blur: float = 0.8
    jpeg: int = 60
    noise: float = 5.0
    pixels: float = 0.25

    def __post_init__(self) -> None:
        for name, most in (("geometry", 1.0), ("pixels", 1.0), ("shrink", 0.9), ("brightness", 0.9), ("haze", 0.9)):
            if not 0.0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be from 0 to {most:g}, got {getattr(self, name)}")
        for name, most in (("tilt", 45.0), ("blur", 20.0), ("noise", 100.0)):
            if not 0.0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be from 0 to {most:g}, got {getattr(self, name)}")
        if not 1 <= self.jpeg <= 95:
            raise ValueError(f"jpeg must be a quality from 1 to 95, got {self.jpeg}")

    def apply(
        self, image: Image.Image, questions: Sequence[Question], rng: random.Random
    ) -> tuple[Image.Image, list[Question]]:
        """Return an image and its questions as they are after a draw.

        Questions that speak of directions which do not turn with the picture, such as north, keep the image upright.

        Args:
            image: RGB.
            questions: What is asked about it, with answers.
            rng: What is drawn from.
        """
        asked = list(questions)
        if are_turnable(asked):
            if self.turn:
                view = VIEWS[rng.randrange(len(VIEWS))]
                size = image.height, image.width
                image, asked = view.image(image), [view.question(one, size) for one in asked]
            if rng.random() < self.geometry:
                image, asked = self._tilted(image, asked, rng)
        return self._seen_otherwise(image, rng), asked

    def apply_to_item(self, item: Item, rng: random.Random) -> Item:
        """Return an item, as [`GeoDiTDataCollator`] takes it, as it is after a draw; without an image as it is."""
        image = item.get("image")
        if image is None:
            return dict(item)
        several = "questions" in item
        image, questions = self.apply(image, item["questions"] if several else [item["question"]], rng)
        asked = {"questions": questions} if several else {"question": questions[0]}
        return {**item, "image": image, **asked}

    def _tilted(
        self, image: Image.Image, questions: list[Question], rng: random.Random
    ) -> tuple[Image.Image, list[Question]]:
        """Tilt and shrink an image within its own size, with all of it in view."""
        width, height = image.size
        angle = math.radians(rng.uniform(-self.tilt, self.tilt))
        cos, sin = math.cos(angle), math.sin(angle)
        # The largest scale at which the tilted image fits into its own size.
        fit = min(width / (width * abs(cos) + height * abs(sin)), height / (width * abs(sin) + height * abs(cos)))
        scale = fit * rng.uniform(1.0 - self.shrink, 1.0)
        matrix = scale * np.array([[cos, -sin], [sin, cos]])
        reach = np.abs(matrix) @ np.array([width / 2, height / 2])
        room = np.array([width / 2, height / 2]) - reach
        middle = np.array([width / 2, height / 2]) + room * np.array([rng.uniform(-1, 1), rng.uniform(-1, 1)])
        offset = middle - matrix @ np.array([width / 2, height / 2])
        inverse = np.linalg.inv(matrix)
        (a, b), (d, e) = inverse.tolist()
        c, f = (-inverse @ offset).tolist()
        tilted = image.transform(image.size, Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BILINEAR)
        return tilted, [_moved_question(one, matrix, offset, (height, width)) for one in questions]

    def _seen_otherwise(self, image: Image.Image, rng: random.Random) -> Image.Image:
        """Change light, air and sensor."""
        # Every number is drawn whether it is used or not, so that one setting does not change what others draw.
        draws = [(rng.random() < self.pixels, rng.uniform(-1, 1), rng.uniform(-1, 1)) for _ in range(5)]
        light, air, lens, file, sensor = draws
        noise = np.random.default_rng(rng.getrandbits(64))
        pixels = np.asarray(image, dtype=np.float64)
        if light[0]:
            contrast, brightness = (1.0 + self.brightness * value for value in light[1:])
            pixels = ((pixels - 127.5) * contrast + 127.5) * brightness
        if air[0]:
            weight = self.haze * abs(air[1])
            pixels = pixels * (1.0 - weight) + 255.0 * weight
        if sensor[0]:
            gains = 1.0 + noise.uniform(-1, 1, 3) * self.noise / 100.0
            pixels = pixels * gains + noise.normal(0.0, self.noise * abs(sensor[1]), pixels.shape)
        seen = image
        if light[0] or air[0] or sensor[0]:
            seen = Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
        if lens[0]:
            seen = seen.filter(ImageFilter.GaussianBlur(self.blur * abs(lens[1])))
        if file[0]:
            buffer = io.BytesIO()
            seen.save(buffer, "JPEG", quality=round(self.jpeg + (95 - self.jpeg) * abs(file[1])))
            seen = Image.open(buffer, formats=("JPEG",)).convert("RGB")
        return seen


class AugmentedDataset(EpochDataset):
    """Items of another data set, each draw of them augmented otherwise.

    What is done to an item follows from seed, epoch and number of the item in it.

    Args:
        dataset: Items as [`GeoDiTDataCollator`] takes them; those without an image stay as they are.
        augmentation: What may be done to them.
        seed: Of the run.
    """

    def __init__(self, dataset: torch.utils.data.Dataset[Item], augmentation: Augmentation, seed: int) -> None:
        self.dataset = dataset
        self._augmentation = augmentation
        self._seed = seed

    def lengths_at(self, epoch: int) -> list[int]:
        """Return those of the data set, for grouping items of like length."""
        if isinstance(self.dataset, EpochDataset):
            return self.dataset.lengths_at(epoch)
        lengths: list[int] = getattr(self.dataset, "lengths")  # noqa: B009 - data sets of torch have none
        return lengths

    def __len__(self) -> int:
        length: int = len(self.dataset)  # type: ignore[arg-type]
        return length

    def __getitem__(self, index: int) -> Item:
        epoch, number = divmod(index, len(self))
        item = self.dataset[index if isinstance(self.dataset, EpochDataset) else number]
        return self._augmentation.apply_to_item(item, random.Random(f"{self._seed} {epoch} {number}"))


def _moved_question(
    question: Question, matrix: NDArray[np.float64], offset: NDArray[np.float64], image_size: tuple[int, int]
) -> Question:
    """Return a question with its boxes after a linear map.

    Where one of its boxes is turned the upright ones are rectangles as well, and become turned ones.
    """
    if not question.corners:
        return replace(question, boxes=tuple(_moved(box, matrix, offset, image_size) for box in question.boxes))
    height, width = image_size
    frame = (0.0, 0.0, float(width), float(height))

    def move(points: Sequence[Point]) -> list[Point]:
        moved: list[Point] = [(x, y) for x, y in (np.array(points) @ matrix.T + offset).tolist()]
        return moved

    boxes, corners = [], []
    for box, one in zip(question.boxes, question.corners, strict=True):
        before = one or box_corners(box)
        corners.append(as_corners(move(before)))
        # Around what the image shows of it: what lay outside of it is now black.
        x1, y1, x2, y2 = surrounding_box(move(clip_to_frame(before, frame) or box_corners(box)))
        boxes.append((max(x1, 0.0), max(y1, 0.0), min(x2, frame[2]), min(y2, frame[3])))
    return replace(question, boxes=tuple(boxes), corners=tuple(corners))


def _moved(box: Box, matrix: NDArray[np.float64], offset: NDArray[np.float64], image_size: tuple[int, int]) -> Box:
    """Return the box around what a box shows after a linear map.

    Around the ellipse that the box encloses: around its corners, boxes would grow with every tilt.
    """
    x1, y1, x2, y2 = box
    middle = matrix @ np.array([(x1 + x2) / 2, (y1 + y2) / 2]) + offset
    half = np.sqrt(matrix**2 @ np.array([(x2 - x1) / 2, (y2 - y1) / 2]) ** 2)
    height, width = image_size
    low = np.clip(middle - half, 0.0, [width, height])
    high = np.clip(middle + half, 0.0, [width, height])
    (left, top), (right, bottom) = low.tolist(), high.tolist()
    return left, top, right, bottom
