# SPDX-License-Identifier: Apache-2.0
"""The results of a job, image by image, from the answers of its chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from geodit.configuration.types_geodit import JsonObject
from geodit.pipelines.merging import MergeOptions
from geodit.pipelines.scenes.coco import to_coco
from geodit.pipelines.scenes.formats import write_layers
from geodit.pipelines.scenes.geography import concatenate_in_wgs84
from geodit.pipelines.scenes.layers import Layer
from geodit.pipelines.scenes.objects import ModelName, window_box
from geodit.pipelines.scenes.plan import ImageFacts, JobPlan
from geodit.pipelines.scenes.results import SceneResult
from geodit.pipelines.tile_answers import TileAnswers

__all__ = ["JobResult", "collect"]


@dataclass(frozen=True)
class JobResult:
    """The results of a job. Iterating over it gives those of one image after the other.

    Args:
        scenes: What was found in each image that could be opened, in order.
        failures: Why an image could not be opened, by its path or address.
    """

    scenes: tuple[SceneResult, ...]
    failures: dict[str, str]

    def __iter__(self) -> Iterator[SceneResult]:
        return iter(self.scenes)

    def __len__(self) -> int:
        return len(self.scenes)

    @property
    def is_complete(self) -> bool:
        """Whether every image and every tile could be read."""
        return not self.failures and not any(scene.unreadable for scene in self.scenes)

    def layers(self) -> list[Layer]:
        """Return the layers of all images; those of several reference systems are joined in WGS 84.

        Then what has no longitude and latitude is left out.

        Raises:
            ValueError: If some images have a place on Earth and others have none, or there are no images.
        """
        if not self.scenes:
            raise ValueError("no image could be opened")
        of_scenes = [scene.layers() for scene in self.scenes]
        joined = []
        for layers in zip(*of_scenes, strict=True):
            one_system = len({layer.crs for layer in layers}) == 1
            joined.append(Layer.concatenate(layers) if one_system else concatenate_in_wgs84(layers)[0])
        return joined

    def write(self, path: str | Path) -> int:
        """Write the layers of all images to a file whose suffix decides on its format, see [`find_format`].

        Returns:
            How many objects were left out because they have no place on the map, or no longitude and latitude.

        Raises:
            ValueError: As [`layers`], or if there is no such format.
            OSError: If it cannot be written.
        """
        layers = self.layers()
        found = sum(len(scene.objects) for scene in self.scenes)
        return found - len(layers[0]) + write_layers(Path(path), layers)

    def to_document(self) -> JsonObject:
        """Return all that is known, in types that JSON has."""
        first = self.scenes[0] if self.scenes else None
        inquiry = None if first is None else first.job.inquiry
        queries = [] if inquiry is None else list(inquiry.queries)
        document: JsonObject = {
            "model": "" if first is None else first.model.name,
            "revision": None if first is None else first.model.revision,
            "task": "" if inquiry is None else inquiry.task,
            "query": queries[0] if len(queries) == 1 else queries,
            "predictions": [one for scene in self.scenes for one in _predictions(scene)],
        }
        if self.failures:
            document["failed"] = [{"image": image, "error": error} for image, error in self.failures.items()]
        return document

    def to_coco(self) -> JsonObject:
        """Return the objects of all images as one COCO data set, whose annotations have scores.

        Raises:
            ValueError: If the task is not answered by boxes.
        """
        queries = self.scenes[0].job.inquiry.queries if self.scenes else ()
        return to_coco([scene.coco_image() for scene in self.scenes], queries)


def collect(
    plan: JobPlan, answers: Iterable[Sequence[TileAnswers]], merge: MergeOptions, model: ModelName, has_boxes: bool
) -> JobResult:
    """Put the answers of all chunks of a job together.

    Args:
        plan: The plan of the job. Images of which nothing is known, as others have asked about them, are opened.
        answers: Of each chunk, in any order.
        merge: How detections of several tiles become one.
        model: The model.
        has_boxes: Whether the task is answered by boxes.

    Raises:
        ValueError: If answers are missing.
    """
    by_number = {tile.number: tile for chunk in answers for tile in chunk}
    of_image: dict[int, list[TileAnswers]] = {number: [] for number in range(len(plan.job.images))}
    for tile in plan.tiles:
        if tile.number not in by_number:
            raise ValueError(f"there is no answer about tile {tile.number}: the job is not finished")
        of_image[tile.image].append(by_number[tile.number])
    scenes = []
    failures = {plan.job.images[number]: error for number, error in plan.failures.items()}
    for number, image in enumerate(plan.job.images):
        tiles = of_image[number]
        if image in failures:
            continue
        if plan.job.tiling.tile_size is None and tiles[0].status == "unreadable":
            failures[image] = tiles[0].error
            continue
        facts = plan.images.get(number) or _look_at(plan, number)
        scenes.append(
            SceneResult(image, facts.image_size, facts.georeference, plan.job, has_boxes, tuple(tiles), merge, model)
        )
    return JobResult(tuple(scenes), failures)


def _look_at(plan: JobPlan, number: int) -> ImageFacts:
    with plan.job.open(plan.job.images[number]) as source:
        return ImageFacts(source.image_size, source.georeference)


def _predictions(scene: SceneResult) -> Iterator[JsonObject]:
    tiled = scene.job.tiling.tile_size is not None
    for prediction in scene.predictions:
        values: JsonObject = {"image": scene.image, **prediction.to_dict()}
        if tiled:
            values["tiles"] = list(_tiles(scene.tiles, prediction.query))
        yield values


def _tiles(tiles: Sequence[TileAnswers], query: str) -> Iterator[JsonObject]:
    for tile in tiles:
        values: JsonObject = {
            "tile": tile.number - tiles[0].number,
            "window": list(window_box(tile.window)),
            "status": tile.status,
        }
        if tile.error:
            values["error"] = tile.error
        for answer in tile.answers:
            if answer.query == query:
                values |= {
                    "text": answer.text,
                    "parsed": answer.parsed,
                    "score": answer.score,
                    "attempts": answer.attempts,
                }
                if answer.choice_probabilities is not None:
                    values["choice_probabilities"] = list(answer.choice_probabilities)
        yield values
