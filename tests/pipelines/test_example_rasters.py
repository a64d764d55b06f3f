# SPDX-License-Identifier: Apache-2.0
"""The rasters that users bring are shown as they mean them, and lie where they are."""

from pathlib import Path

import numpy as np
import pytest
from example_rasters import (
    BAD_BLOCK,
    BLOCK_SIDE,
    CRS,
    GCP_BOUNDS,
    HIDDEN_COLUMNS,
    PLACE,
    harbor,
    write_example_rasters,
)

from geodit.data.windows import Window
from geodit.rasters.image_source import GeoImage
from geodit.rasters.imagery import open_image, read_image
from geodit.rasters.rendering import Rendering, StretchRule

HARBOR = harbor()
REFLECTANCE = Rendering(StretchRule.parse("300,2850"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rasters")
    write_example_rasters(folder)
    return folder


def difference(image: GeoImage) -> int:
    """The largest of all pixels from the harbor."""
    return int(np.abs(image.pixels.astype(int) - HARBOR).max())


@pytest.mark.parametrize(
    "name", ["uint8.tif", "bgr_by_color_interpretation.tif", "rgbn_tagged_alpha_by_default.tif", "lossless.jp2"]
)
def test_shows_the_harbor_in_its_place(folder: Path, name: str) -> None:
    image = read_image(folder / name)
    assert difference(image) == 0
    assert image.crs == CRS
    assert image.transform == tuple(PLACE)[:6]


@pytest.mark.parametrize("name", ["/vsizip/{}/zipped.zip/in/a.tif", "zip://{}/zipped.zip!in/a.tif"])
def test_shows_a_member_of_an_archive(folder: Path, name: str) -> None:
    image = read_image(name.format(folder))
    assert difference(image) == 0
    assert image.crs == CRS


def test_an_archive_says_how_its_members_are_named(folder: Path) -> None:
    with pytest.raises(
        ValueError, match=r"zipped\.zip is an archive: name an image in it, such as zip://.*!in/a\.tif"
    ):
        read_image(folder / "zipped.zip")


def test_floats_from_0_to_255_are_shown_as_they_are_if_asked_for(folder: Path) -> None:
    assert difference(read_image(folder / "float32_0_255.tif", rendering=Rendering(StretchRule("none")))) == 0


def test_reflectance_between_two_values_is_the_picture(folder: Path) -> None:
    assert difference(read_image(folder / "uint16_reflectance.tif", rendering=REFLECTANCE)) == 0


def test_a_cloud_leaves_the_rest_as_it_is(folder: Path) -> None:
    pixels = read_image(folder / "uint16_cloud.tif", rendering=REFLECTANCE).pixels
    assert np.array_equal(pixels[50:], HARBOR[50:])
    assert np.array_equal(pixels[:, 50:], HARBOR[:, 50:])


def test_a_collar_of_zeros_is_no_data_if_said_so(folder: Path) -> None:
    rendering = Rendering(REFLECTANCE.stretch, nodata=0)
    image = read_image(folder / "uint16_zero_collar_untagged.tif", rendering=rendering)
    assert image.valid is not None
    assert image.valid[:192, :192].all()
    assert image.valid.sum() == 192 * 192
    assert np.array_equal(image.pixels[:192, :192], HARBOR)


def test_alpha_that_is_none_can_be_shown(folder: Path) -> None:
    image = read_image(folder / "rgbn_tagged_alpha_by_default.tif", bands=(4, 1, 2))
    assert np.array_equal(image.pixels, np.dstack([255 - HARBOR[..., 1], HARBOR[..., :2]]))


def test_what_alpha_hides_is_black(folder: Path) -> None:
    image = read_image(folder / "objects_under_alpha_0.tif")
    assert image.valid is not None
    assert not image.valid[:, :HIDDEN_COLUMNS].any()
    assert image.pixels[:, :HIDDEN_COLUMNS].max() == 0
    assert np.array_equal(image.pixels[:, HIDDEN_COLUMNS:], HARBOR[:, HIDDEN_COLUMNS:])


def test_control_points_are_a_place(folder: Path) -> None:
    with open_image(folder / "gcps_only.tif") as source:
        image, part = source.read(), source.read(Window(top=96, left=0, height=96, width=192), (48, 48))
    left, top, right, bottom = GCP_BOUNDS
    assert difference(image) == 0
    assert image.crs == "EPSG:4326"
    assert image.transform is None
    assert image.georeference is not None
    assert image.georeference.bounds((0, 0, 192, 192)) == pytest.approx((left, bottom, right, top), abs=1e-9)
    assert part.georeference is not None
    assert part.georeference.bounds((0, 0, 48, 48)) == pytest.approx(
        (left, bottom, right, (top + bottom) / 2), abs=1e-9
    )


@pytest.mark.parametrize("with_prj", [True, False])
def test_a_photograph_with_a_world_file_has_a_place(folder: Path, tmp_path: Path, with_prj: bool) -> None:
    for suffix in (".jpg", ".jgw", ".prj") if with_prj else (".jpg", ".jgw"):
        (tmp_path / f"a{suffix}").write_bytes((folder / f"world_file{suffix}").read_bytes())
    image = read_image(tmp_path / "a.jpg", crs=None if with_prj else CRS)
    assert difference(image) < 60  # JPEG
    assert image.crs == CRS
    assert image.transform == tuple(PLACE)[:6]


def test_a_damaged_block_is_named_and_the_others_are_read(folder: Path) -> None:
    column, row = BAD_BLOCK
    with open_image(folder / "bad_block.tif", rendering=REFLECTANCE) as source:
        for top in range(0, 192, BLOCK_SIDE):
            for left in range(0, 192, BLOCK_SIDE):
                window = Window(top, left, BLOCK_SIDE, BLOCK_SIDE)
                if (left, top) == (column * BLOCK_SIDE, row * BLOCK_SIDE):
                    reason = r"bad_block\.tif is damaged: .*X offset 1, Y offset 1: .*incorrect data check"
                    with pytest.raises(ValueError, match=reason):
                        source.read(window)
                else:
                    expected = HARBOR[top : top + BLOCK_SIDE, left : left + BLOCK_SIDE]
                    assert np.array_equal(source.read(window).pixels, expected)


def test_a_disk_seen_from_a_geostationary_orbit_has_a_place(folder: Path) -> None:
    image = read_image(folder / "geostationary.tif")
    assert difference(image) == 0
    assert image.crs is not None
    assert "Geostationary_Satellite" in image.crs
    assert image.transform == (3000, 0, -5.6e6, 0, -3000, 288e3)
