# SPDX-License-Identifier: Apache-2.0
"""Pictures that a person can read."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from geodit.data.schema import Question
from geodit.pipelines.visualization import denoising_picture, draw_answer, draw_boxes, draw_questions

GRAY = Image.new("RGB", (96, 96), (100, 100, 100))


def changed(picture: Image.Image, before: Image.Image) -> tuple[int, int, int, int]:
    """Bounding box of what was drawn, in pixels of the image before it was enlarged."""
    factor = picture.width // before.width
    plain = before.resize(picture.size)
    rows, columns = np.nonzero((np.asarray(picture) != np.asarray(plain)).any(axis=-1))
    low, high = (columns.min(), rows.min()), (columns.max(), rows.max())
    return low[0] // factor, low[1] // factor, high[0] // factor, high[1] // factor


class TestBoxes:
    def test_small_images_are_enlarged_and_left_as_they_are(self) -> None:
        picture = draw_boxes(GRAY, [[10, 20, 40, 60]])
        assert picture.size == (480, 480)
        assert GRAY.getextrema() == ((100, 100),) * 3

    def test_large_images_keep_their_size(self) -> None:
        assert draw_boxes(Image.new("RGB", (700, 500)), []).size == (700, 500)

    def test_box_is_drawn_where_it_is(self) -> None:
        x1, y1, x2, y2 = changed(draw_boxes(GRAY, [[10, 20, 40, 60]]), GRAY)
        assert abs(x1 - 10) <= 1
        assert abs(y1 - 20) <= 1
        assert abs(x2 - 40) <= 1
        assert abs(y2 - 60) <= 1

    def test_a_turned_box_is_drawn_as_it_lies(self) -> None:
        corners = ((20.0, 30.0), (60.0, 50.0), (55.0, 60.0), (15.0, 40.0))
        picture = np.asarray(draw_boxes(GRAY, [[15, 30, 60, 60]], corners=[corners])).astype(int)
        factor = picture.shape[0] // 96
        drawn = np.abs(picture - 100).max(axis=-1) > 20
        for (ax, ay), (bx, by) in zip(corners, (*corners[1:], corners[0]), strict=True):
            assert drawn[round((ay + by) / 2 * factor), round((ax + bx) / 2 * factor)]
        assert not drawn[round(32 * factor), round(57 * factor)]  # a corner of the upright box
        assert not drawn[round(45 * factor), round(37 * factor)]  # the middle

    def test_questions_and_answers_show_turned_boxes(self) -> None:
        corners = ((20.0, 30.0), (60.0, 50.0), (55.0, 60.0), (15.0, 40.0))
        question = Question("detect", query="ship", boxes=((15, 30, 60, 60),), labels=("ship",), corners=(corners,))
        upright = replace(question, corners=())
        assert draw_questions(GRAY, [question, question]) != draw_questions(GRAY, [upright])
        answer = {"text": "", "boxes": [[15, 30, 60, 60]], "labels": ["ship"]}
        turned = draw_answer(GRAY, question, {**answer, "corners": [corners]})
        assert turned != draw_answer(GRAY, question, answer)
        assert turned != draw_answer(GRAY, upright, {**answer, "corners": [corners]})

    def test_arrays_and_gray_images(self) -> None:
        assert draw_boxes(np.asarray(GRAY), [[1, 1, 5, 5]]).mode == "RGB"
        assert draw_boxes(GRAY.convert("L"), [[1, 1, 5, 5]]).mode == "RGB"

    def test_texts_stay_inside_the_picture(self) -> None:
        picture = draw_boxes(GRAY, [[90, 0, 96, 4]], ["large vehicle"], [0.5])
        x1, y1, _, _ = changed(picture, GRAY)
        assert x1 < 75
        assert y1 == 0

    def test_labels_have_colors_of_their_own(self) -> None:
        boxes = [[5, 30, 25, 50], [35, 30, 55, 50], [65, 30, 85, 50]]
        picture = np.asarray(draw_boxes(GRAY, boxes, ["ship", "tank", "ship"]))
        ship, tank, other_ship = (picture[200, x * 5].tolist() for x in (5, 35, 65))
        assert ship == other_ship != tank

    def test_crowded_boxes_give_up_their_texts(self) -> None:
        boxes = [[x, y, x + 4, y + 4] for x in range(2, 90, 15) for y in range(10, 90, 15)]
        with_text = draw_boxes(GRAY, boxes, ["tree"] * len(boxes), [0.5] * len(boxes))
        assert np.array_equal(np.asarray(with_text), np.asarray(draw_boxes(GRAY, boxes)))

    @pytest.mark.parametrize(("labels", "scores"), [(["a"], None), (None, [0.1, 0.2, 0.3])])
    def test_one_label_and_score_a_box(self, labels: list[str] | None, scores: list[float] | None) -> None:
        with pytest.raises(ValueError, match="must be one of"):
            draw_boxes(GRAY, [[1, 1, 5, 5], [2, 2, 6, 6]], labels, scores)


class TestDenoising:
    def test_cells_are_gray_until_their_step_and_colored_from_then_on(self) -> None:
        picture = np.asarray(denoising_picture(["two", "[EOS]", "[EOS]"], [0, 2, 1]))
        height, width = picture.shape[:2]
        # A row of numbers and three of steps, 28 pixels each; three columns behind the names of the steps.
        assert height == 12 + 4 * 28 + 24
        cell = (width - 12 - picture_head(picture)) // 3
        for step in range(3):
            for column, commit in enumerate([0, 2, 1]):
                y, x = 12 + (step + 1) * 28 + 3, picture_head(picture) + column * cell + 4
                is_gray = len(set(picture[y, x].tolist())) == 1
                assert is_gray == (step < commit), (step, column)

    def test_steps_have_distinct_colors(self) -> None:
        picture = np.asarray(denoising_picture(["a"] * 8, list(range(8))))
        y = 12 + 8 * 28 + 3
        assert len({tuple(pixel) for pixel in picture[y].tolist() if len(set(pixel)) > 1}) == 8

    def test_long_canvases_are_broken(self) -> None:
        short, long = denoising_picture(["a"] * 16, [0] * 16), denoising_picture(["a"] * 32, [0] * 32)
        assert long.width == short.width
        assert long.height > 1.5 * short.height

    def test_steps_that_commit_nothing_are_shown(self) -> None:
        assert denoising_picture(["a"], [0], num_steps=8).height > denoising_picture(["a"], [0]).height

    def test_what_was_never_denoised_stays_masked(self) -> None:
        never = denoising_picture(["a", "b"], [0, -1], num_steps=1)
        assert never.size == denoising_picture(["a", "b"], [0, 0], num_steps=1).size
        assert never.tobytes() == denoising_picture(["a", "c"], [0, -1], num_steps=1).tobytes()

    @pytest.mark.parametrize(
        ("tokens", "steps", "num_steps"),
        [([], [], None), (["a"], [0, 1], None), (["a"], [3], 3), (["a"], [-2], 3)],
    )
    def test_bad_arguments(self, tokens: list[str], steps: list[int], num_steps: int | None) -> None:
        with pytest.raises(ValueError, match="commit step"):
            denoising_picture(tokens, steps, num_steps)


def picture_head(picture: np.ndarray) -> int:
    """First column of the grid: where the gray or colored cells of the last row begin."""
    row = picture[-24 - 28 + 3]
    return int(np.argmax((row[1:] != 255).any(axis=-1) & (row[:-1] == 255).all(axis=-1))) + 1


def test_an_answer_is_drawn_beside_the_truth():
    image = Image.new("RGB", (100, 80), (90, 90, 90))
    question = Question("detect", query="ship", boxes=((10, 10, 30, 30),), labels=("ship",))
    right = {"text": "", "boxes": [[10, 10, 30, 30]], "labels": ["ship"]}
    nothing = {"text": "none", "boxes": [], "labels": []}
    pictures = [draw_answer(image, question, answer) for answer in (right, nothing)]
    factor = pictures[0].width // 100
    assert pictures[0].height > 80 * factor  # question, answer and truth below the image
    assert not np.array_equal(*(np.asarray(picture) for picture in pictures))
    assert image.getpixel((10, 10)) == (90, 90, 90)


def test_a_long_answer_is_broken_between_words():
    image, question = Image.new("RGB", (480, 480)), Question("caption", answer="short")
    heights = [
        draw_answer(image, question, {"text": "word " * count, "boxes": [], "labels": []}).height for count in (1, 100)
    ]
    assert heights[0] < heights[1]
