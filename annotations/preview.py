# SPDX-License-Identifier: Apache-2.0
"""A sheet of images with their questions and answers, to look at before hours are spent on training."""

from __future__ import annotations

import random

import datasets
from PIL import Image

from geodit.data.augmentation import Augmentation
from geodit.data.schema import decode_stored_image, row_questions
from geodit.pipelines.visualization import contact_sheet, draw_questions

__all__ = ["preview_sheet"]


def preview_sheet(
    dataset: datasets.Dataset,
    number: int = 12,
    *,
    columns: int = 4,
    seed: int = 0,
    augmentation: Augmentation | None = None,
) -> Image.Image:
    """Draw some rows of a data set.

    Args:
        dataset: With the columns of [`~geodit.data.schema.features`].
        number: How many images, drawn at random; all if there are fewer.
        columns: Images side by side.
        seed: Which images are drawn, and how they are augmented.
        augmentation: What training does to images; by default they are shown as they are.

    Raises:
        ValueError: If the data set is empty, a number is below 1, or an image is damaged.
    """
    if number < 1 or columns < 1:
        raise ValueError(f"number and columns must be at least 1, got {number} and {columns}")
    if not len(dataset):
        raise ValueError("the data set has no images")
    rng = random.Random(seed)
    chosen = sorted(rng.sample(range(len(dataset)), min(number, len(dataset))))
    pictures = []
    for row in dataset.cast_column("image", datasets.Image(decode=False)).select(chosen):
        image, questions = decode_stored_image(row["image"]), row_questions(row)
        if augmentation is not None:
            image, questions = augmentation.apply(image, questions, rng)
        pictures.append(draw_questions(image, questions))
    return contact_sheet(pictures, columns)
