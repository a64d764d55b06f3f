# SPDX-License-Identifier: Apache-2.0
"""What globox writes is read: the same labels, and boxes within half a pixel."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

globox = pytest.importorskip("globox")

CLASSES = {"ship": 0, "storage tank": 1}


@pytest.fixture
def written(tmp_path):
    """Annotations of two images, one without an object, whose images are in a folder next to where they are saved."""
    rng = np.random.default_rng(0)
    annotations = []
    for name, count in (("a.png", 6), ("b.png", 0)):
        Image.new("RGB", (120, 90)).save(tmp_path / name)
        corners = np.sort(rng.uniform(2, 88, (count, 2, 2)), axis=1).reshape(count, 4).round(2)
        labels = rng.choice(list(CLASSES), count)
        boxes = [
            globox.BoundingBox.create(label=str(label), coords=tuple(map(float, box)))
            for label, box in zip(labels, corners, strict=True)
        ]
        annotations.append(globox.Annotation(name, image_size=(120, 90), boxes=boxes))
    return globox.AnnotationSet(annotations)


def check(written, found, bad):
    assert bad == []
    assert sorted(found) == ["a.png", "b.png"]
    for annotation in written:
        objects = found[annotation.image_id].objects
        assert [item.label for item in objects] == [box.label for box in annotation.boxes]
        expected = [(box.xmin, box.ymin, box.xmax, box.ymax) for box in annotation.boxes]
        assert np.allclose([item.box for item in objects], expected, rtol=0, atol=0.5)
        assert found[annotation.image_id].image_size == (90, 120)


def test_coco(written, tmp_path, read):
    written.save_coco(tmp_path / "boxes.json", auto_ids=True)
    check(written, *read(tmp_path / "boxes.json"))


def test_voc(written, tmp_path, read):
    written.save_pascal_voc(tmp_path / "labels")
    check(written, *read(tmp_path / "labels", images=tmp_path))


def test_labelme(written, tmp_path, read):
    written.save_labelme(tmp_path / "labels")
    check(written, *read(tmp_path / "labels", images=tmp_path))


def test_cvat(written, tmp_path, read):
    written.save_cvat(tmp_path / "annotations.xml")
    check(written, *read(tmp_path / "annotations.xml"))


def test_yolo(written, tmp_path, read):
    written.save_yolo_darknet(tmp_path / "labels", label_to_id=CLASSES)
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    check(written, *read(tmp_path))
