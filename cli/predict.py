# SPDX-License-Identifier: Apache-2.0
"""`geodit predict`: questions about images, or about all tiles of scenes."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geodit.cli.checkpoint import AdapterOption, DeviceOption, DtypeOption, ModelOption
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
from geodit.cli.engines import EngineOption, EngineOptionsOption, load_scenes
from geodit.cli.errors import CommandError
from geodit.cli.imagery import (
    BandsOption,
    ConfirmOption,
    CrsOption,
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
from geodit.cli.images import expand_images
from geodit.cli.interruption import reported_interruptions
from geodit.cli.job_runs import (
    Destination,
    RayOption,
    RayWorkers,
    RayWorkersOption,
    ResumeOption,
    check_run,
    run_job,
)
from geodit.cli.lists import split_list
from geodit.cli.output import print_json, results_console
from geodit.cli.overlays import plan_overlays, write_overlay
from geodit.cli.prediction_table import predictions_table
from geodit.cli.processes import Processes
from geodit.cli.scene_output import (
    FormatOption,
    OutOption,
    check_keeps_images,
    check_out,
    check_places,
    holds_layers,
)
from geodit.cli.tiles import AoiOption, FullImageOption, GsdOption, OverlapOption, TileSizeOption, tiling_of

if TYPE_CHECKING:
    from geodit.pipelines.scenes.collecting import JobResult

INCOMPLETE = 3
"""Exit code of a job of which some images or tiles could not be read, and the others were answered."""

# So many tiles that could not be read are named, of each image.
_NAMED_TILES = 5

EXAMPLES = """Examples:

`geodit predict harbor.tif --task detect --query ship --overlay ships.png`

`geodit predict scene.tif --task detect --query ship --query "storage tank" --tile-size auto -o objects.gpkg`

`geodit predict scene.tif --task vqa --query "Is there water?" --choices yes,no --tile-size auto -o water.gpkg`

`geodit predict folder "more/*.tif" --task caption --keep-going --out captions.json`

`geodit predict *.png --task classify --choices airport,harbor,forest`"""


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(epilog=EXAMPLES)(predict)


def predict(
    context: typer.Context,
    images: Annotated[
        list[str],
        typer.Argument(
            help="Images: files that GDAL or Pillow reads, folders, quoted patterns, addresses (https://, s3://, "
            "/vsizip/...), or .txt files that list them."
        ),
    ],
    task: Annotated[
        str,
        typer.Option("--task", "-t", help="caption, ground, detect, vqa, classify, or another of the model."),
    ],
    query: Annotated[
        list[str] | None,
        typer.Option("--query", "-q", help="Phrase to locate, class to detect, or question; may be given repeatedly."),
    ] = None,
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
    tile_size: TileSizeOption = None,
    overlap: OverlapOption = 0.25,
    gsd: GsdOption = None,
    full_image: FullImageOption = False,
    aoi: AoiOption = None,
    merge: MergeOption = "nms",
    match: MatchOption = "ios",
    match_threshold: MatchThresholdOption = 0.5,
    min_score: MinScoreOption = 0.0,
    min_size: MinSizeOption = 0.0,
    confirm: ConfirmOption = True,
    bands: BandsOption = None,
    band: OldBandOption = None,
    stretch: StretchOption = "auto",
    nodata: NodataOption = None,
    gamma: GammaOption = 1.0,
    db: DecibelsOption = False,
    crs: CrsOption = None,
    retry_unparsed: Annotated[
        bool, typer.Option("--retry-unparsed", help="Ask again, with more steps, where an answer is not understood.")
    ] = False,
    out: OutOption = None,
    form: FormatOption = None,
    resume: ResumeOption = False,
    engine: EngineOption = "geodit",
    engine_options: EngineOptionsOption = None,
    ray: RayOption = False,
    ray_workers: RayWorkersOption = None,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Name an image that cannot be opened, and go on with the others.")
    ] = False,
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
    """Ask questions about images, or about all tiles of scenes.

    Boxes are x1, y1, x2, y2 in pixels, from the upper left corner of the image; in layers of a map they are polygons.
    A tile is encoded once for all queries. With --out answers are on disk as they come, and --resume goes on after an
    interruption. Exit code 3: some images or tiles could not be read, and the others were answered.
    """
    processes = context.with_resource(Processes.find())
    context.with_resource(reported_interruptions(out))
    closed_set = None if choices is None else tuple(split_list("--choices", choices))
    check_run(processes, out=out, resume=resume, device=device, ray=ray, ray_workers=ray_workers)
    if device is not None and engine == "vllm":
        raise CommandError("--device is for GeoDiT's own engine, and vLLM decides itself: leave out --device")
    check_out(out, form)
    paths = expand_images(images, keep_going=keep_going)
    check_keeps_images(out, paths)
    pictures = {} if overlay is None else plan_overlays(paths, overlay)
    shown = chosen_bands(bands, band)
    rendering = rendering_of(stretch, nodata, gamma, db)
    merging = merge_of(merge, match, match_threshold, min_score, min_size, confirm)
    tiling = tiling_of(tile_size, overlap, gsd, full_image, aoi)
    max_denoising_steps = renamed("--steps", steps, "--max-denoising-steps", max_denoising_steps)
    scenes, spec = load_scenes(
        engine,
        engine_options,
        model=model,
        adapter=adapter,
        dtype=dtype,
        # Workers of Ray need the GPUs, and this process only has to know the model.
        device="cpu" if ray else device or processes.device,
    )

    from geodit.configuration.decoding_options import DecodingOptions
    from geodit.pipelines.answering import Inquiry
    from geodit.pipelines.scenes.job import SceneJob

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
    job = SceneJob(
        tuple(paths),
        Inquiry(task, tuple(query or [""]), closed_set, pattern, options),
        tiling,
        None if shown is None else tuple(shown),
        rendering,
        crs,
        retry_unparsed,
        batch_size,
        keep_going,
    )
    plan = scenes.plan(job, look_at_all=holds_layers(out))
    if out is not None and holds_layers(out):
        check_places(out, plan)
    if form == "coco" and not scenes.answerer.has_boxes(task):
        raise CommandError(f"--format coco is for boxes, but {task} is answered by a text")
    workers = RayWorkers(spec, ray_workers) if ray else None
    done = run_job(scenes, plan, merging, Destination(out, form, resume), processes, workers)
    if done is None:
        return
    result, left_out = done
    if not result.scenes:
        _warn(result, 0, retry_unparsed)
        raise CommandError("no image could be opened")
    undrawn = _draw(result, pictures)
    _warn(result, left_out, retry_unparsed)
    for picture, reason in undrawn.items():
        typer.echo(f"geodit: warning: {picture} is not drawn: {reason}", err=True)
    if as_json:
        print_json(result.to_document())
    else:
        console = results_console()
        console.print(predictions_table([(scene.image, one) for scene in result for one in scene.predictions]))
        drawn = [pictures[scene.image] for scene in result if scene.image in pictures]
        for written in [*([out] if out else []), *(picture for picture in drawn if picture not in undrawn)]:
            console.print(f"wrote {written}", soft_wrap=True, highlight=False, markup=False)
    if undrawn or not result.is_complete:
        raise typer.Exit(INCOMPLETE)


def _draw(result: "JobResult", pictures: Mapping[str, Path]) -> dict[Path, str]:
    """Draw the overlays of all images, and return those that cannot be drawn, with the reason."""
    undrawn = {}
    for scene in result:
        if scene.image in pictures:
            try:
                write_overlay(pictures[scene.image], scene)
            except ValueError as error:
                undrawn[pictures[scene.image]] = str(error)
    return undrawn


def _warn(result: "JobResult", left_out: int, retried: bool) -> None:
    """Say on stderr what is not in the result, or not sure."""
    for told in _doubts(result, left_out, retried):
        typer.echo(f"geodit: warning: {told}", err=True)


def _doubts(result: "JobResult", left_out: int, retried: bool) -> Iterator[str]:
    for image, error in result.failures.items():
        yield f"{image} is left out: {error}"
    for scene in result:
        for tile in scene.unreadable[:_NAMED_TILES]:
            top, left, height, width = tile.window
            yield f"{scene.image}: {width} x {height} pixels at {left}, {top} could not be read: {tile.error}"
        if len(scene.unreadable) > _NAMED_TILES:
            yield f"{scene.image}: {len(scene.unreadable) - _NAMED_TILES:,} further tiles could not be read"
    unparsed = sum(scene.num_unparsed for scene in result)
    if unparsed:
        answers = sum(len(tile.answers) for scene in result for tile in scene.tiles)
        hint = "" if retried else "; --retry-unparsed asks again, with more steps"
        yield f"{unparsed:,} of {answers:,} answers were not, or not wholly, understood{hint}"
    without_data = sum(scene.num_without_data for scene in result)
    if without_data:
        yield f"{without_data:,} of {sum(len(scene.tiles) for scene in result):,} tiles have no data"
    if left_out:
        yield f"{left_out:,} objects are left out, as they have no longitude and latitude"
