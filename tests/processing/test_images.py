# SPDX-License-Identifier: Apache-2.0
"""An image gives the same pixels in whatever way it is handed over, or is refused."""

from __future__ import annotations

import base64
import io
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from transformers import PreTrainedTokenizerFast, SiglipImageProcessorPil
from transformers.image_utils import ChannelDimension

from geodit.processing.images_geodit import group_images
from geodit.processing.processing_geodit import GeoDiTProcessor


def read(image: Any, **arguments: Any) -> np.ndarray:
    """The pixels of the only image of the only text."""
    ((picture,),) = group_images(image, **arguments)
    assert picture.mode == "RGB"
    return np.asarray(picture)


def png_of(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


class TestPillow:
    @pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "CMYK", "1"])
    def test_other_modes_are_converted_to_rgb(self, processor: GeoDiTProcessor, image: Image.Image, mode: str) -> None:
        converted = image.convert("RGB").convert(mode) if mode != "LA" else image.convert("L").convert("LA")
        expected = processor(images=converted.convert("RGB"), return_tensors="pt")["pixel_values"]
        assert torch.equal(processor(images=converted, return_tensors="pt")["pixel_values"], expected)

    @pytest.mark.parametrize("mode", ["I", "F", "I;16"])
    def test_more_than_8_bits_are_refused(self, processor: GeoDiTProcessor, mode: str, tmp_path: Path) -> None:
        deep = Image.new(mode, (8, 8))
        deep.save(tmp_path / "deep.tif")
        content = (tmp_path / "deep.tif").read_bytes()
        for source in (deep, tmp_path / "deep.tif", content, base64.b64encode(content).decode()):
            with pytest.raises(ValueError, match="more than 8 bits"):
                processor(images=source)

    def test_an_empty_image_is_refused(self, processor: GeoDiTProcessor) -> None:
        with pytest.raises(ValueError, match="no pixels"):
            processor(images=Image.new("RGB", (0, 4)))


class TestFiles:
    def test_all_that_names_or_holds_a_file_is_read_as_the_image(
        self, processor: GeoDiTProcessor, image: Image.Image, tmp_path: Path
    ) -> None:
        path = tmp_path / "image.png"
        image.save(path)
        content = path.read_bytes()
        encoded = base64.b64encode(content).decode()
        sources = [
            path,
            str(path),
            encoded,
            base64.encodebytes(content).decode(),
            f"data:image/png;base64,{encoded}",
            content,
            bytearray(content),
            memoryview(content),
            {"bytes": content, "path": "elsewhere.png"},
            {"bytes": content},
            {"bytes": None, "path": str(path)},
        ]
        expected = processor(images=image, return_tensors="pt")["pixel_values"]
        for source in sources:
            assert torch.equal(processor(images=source, return_tensors="pt")["pixel_values"], expected)
        batch = processor(images=sources, text=["a"] * len(sources), return_tensors="pt")
        assert torch.equal(batch["pixel_values"], expected.expand(len(sources), -1, -1, -1))

    def test_a_url_is_read_as_the_image(self, image: Image.Image) -> None:
        class Files(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(png_of(image))

            def log_message(self, *_: Any) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                assert (read(f"http://127.0.0.1:{server.server_port}/image.png") == np.asarray(image)).all()
            finally:
                server.shutdown()
                thread.join()

    def test_of_an_animation_the_first_frame_is_read(self) -> None:
        frames = [Image.new("P", (4, 4), color) for color in (7, 9)]
        buffer = io.BytesIO()
        frames[0].save(buffer, format="GIF", save_all=True, append_images=frames[1:])
        assert (read(buffer.getvalue()) == np.asarray(Image.open(buffer).convert("RGB"))).all()

    def test_a_photo_taken_sideways_is_turned_upright(self, processor: GeoDiTProcessor, tmp_path: Path) -> None:
        upright = Image.fromarray(np.arange(20 * 10 * 3, dtype=np.uint8).reshape(20, 10, 3))
        exif = Image.Exif()
        exif[0x0112] = 6  # shown after a quarter turn clockwise
        path = tmp_path / "sideways.png"
        upright.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
        expected = processor(images=upright, return_tensors="pt")["pixel_values"]
        for source in (path, path.read_bytes()):
            assert torch.equal(processor(images=source, return_tensors="pt")["pixel_values"], expected)

    def test_a_file_that_is_no_image_is_refused(self, processor: GeoDiTProcessor, tmp_path: Path) -> None:
        path = tmp_path / "notes.txt"
        path.write_text("notes")
        with pytest.raises(ValueError, match=r"cannot read .*notes\.txt"):
            processor(images=path)
        with pytest.raises(ValueError, match="cannot read 5 bytes as an image"):
            processor(images=b"notes")

    def test_a_file_that_is_cut_off_is_refused(self, image: Image.Image) -> None:
        content = png_of(image)
        with pytest.raises(ValueError, match=r"cannot read \d+ bytes as an image"):
            read(content[: len(content) // 2])

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ({}, "must have `bytes` or a `path` and nothing else, got {}"),
            ({"bytes": None, "path": None}, "must have `bytes` or a `path`"),
            ({"type": "image", "path": "a.png"}, "nothing else"),
            ("missing.png", r"no image 'missing\.png': give a path, a URL"),
            ("x" * 1000, r"no image 'x{77}\.\.\.'"),
            ("Größe.png", "no image 'Größe.png'"),
        ],
    )
    def test_what_leads_to_no_file_is_refused(self, value: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            read([value])


class TestArrays:
    @given(arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3))))
    def test_are_read_as_the_image_that_pillow_makes_of_them(self, pixels: np.ndarray) -> None:
        """Whatever the size: also where an axis of pixels is as long as that of channels."""
        assert (read(Image.fromarray(pixels)) == pixels).all()
        assert (read(pixels) == pixels).all()
        assert (read(torch.from_numpy(pixels).permute(2, 0, 1)) == pixels).all()
        assert (read(torch.from_numpy(pixels), input_data_format="channels_last") == pixels).all()
        assert (read(pixels.transpose(2, 0, 1), input_data_format=ChannelDimension.FIRST) == pixels).all()

    @pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA"])
    def test_of_any_mode_are_read_as_the_image(self, image: Image.Image, mode: str) -> None:
        converted = image.convert(mode)
        pixels = np.asarray(converted)
        spread = pixels if pixels.ndim == 3 else pixels[:, :, None]
        expected = np.asarray(converted.convert("RGB"))
        for array in (pixels, spread, spread.transpose(2, 0, 1)):
            assert (read(array) == expected).all()
            assert (read(torch.from_numpy(array.copy())) == expected).all()

    @pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
    def test_of_floats_from_0_to_1_are_read_as_8_bits(self, kind: type[np.floating[Any]]) -> None:
        pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
        floats = (pixels / 255).astype(kind)
        assert (read(floats) == pixels).all()
        assert (read(torch.from_numpy(floats).permute(2, 0, 1)) == pixels).all()

    def test_of_bfloat16_with_a_gradient_are_read(self) -> None:
        pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
        floats = (torch.from_numpy(pixels).permute(2, 0, 1) / 255).bfloat16().requires_grad_()
        assert (read(floats) == pixels).all()

    def test_give_the_inputs_that_the_image_gives(self, processor: GeoDiTProcessor, image: Image.Image) -> None:
        pixels = np.asarray(image)
        channels_first = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
        expected = processor(images=image, return_tensors="pt")["pixel_values"]
        for source in (pixels, pixels / 255, pixels.transpose(2, 0, 1), channels_first, channels_first / 255):
            assert torch.equal(processor(images=source, return_tensors="pt")["pixel_values"], expected)

    @pytest.mark.parametrize(
        "arguments",
        [
            {"input_data_format": "channels_first"},
            {"images_kwargs": {"input_data_format": "channels_first"}},
        ],
    )
    def test_that_are_ambiguous_are_read_as_told(self, processor: GeoDiTProcessor, arguments: dict[str, Any]) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (3, 40, 3), dtype=np.uint8)
        expected = processor(images=Image.fromarray(pixels.transpose(1, 2, 0)), return_tensors="pt")["pixel_values"]
        told = processor(images=pixels, return_tensors="pt", **arguments)["pixel_values"]
        assert torch.equal(told, expected)
        assert not torch.equal(processor(images=pixels, return_tensors="pt")["pixel_values"], expected)

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            (np.zeros((8, 8, 3), np.uint16), "dtype uint16, more than 8 bits"),
            (torch.zeros(3, 8, 8, dtype=torch.int64), "dtype int64, more than 8 bits"),
            (np.zeros((8, 8, 3), np.int8), "uint8, bool or floats from 0 to 1, got int8"),
            (np.zeros((8, 8, 3), np.complex64), "got complex64"),
            (np.full((8, 8, 3), 255.0), "from 0 to 1, got 255 to 255"),
            (np.linspace(-1, 1, 192).reshape(8, 8, 3), "from 0 to 1, got -1 to 1"),
            (torch.full((3, 8, 8), float("nan")), "from 0 to 1, got nan to nan"),
            (np.zeros((8, 9, 5), np.uint8), r"C = 1 \(gray\), 3 \(RGB\) or 4 \(RGBA\) channels, got \(8, 9, 5\)"),
            (np.zeros((2, 8, 9), np.uint8), r"got \(2, 8, 9\)\. Several gray images must be a list"),
            (np.zeros(8, np.uint8), r"got \(8,\)"),
            (np.zeros((0, 8, 3), np.uint8), "no pixels"),
            (torch.zeros(3, 8, 0), "no pixels"),
            (3, "got int"),
            (None, "got NoneType"),
        ],
    )
    def test_that_are_no_images_are_refused(self, processor: GeoDiTProcessor, value: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            processor(images=[value], text="a")

    def test_without_the_layout_that_was_named_are_refused(self, processor: GeoDiTProcessor) -> None:
        with pytest.raises(ValueError, match=r"got \(8, 9, 3\) as channels_first"):
            processor(images=np.zeros((8, 9, 3), np.uint8), input_data_format="channels_first")
        with pytest.raises(ValueError, match='"channels_first" or "channels_last", got \'last\''):
            processor(images=np.zeros((8, 9, 3), np.uint8), input_data_format="last")

    def test_of_floats_are_refused_where_nothing_divides_by_255(
        self, processor: GeoDiTProcessor, tokenizer: PreTrainedTokenizerFast
    ) -> None:
        floats = np.zeros((8, 8, 3))
        undivided = GeoDiTProcessor(SiglipImageProcessorPil(do_rescale=False), tokenizer)
        calls: list[tuple[GeoDiTProcessor, dict[str, Any]]] = [
            (processor, {"do_rescale": False}),
            (processor, {"images_kwargs": {"do_rescale": False}}),
            (undivided, {}),
        ]
        for asked, arguments in calls:
            with pytest.raises(ValueError, match="`do_rescale=False` would leave at 0 to 255"):
                asked(images=floats, **arguments)
        assert undivided(images=floats, do_rescale=True)["pixel_values"][0].min() == -1


class TestGroups:
    def test_an_array_of_images_has_one_for_each_text(self, processor: GeoDiTProcessor, image: Image.Image) -> None:
        pixels = np.asarray(image)
        stacked = np.stack([pixels, pixels[::-1]])
        expected = processor(images=[pixels, pixels[::-1]], return_tensors="pt")["pixel_values"]
        for images in (stacked, torch.from_numpy(stacked.transpose(0, 3, 1, 2).copy())):
            assert torch.equal(processor(images=images, task="caption", return_tensors="pt")["pixel_values"], expected)

    def test_arrays_of_several_images_are_those_of_one_text(
        self, processor: GeoDiTProcessor, image: Image.Image
    ) -> None:
        pixels = np.asarray(image)
        pair = np.stack([pixels, pixels])
        for images in ([pair, pixels], [[pixels, pixels], [pixels]]):
            batch = processor(images=images, text=["a", "b"], return_tensors="pt")
            assert (batch["input_ids"] == processor.image_token_id).sum(-1).tolist() == [8, 4]
        batch = processor(images=np.stack([pair, pair]), text=["a", "b"], return_tensors="pt")
        assert (batch["input_ids"] == processor.image_token_id).sum(-1).tolist() == [8, 8]

    def test_an_empty_list_is_refused(self, processor: GeoDiTProcessor) -> None:
        for images in ([], ()):
            with pytest.raises(ValueError, match="empty list"):
                processor(images=images, text="a")


class TestDatasets:
    @pytest.mark.parametrize("form", [None, "torch", "numpy"])
    @pytest.mark.parametrize("decode", [True, False])
    @pytest.mark.parametrize("same_size", [True, False])
    @pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
    def test_rows_can_be_passed_as_they_are(
        self,
        processor: GeoDiTProcessor,
        image: Image.Image,
        other_image: Image.Image,
        form: str | None,
        decode: bool,
        mode: str,
        same_size: bool,
    ) -> None:
        datasets = pytest.importorskip("datasets")
        second = image.transpose(Image.Transpose.ROTATE_180) if same_size else other_image
        images = [image.convert(mode), second.convert(mode)]
        questions = ["How many ships?", "Where?"]
        features = datasets.Features({"image": datasets.Image(decode=decode), "question": datasets.Value("string")})
        rows = datasets.Dataset.from_dict({"image": images, "question": questions}, features=features)
        expected = processor(images=images, text=questions, task="vqa", return_tensors="pt")
        rows = rows.with_format(form)
        batches = [(rows["image"], rows["question"]), (rows[:]["image"], rows[:]["question"])]
        if form == "numpy" and decode and mode == "L" and same_size:
            del batches[1]  # one array (B, H, W), which nothing tells from an image of B channels
        batches.append(([row["image"] for row in rows], [row["question"] for row in rows]))
        for pictures, texts in batches:
            inputs = processor(images=pictures, text=texts, task="vqa", return_tensors="pt")
            for name, value in expected.items():
                assert torch.equal(inputs[name], value), name
