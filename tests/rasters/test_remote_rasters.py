# SPDX-License-Identifier: Apache-2.0
"""Rasters on the network, and those that a STAC item names: they are fetched if the user names them, and only they."""

import json
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from example_rasters import CRS, write_raster
from file_server import serve_files

from geodit.data.windows import Window
from geodit.rasters.image_names import find_raster
from geodit.rasters.imagery import open_image, read_image

PIXELS = np.random.default_rng(0).integers(0, 256, (600, 600, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_raster(tmp_path / "a.tif", PIXELS, tiled=True, blockxsize=64, blockysize=64)
    return tmp_path


@pytest.fixture
def server(folder: Path) -> Iterator[tuple[str, list[str]]]:
    with serve_files(folder) as served:
        yield served


class TestAddresses:
    def test_a_geotiff_is_read_by_windows(self, server: tuple[str, list[str]]) -> None:
        address, asked = server
        with open_image(f"{address}/a.tif") as source:
            part = source.read(Window(top=500, left=400, height=64, width=64))
        assert np.array_equal(part.pixels, PIXELS[500:564, 400:464])
        assert part.crs == CRS
        assert set(asked) == {"/a.tif"}

    @pytest.mark.parametrize("form", ["/vsicurl/{}/a.tif", "{}/a.tif?signature=secret"])
    def test_other_forms_of_an_address(self, server: tuple[str, list[str]], form: str) -> None:
        address, _ = server
        assert np.array_equal(read_image(form.format(address)).pixels, PIXELS)

    @pytest.mark.parametrize("form", ["zip+{}/a.zip!in/a.tif", "/vsizip/vsicurl/{}/a.zip/in/a.tif"])
    def test_a_member_of_an_archive(self, server: tuple[str, list[str]], folder: Path, form: str) -> None:
        address, asked = server
        with zipfile.ZipFile(folder / "a.zip", "w") as archive:
            archive.write(folder / "a.tif", "in/a.tif")
        assert np.array_equal(read_image(form.format(address)).pixels, PIXELS)
        assert set(asked) == {"/a.zip"}

    @pytest.mark.parametrize(("name", "reason"), [("b.tif", "404"), ("text.tif", "not recognized")])
    def test_one_that_cannot_be_read_is_one_error_without_its_signature(
        self, server: tuple[str, list[str]], folder: Path, name: str, reason: str
    ) -> None:
        (folder / "text.tif").write_text("no image")
        address, _ = server
        with pytest.raises(ValueError, match=rf"/{name} cannot be read as an image: .*{reason}") as raised:
            open_image(f"{address}/{name}?signature=secret")
        assert "secret" not in str(raised.value)

    @pytest.mark.parametrize(
        ("name", "location", "fetched"),
        [
            ("s3://bucket/a.tif", "/vsis3/bucket/a.tif", "/vsis3/bucket/a.tif"),
            ("gs://bucket/a.tif", "/vsigs/bucket/a.tif", "/vsigs/bucket/a.tif"),
            ("HTTPS://host/a.tif", "/vsicurl/https://host/a.tif", "/vsicurl/https://host/a.tif"),
            ("/vsis3/bucket/a.tif", "/vsis3/bucket/a.tif", "/vsis3/bucket/a.tif"),
            ("zip+s3://bucket/a.zip!b/c.tif", "/vsizip/{/vsis3/bucket/a.zip}/b/c.tif", "/vsis3/bucket/a.zip"),
            ("/vsitar/{/vsigs/b/a.x}/c.tif", "/vsitar/{/vsigs/b/a.x}/c.tif", "/vsigs/b/a.x"),
        ],
    )
    def test_only_the_file_that_is_named_is_fetched(self, name: str, location: str, fetched: str) -> None:
        access = find_raster(name)
        assert access is not None
        assert access.location == location
        assert access.options["CPL_VSIL_CURL_ALLOWED_FILENAME"] == fetched
        assert "VRT" not in access.drivers

    def test_what_it_names_itself_is_not_fetched(self, server: tuple[str, list[str]], folder: Path) -> None:
        address, asked = server
        with rasterio.open(folder / "a.tif", "r+") as dataset:
            dataset.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=f"/vsicurl/{address}/other.tif")
        (folder / "b.vrt").write_text(
            '<VRTDataset rasterXSize="8" rasterYSize="8"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
            f"<SourceFilename>/vsicurl/{address}/other.tif</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
        )
        with pytest.raises(ValueError, match="its overviews are said to be in another file"):
            open_image(f"{address}/a.tif")
        with pytest.raises(ValueError, match=r"b\.vrt cannot be read as an image"):
            open_image(f"{address}/b.vrt")
        assert set(asked) == {"/a.tif", "/b.vrt"}


@pytest.mark.skipif(find_spec("pystac") is None, reason="needs pystac")
class TestStacItems:
    def write_item(self, path: Path, **assets: dict[str, Any]) -> Path:
        item = {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": "scene",
            "geometry": None,
            "properties": {"datetime": "2026-01-01T00:00:00Z"},
            "links": [],
            "assets": assets,
        }
        path.write_text(json.dumps(item))
        return path

    def test_the_asset_to_look_at_is_shown(self, folder: Path) -> None:
        (folder / "items").mkdir()
        path = self.write_item(
            folder / "items" / "item.json",
            B04={"href": "../b04.tif", "roles": ["data"]},
            thumbnail={"href": "../small.png", "roles": ["thumbnail"]},
            TCI={"href": "../a.tif", "roles": ["visual"]},
        )
        assert np.array_equal(read_image(path).pixels, PIXELS)

    def test_another_asset_can_be_chosen(self, folder: Path) -> None:
        write_raster(folder / "b04.tif", PIXELS[..., :1])
        path = self.write_item(folder / "item.json", visual={"href": "./a.tif"}, B04={"href": "./b04.tif"})
        assert np.array_equal(read_image(f"{path}#B04").pixels[..., 1], PIXELS[..., 0])
        with pytest.raises(ValueError, match=r"item\.json has no asset 'B05', only visual, B04"):
            read_image(f"{path}#B05")

    def test_it_asks_which_of_several_is_meant(self, folder: Path) -> None:
        bands = {name: {"href": f"./{name}.tif", "roles": ["data"]} for name in ("B03", "B04")}
        path = self.write_item(folder / "item.json", **bands)
        with pytest.raises(ValueError, match=r"has the assets B03, B04: choose one, for instance .*item\.json#B03"):
            read_image(path)

    def test_an_address_is_an_item(self, server: tuple[str, list[str]], folder: Path) -> None:
        address, asked = server
        self.write_item(folder / "item.json", visual={"href": "./a.tif"})
        assert np.array_equal(read_image(f"{address}/item.json").pixels, PIXELS)
        assert set(asked) == {"/item.json", "/a.tif"}

    @pytest.mark.parametrize("href", ["file:///etc/hostname", "/vsimem/a.tif", "/vsicurl/http://127.0.0.1:9/a.tif"])
    def test_an_address_names_no_local_file(self, server: tuple[str, list[str]], folder: Path, href: str) -> None:
        address, _ = server
        self.write_item(folder / "item.json", visual={"href": href})
        with pytest.raises(ValueError, match="is on the network and names"):
            read_image(f"{address}/item.json")

    @pytest.mark.parametrize(
        "text", ["{}", '{"type": "FeatureCollection"}', '{"type": "Feature", "assets": {"a": 1}}', "{"]
    )
    def test_other_json_is_one_error(self, folder: Path, text: str) -> None:
        (folder / "item.json").write_text(text)
        with pytest.raises(ValueError, match=r"item\.json is not "):
            read_image(folder / "item.json")

    def test_one_that_is_not_there(self, server: tuple[str, list[str]], folder: Path) -> None:
        address, _ = server
        with pytest.raises(FileNotFoundError, match=r"there is no image .*absent\.json"):
            read_image(folder / "absent.json")
        with pytest.raises(ValueError, match=r"absent\.json cannot be fetched: .*404"):
            read_image(f"{address}/absent.json")
