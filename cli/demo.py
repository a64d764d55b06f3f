# SPDX-License-Identifier: Apache-2.0
"""`geodit demo`: all tasks on scenes that come with the package."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geodit.cli.checkpoint import ModelOption, load_pipeline
from geodit.cli.decoding import OldStepsOption, renamed
from geodit.cli.output import (
    check_can_write,
    make_directory,
    plain,
    png_bytes,
    progress_bar,
    results_console,
    write_output,
)
from geodit.configuration.types_geodit import JsonObject

if TYPE_CHECKING:
    from PIL import Image
    from rich.table import Table

    from geodit.pipelines.image_pipeline import GeoDiTPipeline
    from geodit.pipelines.prediction import Prediction

IOU_THRESHOLD = 0.5
_GAP = 12


@dataclass(frozen=True)
class DemoAnswer:
    """A question about a scene, the truth, and what the model said.

    Args:
        image: The image file.
        truth: The question with its true answer, as `scenes.json` has it.
        prediction: The model's answer.
    """

    image: Path
    truth: JsonObject
    prediction: "Prediction"

    @property
    def num_found(self) -> int:
        """How many true boxes have a box of their own with an IoU of at least 0.5."""
        from geodit.processing.box_ops import box_iou, match_boxes

        return len(match_boxes(box_iou(self.truth["boxes"], self.prediction.boxes), IOU_THRESHOLD))

    @property
    def is_right(self) -> bool:
        """Whether the text is the true one (of a caption: one of them), or all boxes are found, no more."""
        if self.truth["boxes"]:
            return self.num_found == len(self.truth["boxes"]) == len(self.prediction.boxes)
        right = self.truth["references"] or [self.truth["answer"]]
        return self.prediction.text.strip().lower() in [text.lower() for text in right]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(epilog="Example: `geodit demo --out my-pictures`")(demo)


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory for the pictures; created if necessary.")] = Path(
        "geodit-demo"
    ),
    model: ModelOption = None,
    max_denoising_steps: Annotated[
        int | None,
        typer.Option("--max-denoising-steps", min=1, help="Maximum number of denoising steps, N. By default 8."),
    ] = None,
    steps: OldStepsOption = None,
) -> None:
    """Run all five tasks on the bundled scenes.

    Compares the answers with the truth and draws them. Downloads nothing. The scenes come from the project's
    generator, with seeds that training never uses; one is a GeoTIFF.
    """
    max_denoising_steps = renamed("--steps", steps, "--max-denoising-steps", max_denoising_steps)
    make_directory(out)
    boxes_path, denoising_path = out / "boxes.png", out / "denoising.png"
    for path in (boxes_path, denoising_path):
        check_can_write(path)
    scenes = Path(str(files("geodit"))) / "tiny" / "demo_scenes"
    answers = answer_scenes(load_pipeline(model), scenes, max_denoising_steps or 8)
    detections = [answer for answer in answers if answer.truth["task"] == "detect"]
    shown = max(detections, key=lambda answer: (answer.is_right, len(answer.prediction.boxes)))
    write_output(boxes_path, png_bytes(boxes_picture(detections)))
    write_output(denoising_path, png_bytes(denoising_picture_of(shown.prediction)))

    console = results_console()
    console.print(answers_table(answers))
    for line in [
        *(line for answer in detections for line in map_lines(answer)),
        f"boxes: {boxes_path}",
        f"order of denoising: {denoising_path} ({shown.image.name}, detect {shown.truth['query']})",
    ]:
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def answer_scenes(pipeline: "GeoDiTPipeline", directory: Path, max_denoising_steps: int) -> list[DemoAnswer]:
    """Ask every question that `scenes.json` of a directory has."""
    from geodit.configuration.text_files import read_json_object

    scenes = read_json_object(directory / "scenes.json")["scenes"]
    asked = [(directory / scene["image"], question) for scene in scenes for question in scene["questions"]]
    answers = []
    with progress_bar() as progress:
        for path, question in progress.track(asked, description="answering"):
            prediction = pipeline(
                path,
                question["task"],
                question["query"],
                max_denoising_steps=max_denoising_steps,
                return_denoising=True,
            )[0]
            answers.append(DemoAnswer(path, question, prediction))
    return answers


def answers_table(answers: Sequence[DemoAnswer]) -> "Table":
    """Build a table of every question with its answer and the truth."""
    from rich.table import Table

    right = sum(answer.is_right for answer in answers)
    caption = f"{right} of {len(answers)} right; boxes match at an IoU of at least {IOU_THRESHOLD}"
    table = Table(title="GeoDiT on the demo scenes", caption=caption)
    for name in ("scene", "task"):
        table.add_column(name, no_wrap=True)
    for name in ("query", "answer", "truth"):
        table.add_column(name, overflow="fold")
    table.add_column("ok", justify="center")
    previous = None
    for answer in answers:
        if previous not in (None, answer.image):
            table.add_section()
        said, true = _texts(answer)
        scene = "" if answer.image == previous else answer.image.name
        mark = "[green]yes[/green]" if answer.is_right else "[red]no[/red]"
        table.add_row(scene, answer.truth["task"], answer.truth["query"], plain(said), true, mark)
        previous = answer.image
    return table


def map_lines(answer: DemoAnswer) -> list[str]:
    """Return the boxes of a georeferenced image in the coordinates of its map."""
    georeference, boxes = answer.prediction.georeference, answer.prediction.map_boxes
    if georeference is None or not boxes:
        return []
    lines = [f"{answer.image.name}, {answer.truth['query']}, {georeference.crs} (left, bottom, right, top):"]
    return lines + ["  " + ", ".join(f"{value:.1f}" for value in box) for box in boxes]


def boxes_picture(answers: Sequence[DemoAnswer]) -> "Image.Image":
    """Draw the scenes side by side, with the boxes that the model found."""
    from PIL import Image

    from geodit.pipelines.visualization import draw_boxes
    from geodit.rasters.imagery import read_image

    drawn = [
        draw_boxes(
            read_image(answer.image).pixels,
            answer.prediction.boxes,
            answer.prediction.labels,
            answer.prediction.scores,
        )
        for answer in answers
    ]
    width = sum(picture.width for picture in drawn) + _GAP * (len(drawn) - 1)
    joined = Image.new("RGB", (width, max(picture.height for picture in drawn)), "white")
    left = 0
    for picture in drawn:
        joined.paste(picture, (left, 0))
        left += picture.width + _GAP
    return joined


def denoising_picture_of(prediction: "Prediction") -> "Image.Image":
    """Draw the canvas of an answer after every step."""
    from geodit.pipelines.visualization import denoising_picture

    denoising = prediction.denoising
    if denoising is None:
        raise ValueError("this prediction was made without return_denoising")
    return denoising_picture(denoising.tokens, denoising.commit_steps, denoising.num_steps)


def _texts(answer: DemoAnswer) -> tuple[str, str]:
    """Return the answer and the truth as the table shows them: text, or the number of boxes."""
    if not answer.truth["boxes"]:
        return answer.prediction.text, answer.truth["answer"]
    count = len(answer.prediction.boxes)
    said = (
        f"{count} box{'es' * (count != 1)}, {answer.num_found} match" if answer.prediction.parsed else "not understood"
    )
    true = len(answer.truth["boxes"])
    return said, f"{true} box{'es' * (true != 1)}"
