# SPDX-License-Identifier: Apache-2.0
"""DOTA's oriented boxes keep their angle."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

TEXT = """imagesource:GoogleEarth
gsd:0.146343590398
10.0 20.0 30.0 10.0 35.0 20.0 15.0 30.0 large-vehicle 0
1 1 9 1 9 5 1 5 ship 1
10 20 38 11 39 24 12 30 plane 2
"""


@pytest.fixture
def dota(folder):
    for name in ("train/images", "train/labelTxt"):
        (folder / name).mkdir(parents=True)
    (folder / "a.png").rename(folder / "train/images/P0003__1__0___824.png")
    (folder / "train/labelTxt/P0003__1__0___824.txt").write_text(TEXT)
    return folder


def test_objects_keep_angle_class_and_difficulty(dota, read):
    images, bad = read(dota)
    assert bad == []
    (image,) = images.values()
    assert (image.split, image.group) == ("train", "P0003")
    vehicle, ship, plane = image.objects
    assert (vehicle.label, vehicle.difficult, vehicle.line) == ("large-vehicle", False, 3)
    assert vehicle.corners == ((10, 20), (30, 10), (35, 20), (15, 30))
    assert (ship.box, ship.corners, ship.difficult) == ((1, 1, 9, 5), None, True)
    assert (plane.box, plane.difficult) == ((10, 11, 39, 30), True)
    corners = np.array(plane.corners)
    sides = np.roll(corners, -1, axis=0) - corners
    assert np.allclose((sides * np.roll(sides, -1, axis=0)).sum(axis=1), 0, atol=1e-9)


def test_the_folder_of_labels_finds_images_next_to_it(dota, read):
    images, bad = read(dota / "train/labelTxt")
    assert bad == []
    assert len(images) == 1


def test_images_elsewhere_are_found(dota, read):
    (dota / "train/images").rename(dota / "pictures")
    assert len(read(dota / "train/labelTxt").bad) == 1
    assert len(read(dota / "train/labelTxt", images=dota / "pictures").images) == 1


def test_what_is_wrong_is_said_and_reading_goes_on(dota, read):
    lines = [
        "10 20 30 10 35 20 15 30 ship",
        "10 20 30 10 35 20 15 ship 0",
        "10 20 30 10 35 20 nan 30 ship 0",
        "10 20 30 10 35 20 15 30 ship hard",
        "10 20 30 10 35 20 15 30 large vehicle 0",
    ]
    (dota / "train/labelTxt/P0003__1__0___824.txt").write_text("\n".join(lines))
    (dota / "train/labelTxt/gone.txt").write_text(TEXT)
    (dota / "train/labelTxt/latin.txt").write_bytes(b"\xe9 1 2")
    images, bad = read(dota / "train")
    (image,) = images.values()
    assert (len(image.objects), image.partial_labels) == (1, {"ship", "hard", "large", "vehicle"})
    assert [line.partition(":")[0] for line in bad] == [
        *(f"labelTxt/P0003__1__0___824.txt, line {number}" for number in (2, 3, 4, 5)),
        "labelTxt/gone.txt",
        "labelTxt/latin.txt",
    ]


def test_an_image_may_have_no_object(folder, read):
    (folder / "a.txt").write_text("imagesource:GoogleEarth\ngsd:null\n")
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    assert read(folder).images["a.png"].objects == ()


def test_other_text_is_one_error(folder, read):
    (folder / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    with pytest.raises(ValueError, match="has no annotation of DOTA"):
        read(folder, "dota")
