# SPDX-License-Identifier: Apache-2.0
"""What was found in a scene: objects or answers, the tiles behind them, and layers of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from geodit.configuration.types_geodit import JsonObject
from geodit.pipelines.merging import MergeOptions
from geodit.pipelines.prediction import Prediction
from geodit.pipelines.scenes.aoi import AreaOfInterest
from geodit.pipelines.scenes.coco import CocoImage, to_coco, to_supervision
from geodit.pipelines.scenes.formats import write_layers
from geodit.pipelines.scenes.geojson import to_geojson
from geodit.pipelines.scenes.job import SceneJob
from geodit.pipelines.scenes.layers import Layer
from geodit.pipelines.scenes.objects import ModelName, SceneObject, found_layer, tiles_layer, window_box
from geodit.pipelines.scenes.tables import to_geodataframe
from geodit.pipelines.tile_answers import TileAnswers, by_choice, detections_of, merge_tiles, tiled_prediction
from geodit.pipelines.tiling import Detection
from geodit.rasters.georeference import MapReference

if TYPE_CHECKING:
    import geopandas
    import supervision
    from matplotlib.axes import Axes

__all__ = ["SceneResult"]


@dataclass(frozen=True)
class SceneResult:
    """What was found in one image. Iterating over it gives a [`SceneObject`] after the other, best first.

    Args:
        image: Path or address.
        image_size: `(height, width)` in pixels.
        georeference: Where it is on Earth, if that is known.
        job: What was asked.
        has_boxes: Whether the task is answered by boxes.
        tiles: What is known of each tile, in order.
        merge: How detections of several tiles become one.
        model: The model.
    """

    image: str
    image_size: tuple[int, int]
    georeference: MapReference | None
    job: SceneJob
    has_boxes: bool
    tiles: tuple[TileAnswers, ...]
    merge: MergeOptions
    model: ModelName

    def __iter__(self) -> Iterator[SceneObject]:
        return iter(self.objects)

    def __len__(self) -> int:
        return len(self.objects)

    @cached_property
    def predictions(self) -> tuple[Prediction, ...]:
        """One prediction a query, in the order in which they were asked."""
        return tuple(self._prediction(query) for query in self.job.inquiry.queries)

    @property
    def prediction(self) -> Prediction:
        """The prediction of the first, or only, query."""
        return self.predictions[0]

    @cached_property
    def objects(self) -> tuple[SceneObject, ...]:
        """All that was found, query by query."""
        return tuple(one for query in self.job.inquiry.queries for one in self._objects(query))

    @property
    def num_unparsed(self) -> int:
        """How many answers were not, or not wholly, understood."""
        return sum(not answer.parsed for tile in self.tiles for answer in tile.answers)

    @property
    def unreadable(self) -> tuple[TileAnswers, ...]:
        """The tiles that could not be read."""
        return tuple(tile for tile in self.tiles if tile.status == "unreadable")

    @property
    def num_without_data(self) -> int:
        """How many tiles have no data, and were not asked about."""
        return sum(tile.status == "no data" for tile in self.tiles)

    def summary(self) -> JsonObject:
        """Count tiles by what became of them and, for each query, objects by label or answers by text."""
        counts: JsonObject = {
            "tiles": dict(Counter(tile.status for tile in self.tiles)),
            "unparsed": self.num_unparsed,
        }
        found: dict[str, JsonObject] = {query: {} for query in self.job.inquiry.queries}
        for one in self.objects:
            of_query = found[one.query]
            of_query[one.label] = of_query.get(one.label, 0) + 1
        counts["objects" if self.has_boxes else "answers"] = found
        return counts

    def layers(self) -> list[Layer]:
        """Return what was found, as the layer `objects` or `answers`, and the layer `tiles`.

        Their reference system is that of the image, or none: then they are in pixels.
        """
        inquiry = self.job.inquiry
        found = found_layer(
            "objects" if self.has_boxes else "answers",
            self.objects,
            self.image,
            self.georeference,
            self.model,
            [choice.strip() for choice in inquiry.choices or ()],
        )
        return [found, tiles_layer(self.tiles, inquiry.queries, self.image, self.georeference)]

    def to_geojson(self) -> JsonObject:
        """Return what was found as a GeoJSON FeatureCollection (RFC 7946), ready for `json.dump`.

        Geometries are in WGS 84, longitude first, counter-clockwise, cut at the antimeridian. What lies where there is
        no longitude and latitude is left out.

        Raises:
            ValueError: If it is not known where the image is on Earth, or its map has no longitude and latitude.
        """
        return to_geojson(self.layers()[0])

    def to_geodataframe(self) -> geopandas.GeoDataFrame:
        """Return what was found in the image's own reference system; in pixels if it has none."""
        return to_geodataframe(self.layers()[0])

    def to_coco(self) -> JsonObject:
        """Return the objects as a COCO data set of one image, whose annotations have scores.

        Raises:
            ValueError: If the task is not answered by boxes.
        """
        return to_coco([self.coco_image()], self.job.inquiry.queries)

    def coco_image(self) -> CocoImage:
        """Return what [`to_coco`] takes of an image.

        Raises:
            ValueError: If the task is not answered by boxes.
        """
        self._need_boxes("COCO")
        found = self.objects
        return CocoImage(
            self.image,
            self.image_size,
            [one.box for one in found],
            [one.label for one in found],
            [one.score for one in found],
            [one.corners for one in found],
        )

    def to_supervision(self) -> supervision.Detections:
        """Return the objects as `supervision.Detections`, in pixels.

        Raises:
            ValueError: If the task is not answered by boxes.
            ModuleNotFoundError: If supervision is not installed.
        """
        self._need_boxes("supervision")
        found = self.objects
        boxes, labels = [one.box for one in found], [one.label for one in found]
        scores, corners = [one.score for one in found], [one.corners for one in found]
        return to_supervision(boxes, labels, scores, self.job.inquiry.queries, corners)

    def write(self, path: str | Path) -> int:
        """Write the layers to a file whose suffix decides on its format, see [`find_format`].

        Returns:
            How many objects were left out because they have no place on the map, or no longitude and latitude.

        Raises:
            ValueError: If there is no such format, or the place on Earth is needed and not known.
            OSError: If it cannot be written.
        """
        layers = self.layers()
        return len(self.objects) - len(layers[0]) + write_layers(Path(path), layers)

    def plot(self, ax: Axes | None = None, max_side: int = 1024) -> Axes:
        """Draw the boxes, or the answers of tiles, on the image.

        Args:
            ax: Axes of matplotlib to draw in; by default those of a new figure.
            max_side: The image is shown with at most so many pixels a side.

        Returns:
            The axes.
        """
        from geodit.pipelines.scenes.plotting import plot_objects

        with self.job.open(self.image) as source:
            picture = source.read(shape=source.fit_within(max_side))
        return plot_objects(self.objects, picture.pixels, self.image_size, self.has_boxes, ax)

    def _need_boxes(self, what: str) -> None:
        if not self.has_boxes:
            raise ValueError(f"{what} is for boxes, but {self.job.inquiry.task} is answered by a text")

    @cached_property
    def _area(self) -> AreaOfInterest | None:
        aoi = self.job.tiling.aoi
        return None if aoi is None else AreaOfInterest.read(aoi, self.georeference)

    @cached_property
    def _found(self) -> dict[str, list[Detection]]:
        """What was found of each query, every object once."""
        return {query: self._merged(query) for query in self.job.inquiry.queries}

    def _merged(self, query: str) -> list[Detection]:
        if self.job.tiling.tile_size is None:
            # The answer about the whole, with its boxes in the order of the answer.
            return [one for one in detections_of(self.tiles, query) if self.merge.keeps(one)]
        merged = merge_tiles(self.tiles, query, self.image_size, self.merge)
        return merged if self._area is None else self._area.holds(merged)

    def _prediction(self, query: str) -> Prediction:
        return tiled_prediction(
            self.tiles, self.job.inquiry, query, self._found[query], self.image_size, self.georeference
        )

    def _objects(self, query: str) -> Iterator[SceneObject]:
        answers = {tile.number: answer for tile in self.tiles for answer in tile.answers if answer.query == query}
        first = self.tiles[0].number if self.tiles else 0
        if self.has_boxes:
            for one in self._found[query]:
                number = first if one.tile is None else one.tile
                answer = answers[number]
                yield SceneObject(
                    one.box,
                    one.label,
                    one.score,
                    query,
                    answer.text,
                    number - first,
                    answer.parsed,
                    corners=one.corners,
                )
            return
        for tile in self.tiles:
            if tile.number in answers:
                answer = answers[tile.number]
                probabilities = by_choice(self.job.inquiry.choices, answer.choice_probabilities) or {}
                score = probabilities.get(answer.text, answer.score)
                number = tile.number - first
                yield SceneObject(
                    window_box(tile.window),
                    answer.text,
                    score,
                    query,
                    answer.text,
                    number,
                    answer.parsed,
                    probabilities or None,
                )
