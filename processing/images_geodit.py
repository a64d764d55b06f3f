# SPDX-License-Identifier: Apache-2.0
"""Reads images: whatever a user has an image in, as Pillow images in RGB with 8 bits per sample.

Arrays state their layout and range less clearly than files do, so they are read by rules:

* Layout: channels are on the axis of length 1 (gray), 3 (RGB) or 4 (RGBA). If that could be the first axis as well as
  the last, it is the last of a NumPy array, which is how NumPy has a Pillow image, and the first of a PyTorch tensor.
  `input_data_format` decides otherwise.
* Range: uint8 is 0 to 255, bool is black and white, floats are 0 to 1. Nothing else is an image.
"""

from __future__ import annotations

import base64
import io
import os
import struct
import zlib
from collections.abc import Collection, Mapping, Sequence
from typing import TypeGuard

import numpy as np
import torch
from PIL import Image, ImageOps
from transformers.image_utils import ChannelDimension, load_image

# PIL modes with more than 8 bits a sample, which convert("RGB") would cut off at 255 without a word.
_DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")

_SCALE_FIRST = "more than 8 bits a sample. Scale it to 8 bits first: converting it would cut off its bright parts."

_SOURCES = "a path, a URL starting with http:// or https://, base64 or the bytes of a file"

IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that are read of files: no other decoder of Pillow is let near them, such as that of EPS, a program."""

DAMAGE = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow's decoders raise for files that are damaged or hostile, by format and by the place of the damage."""

_CHANNELS = (1, 3, 4)

_AXES = {ChannelDimension.FIRST: 0, ChannelDimension.LAST: -1}


def group_images(
    images: object, input_data_format: str | None = None, do_rescale: bool = True
) -> list[list[Image.Image]]:
    """Read the images of each text.

    Args:
        images: One image, a sequence of one image per text, or a sequence of sequences with the images of each text,
            which may be empty. An array or tensor of four dimensions, or of objects, is a sequence of images, of five
            a sequence of those. An image is one of

            * a PIL image of 8 bits per sample;
            * an array or tensor (H, W), (H, W, C) or (C, H, W) of 1, 3 or 4 channels: uint8, bool, or floats from 0 to
              1, which are multiplied by 255 and rounded;
            * the path or URL of a BMP, GIF, JPEG, JPEG 2000, PNG, PPM, TIFF or WebP file, its content as bytes or
              base64, or a dictionary of `bytes` and `path`, of which `path` is read if there are no `bytes`. A URL is
              fetched only if it is passed itself: the `path` of a dictionary, which comes out of a data set, must be
              that of a file.
        input_data_format: `"channels_first"` or `"channels_last"`, the layout of all arrays with three dimensions; by
            default see the rules at the top of this module.
        do_rescale: Whether the image processor divides by 255, without which floats would not be what they were.

    Returns:
        For each text its images, in RGB.

    Raises:
        ValueError: If there are no images, or one is of a kind that cannot be used.
    """
    layout = None if input_data_format is None else _layout(input_data_format)
    groups = images if _is_sequence(images) else [images]
    if not len(groups):
        raise ValueError("`images` is an empty list. Leave it out to ask without an image.")
    return [
        [_to_rgb(image, layout, do_rescale) for image in (item if _is_sequence(item) else [item])] for item in groups
    ]


def _layout(input_data_format: str) -> ChannelDimension:
    try:
        return ChannelDimension(input_data_format)
    except ValueError as error:
        raise ValueError(
            f'`input_data_format` must be "channels_first" or "channels_last", got {input_data_format!r}.'
        ) from error


def _is_sequence(images: object) -> TypeGuard[Collection[object]]:
    """Return whether this is several images: a list, a column of a data set, or an array with one more dimension."""
    if isinstance(images, np.ndarray) and images.dtype == object:  # of arrays of several sizes, or of dictionaries
        return images.ndim == 1
    if isinstance(images, (np.ndarray, torch.Tensor)):
        return images.ndim > 3
    return isinstance(images, Sequence) and not isinstance(images, (str, bytes, bytearray, memoryview))


def _to_rgb(image: object, layout: ChannelDimension | None, do_rescale: bool) -> Image.Image:
    if isinstance(image, Mapping):
        image = _source_of(image)
    if isinstance(image, (str, os.PathLike, bytes, bytearray, memoryview)):
        image = _open(image)
    elif isinstance(image, (np.ndarray, torch.Tensor)):
        image = _from_array(image, layout, do_rescale)
    if not isinstance(image, Image.Image):
        raise ValueError(
            f"An image must be a PIL image, an array or tensor of shape (H, W), (H, W, C) or (C, H, W), {_SOURCES}, "
            f"got {type(image).__name__}."
        )
    if 0 in image.size:
        raise ValueError("The image has no pixels.")
    if image.mode in _DEEP_MODES:
        raise ValueError(f"The image has mode {image.mode!r}, {_SCALE_FIRST}")
    return image if image.mode == "RGB" else image.convert("RGB")


def _source_of(file: Mapping[str, object]) -> object:
    """Return what to read of a file as the data sets library has it when images are not decoded."""
    source = file.get("path") if file.get("bytes") is None else file["bytes"]
    if source is None or not set(file) <= {"bytes", "path"}:
        raise ValueError(
            f"A dictionary as an image must have `bytes` or a `path` and nothing else, got {dict(file)!r:.200}."
        )
    # What a data set names is read and never fetched, nor taken for base64.
    if isinstance(source, (str, os.PathLike)) and not os.path.isfile(source):  # noqa: PTH113
        raise ValueError(
            f"There is no image file {os.fspath(source)!r:.80}, which the `path` of a dictionary must be."
        )
    return source


def _open(source: str | os.PathLike[str] | bytes | bytearray | memoryview) -> Image.Image:
    """Read the first frame of a file, upright."""
    if isinstance(source, (str, os.PathLike)):
        name = os.fspath(source)
        # Not Path.is_file(), which raises where a base64 string is too long for a path.
        if os.path.isfile(name):  # noqa: PTH113
            return _decode(name, repr(name))
        if name.startswith(("http://", "https://")):
            try:
                return load_image(name)
            except DAMAGE as error:
                raise ValueError(f"There is no image at {name!r:.200} that Pillow can read.") from error
        try:
            source = base64.b64decode(name.partition(",")[2] if name.startswith("data:") else name)
            return _decode(io.BytesIO(source), "base64")
        except ValueError as error:
            shown = name if len(name) < 80 else f"{name[:77]}..."
            raise ValueError(f"There is no image {shown!r}: give {_SOURCES}.") from error
    return _decode(io.BytesIO(source), f"{len(source)} bytes")


def _decode(file: str | io.BytesIO, name: str) -> Image.Image:
    # load_image converts to RGB by itself, which would hide a depth of more than 8 bits.
    try:
        with Image.open(file, formats=IMAGE_FORMATS) as image:
            return ImageOps.exif_transpose(image)
    except DAMAGE as error:
        raise ValueError(
            f"Pillow cannot read {name} as an image. Read it with another library, such as rasterio, and pass a uint8 "
            "array of shape (H, W, 3)."
        ) from error


def _from_array(image: np.ndarray | torch.Tensor, layout: ChannelDimension | None, do_rescale: bool) -> Image.Image:
    order = (ChannelDimension.LAST, ChannelDimension.FIRST)
    if isinstance(image, torch.Tensor):
        order = order[::-1]
        image = image.detach().cpu()
        image = (image.float() if image.is_floating_point() else image).numpy()  # NumPy has no bfloat16
    if 0 in image.shape:
        raise ValueError("The image has no pixels.")
    if image.ndim == 2:
        return Image.fromarray(_to_8_bits(image, do_rescale))
    fitting = [
        one for one in order if layout in (None, one) and image.ndim == 3 and image.shape[_AXES[one]] in _CHANNELS
    ]
    if not fitting:
        told = f" as {layout.value}" if layout else ""
        raise ValueError(
            "An image array must have shape (H, W), (H, W, C) or (C, H, W) with C = 1 (gray), 3 (RGB) or 4 (RGBA) "
            f"channels, got {image.shape}{told}. Several gray images must be a list."
        )
    pixels = np.moveaxis(_to_8_bits(image, do_rescale), _AXES[fitting[0]], -1)
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels))


def _to_8_bits(pixels: np.ndarray, do_rescale: bool) -> np.ndarray:
    kind = pixels.dtype.kind
    if pixels.dtype == np.uint8:
        return pixels
    if kind == "b":
        return pixels.astype(np.uint8) * np.uint8(255)
    if kind in "iu" and pixels.dtype.itemsize > 1:
        raise ValueError(f"The image has dtype {pixels.dtype}, {_SCALE_FIRST}")
    if kind != "f":
        raise ValueError(f"An image array must be uint8, bool or floats from 0 to 1, got {pixels.dtype}.")
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= 0 and high <= 1):  # NaN, too
        raise ValueError(
            f"An image of floats must have values from 0 to 1, got {low:g} to {high:g}. Scale them to this range, or "
            "pass uint8 from 0 to 255."
        )
    if not do_rescale:
        raise ValueError(
            "An image of floats is read as 8 bits, which `do_rescale=False` would leave at 0 to 255. Leave "
            "`do_rescale` out: it makes them floats from 0 to 1 again."
        )
    return np.rint(pixels.astype(np.float32) * 255).astype(np.uint8)
