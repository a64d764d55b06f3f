# SPDX-License-Identifier: Apache-2.0
"""Formats besides GeoTIFF, the files next to a raster, and rasters at other sizes than their own."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from example_rasters import CRS, PLACE, harbor, write_raster
from numpy.typing import NDArray
from PIL import Image
from rasterio.enums import ColorInterp
from rasterio.rpc import RPC

from geodit.data.windows import Window
from geodit.rasters import imagery, raster, sampling
from geodit.rasters.control_points import ControlPointReference, RpcReference
from geodit.rasters.gdal_access import GdalAccess
from geodit.rasters.image_source import ArraySource, GeoImage
from geodit.rasters.imagery import open_image, read_image
from geodit.rasters.raster import RasterSource
from geodit.rasters.rendering import Rendering, StretchRule

HARBOR = harbor()
NAMED_COLORS = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
LOSSLESS = {
    "a.img": {"driver": "HFA"},
    "a.dat": {"driver": "ENVI"},
    "a.bil": {"driver": "EHdr"},
    "a.pix": {"driver": "PCIDSK"},
    "a.gpkg": {"driver": "GPKG", "TILE_FORMAT": "PNG"},
    "a.ntf": {"driver": "NITF", "ICORDS": "N"},
    "a.webp": {"driver": "WEBP", "LOSSLESS": "YES"},
    "a.png": {"driver": "PNG", "WORLDFILE": "YES"},
    "a.bmp": {"driver": "BMP"},
    "a.j2k.jp2": {"driver": "JP2OpenJPEG", "QUALITY": 100, "REVERSIBLE": "YES"},
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_a_format_is_read_like_a_geotiff(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    crs = rasterio.CRS.from_epsg(32631) if name != "a.png" else None
    write_raster(path, HARBOR, crs=crs, **LOSSLESS[name])
    image = read_image(path, crs=CRS)
    assert np.array_equal(image.pixels, HARBOR)
    # NITF states its corners in whole meters.
    assert image.transform == pytest.approx(tuple(PLACE)[:6], abs=0.3 if name == "a.ntf" else 1e-9)
    assert image.crs is not None
    assert rasterio.CRS.from_user_input(image.crs).to_epsg() == 32631


@pytest.mark.parametrize("kind", ["WEBP", "BMP", "GIF"])
def test_plain_images_of_other_formats(tmp_path: Path, kind: str) -> None:
    pixels = np.where(HARBOR[..., :1] > 100, 255, 0).astype(np.uint8).repeat(3, axis=-1)
    Image.fromarray(pixels).save(tmp_path / "a", kind, **({"lossless": True} if kind == "WEBP" else {}))
    with open_image(tmp_path / "a") as source:
        assert isinstance(source, ArraySource)
        assert np.array_equal(source.read().pixels, pixels)


class TestFilesNextToARaster:
    def test_a_world_file_needs_a_reference_system(self, tmp_path: Path) -> None:
        Image.fromarray(HARBOR).save(tmp_path / "a.png")
        (tmp_path / "a.pgw").write_text("0.5\n0\n0\n-0.5\n590000.25\n5754999.75\n")
        assert read_image(tmp_path / "a.png").georeference is None
        assert read_image(tmp_path / "a.png", crs="EPSG:32631").transform == tuple(PLACE)[:6]

    def test_a_reference_system_needs_a_transform(self, tmp_path: Path) -> None:
        Image.fromarray(HARBOR).save(tmp_path / "a.png")
        with pytest.raises(
            ValueError, match=r"a\.png .*has no transform that EPSG:32631 could be of: put a world file"
        ):
            read_image(tmp_path / "a.png", crs="EPSG:32631")

    def test_a_prj_that_is_none_is_one_error(self, tmp_path: Path) -> None:
        write_raster(tmp_path / "a.tif", HARBOR, crs=None)
        (tmp_path / "a.prj").write_text("somewhere")
        with pytest.raises(ValueError, match=r"a\.tif .*a\.prj next to it is no coordinate reference system in WKT"):
            read_image(tmp_path / "a.tif")

    def test_a_photograph_with_statistics_keeps_its_orientation(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(HARBOR[:100]).save(tmp_path / "a.jpg", exif=exif)
        (tmp_path / "a.jpg.aux.xml").write_text("<PAMDataset></PAMDataset>")
        assert read_image(tmp_path / "a.jpg").image_size == (192, 100)

    def test_statistics_no_data_and_place_of_an_auxiliary_file(self, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        Image.fromarray(HARBOR[..., 0]).save(path)
        items = '<MDI key="STATISTICS_MINIMUM">0</MDI><MDI key="STATISTICS_MAXIMUM">510</MDI>'
        value = int(HARBOR[0, 0, 0])
        (tmp_path / "a.png.aux.xml").write_text(
            f"<PAMDataset><SRS>{rasterio.CRS.from_user_input(CRS).to_wkt()}</SRS>"
            "<GeoTransform>590000, 0.5, 0, 5755000, 0, -0.5</GeoTransform>"
            f'<PAMRasterBand band="1"><NoDataValue>{value}</NoDataValue><Metadata>{items}</Metadata></PAMRasterBand>'
            "</PAMDataset>"
        )
        image = read_image(path, rendering=Rendering(StretchRule("statistics")))
        assert (image.crs, image.transform) == (CRS, tuple(PLACE)[:6])
        assert image.valid is not None
        assert np.array_equal(image.valid, HARBOR[..., 0] != value)
        seen = HARBOR[..., 0][image.valid] / 2
        assert np.abs(image.pixels[..., 0][image.valid] - seen).max() <= 0.5

    def test_control_points_of_an_auxiliary_file(self, tmp_path: Path) -> None:
        Image.fromarray(HARBOR).save(tmp_path / "a.png")
        points = "".join(
            f'<GCP Id="{x}{y}" Pixel="{x}" Line="{y}" X="{4 + x / 100}" Y="{52 - y / 100}"/>'
            for x in (0, 100)
            for y in (0, 100)
        )
        wkt = rasterio.CRS.from_epsg(4326).to_wkt().replace('"', "&quot;")
        (tmp_path / "a.png.aux.xml").write_text(
            f'<PAMDataset><GCPList Projection="{wkt}">{points}</GCPList></PAMDataset>'
        )
        image = read_image(tmp_path / "a.png")
        assert image.georeference is not None
        assert image.georeference.to_map(np.array([50.0, 20.0])).tolist() == pytest.approx([4.5, 51.8])

    def test_an_external_mask_is_no_data(self, tmp_path: Path) -> None:
        path = write_raster(tmp_path / "a.tif", HARBOR)
        mask = np.full(HARBOR.shape[:2], 255, np.uint8)
        mask[:, :50] = 0
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as dataset:
            dataset.write_mask(mask)
        assert path.with_name("a.tif.msk").exists()
        image = read_image(path)
        assert image.valid is not None
        assert np.array_equal(image.valid, mask > 0)
        assert image.pixels[:, :50].max() == 0

    @pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
    def test_external_overviews_are_read_for_a_smaller_copy(self, tmp_path: Path) -> None:
        path = write_raster(tmp_path / "a.tif", HARBOR)
        with rasterio.Env(TIFF_USE_OVR=True), rasterio.open(path, "r+") as dataset:
            dataset.build_overviews([4])
        assert path.with_name("a.tif.ovr").exists()
        with rasterio.open(path.with_name("a.tif.ovr"), "r+") as dataset:
            dataset.write(np.full((3, 48, 48), 77, np.uint8))  # told from the raster itself
        with open_image(path) as source:
            assert np.unique(source.read(shape=(48, 48)).pixels).tolist() == [77]
            assert np.array_equal(source.read().pixels, HARBOR)


class TestCameras:
    """Rational polynomials: of longitude and latitude alone here, so that the answer is known."""

    MODEL = RPC(
        height_off=100.0,
        height_scale=500.0,
        lat_off=51.9,
        lat_scale=0.01,
        long_off=4.3,
        long_scale=0.01,
        line_off=95.5,
        line_scale=96.0,
        samp_off=95.5,
        samp_scale=96.0,
        line_num_coeff=[0.0, 0.0, -1.0] + [0.0] * 17,
        line_den_coeff=[1.0] + [0.0] * 19,
        samp_num_coeff=[0.0, 1.0] + [0.0] * 18,
        samp_den_coeff=[1.0] + [0.0] * 19,
    )

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return write_raster(tmp_path / "a.tif", HARBOR, placed=False, rpcs=self.MODEL)

    def test_are_a_place(self, path: Path) -> None:
        image = read_image(path)
        assert isinstance(image.georeference, RpcReference)
        assert image.crs == "EPSG:4326"
        assert image.georeference.bounds((0, 0, 192, 192)) == pytest.approx((4.29, 51.89, 4.31, 51.91), abs=1e-9)

    def test_lead_back_to_the_pixels_of_a_part(self, path: Path) -> None:
        with open_image(path) as source:
            part = source.read(Window(top=20, left=30, height=60, width=90), (20, 45)).georeference
        assert part is not None
        points = np.random.default_rng(0).uniform(0, 20, (2, 5, 2))
        assert part.to_map(np.zeros(2)).tolist() == pytest.approx([4.29 + 30 / 9600, 51.91 - 20 / 9600], abs=1e-9)
        assert part.to_pixels(part.to_map(points)) == pytest.approx(points, abs=1e-4)

    def test_that_lack_coefficients_are_no_place(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="rational polynomials give no place"):
            RpcReference("EPSG:4326", {"LINE_OFF": "1"})


class TestControlPoints:
    POINTS = tuple((row, column, 4 + column / 100, 52 - row / 100) for row in (0.0, 100.0) for column in (0.0, 100.0))

    def test_lead_there_and_back_after_pickling(self) -> None:
        reference = pickle.loads(pickle.dumps(ControlPointReference("EPSG:4326", self.POINTS)))  # noqa: S301
        points = np.random.default_rng(0).uniform(0, 100, (4, 3, 2))
        assert reference.to_map(points) == pytest.approx(points * [0.01, -0.01] + [4, 52])
        assert reference.to_pixels(reference.to_map(points)) == pytest.approx(points, abs=1e-6)
        assert np.isnan(reference.to_pixels(np.array([np.inf, 52.0]))).all()

    def test_on_one_line_are_no_place(self) -> None:
        line = tuple((float(row), 0.0, 4.0, 52.0 - row) for row in range(4))
        with pytest.raises(ValueError, match="its 4 control points give no place on the map"):
            ControlPointReference("EPSG:4326", line)


def mean_of_blocks(pixels: NDArray[Any], side: int) -> NDArray[np.float64]:
    height, width = pixels.shape[0] // side, pixels.shape[1] // side
    mean: NDArray[np.float64] = pixels.reshape(height, side, width, side, -1).mean(axis=(1, 3))
    return mean


class TestOtherSizes:
    @pytest.mark.parametrize("layout", [{"tiled": True, "blockxsize": 64, "blockysize": 64}, {"blockysize": 1}, {}])
    def test_a_smaller_copy_is_an_average_read_strip_by_strip(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: dict[str, Any]
    ) -> None:
        path = write_raster(tmp_path / "a.tif", HARBOR, NAMED_COLORS, **layout)
        monkeypatch.setattr(sampling, "_STRIP_BYTES", 192 * 3 * 20)
        with open_image(path) as source:
            image = source.read(shape=(24, 24))
        assert np.abs(image.pixels - mean_of_blocks(HARBOR, 8)).max() <= 1
        assert image.transform == (4, 0, 590000, 0, -4, 5755000)

    def test_a_smaller_copy_of_a_window(self, tmp_path: Path) -> None:
        with open_image(write_raster(tmp_path / "a.tif", HARBOR)) as source:
            image = source.read(Window(top=32, left=64, height=64, width=128), (16, 32))
        assert np.abs(image.pixels - mean_of_blocks(HARBOR[32:96, 64:], 4)).max() <= 1
        assert image.transform == (2, 0, 590032, 0, -2, 5754984)

    def test_no_data_is_left_out_of_averages(self, tmp_path: Path) -> None:
        pixels = np.full((64, 64, 1), 1000, np.uint16)
        pixels[:30] = 65535
        path = write_raster(tmp_path / "a.tif", pixels, nodata=65535)
        with open_image(path, rendering=Rendering(StretchRule("limits", 0, 1000))) as source:
            image = source.read(shape=(8, 8))
        assert image.valid is not None
        assert np.unique(image.pixels[image.valid]).tolist() == [255]
        assert image.valid[4:].all()
        assert not image.valid[:3].any()

    def test_one_value_that_is_none_does_not_spoil_an_average(self, tmp_path: Path) -> None:
        pixels = np.full((64, 64, 1), 100.0, np.float32)
        pixels[::8, ::8] = np.nan
        path = write_raster(tmp_path / "a.tif", pixels)
        with open_image(path, rendering=Rendering(StretchRule("none"))) as source:
            image = source.read(shape=(8, 8))
        assert np.unique(image.pixels).tolist() == [100]

    def test_a_larger_copy(self, tmp_path: Path) -> None:
        with open_image(write_raster(tmp_path / "a.tif", HARBOR)) as source:
            image = source.read(Window(0, 0, 10, 10), (20, 30))
        assert np.array_equal(image.pixels, HARBOR[:10, :10].repeat(2, axis=0).repeat(3, axis=1))

    def test_a_large_photograph_is_read_by_windows(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(imagery, "_MAX_PILLOW_PIXELS", 1000)
        Image.fromarray(HARBOR).save(tmp_path / "a.png")
        with open_image(tmp_path / "a.png") as source:
            assert isinstance(source, RasterSource)
            assert np.array_equal(source.read(Window(100, 50, 20, 30)).pixels, HARBOR[100:120, 50:80])
            assert source.read(shape=source.fit_within(48)).image_size == (48, 48)

    def test_blocks_that_gdal_keeps_are_dropped(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(raster, "_MAX_KEPT_BYTES", 192 * 3 * 50)
        opened = []
        open_dataset = GdalAccess.open

        def spy(access: GdalAccess) -> Any:
            opened.append(access.name)
            return open_dataset(access)

        path = write_raster(tmp_path / "a.tif", HARBOR, compress="DEFLATE", blockysize=1)
        monkeypatch.setattr(GdalAccess, "open", spy)
        with open_image(path) as source:
            tiles = [source.read(Window(top, 0, 32, 192)).pixels for top in range(0, 192, 32)]
            assert len(opened) == 3
            assert np.array_equal(source.read(Window(160, 0, 32, 10)).pixels, HARBOR[160:, :10])
        assert np.array_equal(np.concatenate(tiles), HARBOR)

    def test_the_same_at_its_own_size(self, tmp_path: Path) -> None:
        with open_image(write_raster(tmp_path / "a.tif", HARBOR)) as source:
            assert np.array_equal(source.read(shape=(192, 192)).pixels, GeoImage(HARBOR).pixels)
