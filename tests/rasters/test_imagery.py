# SPDX-License-Identifier: Apache-2.0
"""PNG, JPEG and (Geo)TIFF files of all kinds become 8-bit RGB, or one clear error."""

import logging
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.enums import ColorInterp
from rasterio.transform import Affine
from scipy.io import netcdf_file

from geodit.data.windows import Window
from geodit.rasters import raster
from geodit.rasters.image_source import GeoImage
from geodit.rasters.imagery import as_image_source, open_image, read_image
from geodit.rasters.rendering import Rendering, StretchRule

UTM = {"crs": "EPSG:32617", "transform": Affine(0.5, 0.0, 400000.0, 0.0, -0.5, 3285000.0)}
RGB = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)


def write_tiff(path: Path, bands: NDArray[Any], **profile: Any) -> Path:
    """Writes bands (C, H, W)."""
    colors = profile.pop("colorinterp", None)
    colormap = profile.pop("colormap", None)
    count, height, width = bands.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver="GTiff", count=count, height=height, width=width, dtype=bands.dtype, **profile
        ) as dataset:
            if colors is not None:
                dataset.colorinterp = colors
            if colormap is not None:
                dataset.write_colormap(1, colormap)
            dataset.write(bands)
    return path


def rgb_tiff(path: Path, **profile: Any) -> Path:
    return write_tiff(path, np.moveaxis(RGB, -1, 0), **profile)


@pytest.fixture
def without_rasterio(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if rasterio were not installed."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "rasterio"]:
        monkeypatch.setitem(sys.modules, name, None)
    for path in Path(raster.__file__).parent.glob("*.py"):
        if "rasterio" in path.read_text():
            monkeypatch.delitem(sys.modules, f"geodit.rasters.{path.stem}", raising=False)


class TestGeoTiff:
    def test_pixels_size_and_place(self, tmp_path: Path) -> None:
        image = read_image(rgb_tiff(tmp_path / "a.tif", **UTM))
        assert np.array_equal(image.pixels, RGB)
        assert image.image_size == (12, 20)
        assert image.crs == "EPSG:32617"
        assert image.transform == (0.5, 0.0, 400000.0, 0.0, -0.5, 3285000.0)
        assert image.valid is None

    def test_plain_tiff_has_no_place_and_no_warning(self, tmp_path: Path) -> None:
        path = rgb_tiff(tmp_path / "a.tif")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            image = read_image(path)
        assert image.georeference is None
        assert image.crs is None
        assert image.transform is None

    def test_a_reference_system_is_taken_where_the_file_states_none(self, tmp_path: Path) -> None:
        path = rgb_tiff(tmp_path / "a.tif", transform=UTM["transform"])
        assert read_image(path).georeference is None
        assert read_image(path, crs="EPSG:32617").crs == "EPSG:32617"
        assert read_image(rgb_tiff(tmp_path / "b.tif", **UTM), crs="EPSG:3857").crs == "EPSG:32617"
        with pytest.raises(ValueError, match=r"a\.tif .*'EPSG:1' is no coordinate reference system"):
            read_image(path, crs="EPSG:1")

    def test_window_has_its_own_place(self, tmp_path: Path) -> None:
        with open_image(rgb_tiff(tmp_path / "a.tif", **UTM)) as source:
            part = source.read(Window(top=2, left=4, height=5, width=6))
        assert np.array_equal(part.pixels, RGB[2:7, 4:10])
        assert part.transform == (0.5, 0.0, 400002.0, 0.0, -0.5, 3284999.0)

    @pytest.mark.parametrize(
        "window", [Window(-1, 0, 5, 5), Window(0, 0, 13, 5), Window(0, 16, 5, 5), Window(0, 0, 0, 5)]
    )
    def test_window_outside(self, tmp_path: Path, window: Window) -> None:
        with (
            open_image(rgb_tiff(tmp_path / "a.tif")) as source,
            pytest.raises(ValueError, match="leaves the image"),
        ):
            source.read(window)

    @pytest.mark.parametrize("dtype", ["uint16", "int16", "float32", "uint32"])
    def test_deep_bands_are_stretched_between_their_percentiles(self, tmp_path: Path, dtype: str) -> None:
        ramp = np.arange(101 * 100, dtype=np.int64).reshape(101, 100) // 100
        bands = np.stack([ramp * 3, ramp * 30, ramp * 300]).astype(dtype)
        pixels = read_image(write_tiff(tmp_path / "a.tif", bands)).pixels.astype(int)
        # Percent p of the ramp is its value p: 2 becomes black, 98 white, and half way is half way.
        assert pixels[2].max() == 0
        assert pixels[98].min() == 255
        assert np.all(np.abs(pixels[50] - 127.5) <= 0.5)
        assert np.all(np.diff(pixels[:, 0], axis=0) >= 0)

    def test_windows_share_one_stretch(self, tmp_path: Path) -> None:
        bands = np.random.default_rng(1).integers(0, 4000, (3, 40, 40)).astype(np.uint16)
        with open_image(write_tiff(tmp_path / "a.tif", bands)) as source:
            whole = source.read().pixels
            assert np.array_equal(source.read(Window(20, 10, 8, 8)).pixels, whole[20:28, 10:18])

    def test_nodata_is_left_out_of_the_stretch_and_black(self, tmp_path: Path) -> None:
        bands = np.random.default_rng(2).integers(1000, 2000, (3, 30, 30)).astype(np.uint16)
        expected = read_image(write_tiff(tmp_path / "full.tif", bands[:, 10:])).pixels
        bands[:, :10] = 65535
        image = read_image(write_tiff(tmp_path / "holes.tif", bands, nodata=65535))
        assert image.valid is not None
        assert image.valid[10:].all()
        assert not image.valid[:10].any()
        assert image.pixels[:10].max() == 0
        assert np.array_equal(image.pixels[10:], expected)

    def test_not_a_number_is_no_data(self, tmp_path: Path) -> None:
        bands = np.random.default_rng(3).random((3, 20, 20)).astype(np.float32)
        bands[:, 0] = np.nan
        bands[:, 1] = np.inf
        image = read_image(write_tiff(tmp_path / "a.tif", bands))
        assert image.valid is not None
        assert image.valid.sum() == 18 * 20
        assert image.pixels[:2].max() == 0
        assert image.pixels[2:].max() == 255

    def test_nodata_of_8_bits_is_black_where_all_bands_have_it(self, tmp_path: Path) -> None:
        bands = np.moveaxis(RGB, -1, 0).copy()
        bands[:, 0] = 7
        bands[0, 1] = 7
        image = read_image(write_tiff(tmp_path / "a.tif", bands, nodata=7))
        assert image.pixels[0].max() == 0
        assert np.array_equal(image.pixels[1:], np.moveaxis(bands, 0, -1)[1:])

    def test_constant_band_does_not_divide_by_zero(self, tmp_path: Path) -> None:
        bands = np.full((3, 5, 5), 700, np.uint16)
        assert read_image(write_tiff(tmp_path / "a.tif", bands)).pixels.max() == 0

    def test_one_band_is_gray(self, tmp_path: Path) -> None:
        image = read_image(write_tiff(tmp_path / "a.tif", RGB[None, ..., 0]))
        assert np.array_equal(image.pixels, np.repeat(RGB[..., :1], 3, axis=-1))

    def test_first_three_of_many_bands_or_those_asked_for(self, tmp_path: Path) -> None:
        bands = np.random.default_rng(4).integers(0, 256, (5, 6, 7), dtype=np.uint8)
        path = write_tiff(tmp_path / "a.tif", bands, photometric="MINISBLACK")
        assert np.array_equal(read_image(path).pixels, np.moveaxis(bands[:3], 0, -1))
        assert np.array_equal(read_image(path, bands=(5, 3, 1)).pixels, np.moveaxis(bands[[4, 2, 0]], 0, -1))
        assert np.array_equal(read_image(path, bands=[4]).pixels[..., 1], bands[3])

    @pytest.mark.parametrize("bands", [(), (0,), (6,), (1, 2), (1, 2, 3, 4), (1.0,), (True,)])
    def test_bands_that_are_not_there(self, tmp_path: Path, bands: tuple[Any, ...]) -> None:
        stack = np.zeros((5, 6, 7), np.uint8)
        path = write_tiff(tmp_path / "a.tif", stack, photometric="MINISBLACK")
        with pytest.raises(ValueError, match=r"a\.tif .* one or three numbers from 1 to 5"):
            read_image(path, bands=bands)

    def test_two_bands_have_to_be_chosen_from(self, tmp_path: Path) -> None:
        path = write_tiff(tmp_path / "a.tif", np.zeros((2, 6, 7), np.uint8), photometric="MINISBLACK")
        with pytest.raises(ValueError, match="has 2 bands: choose"):
            read_image(path)
        assert read_image(path, bands=(2,)).image_size == (6, 7)

    def test_alpha_tells_where_the_data_is(self, tmp_path: Path) -> None:
        alpha = np.full((1, 12, 20), 255, np.uint8)
        alpha[0, :, :5] = 0
        bands = np.concatenate([np.moveaxis(RGB, -1, 0), alpha])
        colors = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
        image = read_image(write_tiff(tmp_path / "a.tif", bands, colorinterp=colors))
        assert np.array_equal(image.pixels[:, 5:], RGB[:, 5:])
        assert image.pixels[:, :5].max() == 0
        assert image.valid is not None
        assert np.array_equal(image.valid, alpha[0] > 0)

    def test_alpha_that_is_asked_for_is_a_band(self, tmp_path: Path) -> None:
        """GDAL takes a fourth band for alpha where the file says nothing, such as the infrared of a RGBN image."""
        infrared = np.zeros((1, 12, 20), np.uint8)
        bands = np.concatenate([np.moveaxis(RGB, -1, 0), infrared])
        path = write_tiff(tmp_path / "a.tif", bands, photometric="RGB", alpha="YES")
        image = read_image(path, bands=(4, 1, 2))
        assert np.array_equal(image.pixels, np.moveaxis(bands[[3, 0, 1]], 0, -1))
        assert image.valid is None

    def test_the_file_says_which_bands_are_red_green_and_blue(self, tmp_path: Path) -> None:
        colors = [ColorInterp.blue, ColorInterp.green, ColorInterp.red]
        path = write_tiff(tmp_path / "a.tif", np.moveaxis(RGB[..., ::-1], -1, 0), colorinterp=colors)
        assert np.array_equal(read_image(path).pixels, RGB)

    @pytest.mark.parametrize("dtype", ["uint8", "uint16"])
    def test_where_white_is_zero_no_data_is_a_value_as_it_is_stored(self, tmp_path: Path, dtype: str) -> None:
        bands = np.tile(np.arange(100, 200, dtype=dtype), (1, 100, 1))
        bands[:, :20] = 0
        path = write_tiff(tmp_path / "a.tif", bands, photometric="MINISWHITE")
        image = read_image(path, rendering=Rendering(StretchRule("limits", 100, 199), nodata=0))
        assert image.valid is not None
        assert np.flatnonzero(~image.valid.all(axis=1)).tolist() == list(range(20))
        assert image.pixels[:20].max() == 0
        assert image.pixels[50, 0, 0] == 255
        assert image.pixels[50, 99, 0] == 0

    def test_where_white_is_zero_it_is_shown_white(self, tmp_path: Path) -> None:
        path = write_tiff(tmp_path / "a.tif", RGB[None, ..., 0], photometric="MINISWHITE")
        assert np.array_equal(read_image(path).pixels[..., 0], 255 - RGB[..., 0])

    @pytest.mark.parametrize("layout", ["strips", "tiles", "overviews"])
    def test_a_large_raster_is_sampled(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str) -> None:
        """Its black and white are nearly those of the whole; no more than windows or an overview are read."""
        monkeypatch.setattr(raster, "SAMPLE_SIDE", 64)
        bands = np.random.default_rng(5).integers(0, 10_000, (1, 1200, 800)).astype(np.uint16)
        tiles = {"tiled": True, "blockxsize": 128, "blockysize": 128} if layout == "tiles" else {"blockysize": 4}
        path = write_tiff(tmp_path / "a.tif", bands, **tiles)
        if layout == "overviews":
            with rasterio.open(path, "r+") as dataset:
                dataset.build_overviews([8])
        read: list[int] = []
        read_values = raster.RasterSource._read_values

        def spy(source: Any, dataset: Any, window: Any, *rest: Any) -> Any:
            read.append(window.height * window.width)
            return read_values(source, dataset, window, *rest)

        monkeypatch.setattr(raster.RasterSource, "_read_values", spy)
        with raster.RasterSource(path) as source:
            stretch = source._stretch
        assert stretch is not None
        assert stretch.low[0] == pytest.approx(200, abs=60)
        assert stretch.high[0] == pytest.approx(9800, abs=60)
        assert len(read) == 1 if layout == "overviews" else max(read) < bands.size / 30

    def test_a_band_that_is_mostly_one_value_is_told(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
        monkeypatch.setattr(raster.logger, "propagate", True)
        bands = np.random.default_rng(6).integers(1000, 2000, (3, 30, 30)).astype(np.uint16)
        bands[:, :20] = 0
        path = write_tiff(tmp_path / "a.tif", bands)
        with caplog.at_level(logging.WARNING):
            read_image(path)
            assert "67% of band 1 is 0: if that means no data, give it as nodata" in caplog.text
            caplog.clear()
            image = read_image(path, rendering=Rendering(nodata=0))
        assert caplog.text == ""
        assert image.valid is not None
        assert image.valid.sum() == 300
        assert image.pixels[20:].max() == 255

    def test_palette_becomes_colors(self, tmp_path: Path) -> None:
        indices = np.array([[[0, 1], [2, 1]]], np.uint8)
        colormap = {0: (255, 0, 0, 255), 1: (0, 255, 0, 255), 2: (0, 0, 255, 255)}
        image = read_image(write_tiff(tmp_path / "a.tif", indices, photometric="palette", colormap=colormap))
        assert image.pixels.tolist() == [[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [0, 255, 0]]]

    def test_complex_values_are_refused(self, tmp_path: Path) -> None:
        path = write_tiff(tmp_path / "a.tif", np.zeros((1, 4, 4), np.complex64))
        with pytest.raises(ValueError, match="type complex64"):
            read_image(path)

    def test_an_error_carries_the_reason_of_gdal(self, tmp_path: Path) -> None:
        path = write_tiff(tmp_path / "a.tif", np.moveaxis(RGB, -1, 0), compress="DEFLATE", blockysize=4)
        with rasterio.open(path) as dataset:
            offset = int(dataset.get_tag_item("BLOCK_OFFSET_0_1", "TIFF", bidx=1))
        content = bytearray(path.read_bytes())
        content[offset : offset + 20] = bytes(20)
        path.write_bytes(content)
        reason = r"a\.tif is damaged: .*band 1: IReadBlock failed at X offset 0, Y offset 1.*ZIPDecode"
        with pytest.raises(ValueError, match=reason) as raised:
            read_image(path)
        assert "\n" not in str(raised.value)
        assert "See previous exception" not in str(raised.value)

    def test_truncated(self, tmp_path: Path) -> None:
        bands = np.random.default_rng(5).integers(0, 256, (3, 200, 200), dtype=np.uint8)
        path = write_tiff(tmp_path / "a.tif", bands)
        path.write_bytes(path.read_bytes()[:60_000])
        with pytest.raises(ValueError, match=r"a\.tif"):
            read_image(path)


class TestPages:
    @pytest.fixture
    def pages(self, tmp_path: Path) -> Path:
        first, second = Image.fromarray(RGB), Image.fromarray(RGB[:5, :7])
        first.save(tmp_path / "pages.tif", save_all=True, append_images=[second])
        return tmp_path / "pages.tif"

    def test_the_first_is_shown_and_the_others_are_told(
        self, pages: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
        monkeypatch.setattr(raster.logger, "propagate", True)
        with caplog.at_level(logging.WARNING):
            assert np.array_equal(read_image(pages).pixels, RGB)
        (record,) = caplog.records
        assert "has 2 pages, of which the first is shown" in record.getMessage()
        assert f"GTIFF_DIR:2:{pages}" in record.getMessage()

    def test_another_can_be_named(self, pages: Path) -> None:
        assert np.array_equal(read_image(f"GTIFF_DIR:2:{pages}").pixels, RGB[:5, :7])

    def test_of_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"there is no image .*absent\.tif"):
            read_image(f"GTIFF_DIR:2:{tmp_path / 'absent.tif'}")

    def test_a_variable_of_a_netcdf_file_has_to_be_named(self, tmp_path: Path) -> None:
        with netcdf_file(tmp_path / "a.nc", "w") as file:
            for name in ("y", "x"):
                file.createDimension(name, 8)
            for name in ("ice", "snow"):
                file.createVariable(name, "f4", ("y", "x"))[:] = np.arange(64.0).reshape(8, 8)
        with pytest.raises(ValueError, match=r'a\.nc holds variables, .*: name one as NETCDF:".*a\.nc":NAME'):
            read_image(tmp_path / "a.nc")
        one = f'NETCDF:"{tmp_path / "a.nc"}":snow'
        assert read_image(one, rendering=Rendering(StretchRule("none"))).pixels.max() == 63

    def test_a_dataset_of_an_hdf5_file_has_to_be_named(self, tmp_path: Path) -> None:
        (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
        with pytest.raises(ValueError, match=r'a\.h5 holds variables, .*: name one as HDF5:".*a\.h5"://NAME'):
            read_image(tmp_path / "a.h5")

    def test_the_tables_of_a_geopackage_are_listed(self, tmp_path: Path) -> None:
        path = tmp_path / "a.gpkg"
        for append, table in ((False, "first"), (True, "second")):
            options = {"driver": "GPKG", "RASTER_TABLE": table, "APPEND_SUBDATASET": "YES" if append else "NO"}
            with rasterio.open(path, "w", count=3, height=12, width=20, dtype="uint8", **UTM, **options) as dataset:
                dataset.write(np.moveaxis(RGB, -1, 0))
        with pytest.raises(
            ValueError, match=r"a\.gpkg .*holds several rasters: name one of GPKG:.*:first, GPKG:.*:second"
        ):
            read_image(path)
        assert read_image(f"GPKG:{path}:second").image_size == (12, 20)


class TestTiffWithoutRasterio:
    @pytest.mark.usefixtures("without_rasterio")
    def test_rgb_is_read_by_pillow(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tif"
        Image.fromarray(RGB).save(path, compression="tiff_lzw")
        assert np.array_equal(read_image(path).pixels, RGB)

    def test_geotiff_loses_its_place_only(self, tmp_path: Path, request: pytest.FixtureRequest) -> None:
        path = rgb_tiff(tmp_path / "a.tif", compress="lzw", **UTM)
        request.getfixturevalue("without_rasterio")
        image = read_image(path)
        assert np.array_equal(image.pixels, RGB)
        assert image.georeference is None

    @pytest.mark.usefixtures("without_rasterio")
    def test_an_address_needs_rasterio(self) -> None:
        with pytest.raises(ValueError, match=r"https://host/a\.tif is no path; other names need rasterio"):
            read_image("https://host/a.tif")
        with pytest.raises(FileNotFoundError, match=r"there is no image absent\.tif"):
            read_image("absent.tif")

    @pytest.mark.usefixtures("without_rasterio")
    def test_a_reference_system_needs_rasterio(self, tmp_path: Path) -> None:
        Image.fromarray(RGB).save(tmp_path / "a.png")
        with pytest.raises(ValueError, match=r"a\.png is given a coordinate reference system, which needs rasterio"):
            read_image(tmp_path / "a.png", crs="EPSG:32617")

    def test_many_bands_need_rasterio(self, tmp_path: Path, request: pytest.FixtureRequest) -> None:
        path = write_tiff(tmp_path / "a.tif", np.zeros((6, 5, 5), np.uint16), photometric="MINISBLACK")
        request.getfixturevalue("without_rasterio")
        with pytest.raises(ValueError, match=r"a\.tif .*geodit\[geo\]"):
            read_image(path)


class TestPngAndJpeg:
    def test_png(self, tmp_path: Path) -> None:
        Image.fromarray(RGB).save(tmp_path / "a.png")
        image = read_image(tmp_path / "a.png")
        assert np.array_equal(image.pixels, RGB)
        assert image.georeference is None

    def test_content_counts_not_the_name(self, tmp_path: Path) -> None:
        path = tmp_path / "photo.jpg"
        Image.fromarray(RGB).save(path, format="PNG")
        assert np.array_equal(read_image(path).pixels, RGB)

    def test_exif_orientation(self, tmp_path: Path) -> None:
        pixels = np.zeros((16, 32, 3), np.uint8)
        pixels[:, :16] = 255
        exif = Image.Exif()
        exif[0x0112] = 6  # the camera was turned: what is stored on the left belongs at the top
        Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif, quality=95)
        image = read_image(tmp_path / "a.jpg")
        assert image.image_size == (32, 16)
        assert image.pixels[2].mean() > 250
        assert image.pixels[-2].mean() < 5

    @pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK"])
    def test_every_mode_becomes_rgb(self, tmp_path: Path, mode: str) -> None:
        name = "a.jpg" if mode == "CMYK" else "a.png"
        flat = Image.new("RGB", (8, 6), (255, 255, 255))
        flat.convert(mode).save(tmp_path / name)
        image = read_image(tmp_path / name)
        assert image.pixels.shape == (6, 8, 3)
        assert image.pixels.min() >= 250
        assert image.valid is None

    def test_transparent_pixels_have_no_data(self, tmp_path: Path) -> None:
        rgba = np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)])
        rgba[:4, :, 3] = 0
        Image.fromarray(rgba).save(tmp_path / "a.png")
        image = read_image(tmp_path / "a.png")
        assert np.array_equal(image.pixels[4:], RGB[4:])
        assert image.pixels[:4].max() == 0
        assert image.valid is not None
        assert np.flatnonzero(~image.valid.all(axis=1)).tolist() == [0, 1, 2, 3]

    def test_16_bit_gray(self, tmp_path: Path) -> None:
        gray = np.linspace(1000, 5000, 10_000).reshape(100, 100).astype(np.uint16)
        Image.fromarray(gray).save(tmp_path / "a.png")
        pixels = read_image(tmp_path / "a.png").pixels
        assert pixels[0, 0].tolist() == [0, 0, 0]
        assert pixels[-1, -1].tolist() == [255, 255, 255]
        assert abs(int(pixels[50, 0, 0]) - 128) <= 1

    def test_16_bit_color(self, tmp_path: Path) -> None:
        # Values up to 4095: the high byte alone, which Pillow would keep, has 16 levels of gray.
        bands = np.random.default_rng(6).integers(0, 4096, (3, 60, 60)).astype(np.uint16)
        path = tmp_path / "a.png"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            with rasterio.open(path, "w", driver="PNG", count=3, height=60, width=60, dtype="uint16") as dataset:
                dataset.write(bands)
        assert len(np.unique(read_image(path).pixels)) > 200

    def test_16_bit_color_needs_rasterio(self, tmp_path: Path, without_rasterio: None) -> None:
        header = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes([0, 0, 0, 4, 0, 0, 0, 4, 16, 2, 0, 0, 0])
        (tmp_path / "a.png").write_bytes(header)
        with pytest.raises(ValueError, match=r"a\.png has 16-bit color, which needs rasterio"):
            read_image(tmp_path / "a.png")

    def test_a_plain_image_needs_no_gdal(self, tmp_path: Path) -> None:
        Image.fromarray(RGB).save(tmp_path / "a.png")
        code = "import sys; from geodit.rasters.imagery import read_image; read_image(sys.argv[1]); "
        code += "sys.exit('rasterio' in sys.modules)"
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.png")], check=True)

    def test_one_channel_of_a_photograph(self, tmp_path: Path) -> None:
        Image.fromarray(RGB).save(tmp_path / "a.png")
        assert np.array_equal(read_image(tmp_path / "a.png", bands=(2,)).pixels[..., 0], RGB[..., 1])


class TestBadFiles:
    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"there is no image .*absent\.png"):
            read_image(tmp_path / "absent.png")

    def test_directory(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="is a directory"):
            read_image(tmp_path)

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "is empty"),
            (b"GIF89a and so on", "is damaged, or not a GIF"),
            (b"plain text, which is no image", "cannot be read as an image: .*not recognized"),
            (b"\x89PNG\r\n\x1a\n", "is damaged, or not a PNG"),
            (b"\x89PNG\r\n\x1a\n" + bytes(40), "is damaged, or not a PNG"),
            (b"\xff\xd8\xff\xe0 and so on", "is damaged, or not a JPEG"),
            (b"II*\x00", "cannot be read"),
            (b"MM\x00*" + bytes(100), "cannot be read"),
        ],
    )
    def test_content(self, tmp_path: Path, content: bytes, reason: str) -> None:
        path = tmp_path / "image.bin"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=reason) as raised:
            read_image(path)
        assert str(path) in str(raised.value)

    @pytest.mark.parametrize("name", ["a.png", "a.jpg"])
    @pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
    def test_truncated(self, tmp_path: Path, name: str, share: float) -> None:
        path = tmp_path / name
        Image.fromarray(np.random.default_rng(7).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(ValueError, match=f"{name} is damaged"):
            read_image(path)

    def test_png_without_pixels(self, tmp_path: Path) -> None:
        Image.fromarray(RGB).save(tmp_path / "a.png")
        content = bytearray((tmp_path / "a.png").read_bytes())
        content[16:20] = bytes(4)  # the width
        (tmp_path / "a.png").write_bytes(bytes(content))
        with pytest.raises(ValueError, match=r"a\.png"):
            read_image(tmp_path / "a.png")

    @pytest.mark.usefixtures("without_rasterio")
    def test_decompression_bomb(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        path = tmp_path / "a.png"
        Image.new("RGB", (40, 40)).save(path)
        with pytest.raises(ValueError, match=r"a\.png is damaged, or not a PNG image that can be read.*exceeds limit"):
            read_image(path)

    def test_what_is_too_large_for_pillow_is_read_by_windows(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        Image.fromarray(RGB).save(tmp_path / "a.png")
        with open_image(tmp_path / "a.png") as source:
            assert isinstance(source, raster.RasterSource)
            assert np.array_equal(source.read().pixels, RGB)


class TestImagesInMemory:
    @pytest.mark.parametrize(
        "image",
        [RGB, Image.fromarray(RGB), GeoImage(RGB), np.dstack([RGB, RGB[..., :1]])],
        ids=["array", "pil", "geo", "4"],
    )
    def test_are_taken_as_they_are(self, image: Any) -> None:
        with as_image_source(image) as source:
            assert source.image_size == (12, 20)
            assert np.array_equal(source.read().pixels, RGB)
            assert np.array_equal(source.read(Window(1, 2, 3, 4)).pixels, RGB[1:4, 2:6])

    def test_gray_array(self) -> None:
        assert np.array_equal(as_image_source(RGB[..., 0]).read().pixels[..., 2], RGB[..., 0])

    @pytest.mark.parametrize("image", [RGB.astype(float), RGB[0, 0], np.zeros((0, 4, 3), np.uint8)])
    def test_other_arrays(self, image: NDArray[Any]) -> None:
        with pytest.raises(ValueError, match="uint8 of shape"):
            as_image_source(image)

    def test_have_their_own_place(self) -> None:
        with pytest.raises(ValueError, match="is for a file, and this image is in memory"):
            as_image_source(RGB, crs="EPSG:32617")

    def test_what_is_no_image(self) -> None:
        with pytest.raises(TypeError, match="not int"):
            as_image_source(3)  # type: ignore[arg-type]
