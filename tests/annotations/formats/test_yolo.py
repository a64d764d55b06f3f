# SPDX-License-Identifier: Apache-2.0
"""YOLO's layouts come out as Ultralytics reads them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

NAMES = "names:\n  0: ship\n  1: storage tank\n"


@pytest.fixture
def layout(tmp_path):
    """Writes files of labels, or images where the text is None."""

    def write(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if text is None:
                Image.new("RGB", (80, 40)).save(path)
            else:
                path.write_text(text)
        return tmp_path

    return write


def test_boxes_and_segments_are_in_pixels_of_their_image(layout, read):
    lines = "0 0.5 0.5 0.25 0.5\n\n1 0.1 0.1 0.3 0.1 0.2 0.9\n0 0.125 0.5 0.5 0.25 0.625 0.5 0.25 0.75\n"
    source = layout(
        {
            "data.yaml": f"train: images/train\nval: images/val\ntest:\n{NAMES}",
            "images/train/a.png": None,
            "labels/train/a.txt": lines,
            "images/val/b.png": None,
        }
    )
    images, bad = read(source)
    assert bad == []
    ship, tank, four = images["a.png"].objects
    assert (ship.label, ship.box, ship.line) == ("ship", (30, 10, 50, 30), 1)
    assert (tank.label, tank.line) == ("storage tank", 3)
    assert np.allclose(tank.box, (8, 4, 24, 36))
    assert np.allclose(four.box, (10, 10, 50, 30))
    assert images["a.png"].image_size == (40, 80)
    assert {name: image.split for name, image in images.items()} == {"a.png": "train", "b.png": "validation"}
    assert images["b.png"].objects == ()  # as Ultralytics has it


def test_four_corners_everywhere_are_oriented_boxes(layout, read):
    by_hand = "0 0.125 0.5 0.375 0.25 0.475 0.55 0.1875 0.75\n"
    source = layout({"data.yaml": f"path: .\ntrain: images\n{NAMES}", "images/a.png": None, "labels/a.txt": by_hand})
    (found,) = read(source).images["a.png"].objects
    assert found.corners is not None
    assert np.allclose(found.box, (10, 10, 38, 30))
    layout({"images/b.png": None, "labels/b.txt": "0 0.5 0.5 0.25 0.5"})
    (found,) = read(source).images["a.png"].objects
    assert found.corners is None  # no rectangle, so one of many outlines


def test_a_turned_rectangle_keeps_its_corners(layout, read):
    corners = [(10, 20), (30, 10), (35, 20), (15, 30)]
    line = "0 " + " ".join(f"{x / 80:.6f} {y / 40:.6f}" for x, y in corners)
    source = layout({"classes.txt": "ship\n", "a.png": None, "a.txt": line})
    assert np.allclose(read(source).images["a.png"].objects[0].corners, corners, atol=1e-3)


@pytest.mark.parametrize(
    "files",
    [
        {"classes.txt": "ship\ntank\n", "images/a.png": None, "labels/a.txt": "1 0.5 0.5 0.5 0.5"},
        {"labels/classes.txt": "ship\ntank\n", "images/a.png": None, "labels/a.txt": "1 0.5 0.5 0.5 0.5"},
        {"obj.names": "ship\ntank\n", "obj_train_data/a.png": None, "obj_train_data/a.txt": "1 0.5 0.5 0.5 0.5"},
        {
            # As Roboflow writes it.
            "data.yaml": "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['ship', 'tank']\n",
            "train/images/a.png": None,
            "train/labels/a.txt": "1 0.5 0.5 0.5 0.5",
            "valid/images/b.png": None,
        },
        {
            "my-ships.yaml": "path: /home/me/my-ships\ntrain: images/train\nnames: [ship, tank]\n",
            "images/train/a.png": None,
            "labels/train/a.txt": "1 0.5 0.5 0.5 0.5",
        },
        {
            "data.yaml": "train: train.txt\nnames: [ship, tank]\n",
            "train.txt": "./images/a.png\n\n",
            "images/a.png": None,
            "labels/a.txt": "1 0.5 0.5 0.5 0.5",
        },
        {
            "data.yaml": "train: images\nnames: [ship, tank]\nkpt_shape: [2, 3]\n",
            "images/a.png": None,
            "labels/a.txt": "1 0.5 0.5 0.5 0.5 0.1 0.1 2 0.2 0.2 2",
        },
    ],
)
def test_layouts(layout, read, files):
    images, bad = read(layout(files))
    assert bad == []
    assert [(found.label, found.box) for found in images["a.png"].objects] == [("tank", (20, 10, 60, 30))]


def test_labels_by_the_paths_of_images_elsewhere(layout, read):
    root = layout(
        {
            "yolo/classes.txt": "ship\n",
            "yolo/labels/train/a.txt": "0 0.5 0.5 0.5 0.5",
            "pictures/train/a.png": None,
        }
    )
    images, bad = read(root / "yolo", images=root / "pictures")
    assert bad == []
    assert images["a.png"].objects[0].box == (20, 10, 60, 30)
    assert images["a.png"].split == "train"


def test_a_photograph_on_its_side_is_measured_as_it_is_shown(layout, read):
    source = layout({"classes.txt": "ship\n", "images/a.jpg": None, "labels/a.txt": "0 0.5 0.5 0.5 0.5"})
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (80, 40)).save(source / "images/a.jpg", exif=exif)
    image = read(source).images["a.jpg"]
    assert image.image_size == (80, 40)
    assert image.objects[0].box == (10, 20, 30, 60)


def test_what_is_wrong_is_said_and_reading_goes_on(layout, read):
    lines = [
        "2 0.5 0.5 0.1 0.1",
        "0 0.5 0.5 -0.1 0.1",
        "0 nan 0.5 0.1 0.1",
        "0 0.5 0.5 0.1",
        "0 0.5 0.5 0.1 0.1 0.9",
        "ship 0.5 0.5 0.1 0.1",
        "0.5 0.5 0.5 0.1 0.1",
        "0",
        "1 0.5 0.5 0.5 0.5",
    ]
    source = layout(
        {
            "data.yaml": "train: images\nval: gone/images\nnames: [ship, tank]\n",
            "images/a.png": None,
            "labels/a.txt": "\n".join(lines),
            "images/b.png": "no image",
            "labels/c.txt": "0 0.5 0.5 0.5 0.5",
            "labels/classes.txt": "ship",
        }
    )
    images, bad = read(source)
    assert [found.line for found in images["a.png"].objects] == [9]
    assert images["a.png"].partial_labels == {"ship", "tank"}  # a line may be of any class
    assert [line.partition(":")[0] for line in bad] == [
        "data.yaml",
        *(f"labels/a.txt, line {number}" for number in range(1, 9)),
        "images/b.png",
        "labels/c.txt",
    ]
    assert "its val is 'gone/images', which is not in" in bad[0]
    assert "there is no class '2' in the 2 names" in bad[1]
    assert "must not be negative" in bad[2]
    assert "there is no image of this name" in bad[-1]


def test_a_class_without_a_name_is_no_other(layout, read):
    source = layout({"classes.txt": "ship\ntank\n", "a.png": None, "a.txt": "7 0.5 0.5 0.1 0.1\n1 0.5 0.5 -1 0.1"})
    images, bad = read(source)
    assert images["a.png"].partial_labels == {"tank"}
    assert len(bad) == 2


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (
            {"images/a.png": None, "labels/a.txt": "0 0 0 1 1"},
            "has no names of classes: add data.yaml, or classes.txt",
        ),
        ({"classes.txt": "ship\n"}, "has no images where YOLO has them"),
        ({"classes.txt": "ship\n", "images/a.png": None}, "has no file of labels for any of its 1 images"),
        ({"data.yaml": "train: images\n", "images/a.png": None}, "should have the names of the classes"),
        ({"data.yaml": "names: &a [*a]\ntrain: x\n"}, "is not YAML that can be read"),
        ({"data.yaml": "names: [\n"}, "is not YAML that can be read"),
    ],
)
def test_what_is_no_data_set_of_yolo_is_one_error(layout, read, files, reason):
    with pytest.raises(ValueError, match=reason):
        read(layout(files), "yolo")


def test_a_yaml_file_leads_nowhere_else(layout, read):
    root = layout(
        {
            "other/images/b.png": None,
            "other/labels/b.txt": "0 0.5 0.5 0.5 0.5",
            "yolo/images/a.png": None,
            "yolo/labels/a.txt": "0 0.5 0.5 0.5 0.5",
        }
    )
    text = f"path: {root}/other\ntrain: ../other/images\nval: images\nnames: [ship]\n"
    (root / "yolo/data.yaml").write_text(text)
    images, bad = read(root / "yolo")
    assert list(images) == ["a.png"]
    assert len(bad) == 1
