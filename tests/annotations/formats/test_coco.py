# SPDX-License-Identifier: Apache-2.0
"""COCO files come out as they were written."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

IMAGES = [
    {"id": 7, "file_name": "a.png", "width": 80, "height": 40},
    {"id": "b", "file_name": "b.png", "width": 60, "height": 50},
]
CATEGORIES = [{"id": 1, "name": "ship"}, {"id": 5, "name": "storage tank", "supercategory": "tank"}]


@pytest.fixture
def write(folder):
    def write_file(annotations, name="labels.json", images=IMAGES, categories=CATEGORIES, **more):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        content = {"info": {}, "images": images, "annotations": annotations, "categories": categories} | more
        path.write_text(json.dumps(content))
        return path

    return write_file


def annotation(image_id=7, category_id=1, **more):
    return {"id": 1, "image_id": image_id, "category_id": category_id} | more


def test_boxes_polygons_and_masks_become_objects(write, read):
    mask = np.zeros((50, 60), np.uint8, order="F")
    mask[10:20, 30:45] = 1
    encoded = coco_mask.encode(mask)
    turned = [10, 20, 30, 10, 35, 20, 15, 30]
    path = write(
        [
            annotation(bbox=[1.5, 2, 10, 5.25], iscrowd=0),
            annotation("b", 5, segmentation=[[1, 1, 9, 2, 5, 12], [20, 3, 30, 3, 25, 8]]),
            annotation("b", 5, segmentation={"size": [50, 60], "counts": encoded["counts"].decode()}, iscrowd=1),
            annotation(segmentation=[turned], bbox=[10, 10, 25, 20]),
            annotation(segmentation=[[]], bbox=[0, 0, 4, 4]),
        ]
    )
    images, bad = read(path)
    assert bad == []
    ship, turned_ship, small = images["a.png"].objects
    assert (ship.label, ship.box, ship.difficult, ship.line) == ("ship", (1.5, 2, 11.5, 7.25), False, 1)
    assert turned_ship.box == (10, 10, 35, 30)
    assert turned_ship.corners == ((10, 20), (30, 10), (35, 20), (15, 30))
    assert (small.box, small.corners) == ((0, 0, 4, 4), None)
    tanks = images["b.png"].objects
    assert [(tank.label, tank.box, tank.difficult) for tank in tanks] == [
        ("storage tank", (1, 1, 30, 12), False),
        ("storage tank", (30, 10, 45, 20), True),
    ]
    assert images["a.png"].image_size == (40, 80)
    assert images["b.png"].image_size == (50, 60)


def test_what_pycocotools_loads_is_what_is_read(write, read, capsys):
    rng = np.random.default_rng(0)
    boxes = rng.uniform(0, 30, (20, 4)).round(2).tolist()
    path = write([annotation([7, "b"][n % 2], [1, 5][n % 3 > 0], bbox=box, id=n + 1) for n, box in enumerate(boxes)])
    coco = COCO(path)
    capsys.readouterr()
    images, bad = read(path)
    assert bad == []
    for image in coco.imgs.values():
        objects = images[image["file_name"]].objects
        expected = [coco.anns[n] for n in coco.getAnnIds(imgIds=[image["id"]])]
        assert [found.label for found in objects] == [coco.cats[one["category_id"]]["name"] for one in expected]
        found = np.array([[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in (one.box for one in objects)])
        assert np.allclose(found, [one["bbox"] for one in expected])


def test_captions_are_those_of_their_image(write, read):
    captions = ["Two  ships lie\nin the harbor. ", "A harbor."]
    path = write([{"image_id": 7, "id": n, "caption": text} for n, text in enumerate(captions)], categories=None)
    images, bad = read(path)
    assert bad == []
    assert images["a.png"].captions == ("Two ships lie in the harbor.", "A harbor.")
    assert images["b.png"].captions == images["b.png"].objects == ()


def test_a_folder_has_its_splits(write, read, folder):
    write([annotation(bbox=[0, 0, 1, 1])], "annotations/instances_train2017.json", IMAGES[:1])
    write([annotation("b", bbox=[0, 0, 1, 1])], "annotations/instances_val2017.json", IMAGES[1:])
    (folder / "images").mkdir()
    for name in ("a.png", "b.png"):
        (folder / name).rename(folder / "images" / name)
    images, bad = read(folder)
    assert bad == []
    assert {name: image.split for name, image in images.items()} == {"a.png": "train", "b.png": "validation"}


def test_what_is_wrong_is_said_and_reading_goes_on(write, read):
    images = [
        IMAGES[0],
        {"id": 7, "file_name": "b.png"},
        {"id": 8, "file_name": "c.png"},
        {"id": 9, "file_name": "b.png", "width": -60, "height": 50},
        "image",
        {"id": [1], "file_name": "b.png"},
    ]
    path = write(
        [
            annotation(bbox=[5, 5, -3, 2]),
            annotation(bbox=[float("nan"), 5, 3, 2]),
            annotation(bbox=[1, 2, 3]),
            annotation(category_id=3, bbox=[1, 2, 3, 4]),
            annotation(99, bbox=[1, 2, 3, 4]),
            annotation(8, bbox=[1, 2, 3, 4]),
            annotation(),
            annotation(segmentation=[[1, 2, 3, 4]]),
            annotation(segmentation={"size": [4, 4], "counts": "?"}),
            None,
            {"image_id": 7, "caption": " "},
            annotation(bbox=[1, 2, 3, 4]),
        ],
        images=images,
    )
    found, bad = read(path)
    assert [one.box for one in found["a.png"].objects] == [(1, 2, 4, 6)]
    assert list(found) == ["a.png"]
    assert found["a.png"].partial_labels == {"ship"}
    assert [line.partition(":")[0] for line in bad] == [
        *(f"image {number}" for number in range(2, 7)),
        *(f"annotation {number}" for number in (1, 2, 3, 4, 5, 7, 8, 9, 10, 11)),
    ]
    reasons = "\n".join(bad)
    for reason in (
        "its id 7 is that of another image",
        "the image 'c.png' is not in",
        "neither below zero",
        "there is no category with the id 3",
        "there is no image with the id 99",
        "neither a bbox nor a segmentation",
        "three points at least",
    ):
        assert reason in reasons


def test_other_json_is_one_error(folder, read):
    path = folder / "other.json"
    for text, reason in (
        ("[]", "not a COCO file"),
        ('{"images": {}}', "not a COCO file"),
        ('{"images": [', "not JSON"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=reason):
            read(path, "coco")
    with pytest.raises(ValueError, match="has no COCO file in it"):
        read(folder, "coco")
