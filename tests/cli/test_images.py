# SPDX-License-Identifier: Apache-2.0
"""The images that arguments name: files, folders, patterns, lists and addresses."""

import os

import pytest

from geodit.cli.errors import CommandError
from geodit.cli.images import expand_images, is_name_of_gdal


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory: images in two folders, and what is none."""
    monkeypatch.chdir(tmp_path)
    for name in ("scenes/b.tif", "scenes/a.TIF", "scenes/c.png", "scenes/notes.txt", "scenes/ships.gpkg"):
        make(tmp_path / name)
    for name in ("scenes/._a.tif", "scenes/more/d.tif", "odd [1].tif", "odd 1.tif", "a*.tif", "ab.tif"):
        make(tmp_path / name)
    (tmp_path / "scenes" / "folder.tif").mkdir()
    return tmp_path


def make(path):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")


def fails(*arguments, **options):
    with pytest.raises(CommandError) as error:
        expand_images(arguments, **options)
    return error.value.message


@pytest.mark.usefixtures("folder")
class TestFiles:
    def test_are_in_the_order_given_each_once(self):
        assert expand_images(["scenes/c.png", "scenes/b.tif", "scenes/c.png"]) == ["scenes/c.png", "scenes/b.tif"]

    @pytest.mark.parametrize("name", ["odd [1].tif", "a*.tif"])
    def test_may_be_called_like_a_pattern(self, name):
        assert expand_images([name]) == [name]

    def test_that_are_missing_are_named(self):
        assert fails("missing.tif") == "there is no image missing.tif"
        assert expand_images(["missing.tif"], keep_going=True) == ["missing.tif"]

    def test_have_to_be_files(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        assert fails("pipe") == "pipe is not an image"


@pytest.mark.usefixtures("folder")
class TestFolders:
    def test_give_their_images_by_name(self):
        assert expand_images(["scenes"]) == ["scenes/a.TIF", "scenes/b.tif", "scenes/c.png"]

    def test_without_images_are_named(self, tmp_path):
        (tmp_path / "empty").mkdir()
        assert fails("empty") == "there is no image in the folder empty"

    def test_may_be_called_like_an_image(self, tmp_path):
        make(tmp_path / "scenes" / "folder.tif" / "e.tif")
        assert expand_images(["scenes/folder.tif"]) == ["scenes/folder.tif/e.tif"]


@pytest.mark.usefixtures("folder")
class TestPatterns:
    def test_give_the_files_that_match(self):
        assert expand_images(["scenes/*.tif"]) == ["scenes/b.tif"]
        assert expand_images(["scenes/**/*.tif"]) == ["scenes/b.tif", "scenes/more/d.tif"]
        assert expand_images(["odd ?.tif"]) == ["odd 1.tif"]

    def test_may_be_absolute(self, tmp_path):
        assert expand_images([f"{tmp_path}/scenes/[ab].*"]) == [
            f"{tmp_path}/scenes/{name}" for name in ("a.TIF", "b.tif")
        ]

    def test_that_match_nothing_are_named(self):
        assert fails("scenes/*.jp2") == "no file matches scenes/*.jp2"
        assert fails("scenes/*.jp2", keep_going=True) == "no file matches scenes/*.jp2"


@pytest.mark.usefixtures("folder")
class TestLists:
    def test_name_images_from_where_they_are(self, tmp_path):
        lines = "\n# two files, a folder, an address\nb.tif\n  c.png\n\nmore\nhttps://example.org/e.tif\n*.TIF\n"
        (tmp_path / "scenes" / "list.txt").write_text(lines)
        assert expand_images(["scenes/list.txt"]) == [
            "scenes/b.tif",
            "scenes/c.png",
            "scenes/more/d.tif",
            "https://example.org/e.tif",
            "scenes/a.TIF",
        ]

    def test_name_images_by_absolute_paths(self, tmp_path):
        (tmp_path / "list.txt").write_text(f"{tmp_path}/ab.tif\n")
        assert expand_images(["list.txt"]) == [f"{tmp_path}/ab.tif"]

    def test_name_no_lists(self, tmp_path):
        (tmp_path / "list.txt").write_text("list.txt\n")
        assert fails("list.txt") == "list.txt names the list list.txt: a list names images"

    def test_without_images_are_refused(self, tmp_path):
        (tmp_path / "list.txt").write_text("# nothing yet\n")
        assert fails("list.txt") == "there is no image to ask about"

    def test_are_text(self, tmp_path):
        (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00")
        assert fails("list.txt") == "list.txt is not a list of images: it is not text"

    def test_with_a_missing_image_name_it(self, tmp_path):
        (tmp_path / "scenes" / "list.txt").write_text("b.tif\nmissing.tif\n")
        assert fails("scenes/list.txt") == "there is no image scenes/missing.tif"
        assert expand_images(["scenes/list.txt"], keep_going=True) == ["scenes/b.tif", "scenes/missing.tif"]


@pytest.mark.parametrize(
    "name",
    [
        "https://example.org/scene.tif?token=a*b",
        "s3://bucket/scene.tif",
        "/vsizip/scenes.zip/in/a.tif",
        "/vsicurl/https://example.org/a.tif",
        "zip://scenes.zip!in/a.tif",
        "zip+https://example.org/scenes.zip!a.tif",
        "GTIFF_DIR:2:pages.tif",
        'NETCDF:"file.nc":band',
        "item.json#visual",
    ],
)
def test_what_names_no_file_is_left_to_gdal(name):
    assert is_name_of_gdal(name)
    assert expand_images([name]) == [name]


@pytest.mark.parametrize("name", ["scene.tif", "C:/scene.tif", "a/b:c.tif", "scene#1.tif", "vsi.tif", "über:1.tif"])
def test_what_names_a_file_is_looked_for(name):
    assert not is_name_of_gdal(name)
    assert fails(name) == f"there is no image {name}"


def test_a_file_that_is_called_like_an_address_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "GTIFF_DIR:2:a.tif")
    assert expand_images(["GTIFF_DIR:2:a.tif"]) == ["GTIFF_DIR:2:a.tif"]
    assert expand_images(["GTIFF_*"]) == ["GTIFF_DIR:2:a.tif"]
