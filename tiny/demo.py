# SPDX-License-Identifier: Apache-2.0
"""The scenes of `geodit demo`: a few images with a question for each task, written as ordinary files."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geodit.configuration.files_geodit import write_atomically
from geodit.data.schema import TASKS
from geodit.tiny.scenes.dataset import scene_seed
from geodit.tiny.scenes.questions import scene_questions
from geodit.tiny.scenes.rendering import render_scene
from geodit.tiny.scenes.scene import sample_scene

SCENES_FILE = "scenes.json"
# Type of the scene and name of its image. The seeds are of the test split, which is not trained on.
_SCENES = (("harbor", "harbor.tif"), ("airport", "airport.png"), ("residential area", "residential.png"))
_SEED, _QUESTION_SEED = 1, 8
# Of the candidates for a task, the question with the most boxes is asked.
_QUESTIONS_PER_TASK = {"caption": 1, "ground": 1, "detect": 7, "vqa": 1, "classify": 1}

# Where the GeoTIFF pretends to be: UTM zone 31N, upper left corner in meters, half a meter a pixel.
_CRS = "EPSG:32631"
_LEFT, _TOP, _PIXEL = 590000.0, 5755000.0, 0.5


def write_demo_scenes(directory: str | Path) -> Path:
    """Write the images, one of them a GeoTIFF, and `scenes.json` with their questions and answers.

    The same files are written every time, each whole or not at all. They are those that come with the package.

    Args:
        directory: Where to; it is made if need be.

    Returns:
        The directory.

    Raises:
        ImportError: If rasterio, which writes the GeoTIFF, is not installed.
        OSError: If the directory cannot be written to.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    entries = []
    for index, (scene_type, name) in enumerate(_SCENES):
        seed = scene_seed("test", _SEED, index)
        scene = sample_scene(seed, scene_type=scene_type)
        pixels = render_scene(scene)
        write_atomically(directory / name, _geotiff(pixels) if name.endswith(".tif") else _png(pixels))
        candidates = scene_questions(scene, random.Random(_QUESTION_SEED + index), _QUESTIONS_PER_TASK)
        questions = [
            max((question for question in candidates if question.task == task), key=lambda one: len(one.boxes))
            for task in TASKS
        ]
        entries.append({"image": name, "questions": [question.to_dict() for question in questions]})
    text = json.dumps({"scenes": entries}, indent=2) + "\n"
    write_atomically(directory / SCENES_FILE, text.encode())
    return directory


def _png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _geotiff(pixels: NDArray[np.uint8]) -> bytes:
    from rasterio import Affine
    from rasterio.io import MemoryFile

    height, width, bands = pixels.shape
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            height=height,
            width=width,
            count=bands,
            dtype=pixels.dtype,
            crs=_CRS,
            transform=Affine(_PIXEL, 0.0, _LEFT, 0.0, -_PIXEL, _TOP),
            photometric="RGB",
            compress="deflate",
        ) as file:
            file.write(np.moveaxis(pixels, -1, 0))
        return bytes(memory.getbuffer())
