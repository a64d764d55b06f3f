# SPDX-License-Identifier: Apache-2.0
"""What the server lets requests do, and what it does not, over HTTP."""

import io
import json
import socket
import struct
import zlib

import httpx
import numpy as np
import pytest
from PIL import Image

from geodit.app.server import Limits, start

FILE = {"meta": {"_type": "gradio.FileData"}}


@pytest.fixture
def http(page):
    with httpx.Client(base_url=page.url, timeout=60) as client:
        yield client


def upload(http, content, name="harbor.tif"):
    return http.post("/gradio_api/upload", files={"files": (name, content)})


def call(http, path, **arguments):
    """The last event of a request: its kind, and what it has."""
    arguments = {"task": "caption", **arguments}
    posted = http.post("/gradio_api/call/v2/ask", json={"image": {"path": str(path), **FILE}, **arguments})
    if posted.status_code != 200:
        return posted.status_code, posted.text
    with http.stream("GET", f"/gradio_api/call/ask/{posted.json()['event_id']}") as events:
        lines = [line for line in events.iter_lines() if line]
    return lines[-2].removeprefix("event: "), json.loads(lines[-1].removeprefix("data: "))


def test_an_upload_is_answered(http, page, harbor):
    (path,) = upload(http, harbor.read_bytes()).json()
    kind, (answer,) = call(http, path, task="detect", query="ship")
    assert kind == "complete"
    expected = page.service.models["geodit-tiny"].pipeline(harbor, "detect", "ship")[0]
    assert answer["prediction"]["boxes"] == [list(box) for box in expected.boxes]
    assert answer["geojson"]["features"][0]["properties"]["source"] == "harbor.tif"
    assert answer["coco"]["images"][0]["file_name"] == "harbor.tif"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"task": "detect"}, "Task 'detect' needs a query, for its prompt 'Detect: {query}.'."),
        ({"task": "dance"}, "Unknown task 'dance'. Choose one of: caption, classify, detect, ground, vqa."),
        (
            {"bands": [9]},
            "harbor.tif cannot be shown as RGB: bands must be one or three numbers from 1 to 3, got (9,)",
        ),
        ({"stretch": "<b>p2"}, "a stretch is none, auto, statistics, two values"),
        ({"remasking": "none"}, "remasking must be one of"),
        ({"model": "gpt"}, "this page has no model 'gpt': choose one of geodit-tiny, the same"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(http, harbor, arguments, said):
    (path,) = upload(http, harbor.read_bytes()).json()
    kind, error = call(http, path, **arguments)
    assert kind == "error"
    message = error["error"]
    assert said in message
    assert "\n" not in message
    assert "/tmp" not in message
    assert "<" not in message


@pytest.mark.parametrize(
    "content",
    [b"", b"GIF89a", b"%PDF-1.4", b"<VRTDataset>/etc/passwd</VRTDataset>", b"II*\0 no TIFF", b"\x89PNG\r\n\x1a\n"],
)
def test_what_is_no_image_is_refused_and_the_page_lives_on(http, harbor, content):
    (path,) = upload(http, content, "picture.png").json()
    kind, error = call(http, path)
    assert kind == "error"
    assert error["error"].startswith("picture.png ")
    (path,) = upload(http, harbor.read_bytes()).json()
    assert call(http, path)[0] == "complete"


def png_bomb(side):
    """A PNG of one color with so many pixels a side, in a few KB."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    rows = [packer.compress(bytes(1 + side // 8)) for _ in range(min(side, 2000))]
    data = b"".join([*rows, packer.flush()])
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def tiff_bomb(tmp_path, side):
    """A TIFF of as many pixels whose tiles are not stored."""
    import rasterio

    path = tmp_path / "bomb.tif"
    options = {"compress": "deflate", "tiled": True, "sparse_ok": True}
    with rasterio.open(path, "w", "GTiff", side, side, 3, dtype="uint8", **options):
        pass
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(http, tmp_path, kind):
    content = png_bomb(60_000) if kind == "png" else tiff_bomb(tmp_path, 60_000)
    assert len(content) < 3_000_000
    (path,) = upload(http, content, f"bomb.{kind}").json()
    told, error = call(http, path)
    assert told == "error"
    assert "60,000 x 60,000 pixels, more than the 4,000,000 that are allowed" in error["error"] or (
        error["error"] == "bomb.png has more pixels than are allowed"
    )


def test_an_upload_that_is_too_large_is_refused_before_it_is_read(page):
    url = httpx.URL(page.url)
    with socket.create_connection((url.host, url.port), timeout=30) as connection:
        lines = ("POST /gradio_api/upload HTTP/1.1", f"host: {url.host}", f"content-length: {2 * 2**30}")
        connection.sendall("\r\n".join([*lines, "content-type: multipart/form-data; boundary=x", "", "--x"]).encode())
        answer = b"".join(iter(lambda: connection.recv(4096), b"")).decode()
    assert answer.startswith("HTTP/1.1 413 ")
    assert answer.endswith("this is more than the 8 MB that an upload may have")


def test_an_upload_that_hides_its_size_is_cut_off(http, page):
    def parts():
        yield b'--x\r\ncontent-disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        for _ in range(12):
            yield bytes(2**20)
        yield b"\r\n--x--\r\n"

    before = page.service.uploads.num_bytes
    answer = http.post(
        "/gradio_api/upload", content=parts(), headers={"content-type": "multipart/form-data; boundary=x"}
    )
    assert answer.status_code == 413
    assert len(answer.text.splitlines()) == 1
    assert page.service.uploads.num_bytes == before


@pytest.mark.parametrize(
    ("path", "form", "status"),
    [
        ("/gradio_api/upload", 'name="files"', 413),  # no file, so it would be held in memory
        ("/gradio_api/upload", 'name="files"; filename="a.png"', 200),
        ("/gradio_api/run/ask", 'name="files"; filename="a.png"', 413),
        ("/gradio_api/call/upload", 'name="files"; filename="a.png"', 413),
    ],
)
@pytest.mark.parametrize("tells_its_size", [True, False])
def test_only_the_files_of_an_upload_may_be_large(http, path, form, status, tells_its_size):
    content = f"--x\r\ncontent-disposition: form-data; {form}\r\n\r\n".encode() + bytes(5 * 2**20) + b"\r\n--x--\r\n"
    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = http.post(path, content=content if tells_its_size else iter([content]), headers=headers)
    assert answer.status_code == status


def test_a_form_without_a_boundary_is_refused(http):
    answer = http.post("/gradio_api/upload", content=b"x", headers={"content-type": "multipart/form-data"})
    assert answer.status_code == 400
    assert answer.text.startswith("this form has no boundary")


def test_an_upload_that_stands_still_is_cut_off(page, monkeypatch):
    monkeypatch.setattr("geodit.app.guard._MAX_SILENCE", 0.2)
    url = httpx.URL(page.url)
    before = page.service.uploads.num_bytes
    with socket.create_connection((url.host, url.port), timeout=30) as connection:
        lines = ("POST /gradio_api/upload HTTP/1.1", f"host: {url.host}", "content-length: 1000")
        form = '--x\r\ncontent-disposition: form-data; name="files"; filename="a.png"\r\n\r\nabc'
        content_type = "content-type: multipart/form-data; boundary=x"
        connection.sendall("\r\n".join([*lines, content_type, "", form]).encode())
        answer = b"".join(iter(lambda: connection.recv(4096), b"")).decode()
    assert answer.startswith("HTTP/1.1 408 ")
    assert page.service.uploads.num_bytes == before


def test_a_path_as_a_file_name_stays_in_the_folder(http, page, harbor):
    (path,) = upload(http, harbor.read_bytes(), "../../etc/passwd.tif").json()
    assert path.startswith(str(page.service.uploads.folder))
    assert path.endswith("/passwd.tif")


@pytest.mark.parametrize("name", ["page.html", "page.svg", "page.xml", "page.HTML"])
@pytest.mark.parametrize("headers", [{}, {"range": "bytes=0-60"}])
def test_no_upload_is_a_document_of_the_page(http, name, headers):
    content = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    (path,) = upload(http, content, name).json()
    for route in ("file=", "file/"):
        answer = http.get(f"/gradio_api/{route}{path}", headers=headers)
        assert answer.status_code in (200, 206)
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_no_file_outside_is_reached(http, page, harbor):
    import geodit

    config = f"{geodit.bundled_checkpoint()}/config.json"
    folder = page.service.uploads.folder
    for name in ("/etc/passwd", config, f"{folder}/../../etc/passwd", "..%2f..%2fetc%2fpasswd", str(folder)):
        assert http.get(f"/gradio_api/file={name}").status_code in (403, 404), name
    for name in ("/etc/passwd", config, str(harbor), f"{folder}/../../etc/passwd"):
        kind, error = call(http, name)
        assert kind == "error", name
        assert "root:" not in json.dumps(error)


@pytest.mark.parametrize("path", ["http://127.0.0.1:9/a.png", "https://example.org/a.png", "s3://bucket/a.tif"])
def test_no_address_is_fetched(http, path):
    assert call(http, path) == (
        422,
        "a request names files that were uploaded, and no addresses: upload the file",
    )
    for route in ("file=", "file/", "file//"):
        answer = http.get(f"/gradio_api/{route}{path}")
        assert (answer.status_code, answer.text.partition(":")[0]) == (403, "this server fetches no addresses")


def test_the_page_loads_nothing_from_elsewhere(http):
    answer = http.get("/")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'self' ")
    assert "http" not in policy
    for tag in ("<link", "<script"):
        for part in answer.text.split(tag)[1:]:
            head = part.partition(">")[0]
            assert "//" not in head.replace(str(http.base_url), ""), head


def test_it_is_on_this_machine_only(page):
    assert page.url.startswith("http://127.0.0.1:")


def test_a_port_that_is_taken_is_told(page, models):
    port = int(page.url.rstrip("/").rpartition(":")[2])
    with pytest.raises(OSError, match=f"cannot listen at 127.0.0.1:{port} .*: choose another --port or --host"):
        start(models, port=port).__enter__()


def test_nothing_is_left_when_it_ends(models, harbor, monkeypatch):
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)
    with start(models, port=None) as running:
        folder = running.service.uploads.folder
        with httpx.Client(base_url=running.url) as http:
            upload(http, harbor.read_bytes())
        assert list(folder.glob("*/harbor.tif"))
    assert not folder.exists()
    with pytest.raises(httpx.ConnectError):
        httpx.get(running.url)


@pytest.mark.parametrize("field", ["max_upload_mb", "max_pixels", "keep_seconds"])
def test_limits_are_above_0(field):
    with pytest.raises(ValueError, match=f"{field} must be above 0, got 0"):
        Limits(**{field: 0})


def test_a_picture_without_a_place_has_no_geojson(http):
    buffer = io.BytesIO()
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(buffer, "PNG")
    (path,) = upload(http, buffer.getvalue(), "gray.png").json()
    kind, (answer,) = call(http, path)
    assert kind == "complete"
    assert answer["geojson"] is None
