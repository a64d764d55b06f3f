# SPDX-License-Identifier: Apache-2.0
"""The components of gradio that the page is made of, with their help texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import gradio as gr

from geodit.app.settings import MAX_DENOISING_STEPS
from geodit.configuration.generation_configuration_geodit import REMASKING_STRATEGIES
from geodit.processing.tasks_geodit import Task

__all__ = [
    "ASSETS",
    "DecodingFields",
    "ImageFields",
    "QuestionFields",
    "examples_row",
    "image_path",
    "view",
]

ASSETS = Path(__file__).parent / "assets"

_STRETCHES = ["auto", "none", "p2,98", "p0,100", "statistics"]


def image_path(value: object) -> str:
    """Return where the file of an image field lies; empty if there is none.

    Functions take the fields as they are sent (`preprocess=False`): gradio's own reading of a file field leaves an
    empty file each time.
    """
    return str(value.get("path") or "") if isinstance(value, dict) else ""


def view(kind: Literal["picture", "film", "scene"], placeholder: str, elem_id: str) -> gr.HTML:
    """Return a part of the page that `assets/views.js` draws from a document, below a line with its `status`.

    Args:
        kind: What is drawn.
        placeholder: What stands there while there is nothing to show.
        elem_id: Its id on the page.
    """
    return gr.HTML(
        None,
        html_template="",
        js_on_load=f"window.geodit.mount({kind!r}, element, props, watch);",
        apply_default_css=False,
        placeholder=placeholder,
        elem_id=elem_id,
    )


@dataclass(frozen=True)
class ImageFields:
    """The image, and how its bands are shown."""

    image: gr.File
    bands: gr.Textbox
    stretch: gr.Dropdown

    @classmethod
    def build(cls, name: str, label: str = "Image", kinds: str = "PNG, JPEG or GeoTIFF") -> ImageFields:
        """Put the fields on the page; `name` begins their ids."""
        image = gr.File(
            label=f"{label}: drop, paste or upload a {kinds}",
            file_types=[".png", ".jpg", ".jpeg", ".tif", ".tiff"],
            height=130,
            elem_id=f"{name}-image",
            elem_classes="gd-file",
        )
        with gr.Accordion("Bands and stretch", open=False):
            bands = gr.Textbox(
                label="Bands",
                info="One band for gray, or three for red, green and blue, such as 4,3,2. Empty: those of the file.",
                elem_id=f"{name}-bands",
                max_lines=1,
            )
            stretch = gr.Dropdown(
                _STRETCHES,
                value="auto",
                label="Stretch",
                info="Values that become black and white: auto, none, percentiles (p2,98), values (300,2850), or the "
                "statistics of the file.",
                allow_custom_value=True,
                elem_id=f"{name}-stretch",
            )
        return cls(image, bands, stretch)

    @property
    def all(self) -> list[gr.components.Component]:
        """The fields in the order in which functions take them."""
        return [self.image, self.bands, self.stretch]


@dataclass(frozen=True)
class QuestionFields:
    """What is asked."""

    task: gr.Radio
    query: gr.Textbox
    choices: gr.Textbox

    @classmethod
    def build(cls, name: str, tasks: dict[str, Task], task: str, query: str = "") -> QuestionFields:
        """Put the fields on the page; `name` begins their ids."""
        chosen = tasks.get(task) or next(iter(tasks.values()))
        task_field = gr.Radio(
            list(tasks),
            value=chosen.name,
            label="Task",
            info="What the model does: describe, locate a phrase, detect a class, answer a question, classify.",
            elem_id=f"{name}-task",
        )
        query_field = gr.Textbox(
            query,
            label="Query",
            info="A class to detect, a phrase to locate, or a question.",
            visible=chosen.takes_query,
            elem_id=f"{name}-query",
            max_lines=1,
        )
        choices = gr.Textbox(
            label="Choices",
            info="Optional: the only answers there are, with commas between them, such as yes, no.",
            visible=chosen.answer == "text",
            elem_id=f"{name}-choices",
            max_lines=1,
        )

        def shown(name: str) -> list[gr.Textbox]:
            chosen = tasks[name]
            return [gr.Textbox(visible=chosen.takes_query), gr.Textbox(visible=chosen.answer == "text")]

        task_field.change(
            shown, task_field, [query_field, choices], show_progress="hidden", queue=False, api_visibility="private"
        )
        return cls(task_field, query_field, choices)

    @property
    def all(self) -> list[gr.components.Component]:
        """The fields in the order in which functions take them."""
        return [self.task, self.query, self.choices]


@dataclass(frozen=True)
class DecodingFields:
    """How an answer is decoded."""

    steps: gr.Slider
    threshold: gr.Slider
    remasking: gr.Dropdown
    structured: gr.Checkbox

    @classmethod
    def build(cls, name: str, steps: int = 8, *, threshold: float = 0.0) -> DecodingFields:
        """Put the fields on the page; `name` begins their ids."""
        return cls(
            gr.Slider(
                1,
                MAX_DENOISING_STEPS,
                value=steps,
                step=1,
                label="Denoising steps, N",
                info="At most this many steps. Fewer are faster, more are often better.",
                elem_id=f"{name}-steps",
                buttons=[],
            ),
            gr.Slider(
                0,
                1,
                value=threshold,
                step=0.05,
                label="Confidence threshold",
                info="Commit every token above this confidence in one step. 0: off.",
                elem_id=f"{name}-threshold",
                buttons=[],
            ),
            gr.Dropdown(
                list(REMASKING_STRATEGIES),
                value="low_confidence",
                label="Remasking",
                info="Which tokens of a step are masked again.",
                elem_id=f"{name}-remasking",
            ),
            gr.Checkbox(
                True,
                label="Answer pattern",
                info="Boxes are always well formed. Off: any tokens.",
                elem_id=f"{name}-structured",
            ),
        )

    @property
    def all(self) -> list[gr.components.Component]:
        """The fields in the order in which functions take them."""
        return [self.steps, self.threshold, self.remasking, self.structured]


def examples_row(labels: Sequence[str], name: str) -> list[gr.Button]:
    """Return a button for each example."""
    with gr.Row(elem_classes="gd-examples"):
        return [gr.Button(label, size="sm", elem_id=f"{name}-example-{number}") for number, label in enumerate(labels)]
