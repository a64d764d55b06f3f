# SPDX-License-Identifier: Apache-2.0
"""`geodit finetune`: from a data set to a model, with a report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from geodit.cli.checkpoint import ModelOption, split_revision
from geodit.cli.errors import CommandError
from geodit.cli.lists import split_list
from geodit.cli.output import hide_library_bars, plain, print_json, progress_bar, results_console, write_output
from geodit.weights.bundled import BUNDLED

if TYPE_CHECKING:
    from rich.table import Table

    from geodit.evaluation.baseline_tables import BaselineFigures
    from geodit.finetuning.options import FinetuneOptions
    from geodit.finetuning.plan import FinetunePlan
    from geodit.finetuning.report import FinetuneReport

EXAMPLES = """Examples:

`geodit finetune crowns -o runs/crowns`

`geodit finetune ships --model your-name/geodit-8b -o runs/ships --epochs 3 --dry-run`

`geodit finetune crowns -o runs/crowns --seed 0,1,2`"""

_PAGE = "report.md"


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(epilog=EXAMPLES)(finetune)


def finetune(
    datasets: Annotated[
        list[str], typer.Argument(help="Folders that geodit data import has made, or Hub ids of such data sets.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run, which holds the model at its end.")],
    model: ModelOption = None,
    full: Annotated[bool, typer.Option("--full", help="Train all weights instead of an adapter (LoRA).")] = False,
    rank: Annotated[int, typer.Option("--rank", min=1, help="Rank of the adapter.")] = 16,
    quantize: Annotated[
        Literal["none", "4bit", "8bit"] | None,
        typer.Option("--quantize", help="Bits of the base. By default 4 where 16 do not fit in memory."),
    ] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", help="Peak learning rate.")] = None,
    epochs: Annotated[float | None, typer.Option("--epochs", help="Passes over the data.")] = None,
    max_steps: Annotated[int | None, typer.Option("--max-steps", min=1, help="Updates, instead of epochs.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", min=1, help="Rows of an update.")] = None,
    micro_batch_size: Annotated[
        int | None, typer.Option("--micro-batch-size", min=1, help="Rows that a device sees at once.")
    ] = None,
    activation_checkpointing: Annotated[
        bool | None,
        typer.Option(
            "--activation-checkpointing/--no-activation-checkpointing",
            help="Save memory for time. By default where it is needed.",
        ),
    ] = None,
    canvas: Annotated[
        list[str] | None,
        typer.Option("--canvas", help="Canvas of a task: detect=64. By default as long as its answers."),
    ] = None,
    questions_per_row: Annotated[
        int | None, typer.Option("--questions-per-row", min=1, help="Questions of an image trained together.")
    ] = None,
    augment: Annotated[
        bool, typer.Option("--augment/--no-augment", help="See images in other views, light and air each time.")
    ] = True,
    metric: Annotated[
        str, typer.Option("--metric", help="What the best checkpoint is best in: score, detect_f1, loss, ...")
    ] = "score",
    eval_questions: Annotated[
        int, typer.Option("--eval-questions", min=1, help="Validation questions answered at each evaluation.")
    ] = 200,
    evaluations: Annotated[int, typer.Option("--evaluations", min=1, help="How often to evaluate.")] = 10,
    patience: Annotated[
        int, typer.Option("--patience", min=0, help="Evaluations without progress before the end; 0 to never stop.")
    ] = 4,
    test_questions: Annotated[
        int, typer.Option("--test-questions", min=1, help="Test questions answered before and after, at most.")
    ] = 1000,
    seed: Annotated[str, typer.Option("--seed", help="Seed, or several for one run each: 0,1,2.")] = "0",
    cpu: Annotated[bool, typer.Option("--cpu", help="Leave a GPU alone.")] = False,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="Any other field of the recipe: name=value. May be repeated.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done, and why.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run in the folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report, or the plan, as JSON.")] = False,
) -> None:
    """Fine-tune a model on a data set of your own.

    Decides what is not given by the data and the memory at hand, and says why. Keeps the checkpoint that answers the
    validation questions best, and reports on the test split before and after. Started again after a stop, it goes on
    where it was.
    """
    from geodit.finetuning.options import FinetuneOptions

    hide_library_bars()
    name, revision = split_revision(model or BUNDLED)
    seeds = _seeds(seed)

    def options(number: int) -> FinetuneOptions:
        return FinetuneOptions(
            model=name,
            model_revision=revision,
            full=full,
            lora_rank=rank,
            quantize=quantize,
            learning_rate=learning_rate,
            epochs=epochs,
            max_steps=max_steps,
            batch_size=batch_size,
            micro_batch_size=micro_batch_size,
            activation_checkpointing=activation_checkpointing,
            canvas_lengths=tuple((task, _length(task, length)) for task, length in _pairs("--canvas", canvas)),
            questions_per_row=questions_per_row,
            augment=augment,
            eval_questions=eval_questions,
            evaluations=evaluations,
            patience=patience,
            metric=metric,
            test_questions=test_questions,
            seed=number,
            use_cpu=cpu,
            overrides=tuple(_pairs("--set", override)),
        )

    if dry_run:
        from geodit.finetuning.run import plan_of

        plan = plan_of(datasets, out, options(seeds[0]))
        if as_json:
            print_json(plan.to_dict())
        else:
            results_console().print(plan_table(plan))
        return
    reports: list[FinetuneReport | None] = []
    for number in seeds:
        folder = out if len(seeds) == 1 else out / f"seed-{number}"
        known = reports[0].baselines if reports and reports[0] is not None else None
        reports.append(_run(datasets, folder, options(number), overwrite, as_json, known))
    found = [report for report in reports if report is not None]
    if not found:  # not the first of several processes
        return
    if as_json:
        print_json(found[0].to_dict() if len(seeds) == 1 else [report.to_dict() for report in found])
    else:
        _print_reports(out, found)


def _run(
    datasets: list[str],
    out: Path,
    options: "FinetuneOptions",
    overwrite: bool,
    as_json: bool,
    baselines: "BaselineFigures | None",
) -> "FinetuneReport | None":
    from geodit.cli.training_progress import TrainingProgress
    from geodit.finetuning.run import finetune as run

    with progress_bar() as bars:
        tasks = {}

        def report_progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(f"test questions, {what}", total=total)
            bars.update(tasks[what], completed=done, visible=done < total)

        def announce(plan: "FinetunePlan") -> None:
            if not as_json:
                results_console().print(plan_table(plan))

        return run(
            datasets,
            out,
            options,
            overwrite=overwrite,
            baselines=baselines,
            announce=announce,
            progress=report_progress,
            callbacks=[TrainingProgress(bars, options.metric, prints=not as_json)],
        )


def plan_table(plan: "FinetunePlan") -> "Table":
    """Build a table of what was decided, and why."""
    from rich.table import Table

    table = Table("what", "decided", "why", title=f"at most {plan.updates:,} updates")
    for one in plan.decisions:
        table.add_row(plain(one.name), plain(one.value), plain(one.reason))
    return table


def _print_reports(out: Path, reports: list["FinetuneReport"]) -> None:
    from rich.table import Table

    from geodit.evaluation.baseline_tables import baselines_table
    from geodit.evaluation.report.tables import value_cell
    from geodit.finetuning.report import report_of_seeds, training_runs

    title = f"{reports[0].split} split, {len(reports[0].after.answers):,} questions, figures times 100"
    table = Table("task", "figure", title=title)
    table.add_column("before", justify="right")
    for report in reports:
        table.add_column("after" if len(reports) == 1 else f"seed {report.seed}", justify="right")
    for task in reports[0].tasks:
        table.add_row(*reports[0].row(task)[:3], *(value_cell(report.after.main(task)) for report in reports))
    console = results_console()
    console.print(table)
    if reports[0].baselines:
        console.print(baselines_table(reports[0].baselines))
    for report in reports:
        for task in report.tasks:
            seed = f"seed {report.seed}, " if len(reports) > 1 else ""
            console.print(f"{seed}{report.described_change(task)}", soft_wrap=True, highlight=False, markup=False)
    console.print(training_runs(len(reports)), soft_wrap=True, highlight=False, markup=False)
    if len(reports) > 1:
        write_output(out / _PAGE, report_of_seeds(reports).encode())
        console.print(f"report: {out / _PAGE}", soft_wrap=True, highlight=False, markup=False)
    for report in reports:
        console.print(report.course, soft_wrap=True, highlight=False, markup=False)
        page = report.folder / "finetuning" / _PAGE
        console.print(f"report: {page}", soft_wrap=True, highlight=False, markup=False)
    for purpose, command in reports[0].commands.items():
        console.print(f"{purpose}: {command}", soft_wrap=True, highlight=False, markup=False)


def _seeds(text: str) -> list[int]:
    parts = split_list("--seed", text)
    if not all(part.isdecimal() for part in parts):
        raise CommandError(f"--seed takes one or more whole numbers, such as 0,1,2, got {text!r}")
    seeds = [int(part) for part in parts]
    if len(set(seeds)) < len(seeds):
        raise CommandError(f"--seed takes each number once, got {text!r}")
    return seeds


def _pairs(option: str, texts: list[str] | None) -> list[tuple[str, str]]:
    pairs = []
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise CommandError(f"{option} takes name=value, got {text!r}")
        pairs.append((name, value))
    return pairs


def _length(task: str, text: str) -> int:
    if not text.isdecimal():
        raise CommandError(f"--canvas takes task=number, got {task}={text}")
    return int(text)
