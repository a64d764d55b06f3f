# SPDX-License-Identifier: Apache-2.0
"""`geodit predict`: one question about one or more images."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geodit.cli.checkpoint import AdapterOption, DeviceOption, DtypeOption, ModelOption, load_pipeline, model_label
from geodit.cli.decoding import (
    BlockLengthOption,
    CaptureOption,
    CompileOption,
    EntropyBoundOption,
    FillOption,
    GuidanceOption,
    OldStepsOption,
    RefreshOption,
    RemaskingOption,
    StepsOption,
    StructuredOption,
    TemperatureOption,
    ThresholdOption,
    renamed,
)
from geodit.cli.errors import CommandError
from geodit.cli.imagery import (
    BandsOption,
    DecibelsOption,
    GammaOption,
    MatchOption,
    MatchThresholdOption,
    MergeOption,
    MinScoreOption,
    MinSizeOption,
    NodataOption,
    OldBandOption,
    StretchOption,
    chosen_bands,
    merge_of,
    rendering_of,
)
from geodit.cli.lists import split_list
from geodit.cli.output import (
    check_can_write,
    make_directory,
    plain,
    png_bytes,
    print_json,
    progress_bar,
    reporter,
    results_console,
    to_json,
    write_output,
)

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from geodit.pipelines.prediction import Prediction
    from geodit.pipelines.rendering import Rendering

EXAMPLES = """Examples:

`geodit predict harbor.tif --task detect --query ship --overlay ships.png`

`geodit predict *.png --task caption --json`

`geodit predict *.png --task classify --choices airport,harbor,forest`

`geodit predict forest.tif --task detect --query tree --tile-size 96 --out trees.json`

`geodit predict forest.tif --task detect --query tree --adapter runs/lora-neon`"""


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(epilog=EXAMPLES)(predict)


def predict(
    images: Annotated[list[Path], typer.Argument(help="PNG, JPEG or (Geo)TIFF files.")],
    task: Annotated[
        str,
        typer.Option("--task", "-t", help="caption, ground, detect, vqa, classify, or another of the model."),
    ],
    query: Annotated[
        str,
        typer.Option("--query", "-q", help="Phrase to locate, class to detect, or question."),
    ] = "",
    choices: Annotated[
        str | None,
        typer.Option("--choices", help="Possible answers, separated by commas, such as airport,harbor."),
    ] = None,
    pattern: Annotated[
        str | None, typer.Option("--pattern", help="Regular expression that every answer matches, such as '[0-9]+'.")
    ] = None,
    structured: StructuredOption = True,
    model: ModelOption = None,
    adapter: AdapterOption = None,
    max_denoising_steps: StepsOption = None,
    steps: OldStepsOption = None,
    remasking: RemaskingOption = None,
    confidence_threshold: ThresholdOption = None,
    entropy_bound: EntropyBoundOption = None,
    block_length: BlockLengthOption = None,
    prefix_refresh_steps: RefreshOption = None,
    fill_after_eos: FillOption = None,
    guidance_scale: GuidanceOption = None,
    temperature: TemperatureOption = None,
    capture_step: CaptureOption = None,
    compile_step: CompileOption = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Seed of random remasking and of sampling with a temperature.")
    ] = None,
    tile_size: Annotated[
        int | None,
        typer.Option("--tile-size", min=1, help="Detect in tiles with this side, in pixels."),
    ] = None,
    overlap: Annotated[
        float,
        typer.Option("--overlap", help="Overlap of neighboring tiles, as a share of their side."),
    ] = 0.25,
    merge: MergeOption = "nms",
    match: MatchOption = "ios",
    match_threshold: MatchThresholdOption = 0.5,
    min_score: MinScoreOption = 0.0,
    min_size: MinSizeOption = 0.0,
    bands: BandsOption = None,
    band: OldBandOption = None,
    stretch: StretchOption = "auto",
    nodata: NodataOption = None,
    gamma: GammaOption = 1.0,
    db: DecibelsOption = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the answers to a JSON file.")] = None,
    overlay: Annotated[
        Path | None,
        typer.Option(
            "--overlay",
            help="Draw the boxes to this PNG file, or to this directory for several images.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answers as JSON.")] = False,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Number of images or tiles per batch.")] = 8,
    device: DeviceOption = None,
    dtype: DtypeOption = "auto",
) -> None:
    """Ask one question about one or more images.

    Boxes are x1, y1, x2, y2 in pixels, from the upper left corner of the image. For each image, the JSON document has
    the text of the answer, the boxes with labels and scores and, for a GeoTIFF, the boxes in map coordinates.
    """
    _check_inputs(images)
    if tile_size is not None and (choices is not None or pattern is not None):
        raise CommandError("--choices and --pattern apply to answers about a whole image: omit --tile-size")
    closed_set = None if choices is None else split_list("--choices", choices)
    if out is not None:
        check_can_write(out)
    pictures = {} if overlay is None else plan_overlays(images, overlay)
    shown = chosen_bands(bands, band)
    rendering = rendering_of(stretch, nodata, gamma, db)
    merging = merge_of(merge, match, match_threshold, min_score, min_size)
    max_denoising_steps = renamed("--steps", steps, "--max-denoising-steps", max_denoising_steps)
    pipeline = load_pipeline(model, device, adapter=adapter, dtype=dtype)

    from geodit.configuration.decoding_options import DecodingOptions
    from geodit.pipelines.imagery import open_image

    options = DecodingOptions(
        max_denoising_steps=max_denoising_steps,
        remasking=remasking,
        temperature=temperature,
        guidance_scale=guidance_scale,
        seed=seed,
        confidence_threshold=confidence_threshold,
        entropy_bound=entropy_bound,
        block_length=block_length,
        prefix_refresh_steps=prefix_refresh_steps,
        fill_after_eos=fill_after_eos,
        capture_step=capture_step,
        compile_step=compile_step,
        structured=structured,
    )
    with progress_bar() as progress:
        if tile_size is None:
            progress.add_task("answering", total=None)
            predictions = pipeline(
                list(images),
                task,
                query,
                choices=closed_set,
                pattern=pattern,
                bands=shown,
                rendering=rendering,
                batch_size=batch_size,
                options=options,
            )
        else:
            predictions = []
            for path in images:
                with open_image(path, shown, rendering) as source:
                    predictions.append(
                        pipeline.detect_in_tiles(
                            source,
                            query,
                            task,
                            tile_size,
                            overlap,
                            options=options,
                            merge=merging,
                            batch_size=batch_size,
                            progress=reporter(progress, path.name),
                        )
                    )

    document = {
        "model": model_label(model, adapter),
        "task": task,
        "query": query,
        "predictions": [
            {"image": str(path), **prediction.to_dict()} for path, prediction in zip(images, predictions, strict=True)
        ],
    }
    if out is not None:
        write_output(out, to_json(document).encode())
    for path, prediction in zip(images, predictions, strict=True):
        if path in pictures:
            _write_overlay(pictures[path], path, prediction, shown, rendering)
    if as_json:
        print_json(document)
        return
    console = results_console()
    console.print(predictions_table(images, predictions))
    for written in [*([out] if out else []), *pictures.values()]:
        console.print(f"wrote {written}", soft_wrap=True, highlight=False, markup=False)


def plan_overlays(images: Sequence[Path], overlay: Path) -> dict[Path, Path]:
    """Return where the picture of each image goes: `overlay` itself, or `<name>.png` in the directory `overlay`.

    Raises:
        CommandError: If several images would go to one file, or it cannot be written.
    """
    images = list(dict.fromkeys(images))
    if len(images) == 1 and not overlay.is_dir():
        check_can_write(overlay)
        return {images[0]: overlay}
    if overlay.is_file() or overlay.suffix:
        raise CommandError(f"--overlay {overlay} is a file, but there are {len(images)} images: give a directory")
    pictures = {path: overlay / f"{path.stem}.png" for path in images}
    if len(set(pictures.values())) < len(images):
        raise CommandError(
            "--overlay would write two images with the same name to one picture: draw each one separately"
        )
    make_directory(overlay)
    for picture in pictures.values():
        check_can_write(picture)
    sources = {path.resolve() for path in images}
    overwritten = [str(picture) for picture in pictures.values() if picture.resolve() in sources]
    if overwritten:
        raise CommandError(f"--overlay would overwrite the image {overwritten[0]}: give another directory")
    return pictures


def predictions_table(images: Sequence[Path], predictions: Sequence["Prediction"]) -> "Table":
    """Build a table of the answers, one row per image or one row per box."""
    from rich.table import Table

    tasks_with_boxes = any(prediction.boxes for prediction in predictions)
    table = Table(caption=_unparsed_note(predictions))
    table.add_column("image")
    if not tasks_with_boxes:
        table.add_column("answer")
        has_probabilities = any(prediction.choice_probabilities for prediction in predictions)
        if has_probabilities:
            table.add_column("probability", justify="right")
        for path, prediction in zip(images, predictions, strict=True):
            probability = (prediction.choice_probabilities or {}).get(prediction.text)
            cells = [] if probability is None else [f"{probability:.2f}"]
            table.add_row(plain(path.name), answer_text(prediction), *cells)
        return table
    for name in ("label", "score", "x1", "y1", "x2", "y2"):
        table.add_column(name, justify="left" if name == "label" else "right")
    for path, prediction in zip(images, predictions, strict=True):
        if not prediction.boxes:
            table.add_row(plain(path.name), answer_text(prediction))
        for index, (box, label, score) in enumerate(
            zip(prediction.boxes, prediction.labels, prediction.scores, strict=True)
        ):
            coordinates = [f"{value:.1f}" for value in box]
            name = path.name if index == 0 else ""
            table.add_row(plain(name), plain(label), f"{score:.2f}", *coordinates)
        table.add_section()
    return table


def _unparsed_note(predictions: Sequence["Prediction"]) -> str | None:
    """Return how many answers have boxes and did not parse as a whole; their well-formed boxes stand in the table."""
    unparsed = sum(
        prediction.num_unparsed_tiles or 1 for prediction in predictions if prediction.boxes and not prediction.parsed
    )
    if not unparsed:
        return None
    return f"{unparsed} answer{'s' * (unparsed > 1)} only partly understood: only well-formed boxes are shown"


def answer_text(prediction: "Prediction") -> "Text":
    """Return the answer of a task without boxes, or what to say where there is none."""
    if not prediction.parsed:
        return plain(f"{prediction.text} (not understood)")
    return plain(prediction.text)


def _check_inputs(images: Sequence[Path]) -> None:
    """Check before the model is loaded whether all images exist."""
    for path in images:
        if not path.is_file():
            raise CommandError(f"{path} is not an image" if path.exists() else f"there is no image {path}")


def _write_overlay(
    picture: Path, image: Path, prediction: "Prediction", bands: Sequence[int] | None, rendering: "Rendering"
) -> None:
    from geodit.pipelines.imagery import read_image
    from geodit.pipelines.visualization import draw_boxes

    pixels = read_image(image, bands, rendering).pixels
    drawn = draw_boxes(pixels, prediction.boxes, prediction.labels, prediction.scores)
    write_output(picture, png_bytes(drawn))
