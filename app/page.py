# SPDX-License-Identifier: Apache-2.0
"""The page: four tabs over one [`Service`], and the functions that programs call."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import gradio as gr

from geodit.app import api
from geodit.app.components import (
    DecodingFields,
    ImageFields,
    QuestionFields,
    examples_row,
    image_path,
    view,
)
from geodit.app.failures import one_line, shown_error
from geodit.app.service import Documents, Service
from geodit.app.settings import (
    MAX_DENOISING_STEPS,
    MAX_OVERLAP,
    Bands,
    Question,
    SceneSettings,
    decoding_options,
    split,
)
from geodit.configuration.text_files import read_json_object
from geodit.configuration.types_geodit import JsonObject
from geodit.processing.tasks_geodit import resolve_task

__all__ = ["MODEL_QUEUE", "build_page"]

MODEL_QUEUE = "model"
"""Requests to the models stand in one queue."""

Shown = Iterator[JsonObject]
"""What a view shows: documents with a `status`; one with `keep` leaves the rest of the view as it is."""


def build_page(service: Service, title: str = "GeoDiT") -> gr.Blocks:
    """Build the page.

    Args:
        service: Answers the requests.
        title: Of the page.
    """
    page = _Page(service)
    names = ", ".join(service.models)
    blocks: gr.Blocks
    with gr.Blocks(title=title, analytics_enabled=False, fill_width=True) as blocks:
        # First, so that the names are free.
        api.add_functions(service, MODEL_QUEUE)
        gr.HTML(
            f"<h1>{title}</h1><p>A vision-language model for satellite and aerial images that writes its answers by "
            "masked diffusion.</p>",
            elem_classes="gd-head",
            js_on_load=None,
        )
        with gr.Tabs():
            with gr.Tab("Ask", id="ask"):
                page.ask_tab()
            with gr.Tab("Watch it denoise", id="watch"):
                page.watch_tab()
            with gr.Tab("Scene", id="scene"):
                page.scene_tab()
            with gr.Tab("Compare", id="compare"):
                page.compare_tab()
        gr.HTML(f"<p>Model: {html.escape(names)}</p>", elem_classes="gd-foot", js_on_load=None)
        blocks.load(page.opened, None, None, queue=False, api_visibility="private", show_progress="hidden")
        blocks.unload(page.closed)
    return blocks


class _Page:
    """The tabs.

    Args:
        service: Answers the requests.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.examples = _examples(service)

    def opened(self, request: gr.Request) -> None:
        """Note that a page is open, whose uploads stay."""
        if request.session_hash:
            self.service.uploads.open_page(request.session_hash)

    def closed(self, request: gr.Request) -> None:
        """Remove what a page has uploaded."""
        if request.session_hash:
            self.service.uploads.close_page(request.session_hash)

    def ask_tab(self) -> None:
        """Build the tab in which one question is asked."""
        with gr.Row():
            with gr.Column(scale=5, min_width=300):
                image = ImageFields.build("ask")
                asked = self._examples_of("ask", [0, 1, 2, 3], image)
                question = QuestionFields.build("ask", self.service.tasks, "detect")
                with gr.Accordion("Decoding", open=False):
                    decoding = DecodingFields.build("ask")
                run, stop = _buttons("Ask", "ask")
            with gr.Column(scale=7, min_width=300):
                shown = view("picture", "Choose an image or an example, and ask.", "ask-view")
        fields = [*image.all, *question.all, *decoding.all]

        def ask(request: gr.Request, *values: Any) -> Shown:
            yield from self._run(self._ask, values, _ask_status, request)

        _wire(run, stop, ask, fields, shown, [question.query])
        self._preview_on_change(image, shown)
        asked([question.task, question.query])

    def watch_tab(self) -> None:
        """Build the tab in which the steps of an answer are seen."""
        with gr.Row():
            with gr.Column(scale=4, min_width=300):
                image = ImageFields.build("watch")
                asked = self._examples_of("watch", [0, 1, 2], image)
                question = QuestionFields.build("watch", self.service.tasks, "detect")
                decoding = DecodingFields.build("watch")
                run, stop = _buttons("Denoise", "watch")
            with gr.Column(scale=8, min_width=300):
                shown = view("film", "Choose an image or an example, and press Denoise.", "watch-view")
        fields = [*image.all, *question.all, *decoding.all]

        def watch(request: gr.Request, *values: Any) -> Shown:
            yield from self._run(self._watch, values, _watch_status, request)

        _wire(run, stop, watch, fields, shown, [question.query])
        self._keep_on_change(image)
        asked([question.task, question.query])

    def scene_tab(self) -> None:
        """Build the tab for whole scenes."""
        with gr.Row():
            with gr.Column(scale=4, min_width=300):
                image = ImageFields.build("scene", "Scene", "GeoTIFF")
                asked = self._examples_of("scene", [0], image)
                listing = [name for name, task in self.service.tasks.items() if name != "ground"]
                task = gr.Radio(
                    listing,
                    value="detect" if "detect" in listing else listing[0],
                    label="Task",
                    info="What is asked about every tile.",
                    elem_id="scene-task",
                )
                queries = gr.Textbox(
                    label="Queries",
                    info="Classes to detect, with commas between them; or a question. Empty for caption and classify.",
                    elem_id="scene-query",
                    max_lines=1,
                )
                with gr.Accordion("Tiles", open=False):
                    tile = gr.Number(
                        0, label="Tile size", info="Side in pixels. 0: as in training.", precision=0, minimum=0
                    )
                    overlap = gr.Slider(
                        0, MAX_OVERLAP, 0.25, step=0.05, label="Overlap", info="Share of a tile's side.", buttons=[]
                    )
                    score = gr.Slider(
                        0, 1, 0, step=0.05, label="Lowest score", info="Leave out objects below it.", buttons=[]
                    )
                    steps = gr.Slider(
                        1,
                        MAX_DENOISING_STEPS,
                        8,
                        step=1,
                        label="Denoising steps, N",
                        info="At most, for each tile.",
                        buttons=[],
                    )
                run, stop = _buttons("Run", "scene")
            with gr.Column(scale=8, min_width=300):
                shown = view("scene", "Choose a scene: its tiles are asked one by one.", "scene-view")
        fields = [*image.all, task, queries, tile, overlap, score, steps]

        def scene(request: gr.Request, *values: Any) -> Shown:
            yield from self._run(self._scene, values, _scene_status, request)

        _wire(run, stop, scene, fields, shown, [queries])
        self._keep_on_change(image)
        asked([task, queries])

    def compare_tab(self) -> None:
        """Build the tab in which two settings, or two models, answer the same question."""
        with gr.Row():
            with gr.Column(scale=6, min_width=300):
                image = ImageFields.build("compare")
            with gr.Column(scale=6, min_width=300):
                question = QuestionFields.build("compare", self.service.tasks, "detect")
        asked = self._examples_of("compare", [0, 1, 2], image)
        run, stop = _buttons("Compare", "compare")
        sides = []
        names = list(self.service.models)
        with gr.Row():
            for number, (side, steps) in enumerate((("A", 8), ("B", 1))):
                with gr.Column(scale=6, min_width=300):
                    gr.HTML(f"<h2>{side}</h2>", js_on_load=None, elem_classes="gd-head")
                    model = gr.Dropdown(
                        names,
                        value=names[number % len(names)],
                        label="Model",
                        info="One of those that the page was started with.",
                        elem_id=f"compare-{side}-model",
                        visible=len(names) > 1,
                    )
                    with gr.Accordion(f"Decoding of {side}", open=False):
                        decoding = DecodingFields.build(f"compare-{side}", steps)
                    shown = view("picture", f"What {side} answers stands here.", f"compare-{side}-view")
                    sides.append(([model, *decoding.all], shown))
        fields = [*image.all, *question.all, *sides[0][0], *sides[1][0]]

        def compare(request: gr.Request, *values: Any) -> Iterator[tuple[JsonObject, JsonObject]]:
            shown = [_said("Starting"), _said("Waiting for A")]
            for side in range(2):
                model, *decoding = values[6 + 5 * side : 11 + 5 * side]
                given = (*values[:6], *decoding)
                try:
                    for document in self._run(partial(self._ask, model=model), given, _ask_status, request):
                        shown[side] = document
                        yield shown[0], shown[1]
                except gr.Error:
                    if side == 0:
                        yield shown[0], _said("Not asked, because A failed")
                    raise

        _wire(run, stop, compare, fields, [sides[0][1], sides[1][1]], [question.query])
        self._keep_on_change(image)
        asked([question.task, question.query])

    def _ask(self, path: str, values: tuple[Any, ...], session: str | None, model: str | None = None) -> Documents:
        _, bands, stretch, task, query, choices, *decoding = values
        question = self._question(task, query, choices)
        return self.service.ask(
            path, question, Bands.read(bands, stretch), decoding_options(*decoding), model=model, session=session
        )

    def _watch(self, path: str, values: tuple[Any, ...], session: str | None) -> Documents:
        _, bands, stretch, task, query, choices, *decoding = values
        question = self._question(task, query, choices)
        return self.service.watch(
            path, question, Bands.read(bands, stretch), decoding_options(*decoding), session=session
        )

    def _scene(self, path: str, values: tuple[Any, ...], session: str | None) -> Documents:
        _, bands, stretch, task, queries, tile, overlap, score, steps = values
        takes_query = resolve_task(self.service.tasks, task).takes_query
        several = split(queries or "") if task == "detect" else ((queries or "").strip(),)
        return self.service.scene(
            path,
            [one for one in several if one] if takes_query else [],
            task,
            Bands.read(bands, stretch),
            decoding_options(steps),
            SceneSettings.read(tile, overlap, score),
            session=session,
        )

    def _question(self, task: str, query: str, choices: str) -> Question:
        """Read the fields that a task has; the others are hidden."""
        chosen = resolve_task(self.service.tasks, task)
        return Question.read(task, query if chosen.takes_query else "", choices if chosen.answer == "text" else None)

    def _run(
        self,
        start: Callable[[str, tuple[Any, ...], str | None], Documents],
        values: tuple[Any, ...],
        status: Callable[[JsonObject], str],
        request: gr.Request,
    ) -> Shown:
        """Show the documents of a request as they come, or its error in one line."""
        path = image_path(values[0])
        if not path:
            raise gr.Error("choose an image first", title="Nothing to ask about", print_exception=False)
        names = {path: Path(path).name}
        shown = _said("Starting")
        try:
            documents = start(path, values, request.session_hash)
            try:
                yield shown
                for document in documents:
                    shown = shown if document is None else {**document, "status": status(document)}
                    yield shown
            finally:
                documents.close()  # type: ignore[attr-defined]  # it is a generator
        except Exception as error:
            yield _said(one_line(error, names))  # where it stays
            raise shown_error(error, names) from None

    def _keep_on_change(self, image: ImageFields) -> None:
        """Note that a page has an image, before anything is asked about it."""

        def keep(image: object, request: gr.Request) -> None:
            path = image_path(image)
            if path and request.session_hash:
                self.service.uploads.keep(path, request.session_hash)

        image.image.change(
            keep,
            image.image,
            None,
            queue=False,
            preprocess=False,
            show_progress="hidden",
            api_visibility="private",
        )

    def _preview_on_change(self, image: ImageFields, shown: gr.HTML) -> None:
        """Show the picture before anything is asked, and again when its bands are shown otherwise."""

        def preview(image: object, bands: str, stretch: str, request: gr.Request) -> JsonObject | None:
            path = image_path(image)
            if not path:
                return None
            try:
                return self.service.preview(path, Bands.read(bands, stretch), request.session_hash)
            except Exception as error:
                raise shown_error(error, {path: Path(path).name}) from None

        for event in (image.image.change, image.bands.submit, image.stretch.input):
            event(
                preview,
                image.all,
                shown,
                concurrency_limit=2,
                concurrency_id="preview",
                preprocess=False,
                show_progress="hidden",
                api_visibility="private",
            )

    def _examples_of(
        self, name: str, numbers: list[int], image: ImageFields
    ) -> Callable[[list[gr.components.Component]], None]:
        """Put buttons for examples on the page; returns what connects them with the fields of the question."""
        chosen = [self.examples[number] for number in numbers if number < len(self.examples)]
        buttons = examples_row([f"Example: {label}" for label, *_ in chosen], name)

        def connect(fields: list[gr.components.Component]) -> None:
            for button, (_, path, task, query) in zip(buttons, chosen, strict=True):

                def take(path: str = path, task: str = task, query: str = query) -> tuple[str, str, str]:
                    return path, task, query

                button.click(
                    take,
                    None,
                    [image.image, *fields],
                    queue=False,
                    show_progress="hidden",
                    api_visibility="private",
                )

        return connect


def _wire(
    run: gr.Button,
    stop: gr.Button,
    function: Callable[..., Any],
    inputs: list[gr.components.Component],
    views: gr.HTML | list[gr.HTML],
    submitted: list[gr.Textbox],
) -> None:
    """Connect the buttons of a tab."""
    outputs = views if isinstance(views, list) else [views]

    def say(status: str) -> Any:
        return tuple(_said(status) for _ in outputs) if len(outputs) > 1 else _said(status)

    # The function itself says nothing before it has its turn.
    waiting = [
        trigger(
            partial(say, "Waiting for the model"),
            None,
            outputs,
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )
        for trigger in (run.click, *(field.submit for field in submitted))
    ]
    events: list[Any] = [
        begun.then(
            function,
            inputs,
            outputs,
            concurrency_id=MODEL_QUEUE,
            concurrency_limit=1,
            preprocess=False,
            show_progress="hidden",
            api_visibility="private",
        )
        for begun in waiting
    ]
    stop.click(
        partial(say, "Stopped"),
        None,
        outputs,
        cancels=events,
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )


def _buttons(label: str, name: str) -> tuple[gr.Button, gr.Button]:
    with gr.Row():
        return (
            gr.Button(label, variant="primary", elem_id=f"{name}-run", min_width=120),
            gr.Button("Stop", elem_id=f"{name}-stop", min_width=80),
        )


def _examples(service: Service) -> list[tuple[str, str, str, str]]:
    """Return the demo scenes as examples: what the button says, the image, the task and the query."""
    folder = Path(str(files("geodit"))) / "tiny" / "demo_scenes"
    scenes = read_json_object(folder / "scenes.json")["scenes"]
    wanted = (
        ("harbor.tif", "detect"),
        ("airport.png", "caption"),
        ("residential.png", "vqa"),
        ("airport.png", "ground"),
    )
    queries = {(scene["image"], one["task"]): one["query"] for scene in scenes for one in scene["questions"]}
    queries["harbor.tif", "detect"] = "ship"
    found = []
    for image, task in wanted:
        if task in service.tasks and (image, task) in queries:
            query = queries[image, task]
            path = str(service.uploads.add_example(folder / image))
            found.append((f"{task} {query}".strip(), path, task, query))
    return found


def _ask_status(document: JsonObject) -> str:
    if "prediction" in document:
        return f"Answered in {document['seconds']:.2f} s"
    return f"Step {document['step']}" if document["step"] else "Reading the image"


def _watch_status(document: JsonObject) -> str:
    if "prediction" in document:
        return f"{len(document['steps'])} steps in {document['seconds']:.2f} s"
    return f"Step {len(document['steps'])}"


def _scene_status(document: JsonObject) -> str:
    if "summary" in document:
        return "Done"
    return "Asking about the tiles" if document["total"] else "Reading the scene"


def _said(status: str) -> JsonObject:
    """Return a document that changes only the line of a view that says what happens."""
    return {"keep": True, "status": status}
