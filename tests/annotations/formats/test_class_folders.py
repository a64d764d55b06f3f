# SPDX-License-Identifier: Apache-2.0
"""Folders are classes, and those above them splits."""

from __future__ import annotations

import pytest

from geodit.annotations.formats.class_folders import CLASS_FOLDERS


@pytest.fixture
def tree(tmp_path):
    def make(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    return make


def test_folders_are_classes(tree, read):
    images, bad = read(tree("airport/a.png", "Dense Residential/b.JPG", "Dense Residential/notes.md"))
    assert bad == []
    assert {name: (image.category, image.split) for name, image in images.items()} == {
        "a.png": ("airport", ""),
        "b.JPG": ("Dense Residential", ""),
    }


def test_folders_of_classes_are_splits(tree, read):
    images, bad = read(tree("train/airport/a.png", "val/airport/b.png", "val/port/c.png", "d.png"))
    assert bad == ["d.png: it is in no folder of a class"]
    assert {name: (image.category, image.split) for name, image in images.items()} == {
        "a.png": ("airport", "train"),
        "b.png": ("airport", "validation"),
        "c.png": ("port", "validation"),
    }


@pytest.mark.parametrize(
    "names",
    [
        ("a.png", "b.png"),
        ("images/a.png", "labels/a.png"),
        ("airport/a.png",),
        ("airport/a.png", "port/b.png", "port/b.xml"),
        ("README.txt", "airport/a.png", "port/b.png", "port/b.xml"),
        ("airport/notes.md", "port/notes.md"),
    ],
)
def test_other_folders_are_not_taken_for_classes(tree, names):
    assert not CLASS_FOLDERS.matches(tree(*names))


def test_what_cannot_be_read_is_one_error(tree, read):
    source = tree("a.png")
    with pytest.raises(ValueError, match="has no image in a folder of its own"):
        read(source, "class-folders")
    with pytest.raises(ValueError, match="is not a folder"):
        read(source / "a.png", "class-folders")
    with pytest.raises(ValueError, match="leave out the folder of the images"):
        read(source, "class-folders", images=source)
