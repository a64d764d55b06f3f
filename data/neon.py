# SPDX-License-Identifier: Apache-2.0
"""Tree crowns in real airborne imagery, for detection and counting.

The images are RGB mosaics (10 cm a pixel) of the Airborne Observation Platform of the National Ecological
Observatory Network (NEON, data product DP3.30010.001), of its sites in Yellowstone (YELL), at Soaproot Saddle
(SOAP) and at Ordway-Swisher (OSBS). The boxes were drawn by the authors of DeepForest (Weinstein et al.,
"A benchmark dataset for canopy crown detection and delineation in co-registered airborne RGB, LiDAR and
hyperspectral imagery from the National Ecological Observation Network", PLOS Computational Biology 2021), who
ship these images and boxes inside their Python package under the MIT licence; `fetch_neon` keeps that licence
beside them. Nothing of it is part of GeoDiT.

The splits do not share a pixel: `OSBS_029` is the test split and only that, the eastern fifth of one
Yellowstone image is for validation, all else is for training.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geodit.configuration.types_geodit import Item
from geodit.data.schema import Question, make_dataset, make_row
from geodit.data.voc import read_voc
from geodit.data.wheels import WheelMember, download_wheel, extract_members, is_verified
from geodit.data.windows import Window, boxes_in_window, window_grid

NEON_REQUIREMENT = "deepforest==2.1.0"
NEON_SPLITS: tuple[str, ...] = ("train", "validation", "test")
NEON_QUERY = "tree"
NEON_COUNT_QUERY = "How many trees are there?"

_YELL_MEADOW = "2019_YELL_2_528000_4978000_image_crop2"
_YELL_ROAD = "2019_YELL_2_541000_4977000_image_crop"


def _data_file(name: str, size: int, sha256: str) -> WheelMember:
    return WheelMember(f"deepforest/data/{name}", name, size, sha256)


NEON_FILES: tuple[WheelMember, ...] = (
    _data_file(f"{_YELL_MEADOW}.png", 15333493, "a9bdb0f4447fdd899d22f567e0e20ba8320c5413b2ad0cd0ac8d9f3b6e0f9767"),
    _data_file(f"{_YELL_MEADOW}.xml", 193359, "bd431af6a5086d721eb731b22f5ea28cd8a8eab06883efc1c665391acbc68e11"),
    _data_file(f"{_YELL_ROAD}.png", 2889166, "178e58a23cc2642226a364a30f71bd9258ddc1b012c826f12250914a90c7a131"),
    _data_file(f"{_YELL_ROAD}.xml", 93452, "cefe4b96888bacbf8af1674f000082e549aa707aa6590d545effb23e43f26631"),
    _data_file("SOAP_061.png", 369701, "256508f1a62149bec4a80879077a865caf50e8cace095e6564c76befa480d424"),
    _data_file("SOAP_061.xml", 12556, "4833280af75fd9c47965a93e38945282835e9e725cac412bdb9469d63480947c"),
    _data_file("OSBS_029.tif", 607832, "8521dbb5e8063d37d61895867dfcca7476491d1345103dc1b3fd96f71b186353"),
    _data_file("OSBS_029.xml", 20526, "1f68c4011d7b351c29ca755072e77f3d16e6fd1f995bd05a9dd4eb952b55373c"),
    WheelMember(
        "deepforest-2.1.0.dist-info/licenses/LICENSE",
        "DEEPFOREST_LICENSE",
        1071,
        "5487293ab54d4861d41b5f51622b236f610def978abf6d88091f74559232ab14",
    ),
)


@dataclass(frozen=True)
class NeonRegion:
    """The part of one annotated image that belongs to one split.

    Args:
        image: file name of the image.
        annotation: file name of its boxes, in Pascal VOC's XML.
        split: one of `NEON_SPLITS`.
        columns: first column and the one after the last; all rows belong.
    """

    image: str
    annotation: str
    split: str
    columns: tuple[int, int]


NEON_REGIONS: tuple[NeonRegion, ...] = (
    NeonRegion(f"{_YELL_MEADOW}.png", f"{_YELL_MEADOW}.xml", "train", (0, 2299)),
    NeonRegion(f"{_YELL_ROAD}.png", f"{_YELL_ROAD}.xml", "train", (0, 1000)),
    NeonRegion("SOAP_061.png", "SOAP_061.xml", "train", (0, 400)),
    NeonRegion(f"{_YELL_ROAD}.png", f"{_YELL_ROAD}.xml", "validation", (1000, 1249)),
    NeonRegion("OSBS_029.tif", "OSBS_029.xml", "test", (0, 400)),
)


@dataclass(frozen=True)
class NeonImage:
    """An annotated image, and the part of it that one split may use.

    Args:
        path: the image file.
        boxes: (K, 4) tree crowns of the whole image, `[x1, y1, x2, y2]` in pixels, as DeepForest reads them.
        region: the part that belongs to the split. For the test split it is the whole image.
    """

    path: Path
    boxes: NDArray[np.float64]
    region: Window


def fetch_neon(directory: str | Path, wheel: str | Path | None = None) -> Path:
    """Put the images and their annotations into a directory, every file checked against its SHA-256.

    They are taken out of the wheel of DeepForest (20 MB), which pip downloads into a temporary directory; it
    is neither installed nor imported. If the directory already holds them all, nothing is done.

    Args:
        directory: where to put them; it is made if need be.
        wheel: path of a wheel of `deepforest==2.1.0` that is already at hand, to do without the download.

    Returns:
        The directory.

    Raises:
        RuntimeError: if pip is missing or could not download the wheel.
        FileNotFoundError: if `wheel` does not exist.
        ValueError: if the wheel or a file in it is not the expected one; no file is put in place then.
    """
    directory = Path(directory)
    if directory.exists() and not directory.is_dir():
        raise ValueError(f"{directory} is a file: give a directory for the images")
    missing = [member for member in NEON_FILES if not is_verified(directory, member)]
    if not missing:
        return directory
    with tempfile.TemporaryDirectory(prefix="geodit-neon-") as download:
        if wheel is None:
            wheel = download_wheel(NEON_REQUIREMENT, Path(download))
        extract_members(Path(wheel), missing, directory)
    return directory


def neon_images(directory: str | Path, split: str) -> list[NeonImage]:
    """Return the annotated images of a split, for instance to detect crowns in a whole image.

    Args:
        directory: where `fetch_neon` put the images.
        split: `"train"`, `"validation"` or `"test"`.

    Raises:
        FileNotFoundError: if a file is missing or is not the one that `fetch_neon` put there.
        ValueError: if the split is unknown.
    """
    if split not in NEON_SPLITS:
        raise ValueError(f"split must be one of {', '.join(NEON_SPLITS)}, got {split!r}")
    members = {member.name: member for member in NEON_FILES}
    images = []
    for region in NEON_REGIONS:
        if region.split != split:
            continue
        for name in (region.image, region.annotation):
            if not is_verified(Path(directory), members[name]):
                raise FileNotFoundError(
                    f"{Path(directory) / name} is missing or damaged: run `geodit data fetch neon`, or "
                    f"geodit.data.neon.fetch_neon({str(directory)!r})"
                )
        boxes, (height, _) = read_voc_boxes(Path(directory) / region.annotation)
        first, end = region.columns
        images.append(NeonImage(Path(directory) / region.image, boxes, Window(0, first, height, end - first)))
    return images


def read_voc_boxes(path: str | Path) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """Read the boxes of a Pascal VOC annotation, whatever their class.

    Coordinates are taken as they stand in the file, as DeepForest takes them.

    Returns:
        Boxes (K, 4) `[x1, y1, x2, y2]`, and the (height, width) of the image.

    Raises:
        ValueError: if the file is not such an annotation, or a box lies outside the image.
    """
    annotation = read_voc(path)
    height, width = annotation.image_size
    array = np.array([item.box for item in annotation.objects], dtype=np.float64).reshape(-1, 4)
    inside = (array[:, :2] >= 0) & (array[:, :2] < array[:, 2:]) & (array[:, 2:] <= [width, height])
    if not inside.all():
        wrong = array[~inside.all(axis=1)][0].tolist()
        raise ValueError(f"{path}: box {wrong} does not lie in the image of {width} x {height} pixels")
    return array, (height, width)


def neon_dataset(
    directory: str | Path,
    split: str = "train",
    *,
    tile_size: int = 96,
    stride: int | None = None,
    max_boxes: int = 7,
    num_random_tiles: int | None = None,
    window_sizes: tuple[int, int] = (64, 128),
    empty_fraction: float = 0.1,
    seed: int = 0,
) -> datasets.Dataset:
    """Tiles of the images with two questions each: "tree" to detect, and how many there are.

    A crown belongs to a tile when at least half of its area lies in it; its box is clipped to the tile.
    By default the tiles are a grid at the images' own resolution. With `num_random_tiles` they are windows of
    varied size, scaled to the tile, flipped and turned by quarters at random: overhead imagery has no up.

    Args:
        directory: where `fetch_neon` put the images.
        split: `"train"`, `"validation"` or `"test"`.
        tile_size: side of a tile in pixels.
        stride: distance between neighbouring tiles of the grid. Default: `tile_size`.
        max_boxes: training tiles with more crowns are left out, because the answer would not fit its canvas:
            a box takes 4 location tokens, so a canvas of 32 holds 7 and the end of the answer. Tiles of the
            other splits keep every crown.
        num_random_tiles: as many random windows of the train split in place of the grid.
        window_sizes: least and greatest side of a random window, in pixels of the image.
        empty_fraction: share of random windows that show no crown at all.
        seed: of the random windows.

    Returns:
        Data set in the schema of `geodit.data.schema`; `meta` tells the source, the window and its turn.

    Raises:
        FileNotFoundError: if the images are not there.
        ValueError: if an argument is out of range, or no window with few enough crowns is found.
    """
    if num_random_tiles is not None and split != "train":
        raise ValueError(f"random tiles are for the train split only, not for {split!r}")
    if max_boxes < 1:
        raise ValueError(f"max_boxes must be at least 1, got {max_boxes}")
    sources = [_Source.load(image) for image in neon_images(directory, split)]
    if num_random_tiles is None:
        limit = max_boxes if split == "train" else None
        tiles = _grid_tiles(sources, tile_size, tile_size if stride is None else stride, limit)
    else:
        sampler = _WindowSampler(sources, window_sizes, max_boxes, empty_fraction, np.random.default_rng(seed))
        tiles = (sampler.sample(tile_size) for _ in range(num_random_tiles))
    rows = [tile.to_row(f"neon-{split}-{index:05d}", split) for index, tile in enumerate(tiles)]
    if not rows:
        raise ValueError(f"no tile of {tile_size} pixels has at most max_boxes={max_boxes} crowns")
    return make_dataset(rows)


@dataclass(frozen=True)
class _Source:
    name: str
    pixels: NDArray[np.uint8]
    boxes: NDArray[np.float64]
    region: Window

    @classmethod
    def load(cls, image: NeonImage) -> _Source:
        with Image.open(image.path) as opened:
            pixels = np.asarray(opened.convert("RGB"))
        return cls(image.path.name, pixels, image.boxes, image.region)


@dataclass(frozen=True)
class _Tile:
    """Pixels (H, W, 3) with the boxes in them, and where in the source they are from."""

    pixels: NDArray[np.uint8]
    boxes: NDArray[np.float64]
    source: str
    window: Window
    flipped: bool = False
    quarter_turns: int = 0

    def to_row(self, image_id: str, split: str) -> Item:
        order = np.lexsort((self.boxes[:, 1], self.boxes[:, 0]))
        boxes = tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in self.boxes[order].tolist())
        detect = Question("detect", NEON_QUERY, boxes=boxes, labels=(NEON_QUERY,) * len(boxes))
        count = Question("vqa", NEON_COUNT_QUERY, answer=str(len(boxes)), kind="count")
        meta = {
            "source": self.source,
            "split": split,
            "window": self.window._asdict(),
            "flipped": self.flipped,
            "quarter_turns": self.quarter_turns,
        }
        return make_row(self.pixels, image_id, [detect, count], json.dumps(meta))


def _cut(source: _Source, window: Window) -> _Tile:
    top, left, height, width = window
    pixels = source.pixels[top : top + height, left : left + width]
    boxes, _ = boxes_in_window(source.boxes, window)
    return _Tile(pixels, boxes, source.name, window)


def _grid_tiles(sources: Sequence[_Source], tile_size: int, stride: int, max_boxes: int | None) -> Iterator[_Tile]:
    for source in sources:
        region = source.region
        for window in window_grid((region.height, region.width), tile_size, stride):
            tile = _cut(source, window._replace(top=window.top + region.top, left=window.left + region.left))
            if max_boxes is None or len(tile.boxes) <= max_boxes:
                yield tile


class _WindowSampler:
    """Draws windows around crowns, so that dense and sparse woods are seen as often as they have crowns."""

    ATTEMPTS = 10_000

    def __init__(
        self,
        sources: Sequence[_Source],
        window_sizes: tuple[int, int],
        max_boxes: int,
        empty_fraction: float,
        rng: np.random.Generator,
    ) -> None:
        low, high = window_sizes
        room = min(min(source.region.height, source.region.width) for source in sources)
        if not 1 <= low <= high <= room:
            raise ValueError(f"window_sizes must be (low, high) with 1 <= low <= high <= {room}, got {window_sizes}")
        if not 0.0 <= empty_fraction <= 1.0:
            raise ValueError(f"empty_fraction must be from 0 to 1, got {empty_fraction}")
        self.sources = sources
        self.low, self.high = low, high
        self.max_boxes = max_boxes
        self.empty_fraction = empty_fraction
        self.rng = rng
        # Crowns cut by the border of the region are as good an anchor as any: the window stays inside it.
        self.anchors = [
            (source, box)
            for source in sources
            for box in source.boxes[boxes_in_window(source.boxes, source.region)[1]]
        ]
        areas = np.array([source.region.height * source.region.width for source in sources], dtype=np.float64)
        self.area_shares = areas / areas.sum()

    def sample(self, tile_size: int) -> _Tile:
        empty = bool(self.rng.random() < self.empty_fraction)
        for _ in range(self.ATTEMPTS):
            tile = _cut(*(self._anywhere() if empty else self._around_crown()))
            if len(tile.boxes) == 0 if empty else 1 <= len(tile.boxes) <= self.max_boxes:
                return _turn(tile, tile_size, bool(self.rng.integers(2)), int(self.rng.integers(4)))
        wanted = "no crown" if empty else f"1 to {self.max_boxes} crowns"
        raise ValueError(f"no window of {self.low} to {self.high} pixels with {wanted} was found: change the sizes")

    def _anywhere(self) -> tuple[_Source, Window]:
        source = self.sources[int(self.rng.choice(len(self.sources), p=self.area_shares))]
        side = int(self.rng.integers(self.low, self.high, endpoint=True))
        region = source.region
        top = region.top + int(self.rng.integers(0, region.height - side, endpoint=True))
        left = region.left + int(self.rng.integers(0, region.width - side, endpoint=True))
        return source, Window(top, left, side, side)

    def _around_crown(self) -> tuple[_Source, Window]:
        source, box = self.anchors[int(self.rng.integers(len(self.anchors)))]
        side = int(self.rng.integers(self.low, self.high, endpoint=True))
        region = source.region
        center_x, center_y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        top, left = int(center_y - self.rng.random() * side), int(center_x - self.rng.random() * side)
        top = min(max(top, region.top), region.top + region.height - side)
        left = min(max(left, region.left), region.left + region.width - side)
        return source, Window(top, left, side, side)


def _turn(tile: _Tile, tile_size: int, flipped: bool, quarter_turns: int) -> _Tile:
    """Flips left to right, turns counter-clockwise by quarters, then scales a square tile to `tile_size`."""
    side = tile.pixels.shape[0]
    pixels, boxes = tile.pixels, tile.boxes
    if flipped:
        pixels = pixels[:, ::-1]
        boxes = np.stack([side - boxes[:, 2], boxes[:, 1], side - boxes[:, 0], boxes[:, 3]], axis=1)
    for _ in range(quarter_turns):
        boxes = np.stack([boxes[:, 1], side - boxes[:, 2], boxes[:, 3], side - boxes[:, 0]], axis=1)
    pixels = np.ascontiguousarray(np.rot90(pixels, quarter_turns))
    if side != tile_size:
        scaled = Image.fromarray(pixels).resize((tile_size, tile_size), Image.Resampling.BICUBIC)
        pixels = np.asarray(scaled)
    return _Tile(pixels, boxes * (tile_size / side), tile.source, tile.window, flipped, quarter_turns)
