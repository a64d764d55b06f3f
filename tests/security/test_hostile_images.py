# SPDX-License-Identifier: Apache-2.0
"""Image files that are bombs, damaged, or something else: one error, little memory, no other file, no network."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from file_server import serve_files
from PIL import Image

from geodit.data.readers.files import ImageFileError, decode_image, read_image_size
from geodit.data.schema import Question, QuestionDataset, decode_stored_image, features, make_row
from geodit.data.streaming import QuestionStream
from geodit.data.windows import Window
from geodit.processing.images_geodit import group_images
from geodit.rasters.imagery import open_image, read_image

rasterio = pytest.importorskip("rasterio")


def png(width: int, height: int, *, depth: int = 8, pixels: bytes = b"") -> bytes:
    """A PNG of which the header says this; the pixels are what compresses best."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    content = zlib.compress(pixels or bytes(10_000_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def tiff(width: int, height: int, *, rows: int = 1, bits: int = 8) -> bytes:
    """A TIFF of one band, of which the header says this."""
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, 1), (273, 8), (277, 1), (278, rows), (279, 1)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(64)


BOMBS = {
    "png": png(2**31 - 1, 2**31 - 1),
    "large png": png(60_000, 60_000),
    "deep png": png(2**31 - 1, 2**31 - 1, depth=16),
    "tiff": tiff(2**31 - 1, 2**31 - 1),
    "tiff in one strip": tiff(2**31 - 1, 2**31 - 1, rows=2**31 - 1),
    "deep tiff": tiff(2**31 - 1, 2**31 - 1, bits=16),
    "large tiff": tiff(100_000, 100_000),
    "gif": b"GIF89a" + struct.pack("<HH", 65535, 65535) + bytes(20),
}
READERS: dict[str, Callable[[Path], Any]] = {
    "scene": read_image,
    "processor": lambda path: group_images(str(path)),
    "processor, bytes": lambda path: group_images(path.read_bytes()),
    "data set": decode_image,
    "table": lambda path: decode_stored_image({"bytes": None, "path": str(path)}),
    "table, bytes": lambda path: decode_stored_image({"bytes": path.read_bytes(), "path": None}),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_one_error_and_takes_little_memory(tmp_path, kind, reader):
    path = tmp_path / "bomb.img"
    path.write_bytes(BOMBS[kind])
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"bomb\.img|\d+ bytes as an image|an image of the data set|read at once"):
            READERS[reader](path)
        assert tracemalloc.get_traced_memory()[1] < 200e6
    finally:
        tracemalloc.stop()


@pytest.mark.filterwarnings("ignore:Truncated File Read")
@pytest.mark.parametrize("reader", READERS)
def test_an_image_cut_off_anywhere_is_read_or_one_error(tmp_path, reader):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    for kind in ("PNG", "JPEG", "TIFF", "GIF", "WEBP", "BMP"):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind)
        content = buffer.getvalue()
        for cut in range(0, len(content), max(len(content) // 25, 1)):
            path = tmp_path / f"cut.{kind}"
            path.write_bytes(content[:cut])
            with contextlib.suppress(ValueError):  # nothing else
                READERS[reader](path)


@pytest.mark.parametrize("reader", READERS)
def test_postscript_is_not_run(tmp_path, reader, monkeypatch):
    """Pillow hands EPS to a program of its own language."""
    path = tmp_path / "program.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n")
    monkeypatch.setattr("subprocess.check_call", lambda *arguments, **options: pytest.fail("a program was started"))
    with pytest.raises(ValueError, match="image"):
        READERS[reader](path)


@pytest.fixture
def requests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[str]]]:
    """An address where there is nothing, and what was asked of it."""
    with serve_files(tmp_path_factory.mktemp("nothing")) as served:
        yield served


def write_tiff(path: Path, **overviews: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 60000, (1, 2048, 64), dtype=np.uint16)
    with rasterio.open(path, "w", driver="GTiff", height=2048, width=64, count=1, dtype="uint16") as file:
        file.write(pixels)
        if overviews:
            file.update_tags(ns="OVERVIEWS", **overviews)


def vrt(source: str, *, relative: int = 0, kind: str = "SimpleSource") -> str:
    return (
        f'<VRTDataset rasterXSize="64" rasterYSize="2048"><VRTRasterBand dataType="UInt16" band="1"><{kind}>'
        f'<SourceFilename relativeToVRT="{relative}">{source}</SourceFilename><SourceBand>1</SourceBand></{kind}>'
        "</VRTRasterBand></VRTDataset>"
    )


def auxiliary(source: str) -> str:
    item = f'<MDI key="OVERVIEW_FILE">{source}</MDI>'
    return f'<PAMDataset><Metadata domain="OVERVIEWS">{item}</Metadata></PAMDataset>'


def web_map(address: str) -> str:
    """A list of tiles on the network, as GDAL's WMS format has it."""
    sides = "".join(f"<{name}>{value}</{name}>" for name, value in (("UpperLeftX", 0), ("UpperLeftY", 10)))
    sides += "".join(f"<{name}>{value}</{name}>" for name, value in (("LowerRightX", 10), ("LowerRightY", 0)))
    return (
        f'<GDAL_WMS><Service name="TMS"><ServerUrl>{address}/${{z}}.png</ServerUrl></Service><DataWindow>{sides}'
        "<SizeX>256</SizeX><SizeY>256</SizeY><TileLevel>1</TileLevel></DataWindow><BandsCount>1</BandsCount></GDAL_WMS>"
    )


# What a VRT can hold that makes GDAL open something else; {} is an address.
HOSTILE_VRTS = {
    "curl": vrt("/vsicurl/{}/a.tif"),
    "curl, relative": vrt("/vsicurl/{}/a.tif", relative=1),
    "streaming": vrt("/vsicurl_streaming/{}/a.tif"),
    "address": vrt("{}/a.tif"),
    "bucket": vrt("/vsis3/bucket/a.tif"),
    "archive": vrt("/vsizip/vsicurl/{}/a.zip/a.tif"),
    "in small letters": vrt("/vsicurl/{}/a.tif").replace("SourceFilename", "sourcefilename"),
    "with a prefix": vrt("/vsicurl/{}/a.tif")
    .replace("SourceFilename", "a:SourceFilename")
    .replace("band=", 'xmlns:a="a" band='),
    "attribute": '<VRTDataset rasterXSize="8" rasterYSize="8"><VRTRasterBand dataType="Byte" band="1">'
    '<SimpleSource SourceFilename="/vsicurl/{}/a.tif"/></VRTRasterBand></VRTDataset>',
    "comment": vrt("/vsicurl/{}/a.tif<!-- -->"),
    "part": vrt("GTIFF_DIR:1:/vsicurl/{}/a.tif"),
    "warped": '<VRTDataset rasterXSize="8" rasterYSize="8" subClass="VRTWarpedDataset"><GDALWarpOptions>'
    '<SourceDataset relativeToVRT="0">/vsicurl/{}/a.tif</SourceDataset></GDALWarpOptions></VRTDataset>',
    "overview": vrt("scene.tif", relative=1).replace(
        "</VRTRasterBand>", "<Overview><SourceFilename>/vsicurl/{}/a.tif</SourceFilename></Overview></VRTRasterBand>"
    ),
    "overviews": vrt("scene.tif", relative=1).replace(
        "<VRTRasterBand", '<Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">{}/a</MDI></Metadata><VRTRasterBand'
    ),
    "heights": vrt("scene.tif", relative=1).replace(
        "<VRTRasterBand", "<DEMPath>/vsicurl/{}/a</DEMPath><VRTRasterBand"
    ),
    "program": vrt("scene.tif", relative=1).replace(
        'band="1">', 'band="1" subClass="VRTDerivedRasterBand"><PixelFunctionLanguage>Python</PixelFunctionLanguage>'
    ),
    "steps": vrt("scene.tif", relative=1).replace("<VRTDataset", '<VRTDataset subClass="VRTProcessedDataset"'),
    "entity": '<!DOCTYPE a [<!ENTITY b "/vsicurl/{}/a.tif">]>' + vrt("&b;"),
    "list of tiles": vrt("web_map.xml", relative=1),
    "nested": vrt("inner.vrt", relative=1),
    "itself, over and over": vrt("deep0.vrt", relative=1),
    "device": vrt("/dev/zero"),
    "pipe": vrt("pipe.tif", relative=1),
    "missing": vrt("missing.tif", relative=1),
}


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
class TestGdal:
    """What GDAL can be made to open by a file, and by those next to it."""

    @pytest.mark.parametrize(
        ("suffix", "content"), [(".ovr", vrt), (".msk", vrt), (".OVR", vrt), (".aux.xml", auxiliary)]
    )
    def test_files_next_to_an_image_cannot_name_others(self, tmp_path, requests, suffix, content):
        address, asked = requests
        path = tmp_path / "scene.tif"
        write_tiff(path)
        path.with_name(path.name + suffix).write_text(content(f"/vsicurl/{address}/{suffix}.tif"))
        with pytest.raises(ValueError, match=rf"scene\.tif\{suffix}.* (is not a TIFF file|names another file)"):
            read_image(path)
        assert asked == []

    @pytest.mark.parametrize("suffix", [".ovr", ".msk"])
    def test_overviews_next_to_an_image_cannot_have_theirs_elsewhere(self, tmp_path, requests, suffix):
        address, asked = requests
        path = tmp_path / "scene.tif"
        write_tiff(path)
        write_tiff(path.with_name(path.name + suffix), OVERVIEW_FILE=f"/vsicurl/{address}/inside.tif")
        with pytest.raises(ValueError, match=rf"scene\.tif\{suffix} says its overviews are in another file"):
            read_image(path)
        assert asked == []

    @pytest.mark.parametrize("suffix", [".tif.ovr", ".tif.aux.xml", ".tfw", ".wld", ".prj", "_RPC.TXT"])
    def test_a_pipe_next_to_an_image_is_not_waited_for(self, tmp_path, suffix):
        path = tmp_path / "scene.tif"
        write_tiff(path)
        os.mkfifo(tmp_path / f"scene{suffix}")
        with pytest.raises(ValueError, match="is no regular file: remove it"):
            read_image(path)

    def test_an_image_whose_overviews_are_elsewhere_is_refused(self, tmp_path, requests):
        address, asked = requests
        path = tmp_path / "scene.tif"
        write_tiff(path, OVERVIEW_FILE=f"/vsicurl/{address}/inside.tif")
        with pytest.raises(ValueError, match=r"scene\.tif cannot be shown as RGB: its overviews are said to be in"):
            read_image(path)
        assert asked == []

    @pytest.mark.parametrize("kind", HOSTILE_VRTS)
    def test_a_list_of_other_files_has_local_ones_only(self, tmp_path, requests, kind):
        address, asked = requests
        write_tiff(tmp_path / "scene.tif")
        (tmp_path / "web_map.xml").write_text(web_map(address))
        (tmp_path / "inner.vrt").write_text(vrt(f"/vsicurl/{address}/a.tif"))
        for depth in range(6):
            (tmp_path / f"deep{depth}.vrt").write_text(vrt(f"deep{depth + 1}.vrt", relative=1))
        os.mkfifo(tmp_path / "pipe.tif")
        path = tmp_path / "list.tif"
        path.write_text(HOSTILE_VRTS[kind].replace("{}", address))
        with pytest.raises(ValueError, match=r"(list|inner)\.|deep\d\.vrt is a VRT in|web_map\.xml cannot be read"):
            read_image(path)
        assert asked == []

    def test_a_list_of_local_files_is_an_image(self, tmp_path, monkeypatch):
        write_tiff(tmp_path / "scene.tif")
        (tmp_path / "inner.vrt").write_text(vrt("scene.tif", relative=1))
        (tmp_path / "outer.vrt").write_text(vrt(str(tmp_path / "inner.vrt")))
        monkeypatch.chdir(tmp_path)
        expected = read_image("scene.tif").pixels
        for name in ("inner.vrt", "outer.vrt", tmp_path / "outer.vrt"):
            np.testing.assert_array_equal(read_image(name).pixels, expected)

    @pytest.mark.parametrize("kind", ["curl", "streaming", "address", "list of tiles"])
    def test_what_the_checks_let_through_does_not_reach_the_network(self, tmp_path, requests, monkeypatch, kind):
        """GDAL's own settings forbid it, too."""
        from geodit.rasters.gdal_access import GdalAccess

        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        address, asked = requests
        (tmp_path / "web_map.xml").write_text(web_map(address))
        path = tmp_path / "list.vrt"
        path.write_text(HOSTILE_VRTS[kind].replace("{}", address))
        access = GdalAccess("list.vrt", str(path))
        with access.environment(), access.open() as dataset, contextlib.suppress(rasterio.RasterioIOError):
            dataset.read()
        assert asked == []

    def test_lists_of_addresses_are_no_images(self, tmp_path, requests):
        address, asked = requests
        for name, content in (("a.xml", web_map(address)), ("a.json", '{"tiles": ["' + address + '/{z}.png"]}')):
            (tmp_path / name).write_text(content)
            with pytest.raises(ValueError, match=r"a\.(xml cannot be read|json is not an image)"):
                read_image(tmp_path / name)
        assert asked == []

    def test_a_file_of_such_a_name_comes_before_what_the_name_means(self, tmp_path, requests, monkeypatch):
        address, asked = requests
        monkeypatch.chdir(tmp_path)
        for name in (f"{address}/a.tif", "zip://a.zip!a.tif", "s3://bucket/a.tif"):
            path = Path(name)
            path.parent.mkdir(parents=True)
            Image.new("RGB", (7, 5)).save(path)
            assert read_image(name).image_size == (5, 7)
        assert asked == []

    @pytest.mark.parametrize("name", ["/vsistdin/", "/vsimem/a.tif", "/vsisubfile/0,/etc/passwd", "/vsicached?file=a"])
    def test_names_that_stand_for_no_file_are_refused(self, name):
        with pytest.raises(ValueError, match="is a name that GDAL does not take for a file"):
            open_image(name)

    @pytest.mark.parametrize("name", ["ftp://127.0.0.1/a.tif", "GPKG_BANDS:a", "WMS:a", "MEM:::DATAPOINTER=1", "{}"])
    def test_other_names_are_names_of_files(self, name):
        with pytest.raises(FileNotFoundError, match="there is no image"):
            open_image(name)

    def test_an_archive_has_to_be_a_file(self, tmp_path):
        os.mkfifo(tmp_path / "a.zip")
        with pytest.raises(FileNotFoundError, match=r"there is no archive .*b\.zip"):
            open_image(f"/vsizip/{tmp_path}/b.zip/a.tif")
        with pytest.raises(ValueError, match=r"a\.zip is a named pipe"):
            open_image(f"zip://{tmp_path}/a.zip!a.tif")

    def test_a_list_of_other_files_in_an_archive_is_no_image(self, tmp_path, requests):
        address, asked = requests
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr("a.vrt", vrt(f"/vsicurl/{address}/a.tif"))
        with pytest.raises(ValueError, match=r"a\.vrt cannot be read as an image"):
            read_image(f"zip://{tmp_path}/a.zip!a.vrt")
        assert asked == []

    def test_a_path_that_reads_like_a_part_of_another_file_is_that_of_its_own(self, tmp_path, monkeypatch):
        """`GTIFF_DIR:1:x.tif` is, for GDAL, the first image of x.tif."""
        monkeypatch.chdir(tmp_path)
        write_tiff(tmp_path / "x.tif")
        Image.new("RGB", (7, 5)).save(tmp_path / "own.tif")
        Path("own.tif").rename("GTIFF_DIR:1:x.tif")
        assert read_image("GTIFF_DIR:1:x.tif").image_size == (5, 7)


def test_a_box_that_never_ends_is_not_waited_for(tmp_path):
    """GDAL walks through the boxes of a JPEG 2000 file if it is asked for all of its structure."""
    path = tmp_path / "scene.jp2"
    options = {"driver": "JP2OpenJPEG", "height": 64, "width": 64, "count": 3, "dtype": "uint8", "crs": "EPSG:32631"}
    with rasterio.open(path, "w", **options, transform=rasterio.Affine(1, 0, 9, 0, -1, 9)) as file:
        file.write(np.random.default_rng(0).integers(0, 256, (3, 64, 64), dtype=np.uint8))
    content = path.read_bytes()
    length_of_box = content.index(b"colr") - 4
    path.write_bytes(content[:length_of_box] + bytes(4) + content[length_of_box + 4 :])
    code = "import sys; from geodit.rasters.imagery import read_image; print(read_image(sys.argv[1]).image_size)"
    ended = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60)
    assert ended.stdout == "(64, 64)\n" or "ValueError" in ended.stderr


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_image_that_is_decoded_whole_has_a_limit(tmp_path, monkeypatch, kind):
    """Of these formats a window at the bottom costs as much as the whole image."""
    from geodit.rasters import imagery, raster

    monkeypatch.setattr(imagery, "_MAX_PILLOW_PIXELS", 1000)
    monkeypatch.setattr(raster, "MAX_WINDOW_PIXELS", 2000)
    path = tmp_path / "scene.img"
    Image.new("RGB", (40, 30), "white").save(path, kind)
    with open_image(path) as source:
        assert isinstance(source, raster.RasterSource)
        assert source.read(Window(10, 20, 5, 5)).pixels.min() > 250
    Image.new("RGB", (60, 50)).save(path, kind)
    with pytest.raises(ValueError, match=r"scene\.img .*60 x 50 pixels, more than the 2,000 \(MAX_WINDOW_PIXELS\)"):
        open_image(path)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_what_is_read_at_once_is_bounded(tmp_path):
    """A sparse file of a few kilobytes can hold a scene of any size, which is read by windows."""
    path = tmp_path / "scene.tif"
    options = {"tiled": True, "sparse_ok": True, "bigtiff": "YES"}
    with rasterio.open(path, "w", driver="GTiff", height=40_000, width=40_000, count=3, dtype="uint8", **options):
        pass
    with open_image(path) as source:
        assert source.read(Window(30_000, 30_000, 64, 64)).image_size == (64, 64)
        with pytest.raises(ValueError, match="40000 x 40000 pixels are more than the 536,870,912"):
            source.read()


class TestAddresses:
    """A data set names its images; it cannot have them fetched."""

    NAMES = ("{}/a.png", "zip://a.png::{}/a.zip", "{}/a.png::file:///a", "simplecache::{}/a.png", "ftp://127.0.0.1/a")

    @pytest.mark.parametrize("name", NAMES)
    def test_of_a_row_for_the_processor(self, requests, name):
        address, asked = requests
        with pytest.raises(ValueError, match="There is no image file"):
            group_images({"bytes": None, "path": name.format(address)})
        assert asked == []

    @pytest.mark.parametrize("name", NAMES)
    def test_of_a_row_for_training(self, requests, name):
        address, asked = requests
        name = name.format(address)
        row = make_row({"bytes": None, "path": name}, "a", [Question("vqa", "Is it?", "yes")])
        table = datasets.Dataset.from_list([row], features=features())
        with pytest.raises(ValueError, match=r"the image '.*' of the data set cannot be read: "):
            QuestionDataset(table)[0]
        with pytest.raises(ValueError, match=r"the image '.*' of the data set cannot be read: "):
            QuestionDataset(table, in_memory=True)
        with pytest.raises(ValueError, match=r"the image '.*' of the data set cannot be read: "):
            next(iter(QuestionStream(table.to_iterable_dataset())))
        assert asked == []

    def test_of_a_file_of_a_data_set(self, requests):
        address, asked = requests
        for read in (decode_image, read_image_size):
            with pytest.raises(ImageFileError, match="is missing"):
                read(Path(f"{address}/a.png"))
        assert asked == []

    def test_an_address_that_is_passed_itself_is_fetched(self, requests):
        address, asked = requests
        with pytest.raises(ValueError, match="There is no image at 'http"):
            group_images(f"{address}/a.png")
        assert asked == ["/a.png"]
