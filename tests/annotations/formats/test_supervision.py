# SPDX-License-Identifier: Apache-2.0
"""What supervision writes is read: the same labels, and boxes within half a pixel."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

supervision = pytest.importorskip("supervision")

CLASSES = ["ship", "storage tank"]


@pytest.fixture
def written(tmp_path):
    """A data set of supervision's with three images, of which one is without an object."""
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    paths, detections = [], {}
    for number, count in enumerate((5, 0, 3)):
        path = tmp_path / "images" / f"{number}.png"
        Image.fromarray(rng.integers(0, 255, (90, 120, 3), dtype=np.uint8)).save(path)
        corners = np.sort(rng.uniform(2, 88, (count, 2, 2)), axis=1).reshape(count, 4)
        classes = rng.integers(0, 2, count)
        paths.append(str(path))
        detections[str(path)] = supervision.Detections(xyxy=corners.astype(np.float32), class_id=classes)
    return supervision.DetectionDataset(classes=CLASSES, images=paths, annotations=detections)


def check(written, found, bad, as_written=lambda boxes: boxes):
    assert bad == []
    assert len(found) == 3
    for _, pixels, detections in written:
        height, width, _ = pixels.shape
        names = [CLASSES[number] for number in detections.class_id]
        match = [
            image
            for image in found.values()
            if [item.label for item in image.objects] == names and np.array_equal(read_pixels(image.image), pixels)
        ]
        assert len(match) == 1
        assert match[0].image_size == (height, width)
        boxes = np.array([item.box for item in match[0].objects]).reshape(-1, 4)
        assert (np.abs(boxes - as_written(detections.xyxy)) <= 0.5).all()


def read_pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)[:, :, ::-1]  # it has them as OpenCV


def test_yolo(written, tmp_path, read):
    root = tmp_path / "yolo"
    written.as_yolo(str(root / "images"), str(root / "labels"), str(root / "data.yaml"))
    check(written, *read(root))


def test_coco(written, tmp_path, read):
    root = tmp_path / "coco"
    written.as_coco(str(root / "images"), str(root / "labels.json"))
    check(written, *read(root / "labels.json"))


def test_voc(written, tmp_path, read):
    root = tmp_path / "voc"
    written.as_pascal_voc(str(root / "JPEGImages"), str(root / "Annotations"))
    # It counts pixels from 1, as the challenge did, and cuts fractions off.
    check(written, *read(root), as_written=lambda boxes: np.floor(boxes + 1))


def test_oriented_boxes(tmp_path, read):
    root = tmp_path / "obb"
    for name in ("images", "labels"):
        (root / name).mkdir(parents=True)
    Image.new("RGB", (120, 90)).save(root / "images/a.png")
    corners = np.array([[[20, 30], [60, 10], [70, 30], [30, 50]], [[5, 60], [35, 60], [35, 80], [5, 80]]], float)
    lines = [
        f"{number} " + " ".join(f"{x / 120:.6f} {y / 90:.6f}" for x, y in box) for number, box in enumerate(corners)
    ]
    (root / "labels/a.txt").write_text("\n".join(lines))
    (root / "data.yaml").write_text("train: images\nnames: [ship, storage tank]\n")
    turned, upright = read(root).images["a.png"].objects
    theirs = supervision.DetectionDataset.from_yolo(
        str(root / "images"), str(root / "labels"), str(root / "data.yaml"), is_obb=True
    )
    (_, _, detections) = next(iter(theirs))
    assert np.abs(np.array(turned.corners) - detections.data["xyxyxyxy"][0]).max() <= 0.5
    assert np.abs(np.array([turned.box, upright.box]) - detections.xyxy).max() <= 0.5
    assert upright.corners is None
