# SPDX-License-Identifier: Apache-2.0
"""What `geodit evaluate` does: ask a model, or read answers, and show what came of it."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from geodit.cli.checkpoint import load_pipeline, model_label, resolve_model, split_revision
from geodit.cli.data import NEON_DIRECTORY
from geodit.cli.errors import CommandError
from geodit.cli.evaluation_report import keep_answers, write_suite_report, write_sweep_report
from geodit.cli.output import print_json, progress_bar, results_console, to_json, write_output

if TYPE_CHECKING:
    import datasets
    from rich.progress import TaskID
    from rich.table import Table

    from geodit.configuration.decoding_options import DecodingOptions
    from geodit.configuration.types_geodit import JsonObject
    from geodit.evaluation.answer_store import KeptAnswers
    from geodit.evaluation.answerers import Answerer
    from geodit.evaluation.scored_answers import Scoring
    from geodit.evaluation.suite_results import SuiteResult
    from geodit.evaluation.suites import SuiteEntry

_TRAINING_SCENES = 4000


@dataclass(frozen=True)
class AskedData:
    """The questions.

    Args:
        name: A data set with a name, or a folder.
        folder: Value of `--data`.
        split: Of the data set.
        limit: Use the first so many images.
        tasks: Ask the questions of these tasks only.
    """

    name: str
    folder: Path | None
    split: str
    limit: int | None
    tasks: Sequence[str] | None

    @property
    def has_seeds(self) -> bool:
        """Whether other images can be drawn with another seed."""
        from geodit.evaluation.data_sets import EVALUATION_DATASETS, get_evaluation_dataset

        return self.name in EVALUATION_DATASETS and get_evaluation_dataset(self.name).has_seeds

    def rows(self, seed: int | None = None) -> "datasets.Dataset":
        """Return the rows of the data set; of images that are made no more than the limit.

        Raises:
            CommandError: If there is no such data set, or it is not said where it is.
        """
        return self._read(self.split, self.limit if self.has_seeds else None, seed)

    def training_rows(self) -> "datasets.Dataset | None":
        """Return what baselines answer from: of images that are made as many as tell what training gives away.

        Where there is no training split, this says so, and returns `None`.
        """
        try:
            return self._read("train", _TRAINING_SCENES if self.has_seeds else None)
        except (ValueError, OSError) as error:
            typer.echo(f"geodit: warning: no baselines of training: {error}", err=True)
            return None

    def entry(self, rows: "datasets.Dataset") -> "SuiteEntry":
        """Return the data set as one of a suite."""
        from geodit.data.schema import TASKS, QuestionDataset
        from geodit.evaluation.suites import SuiteEntry

        asked = {question.task for question in QuestionDataset(rows, self.tasks).questions}
        if not asked:
            raise CommandError(
                f"the data set of {len(rows)} images has no question of {', '.join(self.tasks or TASKS)}"
            )
        return SuiteEntry(Path(self.name).name, self.split, tuple(task for task in TASKS if task in asked))

    def _read(self, split: str, limit: int | None, seed: int | None = None) -> "datasets.Dataset":
        import datasets

        from geodit.annotations.stored import read_split
        from geodit.data.readers.reading import read_dataset
        from geodit.data.readers.registry import READERS
        from geodit.evaluation.data_sets import EVALUATION_DATASETS, load_evaluation_dataset

        datasets.disable_progress_bars()
        if self.name == "synthetic" and self.folder is not None:
            raise CommandError("synthetic images are made, not read: leave out --data")
        if self.name in EVALUATION_DATASETS:
            folder = NEON_DIRECTORY if self.folder is None and self.name == "neon" else self.folder
            return load_evaluation_dataset(self.name, split=split, seed=seed, limit=limit, data_dir=folder)
        if self.name in READERS:
            if self.folder is None:
                raise CommandError(f"{self.name} is read from a folder: name it with --data")
            return read_dataset(self.name, self.folder, split)
        if self.folder is not None:
            raise CommandError(f"--data goes with a published data set, a suite or neon, not with {self.name}")
        if Path(self.name).exists() or "/" in self.name:
            return read_split(self.name, split)
        known = ", ".join((*EVALUATION_DATASETS, *READERS))
        raise CommandError(f"unknown data set {self.name!r}: neither a folder nor one of {known}")


@dataclass(frozen=True)
class AskedModel:
    """The model.

    Args:
        model: Value of `--model`.
        adapter: Value of `--adapter`.
        family: Value of `--family`.
        trust_remote_code: Whether the code of a checkpoint may run.
        device: Where to run.
        dtype: Of the weights.
    """

    model: str | None
    adapter: str | None
    family: str | None
    trust_remote_code: bool
    device: str | None
    dtype: str

    @property
    def label(self) -> str:
        """What results say about it."""
        return model_label(self.model, self.adapter)

    @cached_property
    def is_geodit(self) -> bool:
        """Whether it is GeoDiT, asked in GeoDiT's way.

        Raises:
            CommandError: If there is no such checkpoint, or it is GeoDiT and options are given that it does not have.
        """
        if self.family is not None:
            return False
        if self.model is not None and self.adapter is None:
            from geodit.evaluation.other_models.loading import is_geodit

            name, revision = split_revision(self.model)
            if not is_geodit(resolve_model(name), revision):
                return False
        if self.trust_remote_code:
            raise CommandError("--trust-remote-code is for other models: no code of a GeoDiT checkpoint is run")
        return True

    def answerer(self, settings: "DecodingOptions") -> "Answerer":
        """Load the model.

        Args:
            settings: How GeoDiT decodes; of another model only what is asked as a closed set.

        Raises:
            CommandError: If it cannot be loaded, or the settings are not of its kind.
        """
        if self.is_geodit:
            from geodit.evaluation.generating import GeoDiTAnswerer

            pipeline = load_pipeline(self.model, self.device, adapter=self.adapter, dtype=self.dtype)
            return GeoDiTAnswerer(pipeline.model, pipeline.processor, settings)
        from geodit.configuration.decoding_options import DecodingOptions
        from geodit.evaluation.other_models.loading import load_other_model
        from geodit.evaluation.settings import evaluation_options

        if self.model is None or self.adapter is not None:
            raise CommandError("--family needs --model, and takes no --adapter")
        if settings.with_changes(closed_set=()) != evaluation_options(DecodingOptions()):
            raise CommandError(f"{self.model} is not GeoDiT: options of its denoising do not go with it")
        name, revision = split_revision(self.model)
        return load_other_model(
            resolve_model(name),
            family=self.family,
            revision=revision,
            device=self.device,
            dtype=self.dtype,
            trust_remote_code=self.trust_remote_code,
            closed_set=settings.closed_set,
        )


@dataclass(frozen=True)
class Outputs:
    """Where figures go.

    Args:
        report: Folder of the report.
        compare_with: Folder of another report.
        out: JSON file.
        as_json: Whether to print JSON.
    """

    report: Path | None
    compare_with: Path | None
    out: Path | None
    as_json: bool

    def keep(self, model: str) -> "KeptAnswers | None":
        """Make the folder of the report, if there is one, and say by which processes its answers are given.

        Raises:
            CommandError: If there are several processes and no folder, by which they would share the questions.
        """
        if self.report is not None:
            return keep_answers(self.report, model)
        from accelerate import PartialState

        if PartialState().num_processes > 1:
            raise CommandError("several processes share the questions by the folder of --report: name one")
        return None

    def show(self, document: "JsonObject", tables: "Callable[[], Sequence[Table]]") -> None:
        """Write the JSON file, and print figures."""
        if self.out is not None:
            write_output(self.out, to_json(document).encode())
        if self.as_json:
            print_json(document)
            return
        console = results_console()
        console.print(*tables())
        if self.out is not None:
            console.print(f"wrote {self.out}", soft_wrap=True, highlight=False, markup=False)
        if self.report is not None:
            console.print(f"answers and report are in {self.report}", soft_wrap=True, highlight=False, markup=False)


@dataclass(frozen=True)
class Grid:
    """The settings of a sweep, beside those that all its points have.

    Args:
        max_denoising_steps: Values of N.
        remasking: Strategies.
        seeds: Number of repetitions.
        new_images: Whether each repetition has images of its own.
    """

    max_denoising_steps: Sequence[int]
    remasking: Sequence[str]
    seeds: int
    new_images: bool

    @property
    def is_one_point(self) -> bool:
        """Whether there is nothing to compare or to repeat."""
        return len(self.max_denoising_steps) == len(self.remasking) == self.seeds == 1 and not self.new_images


def evaluate_answers(
    path: Path, data: AskedData, box_format: str | None, scoring: "Scoring", *, baselines: bool, outputs: Outputs
) -> None:
    """Score what another program wrote.

    Args:
        path: File of JSON lines.
        data: The questions.
        box_format: How boxes are written in texts.
        scoring: How to score.
        baselines: Also score what answers without a model.
        outputs: Where figures go.
    """
    from geodit.evaluation.answer_store import keep_given_answers
    from geodit.evaluation.answerers import first_rows
    from geodit.evaluation.given_answers import read_given_answers
    from geodit.evaluation.suite_results import SuiteResult, cell_name, score_cell
    from geodit.processing.boxes_geodit import get_box_codec

    if box_format == "location_tokens":
        raise CommandError("location tokens are of GeoDiT: answers in them are read by geodit evaluate itself")
    codec = None if box_format is None else get_box_codec(box_format)
    whole = data.rows()
    rows = first_rows(whole, data.limit)
    ignored = set(whole["image_id"]) - set(rows["image_id"])
    answers = read_given_answers(path, rows, tasks=data.tasks, codec=codec, ignored_images=ignored)
    entry = data.entry(rows)
    keep = outputs.keep(path.name)
    if keep is not None:
        keep_given_answers(answers, path, rows, keep.within("answers").within(cell_name(entry)), tasks=data.tasks)
    training = data.training_rows() if baselines else None
    cell = score_cell(entry, answers, scoring, rows=rows, training=training, baselines=baselines)
    _finish(SuiteResult(entry.dataset, path.name, (cell,), _command(), data.limit), outputs)


def evaluate_other_model(
    model: AskedModel,
    data: AskedData,
    settings: "DecodingOptions",
    batch_size: int,
    scoring: "Scoring",
    *,
    baselines: bool,
    outputs: Outputs,
) -> None:
    """Ask a model that is not GeoDiT the questions of one data set."""
    from geodit.evaluation.answerers import collect_answers, first_rows
    from geodit.evaluation.suite_results import SuiteResult, cell_name, score_cell

    whole = data.rows()
    rows = first_rows(whole, data.limit)
    entry = data.entry(rows)
    keep = outputs.keep(model.label)
    answerer = model.answerer(settings)
    with progress_bar() as progress:
        bar = progress.add_task(entry.dataset, total=None)
        answers, seconds = collect_answers(
            answerer,
            whole,
            tasks=data.tasks,
            batch_size=batch_size,
            limit=data.limit,
            progress=lambda done, total: progress.update(bar, completed=done, total=total),
            keep=None if keep is None else keep.within("answers").within(cell_name(entry)),
        )
    if keep is not None and keep.share[0] > 0:
        return
    training = data.training_rows() if baselines else None
    cell = score_cell(entry, answers, scoring, seconds=seconds, rows=rows, training=training, baselines=baselines)
    _finish(SuiteResult(entry.dataset, model.label, (cell,), _command(), data.limit), outputs)


def evaluate_suite(
    name: str,
    folder: Path,
    model: AskedModel,
    settings: "DecodingOptions",
    *,
    limit: int | None,
    batch_size: int,
    scoring: "Scoring",
    baselines: bool,
    outputs: Outputs,
) -> None:
    """Ask a model the questions of a suite.

    Args:
        name: Of the suite.
        folder: Of its data sets.
        model: The model.
        settings: How GeoDiT decodes.
        limit: Images of each data set.
        batch_size: Questions at once.
        scoring: How to score.
        baselines: Also score what answers without a model.
        outputs: Where figures go.
    """
    import datasets

    from geodit.evaluation.suite_runs import SuiteOptions, find_folders, run_suite
    from geodit.evaluation.suites import get_suite

    datasets.disable_progress_bars()
    suite = get_suite(name)
    find_folders(suite, folder)  # before a model is loaded
    keep = outputs.keep(model.label)
    assert keep is not None
    answerer = model.answerer(settings)
    with progress_bar() as progress:
        bars: dict[str, TaskID] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in bars:
                bars[what] = progress.add_task(what, total=total)
            progress.update(bars[what], completed=done, visible=done < total)

        options = SuiteOptions(limit, batch_size, scoring, baselines)
        result = run_suite(answerer, suite, folder, keep, options, progress=report, command=_command())
    if keep.share[0] == 0:
        _finish(result, outputs)


def evaluate_sweep(
    model: AskedModel,
    data: AskedData,
    settings: "DecodingOptions",
    grid: Grid,
    batch_size: int,
    scoring: "Scoring",
    *,
    baselines: bool,
    outputs: Outputs,
) -> None:
    """Ask GeoDiT the questions of one data set, under one or more settings."""
    from geodit.evaluation.answerers import first_rows
    from geodit.evaluation.baselines import score_baselines
    from geodit.evaluation.sweep import run_sweep
    from geodit.evaluation.tables import result_tables

    if grid.new_images and not data.has_seeds:
        raise CommandError(f"--new-images is for generated images; the images of {data.name} are fixed")
    # Fail for what is wrong with the data before a model is loaded; made images are made once, in the sweep.
    shared = None if data.has_seeds else data.rows()

    def load_dataset(seed: int | None) -> "datasets.Dataset":
        return data.rows(seed) if shared is None else shared

    keep = outputs.keep(model.label)
    pipeline = load_pipeline(model.model, model.device, adapter=model.adapter, dtype=model.dtype)
    with progress_bar() as progress:
        bar = progress.add_task(f"generating {data.name} images" if shared is None else data.name, total=None)

        def report_progress(description: str, done: int, total: int) -> None:
            progress.update(bar, description=description, completed=done, total=total)

        result = run_sweep(
            pipeline.model,
            pipeline.processor,
            load_dataset,
            dataset_name=data.name,
            split=data.split,
            max_denoising_steps=grid.max_denoising_steps,
            remasking=grid.remasking,
            seeds=range(grid.seeds),
            dataset_seeds=range(grid.seeds) if grid.new_images else None,
            settings=settings,
            tasks=data.tasks,
            batch_size=batch_size,
            limit=data.limit,
            bootstrap=scoring.bootstrap,
            rules=scoring.rules,
            protocols=scoring.protocols,
            progress=report_progress,
            command=_command(),
            model_name=model.label,
            keep=None if keep is None else keep.within("answers"),
        )
    if keep is not None and keep.share[0] > 0:
        return

    def asked_rows(seed: int | None) -> "datasets.Dataset":
        return first_rows(load_dataset(seed), data.limit)

    if baselines:
        found = score_baselines(
            data.training_rows(),
            map(asked_rows, result.dataset_seeds or (None,)),
            tasks=list(result.cells[0].runs[0].figures),
            bootstrap=scoring.bootstrap,
            rules=scoring.rules,
        )
        result = replace(result, baselines=found)
    if outputs.report is not None:
        write_sweep_report(outputs.report, result, asked_rows, outputs.compare_with)
    outputs.show(result.to_dict(), lambda: result_tables(result))


def _finish(result: "SuiteResult", outputs: Outputs) -> None:
    from geodit.evaluation.suite_tables import suite_tables

    if outputs.report is not None:
        write_suite_report(outputs.report, result, outputs.compare_with)
    outputs.show(result.to_dict(), lambda: suite_tables(result))


def _command() -> tuple[str, ...]:
    return ("geodit", *sys.argv[1:])
