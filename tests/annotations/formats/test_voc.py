# SPDX-License-Identifier: Apache-2.0
"""Folders of Pascal VOC files come out as they were written."""

from __future__ import annotations

import pytest

OBJECT = (
    "<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{0}</xmin><ymin>{1}</ymin>"
    "<xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object>"
)


def annotation(*objects, filename="a.png", size=(80, 40)):
    width, height = size
    return (
        f"<annotation><filename>{filename}</filename><size><width>{width}</width><height>{height}</height>"
        f"<depth>3</depth></size>{''.join(objects)}</annotation>"
    )


def one(*box, name="ship", difficult=0):
    return OBJECT.format(*box, name=name, difficult=difficult)


def test_boxes_are_as_the_file_has_them(folder, read):
    (folder / "a.xml").write_text(annotation(one(1, 2, 30.5, 40), one(5, 5, 9, 9, name="storage  tank", difficult=1)))
    (folder / "b.xml").write_text(annotation(filename="", size=(0, 0)), encoding="utf-8-sig")
    images, bad = read(folder)
    assert bad == []
    assert [(found.label, found.box, found.difficult, found.line) for found in images["a.png"].objects] == [
        ("ship", (1, 2, 30.5, 40), False, 1),
        ("storage tank", (5, 5, 9, 9), True, 2),
    ]
    assert images["a.png"].image_size == (40, 80)
    assert images["b.png"].image_size is None
    assert images["b.png"].objects == ()


def test_the_layout_of_the_challenge_has_splits(folder, read):
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    for stem in "ab":
        (folder / f"{stem}.png").rename(folder / "JPEGImages" / f"{stem}.png")
        (folder / f"Annotations/{stem}.xml").write_text(annotation(one(1, 2, 3, 4), filename=f"{stem}.png"))
    (folder / "ImageSets/Main/train.txt").write_text("a\n")
    (folder / "ImageSets/Main/val.txt").write_text("b  1\n\n")
    images, bad = read(folder)
    assert bad == []
    assert {name: image.split for name, image in images.items()} == {"a.png": "train", "b.png": "validation"}
    (folder / "ImageSets/Main/val.txt").write_bytes(b"\xff")
    images, bad = read(folder)
    assert {image.split for image in images.values()} == {""}
    assert len(bad) == 1


def test_what_is_wrong_is_said_and_reading_goes_on(folder, read):
    files = {
        "a.xml": annotation(one(1, 2, 3, 4)),
        "backward.xml": annotation(one(9, 2, 3, 4)),
        "cut.xml": annotation(one(1, 2, 3, 4))[:-30],
        "entity.xml": "<!DOCTYPE a [<!ENTITY b 'c'>]>" + annotation(),
        "gone.xml": annotation(filename="gone.png"),
        "nan.xml": annotation(one("nan", 2, 3, 4)),
        "nameless.xml": annotation(one(1, 2, 3, 4, name="")),
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    images, bad = read(folder)
    assert list(images) == ["a.png"]
    assert [line.partition(":")[0] for line in bad] == [name for name in sorted(files) if name != "a.xml"]
    assert "there is no image 'gone'" in "\n".join(bad)


def test_other_xml_is_one_error(folder, read):
    (folder / "a.xml").write_text("<html></html>")
    for source in (folder, folder / "a.xml"):
        with pytest.raises(ValueError, match="has no Pascal VOC annotation in it"):
            read(source, "voc")
