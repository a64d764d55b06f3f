# SPDX-License-Identifier: Apache-2.0
"""The functions that programs call over HTTP, as `docs/app.md` describes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gradio import FileData
from gradio.events import api as add_api

from geodit.app.components import image_path
from geodit.app.failures import shown_error
from geodit.app.service import Documents, Service
from geodit.app.settings import Bands, Question, SceneSettings, decoding_options

__all__ = ["add_functions"]


def add_functions(service: Service, queue: str) -> None:
    """Offer the functions `ask`, `denoise`, `scene` and `models`.

    Args:
        service: Answers the requests.
        queue: The queue that they stand in.
    """

    def ask(
        image: FileData,
        task: str,
        query: str = "",
        choices: list[str] | None = None,
        bands: list[int] | None = None,
        stretch: str = "auto",
        max_denoising_steps: int | None = None,
        confidence_threshold: float | None = None,
        remasking: str | None = None,
        structured: bool = True,
        model: str | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Ask one question about one image; returns the answer, and GeoJSON and COCO where they make sense."""
        yield from _answer(
            image,
            lambda path: service.ask(
                path,
                Question.read(task, query, choices),
                Bands.read(bands, stretch),
                decoding_options(max_denoising_steps, confidence_threshold, remasking, structured),
                model=model,
                show=False,
            ),
        )

    def denoise(
        image: FileData,
        task: str,
        query: str = "",
        choices: list[str] | None = None,
        bands: list[int] | None = None,
        stretch: str = "auto",
        max_denoising_steps: int | None = None,
        confidence_threshold: float | None = None,
        remasking: str | None = None,
        structured: bool = True,
        model: str | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Ask one question about one image; returns every denoising step, each as soon as it is made."""
        yield from _answer(
            image,
            lambda path: service.watch(
                path,
                Question.read(task, query, choices),
                Bands.read(bands, stretch),
                decoding_options(max_denoising_steps, confidence_threshold, remasking, structured),
                model=model,
                show=False,
            ),
        )

    def scene(
        image: FileData,
        queries: list[str],
        task: str = "detect",
        bands: list[int] | None = None,
        stretch: str = "auto",
        tile_size: int | None = None,
        overlap: float = 0.25,
        min_score: float = 0.0,
        max_denoising_steps: int | None = None,
        model: str | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Ask about all tiles of a scene; returns what was found, as GeoJSON where the scene has a place on Earth."""
        yield from _answer(
            image,
            lambda path: service.scene(
                path,
                queries,
                task,
                Bands.read(bands, stretch),
                decoding_options(max_denoising_steps),
                SceneSettings.read(tile_size, overlap, min_score),
                model=model,
                show=False,
            ),
        )

    def models() -> dict[str, list[str]]:
        """Return the names of the models and of the tasks."""
        return {"models": list(service.models), "tasks": list(service.tasks)}

    for function in (ask, denoise, scene):
        add_api(function, api_name=function.__name__, concurrency_id=queue, concurrency_limit=1)
    add_api(models, api_name="models", queue=False)


def _answer(image: object, start: Callable[[str], Documents]) -> Iterator[dict[str, Any]]:
    """Yield the documents of a request; what goes wrong is one line."""
    path = image_path(image)
    try:
        if not path:
            raise ValueError("image is a file that was uploaded: give what /upload has returned")
        documents = start(path)
        last: dict[str, Any] = {}
        try:
            for document in documents:
                last = last if document is None else document
                yield last
        finally:
            documents.close()  # type: ignore[attr-defined]  # it is a generator
    except Exception as error:
        raise shown_error(error, {path: Path(path).name} if path else None) from None
