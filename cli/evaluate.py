# SPDX-License-Identifier: Apache-2.0
"""`geodit evaluate`: the answers to a data set, scored, over decoding settings and seeds."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from geodit.cli.checkpoint import AdapterOption, DeviceOption, DtypeOption, ModelOption
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
from geodit.cli.evaluation_report import check_can_compare
from geodit.cli.evaluation_runs import (
    AskedData,
    AskedModel,
    Grid,
    Outputs,
    evaluate_answers,
    evaluate_other_model,
    evaluate_suite,
    evaluate_sweep,
)
from geodit.cli.lists import positive_integers, split_list
from geodit.cli.output import check_can_write

_RESAMPLES = 1000

# Options that mean nothing where there is no model to ask, or where a suite says what is asked.
_OF_MODELS = {
    *("model", "adapter", "family", "trust_remote_code", "device", "dtype", "batch_size", "closed_set", "seeds"),
    *("new_images", "max_denoising_steps", "steps", "remasking", "temperature", "guidance_scale", "structured"),
    *("confidence_threshold", "entropy_bound", "block_length", "prefix_refresh_steps", "fill_after_eos"),
    *("capture_step", "compile_step"),
}
_OF_DATA_SETS = {"dataset", "benchmark", "split", "tasks", "answers", "seeds", "new_images"}

EXAMPLES = """Examples:

`geodit evaluate --dataset synthetic --limit 100`

`geodit evaluate --model runs/stage2 --max-denoising-steps 1,8 --remasking low_confidence,random --seeds 3 --json`

`geodit evaluate --dataset neon --tasks detect --adapter runs/lora-neon`

`geodit evaluate --dataset synthetic --model Qwen/Qwen2.5-VL-3B-Instruct --protocol rscovlm --baselines`

`geodit evaluate --suite captioning --data datasets --model your-name/geodit-8b --report captioning`"""


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(epilog=EXAMPLES)(evaluate)


def evaluate(
    context: typer.Context,
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
        str | None,
        typer.Option("--protocol", help="Also score as other projects do, one or more: vrsbench,geochat,..."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            help="Folder of answers, tables, plots and pictures; given again, the same command goes on there.",
        ),
    ] = None,
    compare_with: Annotated[
        Path | None,
        typer.Option(
            "--compare-with",
            help="Folder of another report with the same data and settings, to compare with question by question.",
        ),
    ] = None,
    baselines: Annotated[
        bool,
        typer.Option("--baselines", help="Also score what answers without a model, from the training split."),
    ] = False,
    tokenizer: Annotated[
        Literal["plain", "ptb"],
        typer.Option("--tokenizer", help="How captions are cut into words: plain, or ptb, COCO's, which needs Java."),
    ] = "plain",
    meteor: Annotated[bool, typer.Option("--meteor", help="Compute METEOR of captions, which needs Java.")] = False,
    label_rule: Annotated[
        Literal["strict", "lenient"],
        typer.Option("--label-rule", help="When class names of boxes are the same; lenient: storage-tanks, a tank."),
    ] = "strict",
    answer_rules: Annotated[
        str | None,
        typer.Option("--answer-rules", help="More rules for short answers: rsvqa_lr,rsvqa_hr."),
    ] = None,
    benchmark: Annotated[
        Literal["synthetic", "neon"] | None,
        typer.Option("--benchmark", "-b", hidden=True, help="The old name of --dataset."),
    ] = None,
    model: ModelOption = None,
    adapter: AdapterOption = None,
    family: Annotated[
        str | None,
        typer.Option(
            "--family", help="How another model is asked: qwen2_5_vl, geochat, ...; by default as its type tells."
        ),
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run the code that another model's checkpoint brings along.")
    ] = False,
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
            "--closed-set",
            help="Tasks in which the answers of the data set are the only choices: classify,vqa. "
            "Another model is told the classes.",
        ),
    ] = None,
    bootstrap: Annotated[
        int | None,
        typer.Option(
            "--bootstrap",
            min=0,
            help="Number of bootstrap resamples for 95% intervals. By default none, and 1,000 with --report.",
        ),
    ] = None,
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
    """Evaluate a model, GeoDiT or any other, on a data set or on those of the paper.

    Prints one column per number of steps and remasking strategy: mean ± standard deviation over the seeds. Images are
    generated from seeds that training never uses, or belong to a split that training never sees.
    """
    name = renamed("--benchmark", benchmark, "--dataset", dataset) or "synthetic"
    given = {name for name in context.params if _is_given(context, name)}
    if answers is not None:
        _check_none(given & _OF_MODELS, "--answers: no model is asked")
    elif box_format is not None:
        raise CommandError("--box-format goes with --answers")
    if suite is not None:
        if data is None or report is None:
            raise CommandError("--suite needs --data, the folder of its data sets, and --report")
        _check_none(given & _OF_DATA_SETS, "--suite, which says what is asked")
    if compare_with is not None:
        if report is None:
            raise CommandError("--compare-with needs --report")
        check_can_compare(compare_with)
    steps = renamed("--steps", steps, "--max-denoising-steps", max_denoising_steps)
    grid = Grid(
        positive_integers("--max-denoising-steps", steps or "8"),
        split_list("--remasking", remasking),
        seeds,
        new_images,
    )
    if out is not None:
        check_can_write(out)
    outputs = Outputs(report, compare_with, out, as_json)
    asked = AskedData(name, data, split, limit, None if tasks is None else split_list("--tasks", tasks))

    from geodit.configuration.decoding_options import DecodingOptions
    from geodit.evaluation.optional import check_libraries
    from geodit.evaluation.scored_answers import Scoring
    from geodit.evaluation.scoring import ScoringRules
    from geodit.evaluation.settings import evaluation_options

    check_libraries()
    scoring = Scoring(
        ScoringRules(
            tokenizer,
            meteor,
            label_rule,
            () if answer_rules is None else tuple(split_list("--answer-rules", answer_rules)),
        ),
        () if protocol is None else tuple(split_list("--protocol", protocol)),
        (0 if report is None else _RESAMPLES) if bootstrap is None else bootstrap,
    )
    if answers is not None:
        evaluate_answers(answers, asked, box_format, scoring, baselines=baselines, outputs=outputs)
        return
    # Each remasking takes its place in the sweep; of several, all must go with the other settings.
    settings = evaluation_options(
        DecodingOptions(
            max_denoising_steps=grid.max_denoising_steps[0],
            remasking=grid.remasking[0],
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
    asked_model = AskedModel(model, adapter, family, trust_remote_code, device, dtype)
    if suite is None and asked_model.is_geodit:
        evaluate_sweep(asked_model, asked, settings, grid, batch_size, scoring, baselines=baselines, outputs=outputs)
        return
    if not grid.is_one_point:
        what = "--suite takes one setting" if suite is not None else f"{asked_model.label} is not GeoDiT"
        raise CommandError(
            f"{what}: give one --max-denoising-steps and one --remasking, and no --seeds and --new-images"
        )
    if suite is None:
        evaluate_other_model(asked_model, asked, settings, batch_size, scoring, baselines=baselines, outputs=outputs)
        return
    assert data is not None
    evaluate_suite(
        suite,
        data,
        asked_model,
        settings,
        limit=limit,
        batch_size=batch_size,
        scoring=scoring,
        baselines=baselines,
        outputs=outputs,
    )


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _check_none(given: set[str], without: str) -> None:
    """Refuse options that do not go with another one."""
    if given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(given))
        raise CommandError(f"{options} cannot go with {without}")
