# SPDX-License-Identifier: Apache-2.0
"""Images that are seen otherwise: boxes and words follow, nothing leaves the image, and a draw can be repeated."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from geodit.data.augmentation import Augmentation, AugmentedDataset
from geodit.data.schema import Question
from geodit.processing.polygons import surrounding_box
from geodit.trainers.samplers import EpochIndexSampler, EpochRandomSampler

# Nothing but what is named is done to an image.
PLAIN = {"turn": False, "geometry": 0.0, "pixels": 0.0}


def disk(side=96, middle=(60, 30), radius=10):
    """A white disk on gray, and the box around it."""
    y, x = np.mgrid[:side, :side] + 0.5
    pixels = np.full((side, side, 3), 90, np.uint8)
    pixels[(x - middle[0]) ** 2 + (y - middle[1]) ** 2 <= radius**2] = 255
    box = (middle[0] - radius, middle[1] - radius, middle[0] + radius, middle[1] + radius)
    return Image.fromarray(pixels), Question("detect", query="tank", boxes=(box,), labels=("tank",))


def white_box(image):
    rows, columns = np.nonzero(np.asarray(image)[..., 0] > 170)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


@given(st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_boxes_are_where_the_objects_are(seed):
    image, question = disk()
    augmentation = Augmentation(pixels=0.0, geometry=1.0, tilt=20.0, shrink=0.3)
    seen, (asked,) = augmentation.apply(image, [question], random.Random(seed))
    assert seen.size == image.size
    assert np.abs(white_box(seen) - asked.boxes[0]).max() <= 1.5


def ship(side=96):
    """A white ship on gray that lies across, an upright one, and the boxes of both."""
    turned = ((20.0, 20.0), (60.0, 40.0), (55.0, 50.0), (15.0, 30.0))
    image = Image.new("RGB", (side, side), (90, 90, 90))
    draw = ImageDraw.Draw(image)
    draw.polygon(turned, (255, 255, 255))
    draw.rectangle((70, 60, 79, 89), (255, 255, 255))
    boxes = ((15.0, 20.0, 60.0, 50.0), (70.0, 60.0, 80.0, 90.0))
    return image, Question("detect", query="ship", boxes=boxes, labels=("ship",) * 2, corners=(turned, None))


@given(st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_turned_boxes_are_where_the_objects_are(seed):
    image, question = ship()
    augmentation = Augmentation(pixels=0.0, geometry=1.0, tilt=20.0, shrink=0.3)
    seen, (asked,) = augmentation.apply(image, [question], random.Random(seed))
    outline = Image.new("L", image.size)
    for corners, box in zip(asked.corners, asked.boxes, strict=True):
        # The upright one was tilted with the image: it has corners now.
        ImageDraw.Draw(outline).polygon(corners, 255)
        assert surrounding_box(corners) == pytest.approx(box)
    white, marked = np.asarray(seen)[..., 0] > 170, np.asarray(outline) > 0
    assert (white & marked).sum() / (white | marked).sum() > 0.8


def test_boxes_do_not_grow_into_the_black_around_a_tilted_image():
    corners = ((0.0, -20.0), (40.0, 20.0), (20.0, 40.0), (-20.0, 0.0))  # half of it is outside of the image
    question = Question("detect", query="ship", boxes=((0.0, 0.0, 40.0, 40.0),), labels=("ship",), corners=(corners,))
    augmentation = Augmentation(turn=False, pixels=0.0, geometry=1.0, tilt=10.0, shrink=0.0)
    for seed in range(20):
        seen, (asked,) = augmentation.apply(Image.new("RGB", (96, 96), (9, 9, 9)), [question], random.Random(seed))
        rows, columns = np.nonzero(np.asarray(seen)[..., 0])
        x1, y1, x2, y2 = asked.boxes[0]
        assert x1 > columns.min() - 1.5
        assert y1 > rows.min() - 1.5
        assert x2 - x1 < 60
        assert y2 - y1 < 60


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_nothing_leaves_the_image(seed):
    corners = np.zeros((60, 80, 3), np.uint8)
    for y in (slice(0, 6), slice(-6, None)):
        for x in (slice(0, 6), slice(-6, None)):
            corners[y, x] = 255
    augmentation = Augmentation(pixels=0.0, geometry=1.0, tilt=30.0)
    question = Question("vqa", query="How many squares are there?", answer="4")
    seen, _ = augmentation.apply(Image.fromarray(corners), [question], random.Random(seed))
    lit = np.asarray(seen, dtype=float)[..., 0].sum() / 255
    scale = lit / (4 * 36)
    # As much of the white as the image has become smaller, however it was tilted.
    assert 0.2 < scale <= 1.1


def test_light_air_and_sensor_leave_boxes_alone():
    image, question = disk()
    seen, (asked,) = Augmentation(**{**PLAIN, "pixels": 1.0}).apply(image, [question], random.Random(0))
    assert asked == question
    assert seen.size == image.size
    assert np.abs(np.asarray(seen, float) - np.asarray(image, float)).mean() > 1


def test_a_question_about_north_keeps_the_image_upright():
    image, _ = disk()
    question = Question("vqa", query="Is the tank in the north?", answer="yes")
    for seed in range(20):
        seen, asked = Augmentation(pixels=0.0, geometry=1.0).apply(image, [question], random.Random(seed))
        assert np.array_equal(np.asarray(seen), np.asarray(image))
        assert asked == [question]


def test_without_anything_the_image_is_as_it_was():
    image, question = disk()
    seen, asked = Augmentation(**PLAIN).apply(image, [question], random.Random(0))
    assert seen is image
    assert asked == [question]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tilt": 50.0}, "tilt must be from 0 to 45"),
        ({"pixels": 1.5}, "pixels must be from 0 to 1"),
        ({"jpeg": 0}, "jpeg must be a quality"),
        ({"haze": float("nan")}, "haze must be"),
    ],
)
def test_values_out_of_range(values, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**values)


class TestDataset:
    @pytest.fixture
    def items(self):
        image, question = disk()
        return [{"image": image, "question": question}, {"image": image, "questions": [question, question]}]

    def test_a_draw_follows_from_seed_epoch_and_item(self, items):
        def pixels(seed, index):
            return np.asarray(AugmentedDataset(items, Augmentation(), seed)[index]["image"]).tobytes()

        assert pixels(0, 3) == pixels(0, 3)
        assert len({pixels(seed, index) for seed in (0, 1) for index in (0, 2, 4, 6)}) > 4

    def test_one_question_or_several(self, items):
        dataset = AugmentedDataset(items, Augmentation(), 0)
        assert isinstance(dataset[0]["question"], Question)
        first, second = dataset[1]["questions"]
        assert first == second

    def test_text_alone_stays(self):
        item = {"image": None, "question": Question("vqa", query="?", answer="!")}
        assert AugmentedDataset([item], Augmentation(), 0)[5] == item

    def test_the_sampler_tells_the_epoch(self, items):
        sampler = EpochIndexSampler([1, 0], len(items))
        assert list(sampler) == [1, 0]
        sampler.set_epoch(3)
        assert list(sampler) == [7, 6]
        assert len(sampler) == 2

    def test_a_random_order_follows_from_seed_and_epoch(self):
        def orders(seed):
            sampler = EpochIndexSampler(EpochRandomSampler(9, seed=seed), 9)
            for epoch in (0, 1):
                sampler.set_epoch(epoch)
                yield list(sampler)

        first, second = orders(0)
        assert sorted(first) == list(range(9))
        assert sorted(second) == list(range(9, 18))
        assert [index - 9 for index in second] != first
        assert (first, second) == tuple(orders(0)) != tuple(orders(1))
