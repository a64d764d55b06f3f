# SPDX-License-Identifier: Apache-2.0
"""`geodit evaluate`: the answers to a data set, scored, over decoding settings and seeds."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from geodit.cli.checkpoint import AdapterOption, DeviceOption, DtypeOption, ModelOption, load_pipeline, model_label
from geodit.cli.data import NEON_DIRECTORY
from geodit.cli.decoding import (
    BlockLengthOption,
    CaptureOption,
    CompileOption,
    EntropyBoundOption,
    FillOption,
    GuidanceOption,
    RefreshOption,
    StructuredOption,
    ThresholdOption,
    renamed,
)
from geodit.cli.errors import CommandError
from geodit.cli.given_answers import score_given_answers
from geodit.cli.lists import positive_integers, split_list
from geodit.cli.output import (
    check_can_write,
    make_directory,
    print_json,
    progress_bar,
    results_console,
    to_json,
    write_output,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import datasets
    from rich.progress import TaskID

    from geodit.configuration.decoding_options import DecodingOptions
    from geodit.pipelines.image_pipeline import GeoDiTPipeline

_SUITE_RESAMPLES = 1000

EXAMPLES = """Examples:

`geodit evaluate --dataset synthetic --limit 100`

`geodit evaluate --model runs/stage2 --max-denoising-steps 1,8 --remasking low_confidence,random --seeds 3 --json`

`geodit evaluate --dataset neon --tasks detect --adapter runs/lora-neon`

`geodit evaluate --suite captioning --data datasets --model your-name/geodit-8b --report captioning`"""


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(epilog=EXAMPLES)(evaluate)


def evaluate(
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            help="synthetic: generated scenes, all tasks. neon: airborne images, tree crowns. A published data set "
            "(geodit data list) from --data. Or a folder that geodit data import has made. By default synthetic.",
        ),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            "--suite",
            help="Data sets of the paper, from --data: captioning, grounding, detection, vqa, classification, paper, "
            "ablations.",
        ),
    ] = None,
    answers: Annotated[
        Path | None,
        typer.Option("--answers", help="Score the answers of another program, JSON lines; see docs/protocols.md."),
    ] = None,
    box_format: Annotated[
        str | None,
        typer.Option("--box-format", help="With --answers, notation of boxes in texts: integers_1000, geochat, ..."),
    ] = None,
    protocol: Annotated[
        str, typer.Option("--protocol", help="With --answers, how to score, one or more: ours,vrsbench,geochat,...")
    ] = "ours",
    report: Annotated[
        Path | None,
        typer.Option("--report", help="With --suite, folder of answers and tables; given again, it goes on there."),
    ] = None,
    benchmark: Annotated[
        Literal["synthetic", "neon"] | None,
        typer.Option("--benchmark", "-b", hidden=True, help="The old name of --dataset."),
    ] = None,
    model: ModelOption = None,
    adapter: AdapterOption = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="Use this many images. By default 500 synthetic images, or all of neon."),
    ] = None,
    split: Annotated[
        Literal["test", "validation"],
        typer.Option("--split", help="test to report results, validation to tune settings."),
    ] = "test",
    max_denoising_steps: Annotated[
        str | None,
        typer.Option(
            "--max-denoising-steps", help="Maximum number of denoising steps, N, one or more: 1,8. By default 8."
        ),
    ] = None,
    steps: Annotated[str | None, typer.Option("--steps", hidden=True)] = None,
    remasking: Annotated[
        str, typer.Option("--remasking", help="One or more of low_confidence, low_margin, high_entropy, random.")
    ] = "low_confidence",
    confidence_threshold: ThresholdOption = None,
    entropy_bound: EntropyBoundOption = None,
    block_length: BlockLengthOption = None,
    prefix_refresh_steps: RefreshOption = 1,
    fill_after_eos: FillOption = True,
    guidance_scale: GuidanceOption = 1.0,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Repeat with this many decoding seeds.")] = 1,
    new_images: Annotated[
        bool, typer.Option("--new-images", help="Also generate other synthetic images for each seed.")
    ] = False,
    tasks: Annotated[
        str | None, typer.Option("--tasks", help="Ask only the questions of these tasks: ground,detect.")
    ] = None,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0.0, help="0 takes the most probable tokens.")
    ] = 0.0,
    structured: StructuredOption = True,
    capture_step: CaptureOption = None,
    compile_step: CompileOption = None,
    closed_set: Annotated[
        str | None,
        typer.Option(
            "--closed-set", help="Tasks in which the answers of the data set are the only choices: classify,vqa."
        ),
    ] = None,
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", min=0, help="Number of bootstrap resamples for 95% intervals; 0 for none.")
    ] = 0,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Number of questions per batch.")] = 32,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help=f"Directory of neon, by default {NEON_DIRECTORY}; or with --suite that of the folders of data sets.",
        ),
    ] = None,
    device: DeviceOption = None,
    dtype: DtypeOption = "auto",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the figures to this JSON file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures as JSON.")] = False,
) -> None:
    """Evaluate a model on a data set.

    Prints one column per number of steps and remasking strategy: mean ± standard deviation over the seeds. Images are
    generated from seeds that training never uses, or belong to a split that training never sees.
    """
    name = renamed("--benchmark", benchmark, "--dataset", dataset) or "synthetic"
    if suite is None and report is not None:
        raise CommandError("--report is for --suite")
    if suite is not None and (dataset is not None or data is None or report is None):
        raise CommandError("--suite needs --data, the folder of its data sets, and --report, and takes no --dataset")
    steps = renamed("--steps", steps, "--max-denoising-steps", max_denoising_steps)
    chosen_steps = positive_integers("--max-denoising-steps", steps or "8")
    chosen_remasking = split_list("--remasking", remasking)
    chosen_tasks = None if tasks is None else split_list("--tasks", tasks)
    if out is not None:
        check_can_write(out)

    from geodit.configuration.decoding_options import DecodingOptions
    from geodit.evaluation.data_sets import EVALUATION_DATASETS, get_evaluation_dataset
    from geodit.evaluation.settings import evaluation_options
    from geodit.evaluation.sweep import run_sweep
    from geodit.evaluation.tables import sweep_tables

    # Each remasking takes its place in the sweep; of several, all must go with the other settings.
    settings = evaluation_options(
        DecodingOptions(
            remasking=chosen_remasking[0],
            temperature=temperature,
            guidance_scale=guidance_scale,
            confidence_threshold=confidence_threshold,
            entropy_bound=entropy_bound,
            block_length=block_length,
            prefix_refresh_steps=prefix_refresh_steps,
            fill_after_eos=fill_after_eos,
            capture_step=capture_step,
            compile_step=compile_step,
            structured=structured,
            closed_set=() if closed_set is None else tuple(split_list("--closed-set", closed_set)),
        )
    )
    if suite is not None:
        assert data is not None
        assert report is not None
        load = partial(load_pipeline, model, device, adapter=adapter, dtype=dtype)
        _evaluate_suite(
            suite, data, report, load, model_label(model, adapter), settings, limit, batch_size, bootstrap, as_json
        )
        return
    if answers is not None:
        figures = score_given_answers(
            answers,
            _rows(name, data, split, limit),
            tasks=chosen_tasks,
            box_format=box_format,
            protocols=split_list("--protocol", protocol),
            bootstrap=bootstrap,
            as_json=as_json,
        )
        if out is not None:
            write_output(out, to_json(figures).encode())
        return
    has_seeds = name in EVALUATION_DATASETS and get_evaluation_dataset(name).has_seeds
    if new_images and not has_seeds:
        raise CommandError(f"--new-images is for generated images; the images of {name} are fixed")

    def load_dataset(seed: int | None) -> "datasets.Dataset":
        return _rows(name, data, split, limit, seed)

    # Fail for what is wrong with the data before a model is loaded; made images are made once, in the sweep.
    shared = None if has_seeds else load_dataset(None)
    pipeline = load_pipeline(model, device, adapter=adapter, dtype=dtype)
    with progress_bar() as progress:
        bar = progress.add_task(f"generating {name} images" if shared is None else name, total=None)

        def report_progress(description: str, done: int, total: int) -> None:
            progress.update(bar, description=description, completed=done, total=total)

        result = run_sweep(
            pipeline.model,
            pipeline.processor,
            load_dataset if shared is None else lambda seed: shared,
            dataset_name=name,
            split=split,
            max_denoising_steps=chosen_steps,
            remasking=chosen_remasking,
            seeds=range(seeds),
            dataset_seeds=range(seeds) if new_images else None,
            settings=settings,
            tasks=chosen_tasks,
            batch_size=batch_size,
            bootstrap=bootstrap,
            progress=report_progress,
            command=["geodit", *sys.argv[1:]],
            model_name=model_label(model, adapter),
        )
    if out is not None:
        write_output(out, to_json(result.to_dict()).encode())
    if as_json:
        print_json(result.to_dict())
        return
    console = results_console()
    console.print(*sweep_tables(result))
    if out is not None:
        console.print(f"wrote {out}", soft_wrap=True, highlight=False, markup=False)


def _rows(name: str, data: Path | None, split: str, limit: int | None, seed: int | None = None) -> "datasets.Dataset":
    """Return the questions of a data set, which has a name or is a folder.

    Raises:
        CommandError: If it is not said where a published data set is.
    """
    import datasets

    from geodit.annotations.stored import read_split
    from geodit.data.readers.reading import read_dataset
    from geodit.data.readers.registry import READERS
    from geodit.evaluation.data_sets import EVALUATION_DATASETS, load_evaluation_dataset

    datasets.disable_progress_bars()
    if name in EVALUATION_DATASETS:
        folder = NEON_DIRECTORY if data is None and name == "neon" else data
        return load_evaluation_dataset(name, split=split, seed=seed, limit=limit, data_dir=folder)
    if name in READERS:
        if data is None:
            raise CommandError(f"{name} is read from a folder: name it with --data")
        rows = read_dataset(name, data, split)
    elif Path(name).exists() or "/" in name:
        rows = read_split(name, split)
    else:
        known = ", ".join((*EVALUATION_DATASETS, *READERS))
        raise CommandError(f"unknown data set {name!r}: neither a folder nor one of {known}")
    return rows if limit is None else rows.select(range(min(limit, len(rows))))


def _evaluate_suite(
    name: str,
    data: Path,
    folder: Path,
    load: "Callable[[], GeoDiTPipeline]",
    model_name: str,
    settings: "DecodingOptions",
    limit: int | None,
    batch_size: int,
    bootstrap: int,
    as_json: bool,
) -> None:
    """Evaluate on the data sets of a suite, and write and print its table."""
    from accelerate import PartialState

    from geodit.evaluation.suite_runs import SuiteOptions, find_folders, run_suite
    from geodit.evaluation.suite_tables import suite_csv, suite_markdown, suite_table
    from geodit.evaluation.suites import get_suite

    suite = get_suite(name)
    find_folders(suite, data)  # before a model is loaded
    make_directory(folder)
    processes = PartialState()
    pipeline = load()
    with progress_bar() as progress:
        bars: dict[str, TaskID] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in bars:
                bars[what] = progress.add_task(what, total=total)
            progress.update(bars[what], completed=done, visible=done < total)

        result = run_suite(
            pipeline.model,
            pipeline.processor,
            suite,
            data,
            folder,
            SuiteOptions(settings, limit, batch_size, bootstrap or _SUITE_RESAMPLES),
            model_name=model_name,
            share=(processes.process_index, processes.num_processes),
            wait=processes.wait_for_everyone,
            progress=report,
        )
    if not processes.is_main_process:
        return
    write_output(folder / "results.md", suite_markdown(result).encode())
    write_output(folder / "results.csv", suite_csv(result).encode())
    if as_json:
        print_json(result.to_dict())
        return
    console = results_console()
    console.print(suite_table(result))
    console.print(f"answers and tables are in {folder}", soft_wrap=True, highlight=False, markup=False)
