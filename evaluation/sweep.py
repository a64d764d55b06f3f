# SPDX-License-Identifier: Apache-2.0
"""Evaluate a model over a grid of decoding settings, repeated over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from geodit.configuration.decoding_options import DecodingOptions
from geodit.configuration.types_geodit import JsonObject
from geodit.evaluation.answer_store import KeptAnswers
from geodit.evaluation.baseline_tables import BaselineFigures, baselines_document
from geodit.evaluation.environment import describe_environment
from geodit.evaluation.evaluate import EvaluationResult, evaluate_model
from geodit.evaluation.scored_answers import ProtocolFigures, Scoring, score_protocols
from geodit.evaluation.scoring import ScoringRules, iterate_figures, pool_runs
from geodit.evaluation.settings import evaluation_options

if TYPE_CHECKING:
    import datasets

    from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
    from geodit.processing.processing_geodit import GeoDiTProcessor

__all__ = ["Spread", "SweepCell", "SweepResult", "run_name", "run_sweep"]

DatasetLoader = Callable[["int | None"], "datasets.Dataset"]
SweepProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Spread:
    """One figure over the repetitions.

    Args:
        values: The figure in each repetition that defined it.
        mean: Their mean.
        std: Their sample standard deviation (ddof = 1); `None` for a single value.
    """

    values: tuple[float, ...]
    mean: float
    std: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise at least one value."""
        std = statistics.stdev(values) if len(values) > 1 else None
        return cls(tuple(values), statistics.fmean(values), std)

    def to_dict(self) -> JsonObject:
        """Return the spread in types that JSON has."""
        return {"mean": self.mean, "std": self.std, "values": list(self.values)}


@dataclass(frozen=True)
class SweepCell:
    """One point of the grid.

    Args:
        settings: Its decoding settings; the seed is that of the first repetition.
        runs: One result for each repetition.
        pooled: Figures of the answers of all repetitions together, with 95% intervals over their images, if asked for;
            see [`~geodit.evaluation.scoring.pool_runs`].
        protocols: The figures of other protocols, of the same answers.
    """

    settings: DecodingOptions
    runs: tuple[EvaluationResult, ...]
    pooled: dict[str, JsonObject] | None = None
    protocols: ProtocolFigures = field(default_factory=dict)

    @property
    def summary(self) -> dict[str, Spread]:
        """Every figure over the repetitions, by its flat name, e.g. `"detect.f1"`."""
        values: dict[str, list[float]] = {}
        for run in self.runs:
            for name, value in iterate_figures(run.figures):
                values.setdefault(name, []).append(value)
        return {name: Spread.of(sample) for name, sample in values.items()}

    def to_dict(self) -> JsonObject:
        """Return the cell in types that JSON has, without the answers."""
        settings = self.settings.to_dict()
        del settings["seed"]  # the runs have theirs
        return {
            **({} if self.pooled is None else {"pooled": self.pooled}),
            **({"protocols": self.protocols} if self.protocols else {}),
            "settings": settings,
            "draws_random_numbers": not self.settings.is_deterministic,
            "summary": {name: spread.to_dict() for name, spread in self.summary.items()},
            "runs": [run.to_dict() for run in self.runs],
        }


@dataclass(frozen=True)
class SweepResult:
    """All points of the grid.

    Args:
        dataset_name: Name of the data set.
        cells: In the order of the grid: for each number of steps every remasking.
        seeds: Decoding seed of each repetition.
        dataset_seeds: Seed of the images of each repetition, or `None` if all use the same images.
        batch_size: Questions that were answered at once.
        model_name: Name or folder of the model, if it has one.
        command: The command line that asked for this, if any.
        split: The split that the images are of, if the data set has splits.
        baselines: For each baseline what [`~geodit.evaluation.scoring.score_answers`] returns, if any were scored.
        scoring: How answers were scored.
    """

    dataset_name: str
    cells: tuple[SweepCell, ...]
    seeds: tuple[int, ...]
    dataset_seeds: tuple[int, ...] | None
    batch_size: int
    model_name: str | None = None
    command: tuple[str, ...] | None = None
    split: str | None = None
    baselines: BaselineFigures = field(default_factory=dict)
    scoring: Scoring = field(default_factory=Scoring)

    def to_dict(self) -> JsonObject:
        """Return everything but the answers, in types that JSON has."""
        return {
            "benchmark": self.dataset_name,  # the name that files of results have for it
            "split": self.split,
            "model": self.model_name,
            "command": None if self.command is None else list(self.command),
            "environment": describe_environment(),
            "seeds": list(self.seeds),
            "dataset_seeds": None if self.dataset_seeds is None else list(self.dataset_seeds),
            "batch_size": self.batch_size,
            "scoring": self.scoring.to_dict(),
            **({"baselines": baselines_document(self.baselines)} if self.baselines else {}),
            "cells": [cell.to_dict() for cell in self.cells],
        }


def run_sweep(
    model: GeoDiTForMaskedDiffusion,
    processor: GeoDiTProcessor,
    load_dataset: DatasetLoader,
    *,
    dataset_name: str,
    split: str | None = None,
    max_denoising_steps: Sequence[int] = (8,),
    remasking: Sequence[str] = ("low_confidence",),
    seeds: Sequence[int] = (0,),
    dataset_seeds: Sequence[int] | None = None,
    settings: DecodingOptions | None = None,
    tasks: Sequence[str] | None = None,
    batch_size: int = 32,
    limit: int | None = None,
    bootstrap: int = 0,
    progress: SweepProgress | None = None,
    command: Sequence[str] | None = None,
    model_name: str | None = None,
    keep: KeptAnswers | None = None,
    rules: ScoringRules | None = None,
    protocols: Sequence[str] = (),
) -> SweepResult:
    """Evaluate a model with every combination of steps and remasking, once per seed.

    A decoding seed changes nothing where nothing is drawn at random, which is the case for low-confidence
    remasking at temperature 0: on one set of images every repetition gives the same figures and their
    standard deviation is 0. It is then decoded once. With `dataset_seeds` each repetition has images of its
    own, so that the standard deviation also covers the choice of images; all points of the grid see the same
    images in the same repetition.

    Args:
        model: The model, on the device where it shall run.
        processor: Its processor.
        load_dataset: Makes the data set of a seed, or the default one of `None`.
        dataset_name: Name of the data set, for the report.
        split: Its split, for the report.
        max_denoising_steps: Values of N.
        remasking: Remasking strategies.
        seeds: Decoding seed of each repetition.
        dataset_seeds: Seed of the images of each repetition, as many as `seeds`; `None` to use the default
            images in all repetitions.
        settings: All other decoding parameters; its N, remasking and seed are replaced.
        tasks: Ask the questions of these tasks only.
        batch_size: How many questions to answer at once.
        limit: Use the first so many images only.
        bootstrap: Number of bootstrap resamples, over the images of all runs; 0 for none.
        progress: Called with a description of the run, the number of answers so far in all runs, and the
            number in all. That number is an estimate until the data sets of all repetitions have been seen.
        command: The command line, for the report.
        model_name: What to call the model in the report; by default what it was loaded from.
        keep: Folder that keeps the answers, those of each run in a folder of its own, so that a run that was stopped
            goes on when it is started again.
        rules: How to score.
        protocols: Names of protocols by which the answers are scored, too.

    Returns:
        The results of the grid.

    Raises:
        ValueError: If a list is empty or has repetitions, there is not one data set seed per seed, or a
            setting is not allowed. All settings are checked before the first run. Also if the folder keeps answers of
            something else.
        OSError: If an answer cannot be kept.
    """
    for name, values in (
        ("max_denoising_steps", max_denoising_steps),
        ("remasking", remasking),
        ("seeds", seeds),
    ):
        if not values or len(set(values)) != len(values):
            raise ValueError(f"{name} must be at least one value, without repetition, but is {list(values)}")
    if dataset_seeds is not None and len(dataset_seeds) != len(seeds):
        raise ValueError(f"there are {len(seeds)} seeds but {len(dataset_seeds)} data set seeds; give as many of both")
    base = evaluation_options(settings)
    grid = [
        evaluation_options(replace(base, max_denoising_steps=n, remasking=name, seed=seeds[0]))
        for n in max_denoising_steps
        for name in remasking
    ]

    scoring = Scoring(rules, tuple(protocols), bootstrap)
    counter = _ProgressCounter(progress, total_runs=_count_runs(grid, seeds, dataset_seeds))
    runs: list[list[EvaluationResult]] = [[] for _ in grid]
    shared = load_dataset(None) if dataset_seeds is None else None
    for repetition, seed in enumerate(seeds):
        # One repetition after the other, so that only one data set is in memory.
        dataset = shared if dataset_seeds is None else load_dataset(dataset_seeds[repetition])
        for point, of_point in zip(grid, runs, strict=True):
            seeded = replace(point, seed=seed)
            if dataset_seeds is None and point.is_deterministic and of_point:
                of_point.append(replace(of_point[0], settings=seeded))
                continue
            description = f"{point.max_denoising_steps} steps, {point.remasking}, seed {seed}"
            images = None if dataset_seeds is None else dataset_seeds[repetition]
            of_point.append(
                evaluate_model(
                    model,
                    processor,
                    dataset,
                    seeded,
                    tasks=tasks,
                    batch_size=batch_size,
                    limit=limit,
                    progress=counter.for_run(description),
                    keep=None if keep is None else keep.within(run_name(seeded, images)),
                    rules=rules,
                )
            )
    return SweepResult(
        dataset_name=dataset_name,
        cells=tuple(_cell(point, of_point, scoring) for point, of_point in zip(grid, runs, strict=True)),
        seeds=tuple(seeds),
        dataset_seeds=None if dataset_seeds is None else tuple(dataset_seeds),
        batch_size=batch_size,
        model_name=model_name or getattr(model.config, "name_or_path", None) or None,
        command=None if command is None else tuple(command),
        split=split,
        scoring=scoring,
    )


def run_name(settings: DecodingOptions, dataset_seed: int | None) -> str:
    """Return the name of a run within its sweep, which is also that of its folder of answers.

    Args:
        settings: Decoding settings, with the seed of the run.
        dataset_seed: Seed of its images, if they were drawn for it.
    """
    images = "" if dataset_seed is None else f"-images{dataset_seed}"
    return f"n{settings.max_denoising_steps}-{settings.remasking}-seed{settings.seed}{images}"


def _cell(settings: DecodingOptions, runs: Sequence[EvaluationResult], scoring: Scoring) -> SweepCell:
    pooled = pool_runs([run.answers for run in runs])
    figures = None
    if scoring.bootstrap:
        figures = scoring.score(pooled.answers, pooled.images)
        if pooled.num_runs == 1:
            runs = [replace(run, figures=figures) for run in runs]
    return SweepCell(settings, tuple(runs), figures, score_protocols(pooled.answers, scoring, pooled.images))


def _count_runs(grid: Sequence[DecodingOptions], seeds: Sequence[int], dataset_seeds: Sequence[int] | None) -> int:
    return sum(1 if dataset_seeds is None and point.is_deterministic else len(seeds) for point in grid)


class _ProgressCounter:
    """Adds up the progress of one run after the other."""

    def __init__(self, progress: SweepProgress | None, total_runs: int) -> None:
        self._progress = progress
        self._runs_left = total_runs
        self._done_before = 0

    def for_run(self, description: str) -> Callable[[int, int], None] | None:
        """Return the callback of the next run."""
        progress = self._progress
        if progress is None:
            return None

        def report(done: int, total: int) -> None:
            progress(description, self._done_before + done, self._done_before + total * self._runs_left)
            if done == total:
                self._done_before += total
                self._runs_left -= 1

        return report
