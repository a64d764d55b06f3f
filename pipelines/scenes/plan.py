# SPDX-License-Identifier: Apache-2.0
"""The tiles of all images of a job, in chunks that are answered one after the other, here or elsewhere.

A chunk is always the same tiles, whatever was answered before and by whom: what a network computes may differ in the
last digit with what else is in its batch. That is why a job which was cut off, or is shared by several workers, gives
the very same answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple

from geodit.data.windows import Window
from geodit.pipelines.answering import ImageAnswerer
from geodit.pipelines.scenes.grid import GridTile, plan_tiles, whole_image
from geodit.pipelines.scenes.job import SceneJob
from geodit.pipelines.tile_answers import Tile, TileAnswers, answer_tiles
from geodit.pipelines.tiling import advise_tiles
from geodit.rasters.georeference import MapReference
from geodit.rasters.image_source import GeoImage, ImageSource

__all__ = ["Chunk", "ImageFacts", "JobImages", "JobPlan", "PlannedTile", "answer_chunk"]

# Questions of a chunk. Few, so that little is asked again after a crash; many, as batches are not full at its end.
_QUESTIONS_PER_CHUNK = 64


class ImageFacts(NamedTuple):
    """What is known of an image that could be opened.

    Args:
        image_size: `(height, width)` in pixels.
        georeference: Where it is on Earth, if that is known.
    """

    image_size: tuple[int, int]
    georeference: MapReference | None


class PlannedTile(NamedTuple):
    """A tile of a job.

    Args:
        number: Among all tiles of the job.
        image: Number of its image.
        place: Where in the image it is; `None` for a whole image that is not looked into before its turn.
    """

    number: int
    image: int
    place: GridTile | None


class Chunk(NamedTuple):
    """Tiles that are answered together.

    Args:
        number: Among all chunks of the job.
        tiles: In the order of their numbers.
    """

    number: int
    tiles: tuple[PlannedTile, ...]


@dataclass(frozen=True)
class JobPlan:
    """The tiles of a job.

    Args:
        job: The job.
        tiles: All of them. Those of an image follow each other.
        images: What is known of the images so far, by their numbers.
        failures: Why an image could not be opened, by its number.
    """

    job: SceneJob
    tiles: tuple[PlannedTile, ...]
    images: dict[int, ImageFacts] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)

    @classmethod
    def make(cls, job: SceneJob, side: int, *, look_at_all: bool = False) -> JobPlan:
        """Find the tiles of a job; images that are seen in tiles are opened for that.

        Args:
            job: The job.
            side: Largest side, in pixels, of what the model takes in.
            look_at_all: Whether other images are opened now as well.

        Raises:
            FileNotFoundError, ValueError: If an image cannot be opened or cut, and the job is not to go on then.
            ValueError: If the area of interest touches none of the images.
        """
        tiles: list[PlannedTile] = []
        images: dict[int, ImageFacts] = {}
        failures: dict[int, str] = {}
        for number, image in enumerate(job.images):
            if job.tiling.tile_size is None and not look_at_all:
                tiles.append(PlannedTile(len(tiles), number, None))
                continue
            try:
                with job.open(image) as source:
                    places = _named(image, source, job, side)
                    images[number] = ImageFacts(source.image_size, source.georeference)
            except (ValueError, OSError) as error:
                if not job.keep_going:
                    raise
                failures[number] = str(error)
                continue
            tiles += [PlannedTile(len(tiles) + index, number, place) for index, place in enumerate(places)]
        if images and not tiles:
            # One of several images may lie elsewhere. An area in none of them is one of another reference system.
            raise ValueError(
                f"the area of interest {job.tiling.aoi} touches no image: check its coordinates and its reference "
                "system, which is longitude and latitude (WGS 84) if its file states none"
            )
        return cls(job, tuple(tiles), images, failures)

    def chunks(self) -> list[Chunk]:
        """Return the tiles in chunks of one size, the last one excepted."""
        batch_size = self.job.batch_size
        batches = max(1, _QUESTIONS_PER_CHUNK // (batch_size * len(self.job.inquiry.queries)))
        size = batches * batch_size
        starts = range(0, len(self.tiles), size)
        return [Chunk(number, self.tiles[start : start + size]) for number, start in enumerate(starts)]


class JobImages:
    """Opens the images of a job, and keeps the last one open: the tiles of an image follow each other.

    To open a raster is to look at pixels all over it. It is a context manager: leaving it closes the image.

    Args:
        job: The job.
    """

    def __init__(self, job: SceneJob) -> None:
        self._job = job
        self._number = -1
        self._source: ImageSource | None = None

    def open(self, number: int) -> ImageSource:
        """Open the image of a number; errors are those of [`open_image`]."""
        if self._source is None or number != self._number:
            self.close()
            self._source, self._number = self._job.open(self._job.images[number]), number
        return self._source

    def close(self) -> None:
        """Close the image that is open, if there is one."""
        if self._source is not None:
            self._source.close()
            self._source = None

    def __enter__(self) -> JobImages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def answer_chunk(
    answerer: ImageAnswerer,
    job: SceneJob,
    chunk: Chunk,
    progress: Callable[[int], None] | None = None,
    *,
    images: JobImages | None = None,
) -> tuple[list[TileAnswers], dict[int, ImageFacts]]:
    """Answer the tiles of a chunk. The answers depend on nothing else than the model, the job and the chunk.

    Args:
        answerer: Whom to ask.
        job: The job.
        chunk: A chunk of its plan.
        progress: Called with the number of tiles of the chunk that are done.
        images: Where images are open, if other chunks of the job follow; by default they are closed at the end.

    Returns:
        What is known of each tile, and of the images that were opened.

    Raises:
        FileNotFoundError, ValueError: If an image cannot be opened, or not be read as a whole, and the job is not to
            go on then.
    """
    if images is None:
        with JobImages(job) as images:
            return answer_chunk(answerer, job, chunk, progress, images=images)
    facts: dict[int, ImageFacts] = {}
    retry = None
    if job.retry_unparsed:
        retry = job.inquiry.options.with_changes(
            max_denoising_steps=answerer.processor.canvas_length(job.inquiry.task),
            confidence_threshold=None,
            entropy_bound=None,
        )
    answers = answer_tiles(
        answerer,
        _open_tiles(job, chunk, images, facts, answerer),
        job.inquiry,
        batch_size=job.batch_size,
        retry=retry,
        progress=progress,
    )
    if job.tiling.tile_size is None and not job.keep_going:
        for tile in answers:
            if tile.error:
                raise ValueError(tile.error)
    return answers, facts


def _named(image: str, source: ImageSource, job: SceneJob, side: int) -> list[GridTile]:
    try:
        return plan_tiles(source, job.tiling, side)
    except ValueError as error:
        raise ValueError(f"{image}: {error}") from error


def _open_tiles(
    job: SceneJob, chunk: Chunk, images: JobImages, facts: dict[int, ImageFacts], answerer: ImageAnswerer
) -> Iterator[Tile]:
    """Open the images of a chunk, one at a time, and yield its tiles."""
    side, advises_tiles = answerer.image_side, answerer.lists_objects(job.inquiry.task)
    errors: dict[int, str] = {}
    for tile in chunk.tiles:
        if tile.image in errors:
            yield _unreadable(tile, errors[tile.image])
            continue
        try:
            source = images.open(tile.image)
        except (ValueError, OSError) as error:
            if not job.keep_going:
                raise
            errors[tile.image] = str(error)
            yield _unreadable(tile, errors[tile.image])
            continue
        facts[tile.image] = ImageFacts(source.image_size, source.georeference)
        place = tile.place or whole_image(source.image_size, side)
        if advises_tiles and job.tiling.tile_size is None:
            advise_tiles(job.images[tile.image], source.image_size, side)
        yield Tile(tile.number, place.window, source.image_size, _reader(source, place))


def _reader(source: ImageSource, place: GridTile) -> Callable[[], GeoImage]:
    def read() -> GeoImage:
        return source.read(place.window, place.shape)

    return read


def _unreadable(tile: PlannedTile, reason: str) -> Tile:
    def read() -> GeoImage:
        raise ValueError(reason)

    window = Window(0, 0, 0, 0) if tile.place is None else tile.place.window
    return Tile(tile.number, window, (0, 0), read)
