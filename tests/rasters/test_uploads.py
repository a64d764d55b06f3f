# SPDX-License-Identifier: Apache-2.0
"""What may be read of a stranger, by its first bytes and what its header states."""

import numpy as np
import pytest
from PIL import Image

from geodit.rasters.uploads import check_upload

rasterio = pytest.importorskip("rasterio")


def picture(path, width=30, height=20, kind="PNG"):
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(path, kind)
    return path


def tiff(path, width=64, height=48, count=3, dtype="uint8", **options):
    with rasterio.open(path, "w", "GTiff", width, height, count, dtype=dtype, sparse_ok=True, **options):
        pass
    return path


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_pictures(tmp_path, kind):
    assert check_upload(picture(tmp_path / "a", kind=kind), "a", 600) == (20, 30)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_tiff(tmp_path):
    assert check_upload(tiff(tmp_path / "a.tif"), "a.tif", 10**6) == (48, 64)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("make", [picture, tiff])
def test_more_pixels_than_are_allowed(tmp_path, make):
    with pytest.raises(ValueError, match=r"^mine has 30 x 20 pixels, more than the 599 that are allowed$"):
        check_upload(make(tmp_path / "a", width=30, height=20), "mine", 599)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_more_bands_than_are_allowed(tmp_path):
    path = tiff(tmp_path / "a.tif", 2, 2, 1025)
    with pytest.raises(ValueError, match=r"^mine has 1,025 bands, more than the 1,024 that are allowed$"):
        check_upload(path, "mine", 10**6)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_a_tile_is_decoded_as_a_whole_with_all_bands_that_are_in_it(tmp_path, interleave):
    tiles = {"tiled": True, "blockxsize": 4096, "blockysize": 4096, "interleave": interleave, "compress": "deflate"}
    path = tiff(tmp_path / "a.tif", 4096, 4096, 24, **tiles)
    if interleave == "band":
        assert check_upload(path, "mine", 2**25) == (4096, 4096)
        return
    with pytest.raises(ValueError, match="strips or tiles of 4,096 x 4,096 pixels, of which one takes more than"):
        check_upload(path, "mine", 2**25)


@pytest.mark.parametrize("content", [b"", b"GIF89a....", b"PK\x03\x04", b"<VRTDataset/>", b"\x7fELF", b"II*"])
def test_other_formats_whatever_they_are_called(tmp_path, content):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^mine is not a PNG, JPEG or TIFF image$"):
        check_upload(path, "mine", 10**6)


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"II*\0\x08\0\0\0"])
def test_damaged_images(tmp_path, content):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^mine (is damaged|cannot be read)") as told:
        check_upload(path, "mine", 10**6)
    assert str(tmp_path) not in str(told.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^mine is not here any more: upload it again$"):
        check_upload(tmp_path / "a.png", "mine", 10**6)


def test_what_is_no_file(tmp_path):
    with pytest.raises(ValueError, match="is a directory"):
        check_upload(tmp_path, "mine", 10**6)
