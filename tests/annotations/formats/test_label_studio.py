# SPDX-License-Identifier: Apache-2.0
"""Label Studio's regions, choices and texts come out."""

from __future__ import annotations

import json

import numpy as np
import pytest


def region(kind, labels="ship", name=None, identifier="r1", **value):
    key = kind if name is None else name
    value = value | {key: [labels] if isinstance(labels, str) else labels}
    return {
        "id": identifier,
        "type": kind,
        "from_name": "label",
        "to_name": "image",
        "original_width": 80,
        "original_height": 40,
        "image_rotation": 0,
        "value": value,
    }


def rectangle(x=25, y=25, width=50, height=25, rotation=0, **more):
    return region("rectanglelabels", x=x, y=y, width=width, height=height, rotation=rotation, **more)


def task(*results, image="a.png", **more):
    return {
        "id": 1,
        "annotations": [{"id": 1, "was_cancelled": False, "result": results}],
        "data": {"image": image},
    } | more


@pytest.fixture
def write(folder):
    def write_file(*tasks):
        path = folder / "project-1.json"
        path.write_text(json.dumps(tasks))
        return path

    return write_file


def test_regions_are_in_pixels(write, read):
    path = write(
        task(
            rectangle(),
            rectangle(x=50, y=50, width=25, height=25, rotation=30),
            region("polygonlabels", "field", points=[[0, 0], [50, 10], [25, 100]], closed=True),
            region("ellipselabels", "tank", x=50, y=50, radiusX=10, radiusY=10),
            region("labels", x=0, y=0, width=10, height=10, rotation=0),
            {**rectangle(), "type": "rectangle", "value": {"x": 0, "y": 0, "width": 10, "height": 10}},
        )
    )
    images, bad = read(path)
    assert bad == []
    image = images["a.png"]
    box, turned, polygon, ellipse, labels = image.objects
    assert (box.label, box.box, box.corners, box.line) == ("ship", (20, 10, 60, 20), None, 1)
    # It turns about its upper left corner, clockwise.
    cosine, sine = 3**0.5 / 2, 0.5
    expected = [(40, 20), (40 + 20 * cosine, 20 + 20 * sine), (0, 0), (40 - 10 * sine, 20 + 10 * cosine)]
    expected[2] = (expected[1][0] + expected[3][0] - 40, expected[1][1] + expected[3][1] - 20)
    assert np.allclose(turned.corners, expected)
    assert (polygon.label, polygon.box) == ("field", (0, 0, 40, 40))
    assert np.allclose(ellipse.box, (32, 16, 48, 24))
    assert labels.box == (0, 0, 8, 4)
    assert image.image_size == (40, 80)


def test_choices_and_texts_are_about_the_image_or_a_region(write, read):
    where = {"x": 25, "y": 25, "width": 50, "height": 25}
    path = write(
        task(
            {"type": "choices", "value": {"choices": ["harbor"]}},
            {"type": "textarea", "value": {"text": ["Two ships.", "A harbor  with ships."]}},
            rectangle(identifier="one"),
            rectangle(identifier="two"),
            {"type": "textarea", "id": "one", "value": where | {"text": ["the ship on  the left"]}},
            {"type": "choices", "id": "one", "value": where | {"choices": ["large"]}},
        )
    )
    images, bad = read(path)
    assert bad == []
    image = images["a.png"]
    assert image.category == "harbor"
    assert image.captions == ("Two ships.", "A harbor with ships.")
    assert [found.phrase for found in image.objects] == ["the ship on the left", ""]


def test_the_ground_truth_counts_or_the_first_that_was_not_canceled(write, read):
    def annotation(label, **more):
        return {"result": [rectangle(labels=label)], "was_cancelled": False} | more

    canceled, first, true = annotation("a", was_cancelled=True), annotation("b"), annotation("c", ground_truth=True)
    path = write(
        task(annotations=[canceled, first]),
        task(annotations=[canceled, first, true], image="b.png"),
        task(annotations=[]),
    )
    images, bad = read(path)
    assert [image.objects[0].label for image in images.values()] == ["b", "c"]
    assert bad == ["task 3: it is not annotated"]


@pytest.mark.parametrize(
    "image",
    [
        "/data/upload/1/a.png",
        "/data/upload/1/0123abcd-a.png",
        "/data/local-files/?d=folder/a.png",
        "https://example.com/bucket/a.png?signature=x",
        "s3://bucket/a%2Epng",
    ],
)
def test_images_are_found_by_their_addresses(write, read, image):
    assert list(read(write(task(rectangle(), image=image))).images) == ["a.png"]


def test_data_may_have_another_name_for_the_image(write, read):
    assert list(read(write(task(rectangle(), data={"n": 1, "picture": "a.png"}))).images) == ["a.png"]


def test_what_is_wrong_is_said_and_reading_goes_on(write, read):
    path = write(
        task(
            rectangle(width=-5),
            rectangle(x=float("nan")),
            rectangle(labels=["ship", "boat"]),
            rectangle(labels=[]),
            region("keypointlabels", x=1, y=2, width=1),
            region("polygonlabels", points=[[1, 2]]),
            rectangle() | {"original_width": 0},
            {"type": "choices", "value": {"choices": []}},
            {"type": "textarea", "value": {"text": [3]}},
            {"type": "rectanglelabels"},
            None,
            rectangle(),
        ),
        task(image="gone.png"),
        task(image="https://[broken"),
        task(data=None),
        "task",
    )
    images, bad = read(path)
    assert [found.line for found in images["a.png"].objects] == [12]
    assert images["a.png"].partial_labels == {"ship", "boat"}
    expected = [f"task 1, result {number}" for number in range(1, 12)] + [f"task {number}" for number in range(2, 6)]
    assert [line.partition(":")[0] for line in bad] == expected


def test_other_json_is_one_error(folder, read):
    (folder / "a.json").write_text("{}")
    with pytest.raises(ValueError, match="damaged or not the expected file"):
        read(folder / "a.json", "label-studio")
