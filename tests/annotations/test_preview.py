# SPDX-License-Identifier: Apache-2.0
"""The sheet that is looked at before training."""

import numpy as np
import pytest

from geodit.annotations.preview import preview_sheet
from geodit.data.augmentation import Augmentation
from geodit.data.schema import Question, make_dataset, make_row


@pytest.fixture
def dataset():
    box = (10.0, 10.0, 40.0, 30.0)
    questions = [
        Question("detect", "ship", boxes=(box,), labels=("ship",)),
        Question("ground", "the ship", boxes=(box,), labels=("ship",)),
        Question("vqa", "How many ships are there?", answer="1"),
    ]
    pixels = np.full((60, 60, 3), 80, np.uint8)
    return make_dataset([make_row(pixels, str(number), questions) for number in range(5)])


def test_images_are_side_by_side_with_their_boxes_and_questions(dataset):
    one, row, sheet = (preview_sheet(dataset, number, columns=3) for number in (1, 3, 5))
    assert one.width < row.width == sheet.width
    assert one.height == row.height < sheet.height
    pixels = np.asarray(one).reshape(-1, 3)
    assert len(np.unique(pixels, axis=0)) > 4  # ground, paper, box, letters


def test_the_same_seed_gives_the_same_sheet(dataset):
    sheets = [np.asarray(preview_sheet(dataset, 2, seed=seed, augmentation=Augmentation())) for seed in (0, 0, 1)]
    assert np.array_equal(sheets[0], sheets[1])
    assert sheets[0].shape != sheets[2].shape or not np.array_equal(sheets[0], sheets[2])


def test_nothing_to_see_is_said(dataset):
    with pytest.raises(ValueError, match="the data set has no images"):
        preview_sheet(dataset.select([]))
    with pytest.raises(ValueError, match="must be at least 1"):
        preview_sheet(dataset, 0)
