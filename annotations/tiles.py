# SPDX-License-Identifier: Apache-2.0
"""Cut annotated images into tiles, by windows: an image is never read whole unless it is one tile."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from types import TracebackType

from geodit.annotations.records import BadRecord, LabeledImage, LabeledObject, TextAnswer
from geodit.annotations.tile_objects import ObjectsInWindows, scaled_object, split_hidden
from geodit.data.schema import encode_png
from geodit.data.windows import Window, window_grid
from geodit.rasters.georeference import MapReference
from geodit.rasters.image_source import GeoImage, ImageSource, fit_within
from geodit.rasters.imagery import open_image
from geodit.rasters.rendering import Rendering

__all__ = ["LabeledTile", "TileCounts", "TileOptions", "TileReader", "cut_tiles"]

# An image that is asked about as a whole is read with at most so many times the side of a tile, as in prediction.
_WHOLE_IMAGE_SIDES = 4
# Pieces of a crowded tile overlap by no more than this share, so that they get smaller fast.
_MOST_PIECE_OVERLAP = 0.5
# A tile is at least so many pixels of the image a side, whatever the ground sampling distance asked for.
_LEAST_SIDE = 8


@dataclass(frozen=True)
class TileOptions:
    """How images are cut.

    Args:
        size: Side of a tile in pixels. An image that is no larger is one tile.
        overlap: Share of a tile's side that neighbors have in common at least, 0 to below 1.
        min_visible: Least share of an object's area that a tile has to show for the object to be in it, above 0 to 1.
        min_noticed: Of an object of which a tile shows a smaller share nobody could tell: it counts as not there.
        min_valid: Least share of a tile's pixels that have data, 0 to 1; other tiles are left out.
        gsd: Ground sampling distance in meters at which tiles are read; by default pixels are taken as they are.
        max_objects: Objects of one class in a tile at most. A tile with more is cut into four, again and again.
        min_size: Least side of such a piece in pixels. A tile that is still too crowded then is a bad record.

    Raises:
        ValueError: If a value is out of its range.
    """

    size: int = 512
    overlap: float = 0.0
    min_visible: float = 0.5
    min_noticed: float = 0.15
    min_valid: float = 0.5
    gsd: float | None = None
    max_objects: int | None = None
    min_size: int = 32

    def __post_init__(self) -> None:
        if self.size < 1 or self.min_size < 1:
            raise ValueError(f"size and min_size must be at least 1 pixel, got {self.size} and {self.min_size}")
        if not 0.0 <= self.overlap < 1.0:
            raise ValueError(f"overlap must be a share from 0 to below 1, got {self.overlap}")
        if not 0.0 < self.min_visible <= 1.0:
            raise ValueError(f"min_visible must be a share above 0, and 1 at most, got {self.min_visible}")
        if not 0.0 <= self.min_noticed < 1.0:
            raise ValueError(f"min_noticed must be a share from 0 to below 1, got {self.min_noticed}")
        if not 0.0 <= self.min_valid <= 1.0:
            raise ValueError(f"min_valid must be a share from 0 to 1, got {self.min_valid}")
        if self.gsd is not None and not 0.0 < self.gsd < math.inf:
            raise ValueError(f"gsd must be a number of meters above 0, got {self.gsd}")
        if self.max_objects is not None and self.max_objects < 1:
            raise ValueError(f"max_objects must be at least 1, got {self.max_objects}")


@dataclass(frozen=True)
class LabeledTile:
    """A part of an annotated image, or all of it. Its pixels are read by [`TileReader`].

    Args:
        image: The image, as [`~geodit.rasters.imagery.open_image`] takes it.
        origin: Where its record is, for messages.
        window: What part of it, in its pixels.
        shape: `(height, width)` of the tile in pixels of its own, to which the window is resampled.
        objects: In pixels of the tile.
        partial_labels: Classes of which not all objects are known: nothing can be asked about them.
        cut_labels: Classes of which the tile shows a part of an object that is not in `objects`, as its edge cuts away
            the larger part or there is no data: they can neither be counted nor said to be absent.
        only_text: Whether the tile is the whole of an image that was cut, or whose objects are unknown: nothing may be
            asked about its objects.
        captions: Each describes all of the image; tiles of one that was cut have none.
        answers: Questions about all of the image with their answers; likewise.
        category: Class of the whole scene; likewise.
        split: Its split if the source says so, else empty.
        group: What it belongs to; the image if the record says nothing else.
        place: Where the pixels of the tile are on Earth, if that is known.
    """

    image: str
    origin: str
    window: Window
    shape: tuple[int, int]
    objects: tuple[LabeledObject, ...] = ()
    partial_labels: frozenset[str] = frozenset()
    cut_labels: frozenset[str] = frozenset()
    only_text: bool = False
    captions: tuple[str, ...] = ()
    answers: tuple[TextAnswer, ...] = ()
    category: str = ""
    split: str = ""
    group: str = ""
    place: MapReference | None = None


@dataclass
class TileCounts:
    """What became of images, for a report.

    Args:
        images: Images that were cut or taken whole.
        tiles: Tiles made of them.
        without_data: Tiles left out because too few of their pixels have data.
        crowded: Tiles cut into four because they have too many objects of one class.
        too_crowded: Tiles left out because even their smallest pieces have.
        cut_objects: How often an object was left out of a tile that shows too little of it.
        hidden_objects: How often one was left out because the image has no data there.
    """

    images: int = 0
    tiles: int = 0
    without_data: int = 0
    crowded: int = 0
    too_crowded: int = 0
    cut_objects: int = 0
    hidden_objects: int = 0


class TileReader:
    """Reads the pixels of tiles, and keeps the last image open: the tiles of an image follow each other.

    It is a context manager: leaving it closes the image.

    Args:
        bands: As [`~geodit.rasters.imagery.read_image`] takes them.
        rendering: Likewise.
        crs: Likewise.
    """

    def __init__(
        self, bands: tuple[int, ...] | None = None, rendering: Rendering | None = None, *, crs: str | None = None
    ) -> None:
        self._bands, self._rendering, self._crs = bands, rendering, crs
        self._image: str | None = None
        self._source: ImageSource | None = None

    def open(self, image: str) -> ImageSource:
        """Open an image, which stays open until the next one; errors are those of `open_image`."""
        if self._source is None or image != self._image:
            self.close()
            self._source, self._image = open_image(image, self._bands, self._rendering, crs=self._crs), image
        return self._source

    def read(self, tile: LabeledTile) -> GeoImage:
        """Read a tile.

        Raises:
            FileNotFoundError, ValueError: If the image is gone, or damaged there.
        """
        return self.open(tile.image).read(tile.window, tile.shape)

    def read_png(self, tile: LabeledTile) -> bytes:
        """Read a tile as a PNG file; errors are those of [`TileReader.read`]."""
        return encode_png(self.read(tile).pixels)["bytes"] or b""

    def close(self) -> None:
        """Close the image that is open, if there is one."""
        if self._source is not None:
            self._source.close()
            self._source = None

    def __enter__(self) -> TileReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def cut_tiles(
    records: Iterable[LabeledImage | BadRecord],
    options: TileOptions,
    reader: TileReader,
    counts: TileCounts | None = None,
) -> Iterator[LabeledTile | BadRecord]:
    """Cut images into tiles, and find the objects that each shows.

    Every tile is read once, to see whether it has data and can be read. Text about the whole of an image that is cut
    comes with one more tile, which is the whole image at lower resolution. An image with text and without objects is
    not cut.

    Args:
        records: Annotated images. Bad records are passed on.
        options: How they are cut.
        reader: What reads them.
        counts: Counts what is made and left out.

    Yields:
        The tiles of an image in row order. What cannot be read, or is too crowded, is a bad record.
    """
    counts = counts if counts is not None else TileCounts()
    for record in records:
        if isinstance(record, BadRecord):
            yield record
            continue
        try:
            cutter = _ImageCutter(record, reader.open(record.image), options, counts)
        except (ValueError, OSError) as error:
            yield BadRecord(record.origin, str(error))
            continue
        counts.images += 1
        yield from cutter.tiles()


class _ImageCutter:
    """Cuts one image.

    Args:
        record: What is known of it.
        source: The image.
        options: How it is cut.
        counts: Counts what is made and left out.

    Raises:
        ValueError: If a ground sampling distance is asked for that cannot be had.
    """

    def __init__(self, record: LabeledImage, source: ImageSource, options: TileOptions, counts: TileCounts) -> None:
        self._record, self._source, self._options, self._counts = record, source, options, counts
        self._scale = _scale(record.image, source, options)
        self._objects = ObjectsInWindows(record.objects, options.min_visible, options.min_noticed)
        self._whole = Window(0, 0, *source.image_size)

    def tiles(self) -> Iterator[LabeledTile | BadRecord]:
        record, options = self._record, self._options
        has_text = bool(record.captions or record.answers or record.category)
        if record.objects or not has_text:
            side = max(1, round(options.size * self._scale))
            stride = max(1, int(side * (1.0 - options.overlap)))
            for window in window_grid(self._source.image_size, side, stride):
                for tile in self._cut(window):
                    if has_text and isinstance(tile, LabeledTile) and tile.window == self._whole:
                        has_text = False
                        tile = replace(
                            tile, captions=record.captions, answers=record.answers, category=record.category
                        )
                    yield tile
        if has_text:
            shape = fit_within(self._source.image_size, _WHOLE_IMAGE_SIDES * options.size)
            whole = replace(
                self._tile(self._whole, shape),
                only_text=True,
                captions=record.captions,
                answers=record.answers,
                category=record.category,
            )
            yield from self._read(whole)

    def _cut(self, window: Window) -> Iterator[LabeledTile | BadRecord]:
        options, shape = self._options, self._shape(window)
        shown = self._objects.find(window)
        most = max(Counter(one.label for one in shown.kept).values(), default=0)
        if options.max_objects is not None and most > options.max_objects:
            pieces = _pieces(window, min(options.overlap, _MOST_PIECE_OVERLAP))
            if pieces[0] != window and min(self._shape(pieces[0])) >= options.min_size:
                self._counts.crowded += 1
                for piece in pieces:
                    yield from self._cut(piece)
                return
            self._counts.too_crowded += 1
            yield BadRecord(
                self._named(window),
                f"it has {most:,} objects of one class, more than {options.max_objects:,}, and cannot be cut into "
                f"pieces of at least {options.min_size} pixels a side",
            )
            return
        factors = shape[1] / window.width, shape[0] / window.height
        tile = replace(
            self._tile(window, shape),
            objects=tuple(scaled_object(one, *factors) for one in shown.kept),
            partial_labels=self._record.partial_labels,
            cut_labels=frozenset(shown.left_out),
        )
        for read in self._read(tile):
            self._counts.cut_objects += len(shown.left_out) if isinstance(read, LabeledTile) else 0
            yield read

    def _read(self, tile: LabeledTile) -> Iterator[LabeledTile | BadRecord]:
        """Yield a tile if it can be read and has data."""
        try:
            valid = self._source.read(tile.window, tile.shape).valid
        except (ValueError, OSError) as error:
            yield BadRecord(self._named(tile.window), str(error))
            return
        if valid is not None and valid.mean() < self._options.min_valid:
            self._counts.without_data += 1
            return
        shown = split_hidden(tile.objects, valid, self._options.min_visible)
        self._counts.tiles += 1
        self._counts.hidden_objects += len(shown.left_out)
        yield replace(tile, objects=shown.kept, cut_labels=tile.cut_labels | frozenset(shown.left_out))

    def _tile(self, window: Window, shape: tuple[int, int]) -> LabeledTile:
        record, place = self._record, self._source.georeference
        if place is not None:
            place = place.window(window).scaled(window.height / shape[0], window.width / shape[1])
        return LabeledTile(
            image=record.image,
            origin=record.origin,
            window=window,
            shape=shape,
            split=record.split,
            group=record.group or record.image,
            place=place,
        )

    def _shape(self, window: Window) -> tuple[int, int]:
        if self._scale == 1.0:
            return window.height, window.width
        return max(1, round(window.height / self._scale)), max(1, round(window.width / self._scale))

    def _named(self, window: Window) -> str:
        return f"{self._record.image}, tile at row {window.top:,} and column {window.left:,}"


def _scale(image: str, source: ImageSource, options: TileOptions) -> float:
    """Return how many pixels of an image, a side, one of a tile is.

    Raises:
        ValueError: If that is not known, or tiles would be hardly a pixel.
    """
    if options.gsd is None:
        return 1.0
    if source.georeference is None:
        raise ValueError(
            f"{image} has no place on Earth, from which its ground sampling distance follows: leave gsd out"
        )
    from geodit.rasters.ground_sampling import ground_sampling_distance

    try:
        scale = options.gsd / ground_sampling_distance(source.georeference, source.image_size)
    except ValueError as error:
        raise ValueError(f"{image} cannot be read at {options.gsd} m to a pixel: {error}") from error
    if round(options.size * scale) < min(_LEAST_SIDE, options.size):
        raise ValueError(
            f"{image} has {options.gsd / scale:.3g} m to a pixel, so that a tile at {options.gsd:.3g} m would be "
            f"fewer than {_LEAST_SIDE} pixels a side: choose a larger gsd"
        )
    return scale


def _pieces(window: Window, overlap: float) -> list[Window]:
    """Return four windows that cover one, and overlap by a share of their sides."""
    height = math.ceil(window.height / (2.0 - overlap))
    width = math.ceil(window.width / (2.0 - overlap))
    rows = dict.fromkeys((window.top, window.top + window.height - height))
    columns = dict.fromkeys((window.left, window.left + window.width - width))
    return [Window(top, left, height, width) for top in rows for left in columns]
