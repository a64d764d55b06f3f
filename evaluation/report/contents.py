# SPDX-License-Identifier: Apache-2.0
"""What a report is about, whether it was a sweep over settings or a suite of data sets."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from geodit.configuration.decoding_options import DecodingOptions
from geodit.configuration.types_geodit import JsonObject
from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.baseline_tables import BaselineFigures
from geodit.evaluation.environment import describe_environment
from geodit.evaluation.scored_answers import ProtocolFigures, Scoring
from geodit.evaluation.scoring import PooledAnswers, pool_runs
from geodit.evaluation.suite_results import SuiteResult, cell_name, tokens_per_second
from geodit.evaluation.sweep import SweepCell, SweepResult, run_name

__all__ = ["Report", "ReportCell", "suite_report", "sweep_report"]


@dataclass(frozen=True)
class ReportCell:
    """The answers to one data set under one setting.

    Args:
        name: Short name, as files have it.
        dataset: The data set.
        setting: How answers were decoded, in words.
        max_denoising_steps: N; `None` if it is not known.
        other_settings: All settings but N, in words: cells that agree in it are on one line of a plot against N.
        run_names: Of each repetition the name of the folder of its answers.
        runs: The answers of each repetition.
        seconds: Time that the answers of each repetition took.
        figures: Of all runs that differ, pooled, with 95% intervals over images.
        num_runs: How many runs there are that differ.
        published: What a paper states, by flat names, times 100.
        protocols: The figures of other protocols, of the same answers.
        scoring: How answers were scored.
    """

    name: str
    dataset: str
    setting: str
    max_denoising_steps: int | None
    other_settings: str
    run_names: tuple[str, ...]
    runs: tuple[tuple[AnswerRecord, ...], ...]
    seconds: tuple[float, ...]
    figures: Mapping[str, JsonObject]
    num_runs: int = 1
    published: Mapping[str, float] = field(default_factory=dict)
    protocols: ProtocolFigures = field(default_factory=dict)
    scoring: Scoring = field(default_factory=Scoring)

    @property
    def answers(self) -> tuple[AnswerRecord, ...]:
        """The answers of all runs that differ, one run after the other."""
        return self._pooled.answers

    @property
    def seconds_per_question(self) -> float:
        """Time that an answer took, on average over all runs; 0 for answers from a file."""
        return sum(self.seconds) / sum(map(len, self.runs))

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens of all answers per second, if time and tokens are known."""
        return tokens_per_second([answer for run in self.runs for answer in run], sum(self.seconds))

    @cached_property
    def _pooled(self) -> PooledAnswers:
        return pool_runs(self.runs)

    def num_images(self, task: str) -> int:
        """Count the images that questions of a task were asked about, each once."""
        return len({image for image, answer in self._asked(task)})

    def num_questions(self, task: str) -> int:
        """Count the questions of a task, each once."""
        return len({(image, answer.question) for image, answer in self._asked(task)})

    def _asked(self, task: str) -> Iterator[tuple[Hashable, AnswerRecord]]:
        pairs = zip(self._pooled.images, self._pooled.answers, strict=True)
        return ((image, answer) for image, answer in pairs if answer.question.task == task)


@dataclass(frozen=True)
class Report:
    """What was measured, and how.

    Args:
        title: Name of the data set or suite.
        model: What the model is called.
        cells: At least one.
        seeds: Decoding seed of each repetition; empty for what is not decoded by GeoDiT.
        dataset_seeds: Seed of the images of each repetition, or `None` if all have the same images.
        split: The split that the images are of, if it is one and known.
        command: The command line, if it is known.
        environment: Versions of what figures depend on.
        baselines: Of each data set what was reached without a model, if that was scored.
    """

    title: str
    model: str | None
    cells: tuple[ReportCell, ...]
    seeds: tuple[int, ...]
    dataset_seeds: tuple[int, ...] | None = None
    split: str | None = None
    command: tuple[str, ...] | None = None
    environment: Mapping[str, str | None] = field(default_factory=describe_environment)
    baselines: Mapping[str, BaselineFigures] = field(default_factory=dict)

    @property
    def datasets(self) -> dict[str, list[ReportCell]]:
        """The cells of each data set."""
        found: dict[str, list[ReportCell]] = {}
        for cell in self.cells:
            found.setdefault(cell.dataset, []).append(cell)
        return found


def sweep_report(result: SweepResult) -> Report:
    """Make the contents of a report of a sweep.

    Args:
        result: Of the sweep; figures have intervals if it has.
    """
    return Report(
        title=result.dataset_name,
        model=result.model_name,
        cells=tuple(_sweep_cell(result, cell) for cell in result.cells),
        seeds=result.seeds,
        dataset_seeds=result.dataset_seeds,
        split=result.split,
        command=result.command,
        baselines={result.dataset_name: result.baselines} if result.baselines else {},
    )


def suite_report(result: SuiteResult) -> Report:
    """Make the contents of a report of a suite.

    Args:
        result: Of the suite.
    """
    cells = []
    baselines: dict[str, BaselineFigures] = {}
    for cell in result.cells:
        decoding = cell.decoding
        tasks = ", ".join(cell.entry.tasks)
        name = f"{cell.entry.dataset}, {tasks}"
        if cell.baselines:
            baselines[name] = cell.baselines
        cells.append(
            ReportCell(
                name=_file_name(name, cell.setting),
                dataset=name,
                setting=cell.setting or ("its own" if decoding is None else str(decoding)),
                max_denoising_steps=None if decoding is None else decoding.max_denoising_steps,
                other_settings="" if decoding is None else _without_steps(decoding),
                run_names=(cell_name(cell.entry, cell.setting),),
                runs=(cell.answers,),
                seconds=(cell.seconds,),
                figures=cell.figures,
                published=cell.published,
                protocols=cell.protocols,
                scoring=cell.scoring,
            )
        )
    seeds = {cell.decoding.seed or 0 for cell in result.cells if cell.decoding is not None}
    return Report(
        result.suite, result.model, tuple(cells), tuple(sorted(seeds)), command=result.command, baselines=baselines
    )


def _sweep_cell(result: SweepResult, cell: SweepCell) -> ReportCell:
    images = result.dataset_seeds or (None,) * len(cell.runs)
    names = [run_name(run.settings, seed) for run, seed in zip(cell.runs, images, strict=True)]
    if result.dataset_seeds is None and cell.settings.is_deterministic:
        names = names[:1] * len(names)  # decoded once
    pooled = pool_runs([run.answers for run in cell.runs])
    return ReportCell(
        name=_file_name(f"n{cell.settings.max_denoising_steps}", cell.settings.remasking or ""),
        dataset=result.dataset_name,
        setting=str(cell.settings),
        max_denoising_steps=cell.settings.max_denoising_steps,
        other_settings=_without_steps(cell.settings),
        run_names=tuple(names),
        runs=tuple(run.answers for run in cell.runs),
        seconds=tuple(run.seconds for run in cell.runs),
        figures=cell.pooled if cell.pooled is not None else result.scoring.score(pooled.answers, pooled.images),
        num_runs=pooled.num_runs,
        protocols=cell.protocols,
        scoring=result.scoring,
    )


def _without_steps(settings: DecodingOptions) -> str:
    return str(settings.with_changes(max_denoising_steps=None))


def _file_name(*parts: str) -> str:
    return re.sub(r"[^\w]+", "-", " ".join(parts).lower()).strip("-")
