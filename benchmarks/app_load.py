# SPDX-License-Identifier: Apache-2.0
"""What the page of `geodit app` stands: many requests at once, and uploads that are too large in one way or another.

    python benchmarks/app_load.py

Fifty requests of eight clients, three times over: each answer is compared with that of the pipeline, and the memory of
the process is read after each round. Then an upload of 2 GB, a PNG and a TIFF that state 60,000 x 60,000 pixels, and a
file that is called `../../etc/passwd.png`: each is to be refused in one line, or be harmless, and the page to answer
afterwards. In the end the temporary folder is to be empty. All of it is on this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import tempfile
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path

import httpx
import rasterio
from gradio_client import Client, handle_file

import geodit
from geodit.app.server import Limits, RunningPage, start
from geodit.app.service import Model
from geodit.pipelines.image_pipeline import GeoDiTPipeline
from geodit.pipelines.scenes.objects import ModelName

QUESTIONS = [
    ("detect", "ship"),
    ("detect", "tank"),
    ("caption", ""),
    ("classify", ""),
    ("ground", "the rightmost tank"),
]
FILE = {"meta": {"_type": "gradio.FileData"}}
KEEP = 2.0


def resident_mb() -> float:
    """Return the memory of this process, in MB of 2^20 bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def left_in(folder: Path) -> list[str]:
    """Return what is in the temporary folder beside the examples."""
    return [path.name for path in folder.iterdir() if path.name != "examples"]


def rounds(page: RunningPage, image: Path, clients: int, requests: int, count: int) -> None:
    """Have clients ask at once, some times over."""
    pipeline = page.service.models["geodit-tiny"].pipeline
    expected = {question: pipeline(image, *question, seed=0)[0].to_dict() for question in QUESTIONS}

    def ask(numbers: range) -> list[tuple[float, bool]]:
        client = Client(page.url, verbose=False)
        answered = []
        for number in numbers:
            question = QUESTIONS[number % len(QUESTIONS)]
            begin = time.perf_counter()
            answer = client.predict(handle_file(str(image)), *question, api_name="/ask")
            answered.append((time.perf_counter() - begin, answer["prediction"] == expected[question]))
        client.close()
        return answered

    for number in range(count):
        begin = time.perf_counter()
        with ThreadPoolExecutor(clients) as pool:
            parts = [range(start, requests, clients) for start in range(clients)]
            answered = [one for part in pool.map(ask, parts) for one in part]
        seconds = sorted(one for one, _ in answered)
        right = sum(is_right for _, is_right in answered)
        print(
            f"round {number + 1}: {right} of {len(answered)} right in {time.perf_counter() - begin:.1f} s, median "
            f"{seconds[len(seconds) // 2]:.2f} s, slowest {seconds[-1]:.2f} s, {resident_mb():.0f} MB"
        )
        assert right == requests


def refused(page: RunningPage, image: Path) -> None:
    """Send what is to be refused."""
    with httpx.Client(base_url=page.url, timeout=300) as http:

        def ask(content: bytes, name: str) -> str:
            (path,) = http.post("/gradio_api/upload", files={"files": (name, content)}).json()
            assert str(page.service.uploads.folder) in path
            asked = {"image": {"path": path, **FILE}, "task": "caption"}
            event = http.post("/gradio_api/call/v2/ask", json=asked).json()["event_id"]
            lines = [line for line in http.get(f"/gradio_api/call/ask/{event}").text.splitlines() if line]
            data = json.loads(lines[-1].removeprefix("data: "))
            return str(data["error"]) if lines[-2] == "event: error" else str(data[0]["prediction"]["text"])

        def parts():
            yield b'--x\r\ncontent-disposition: form-data; name="files"; filename="a.tif"\r\n\r\n'
            for _ in range(2048):
                yield bytes(2**20)
            yield b"\r\n--x--\r\n"

        begin, before = time.perf_counter(), resident_mb()
        answer = http.post(
            "/gradio_api/upload", content=parts(), headers={"content-type": "multipart/form-data; boundary=x"}
        )
        print(
            f"2 GB: {answer.status_code}, {answer.text!r}, {time.perf_counter() - begin:.1f} s, "
            f"{resident_mb() - before:+.0f} MB"
        )
        for name, content in (("bomb.png", png_bomb(60_000)), ("bomb.tif", tiff_bomb(60_000))):
            begin, before = time.perf_counter(), resident_mb()
            said = ask(content, name)
            print(
                f"{name}, {len(content):,} bytes: {said!r}, {time.perf_counter() - begin:.2f} s, "
                f"{resident_mb() - before:+.0f} MB"
            )
        print(f"../../etc/passwd.png: {ask(image.read_bytes(), '../../etc/passwd.png')!r}")
        print(f"and then: {ask(image.read_bytes(), image.name)!r}")


def png_bomb(side: int) -> bytes:
    """Return a black PNG of so many pixels a side."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    row = bytes(1 + side // 8)
    data = b"".join([*(packer.compress(row) for _ in range(side)), packer.flush()])
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def tiff_bomb(side: int) -> bytes:
    """Return a TIFF of so many pixels a side, in tiles that are not stored."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bomb.tif"
        options = {"compress": "deflate", "tiled": True, "blockxsize": 4096, "blockysize": 4096, "sparse_ok": True}
        with rasterio.open(path, "w", "GTiff", side, side, 3, dtype="uint8", **options):
            pass
        return path.read_bytes()


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    image = Path(str(files("geodit"))) / "tiny" / "demo_scenes" / "harbor.tif"
    pipeline = GeoDiTPipeline.from_pretrained(geodit.bundled_checkpoint(), device="cpu")
    models = {"geodit-tiny": Model(pipeline, ModelName("geodit-tiny"))}
    with start(models, port=None, limits=Limits(keep_seconds=KEEP)) as page:
        rounds(page, image, arguments.clients, arguments.requests, arguments.rounds)
        refused(page, image)
        folder = page.service.uploads.folder
        end = time.monotonic() + 60
        while left_in(folder) and time.monotonic() < end:
            time.sleep(0.2)
        print(f"left in the temporary folder: {left_in(folder) or 'nothing'}")


if __name__ == "__main__":
    main()
