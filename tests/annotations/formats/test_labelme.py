# SPDX-License-Identifier: Apache-2.0
"""LabelMe's shapes become boxes."""

from __future__ import annotations

import json

import numpy as np
import pytest

TURNED = [[10, 20], [30, 10], [35, 20], [15, 30]]


def shape(kind, points, label="ship", **more):
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}} | more


@pytest.fixture
def write(folder):
    def write_file(*shapes, name="a.json", image="a.png", **more):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        content = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": image, "imageData": None}
        path.write_text(json.dumps(content | {"imageHeight": 40, "imageWidth": 80} | more))
        return path

    return write_file


def test_shapes_with_a_size_become_boxes(write, read, folder):
    write(
        shape("rectangle", [[30.5, 12], [10, 30]]),
        shape("rectangle", [[1, 1], [9, 1], [9, 5], [1, 5]]),
        shape("polygon", [[0, 0], [10, 2], [5, 8]], "field", difficult=True),
        shape("polygon", TURNED),
        shape("rotation", TURNED, direction=0.46),
        shape("circle", [[20, 20], [23, 24]], "tank"),
        shape("mask", [[2, 3], [12, 13]], mask="iVBORw0KGgo="),
    )
    images, bad = read(folder)
    assert bad == []
    objects = images["a.png"].objects
    assert [(found.label, found.box) for found in objects] == [
        ("ship", (10, 12, 30.5, 30)),
        ("ship", (1, 1, 9, 5)),
        ("field", (0, 0, 10, 8)),
        ("ship", (10, 10, 35, 30)),
        ("ship", (10, 10, 35, 30)),
        ("tank", (15, 15, 25, 25)),
        ("ship", (2, 3, 13, 14)),
    ]
    assert [found.difficult for found in objects] == [number == 2 for number in range(7)]
    assert [found.corners is not None for found in objects] == [number in (3, 4) for number in range(7)]
    assert np.array_equal(objects[3].corners, TURNED)
    assert images["a.png"].image_size == (40, 80)


def test_images_may_be_in_a_folder_next_to_the_labels(write, read, folder):
    (folder / "images").mkdir()
    (folder / "a.png").rename(folder / "images/a.png")
    path = write(name="train/a.json", image="..\\images\\a.png")
    images, bad = read(folder)
    assert bad == []
    assert images["a.png"].split == "train"
    assert len(read(path).bad) == 1  # it would leave the folder of the file
    assert len(read(path, images=folder / "images").images) == 1


def test_a_byte_order_mark_is_passed_over(write, read):
    path = write(shape("rectangle", [[1, 2], [3, 4]]))
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert read(path).images["a.png"].objects[0].box == (1, 2, 3, 4)


def test_what_is_wrong_is_said_and_reading_goes_on(write, read, folder):
    write(
        shape("point", [[3, 4]]),
        shape("line", [[3, 4], [5, 6]]),
        shape("rectangle", [[3, 4]]),
        shape("polygon", [[3, 4], [5, 6]]),
        shape("polygon", [[3, 4], [5, float("nan")], [3, 3]]),
        shape("polygon", [[3], [5, 6], [3, 3]]),
        shape("rectangle", [[3, 4], [5, 6]], label=None),
        shape(["rectangle"], [[3, 4], [5, 6]]),
        "shape",
        shape("rectangle", [[3, 4], [5, 6]]),
    )
    write(name="b.json", image="gone.png")
    write(name="c.json", image="b.png", imageHeight=-3)
    (folder / "d.json").write_text('{"shapes": [')
    (folder / "e.json").write_text("[]")
    images, bad = read(folder)
    assert [found.line for found in images["a.png"].objects] == [10]
    assert images["a.png"].partial_labels == {"ship"}
    assert [line.partition(":")[0] for line in bad] == [
        *(f"a.json, shape {number}" for number in range(1, 10)),
        *(f"{name}.json" for name in "bcde"),
    ]
    assert bad[0] == "a.json, shape 1: a shape of the type 'point' has no box"


def test_other_json_is_one_error(folder, read):
    (folder / "a.json").write_text('{"images": []}')
    with pytest.raises(ValueError, match="has no annotation of LabelMe in it"):
        read(folder, "labelme")
