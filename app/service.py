# SPDX-License-Identifier: Apache-2.0
"""Answers requests of the page and of programs by the pipelines; what is shown is in types that JSON has."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from geodit.app.pictures import data_url, map_document, picture_document, read_copy
from geodit.app.settings import Bands, Question, SceneSettings
from geodit.app.uploads import Uploads
from geodit.app.worker import Ticket, Worker
from geodit.configuration.decoding_options import DecodingOptions
from geodit.configuration.types_geodit import JsonObject
from geodit.pipelines.answering import Inquiry
from geodit.pipelines.denoising_film import denoising_film
from geodit.pipelines.denoising_steps import DenoisingStep
from geodit.pipelines.image_pipeline import GeoDiTPipeline
from geodit.pipelines.merging import MergeOptions
from geodit.pipelines.prediction import Prediction
from geodit.pipelines.scene_pipeline import ScenePipeline
from geodit.pipelines.scenes.map_picture import map_picture
from geodit.pipelines.scenes.objects import ModelName
from geodit.pipelines.scenes.predictions import prediction_coco, prediction_geojson
from geodit.pipelines.scenes.results import SceneResult
from geodit.processing.tasks_geodit import Task
from geodit.rasters.imagery import open_image

__all__ = ["Model", "Service"]

Documents = Iterator[JsonObject | None]
"""Documents of one request, each with all that is known, and `None` where nothing is new."""

_NUM_ALTERNATIVES = 5
_MAX_MAP_SIDE = 768
_MAX_QUERIES = 32
# Of one scene, each about one tile and one query.
_MAX_QUESTIONS = 20_000


@dataclass(frozen=True)
class Model:
    """A checkpoint that is loaded.

    Args:
        pipeline: It.
        name: What results say of it.
    """

    pipeline: GeoDiTPipeline
    name: ModelName


class Service:
    """The models, and the uploads that they are asked about.

    Args:
        models: By the name that people choose from; the first answers where none is chosen.
        uploads: The temporary folder.
    """

    def __init__(self, models: Mapping[str, Model], uploads: Uploads) -> None:
        if not models:
            raise ValueError("there is no model to ask")
        self.models = dict(models)
        self.uploads = uploads
        self._worker = Worker()

    @property
    def tasks(self) -> dict[str, Task]:
        """The tasks of the first model."""
        return dict(next(iter(self.models.values())).pipeline.processor.tasks)

    def preview(self, path: str, bands: Bands, session: str | None = None) -> JsonObject:
        """Return a picture, before anything is asked about it.

        Raises:
            FileNotFoundError, ValueError: If it cannot be read.
        """
        found = self.uploads.use(path, session)
        with open_image(found, bands.numbers, bands.rendering) as source:
            return {"picture": picture_document(source, read_copy(source), found.name)}

    def ask(
        self,
        path: str,
        question: Question,
        bands: Bands,
        options: DecodingOptions,
        *,
        model: str | None = None,
        session: str | None = None,
        show: bool = True,
    ) -> Documents:
        """Ask one question about one image.

        Args:
            path: The upload.
            question: What.
            bands: How the image is shown, to the model as well.
            options: How to decode.
            model: Who answers.
            session: The page that asks.
            show: Whether documents have the picture.

        Yields:
            Documents with `step`, and in the end `prediction`, `geojson`, `coco` and `seconds`.
        """
        chosen, found = self._model(model), self.uploads.use(path, session)

        def work(ticket: Ticket[JsonObject]) -> None:
            _check(chosen, question, options)
            document = self._shown(found, bands) if show else {}
            ticket.report({**document, "step": 0})
            begin = time.perf_counter()
            prediction = self._predict(
                chosen,
                found,
                question,
                bands,
                options,
                lambda step: ticket.report({**document, "step": step.number}),
            )
            seconds = time.perf_counter() - begin
            ticket.report({**document, **self._answer(chosen, prediction, found.name), "seconds": round(seconds, 3)})

        return self._worker.stream(work)

    def watch(
        self,
        path: str,
        question: Question,
        bands: Bands,
        options: DecodingOptions,
        *,
        model: str | None = None,
        session: str | None = None,
        show: bool = True,
    ) -> Documents:
        """Ask one question, and show every step; arguments as for [`ask`].

        Yields:
            Documents with `steps`, and in the end also `prediction`, `seconds` and, if they show, `gif`.
        """
        chosen, found = self._model(model), self.uploads.use(path, session)

        def work(ticket: Ticket[JsonObject]) -> None:
            _check(chosen, question, options)
            with open_image(found, bands.numbers, bands.rendering) as source:
                copy = read_copy(source)
                document: JsonObject = {"picture": picture_document(source, copy, found.name)} if show else {}
                size = source.image_size
            shown: list[JsonObject] = []
            steps: list[DenoisingStep] = []

            def see(step: DenoisingStep) -> None:
                steps.append(step)
                shown.append(step.to_dict())
                ticket.report({**document, "steps": list(shown)})

            begin = time.perf_counter()
            prediction = self._predict(chosen, found, question, bands, options, see, _NUM_ALTERNATIVES)
            seconds = time.perf_counter() - begin
            document = {**document, "steps": shown, **self._answer(chosen, prediction, found.name)}
            document["seconds"] = round(seconds, 3)
            ticket.report(document)
            if show and steps:
                film = denoising_film(copy.pixels, size, steps, check=ticket.check)
                ticket.report({**document, "gif": data_url(film, "image/gif")})

        return self._worker.stream(work)

    def scene(
        self,
        path: str,
        queries: Sequence[str],
        task: str,
        bands: Bands,
        options: DecodingOptions,
        settings: SceneSettings,
        *,
        model: str | None = None,
        session: str | None = None,
        show: bool = True,
    ) -> Documents:
        """Ask about all tiles of a scene.

        Args:
            path: The upload.
            queries: Classes or questions; none for the tasks that take none.
            task: A task of the model.
            bands: As for [`ask`].
            options: Likewise.
            settings: How the scene is seen.
            model: Who answers.
            session: The page that asks.
            show: Whether documents have a picture of the scene on the map.

        Raises:
            ValueError: If these are too many questions for a page.

        Yields:
            Documents with `done` and `total`, and in the end `summary`, `geojson` or `pixels`, `coco` and `seconds`.
        """
        chosen, found = self._model(model), self.uploads.use(path, session)
        if len(queries) > _MAX_QUERIES:
            raise ValueError(f"a scene is asked at most {_MAX_QUERIES} queries at once, not {len(queries):,}")
        for query in queries:
            Question.read(task, query)

        def work(ticket: Ticket[JsonObject]) -> None:
            _check_number(chosen, found, max(1, len(queries)), bands, settings)
            document: JsonObject = {}
            if show:
                document["name"] = found.name
                with open_image(found, bands.numbers, bands.rendering) as source:
                    document["map"] = map_document(map_picture(source, min(_MAX_MAP_SIDE, 4 * max(source.image_size))))
                    if document["map"] is None:
                        document["picture"] = picture_document(source, read_copy(source), found.name)
            ticket.report({**document, "done": 0, "total": 0})
            begin = time.perf_counter()
            result = ScenePipeline(chosen.pipeline, name=chosen.name).predict(
                found,
                list(queries) or "",
                task=task,
                tile_size=settings.tile_size or "auto",
                overlap=settings.overlap,
                bands=bands.numbers,
                rendering=bands.rendering,
                merge=MergeOptions(min_score=settings.min_score),
                options=options,
                progress=lambda done, total: ticket.report({**document, "done": done, "total": total}),
            )
            seconds = time.perf_counter() - begin
            answer = _scene_document(replace(result, image=found.name))
            ticket.report({**document, **answer, "seconds": round(seconds, 3)})

        return self._worker.stream(work)

    def close(self) -> None:
        """End the work and remove the uploads."""
        self._worker.close()
        self.uploads.close()

    def _model(self, name: str | None) -> Model:
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise ValueError(f"this page has no model {name!r}: choose one of {', '.join(self.models)}")
        return self.models[name]

    def _predict(
        self,
        model: Model,
        path: Path,
        question: Question,
        bands: Bands,
        options: DecodingOptions,
        step_callback: Callable[[DenoisingStep], None],
        num_alternatives: int = 0,
    ) -> Prediction:
        (prediction,) = model.pipeline(
            path,
            question.task,
            question.query,
            choices=question.choices,
            bands=bands.numbers,
            rendering=bands.rendering,
            options=options,
            step_callback=step_callback,
            num_alternatives=num_alternatives,
        )
        return prediction

    def _shown(self, path: Path, bands: Bands) -> JsonObject:
        with open_image(path, bands.numbers, bands.rendering) as source:
            return {"picture": picture_document(source, read_copy(source), path.name)}

    def _answer(self, model: Model, prediction: Prediction, name: str) -> JsonObject:
        """Return an answer as it is shown and downloaded."""
        has_boxes = model.pipeline.answerer.has_boxes(prediction.task)
        geojson = None
        if prediction.georeference is not None:
            geojson = prediction_geojson(prediction, name, model.name, has_boxes=has_boxes)
        return {
            "prediction": prediction.to_dict(),
            "model": model.name.name,
            "has_boxes": has_boxes,
            "geojson": geojson,
            "coco": prediction_coco(prediction, name) if has_boxes else None,
        }


def _check(model: Model, question: Question, options: DecodingOptions) -> None:
    """Check whether a model can be asked this, before what is shown changes.

    Raises:
        ValueError: If it cannot.
    """
    inquiry = Inquiry(question.task, (question.query,), question.choices, None, options)
    model.pipeline.answerer.check(inquiry)


def _check_number(model: Model, path: Path, num_queries: int, bands: Bands, settings: SceneSettings) -> None:
    """Count the questions about a scene, before its tiles are made.

    Raises:
        ValueError: If there are too many.
    """
    side = settings.tile_size or model.pipeline.answerer.tile_side
    stride = max(1, int(side * (1 - settings.overlap)))
    with open_image(path, bands.numbers, bands.rendering) as source:
        height, width = source.image_size
    tiles = math.prod(1 + max(0, math.ceil((length - side) / stride)) for length in (height, width))
    if tiles * num_queries > _MAX_QUESTIONS:
        raise ValueError(
            f"{tiles:,} tiles and {num_queries} queries are more than the {_MAX_QUESTIONS:,} questions that a page "
            "asks at once: choose larger tiles, less overlap or fewer queries, or use `geodit predict`"
        )


def _scene_document(result: SceneResult) -> JsonObject:
    """Return what was found in a scene as it is shown and downloaded."""
    outlines: JsonObject
    if result.georeference is None:
        outlines = {"pixels": [_outline(one.box, one.label, one.score, one.query) for one in result]}
    else:
        outlines = {"geojson": result.to_geojson()}
    tiles = len(result.tiles)
    return {
        "done": tiles,
        "total": tiles,
        "image_size": list(result.image_size),
        "summary": result.summary(),
        "coco": result.to_coco() if result.has_boxes else None,
        **outlines,
    }


def _outline(box: tuple[float, float, float, float], label: str, score: float, query: str) -> JsonObject:
    return {"box": list(box), "label": label, "score": score, "query": query}
