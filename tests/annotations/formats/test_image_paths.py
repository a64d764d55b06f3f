# SPDX-License-Identifier: Apache-2.0
"""Images are found by the names that annotations have for them, in the folders that count and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from geodit.annotations.formats.image_paths import ImageFinder, files_below, split_of


@pytest.fixture
def tree(tmp_path):
    for name in ("labels/x.json", "labels/a.png", "images/a.png", "images/deep/b.png", "secret/c.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.png", "labels/a.png"),
        ("./a.png", "labels/a.png"),
        ("a.png ", "labels/a.png"),
        ("..\\images\\a.png", "images/a.png"),
        ("../images/deep/b.png", "images/deep/b.png"),
        ("deep/b.png", "images/deep/b.png"),
        ("/home/somebody/deep/b.png", "images/deep/b.png"),
        ("C:\\data\\deep\\b.png", "images/deep/b.png"),
    ],
)
def test_a_name_is_relative_to_a_folder_that_counts(tree, name, expected):
    assert ImageFinder(tree / "labels", tree / "images", images=None).find(name) == str(tree / expected)


@pytest.mark.parametrize("name", ["../secret/c.png", "c.png", "b.png", "", "  ", None, 3, "a\0.png", "x" * 9999])
def test_nothing_else_is_found(tree, name):
    with pytest.raises(ValueError, match="name"):
        ImageFinder(tree / "labels", tree / "images", images=None).find(name)


def test_an_absolute_path_outside_is_not_found(tree):
    with pytest.raises(ValueError, match="name the folder of the images"):
        ImageFinder(tree / "labels", images=None).find(str(tree / "secret/c.png"))
    assert ImageFinder(tree / "labels", images=tree / "secret").find(str(tree / "secret/c.png")).endswith("c.png")


def test_the_folder_that_the_user_names_comes_first(tree):
    finder = ImageFinder(tree / "labels", images=tree / "images")
    assert finder.find("a.png") == str(tree / "images/a.png")
    assert finder.find_stem("a") == str(tree / "images/a.png")


def test_an_image_is_found_without_its_suffix(tree):
    finder = ImageFinder(tree / "labels", images=None)
    assert finder.find_stem("a") == str(tree / "labels/a.png")
    with pytest.raises(ValueError, match="there is no image 'x'"):
        finder.find_stem("x")


def test_relative_folders_give_absolute_paths(tree, monkeypatch):
    monkeypatch.chdir(tree)
    assert ImageFinder(Path("labels"), images=None).find("a.png") == str(tree / "labels/a.png")


def test_links_that_go_round_end(tree):
    (tree / "images/deep/up").symlink_to(tree)
    assert [path.name for path in files_below(tree, ".png")] == ["a.png", "b.png", "a.png", "c.png"]


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("instances_train2017.json", "train"),
        ("valid/_annotations.coco.json", "validation"),
        ("images/val/a.png", "validation"),
        ("test-dev/a.png", "test"),
        ("training_set/a.png", "train"),
        ("Test/a.png", "test"),
        ("trainstation/a.png", ""),
        ("contest/a.png", ""),
        ("a.png", ""),
    ],
)
def test_a_path_says_its_split(path, split):
    assert split_of(Path("/data/train", path), Path("/data/train")) == split
