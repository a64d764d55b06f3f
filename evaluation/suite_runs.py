# SPDX-License-Identifier: Apache-2.0
"""Evaluate a model on the data sets of a suite, one after the other. What was answered before is not asked again."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import datasets

from geodit.configuration.decoding_options import DecodingOptions
from geodit.configuration.files_geodit import write_atomically
from geodit.configuration.types_geodit import JsonObject
from geodit.data.readers.reading import BadRecords, read_dataset
from geodit.evaluation.answer_store import AnswerStore, questions_digest, read_answer_store
from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.environment import describe_environment
from geodit.evaluation.evaluate import generate_answers
from geodit.evaluation.scoring import score_answers
from geodit.evaluation.settings import evaluation_options
from geodit.evaluation.suites import Ablation, Suite, SuiteEntry

if TYPE_CHECKING:
    from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
    from geodit.processing.processing_geodit import GeoDiTProcessor

__all__ = ["SuiteCell", "SuiteOptions", "SuiteResult", "find_folders", "run_suite"]

Progress = Callable[[str, int, int], None]
"""Called with what is asked, how many questions have an answer, and how many there are."""

_RESULTS = "results.json"
_ANSWERS = "answers"


@dataclass(frozen=True)
class SuiteOptions:
    """How a suite is run.

    Args:
        decoding: How answers are decoded; ablations change some of it.
        limit: Images of each data set, the first ones; by default all.
        batch_size: Questions that are answered at once.
        bootstrap: Number of bootstrap resamples, over images, for 95% intervals; 0 for none.
        bad_records: What becomes of records that cannot be read.
        cache_dir: Folder that keeps tables of data sets.
    """

    decoding: DecodingOptions | None = None
    limit: int | None = None
    batch_size: int = 32
    bootstrap: int = 1000
    bad_records: BadRecords = "raise"
    cache_dir: str | None = None


@dataclass(frozen=True)
class SuiteCell:
    """A data set of a suite under some settings.

    Args:
        entry: The data set.
        setting: Name of the settings; empty for the paper's own.
        figures: For each task the result of its metric.
        published: What the paper states, by flat names.
        num_questions: Questions that were asked.
        num_images: Images that they are about.
    """

    entry: SuiteEntry
    setting: str
    figures: Mapping[str, JsonObject]
    published: Mapping[str, float]
    num_questions: int
    num_images: int


@dataclass(frozen=True)
class SuiteResult:
    """What a model reached on a suite.

    Args:
        suite: Its name.
        model: What the model is called.
        cells: One for each data set and setting.
    """

    suite: str
    model: str
    cells: tuple[SuiteCell, ...]

    def to_dict(self) -> JsonObject:
        """Return the result in types that JSON has."""
        return {
            "suite": self.suite,
            "model": self.model,
            "environment": describe_environment(),
            "cells": [
                {
                    "dataset": cell.entry.dataset,
                    "split": cell.entry.split,
                    "tasks": list(cell.entry.tasks),
                    "setting": cell.setting,
                    "num_questions": cell.num_questions,
                    "num_images": cell.num_images,
                    "figures": cell.figures,
                    "published": dict(cell.published),
                }
                for cell in self.cells
            ],
        }


def find_folders(suite: Suite, data_dir: Path) -> dict[str, Path]:
    """Return the folder of each data set of a suite.

    Args:
        suite: The suite.
        data_dir: Holds a folder of the name of each data set, whatever the case of letters.

    Raises:
        FileNotFoundError: If one is missing; the message names all that are.
    """
    there = {path.name.lower(): path for path in data_dir.iterdir()} if data_dir.is_dir() else {}
    names = list(dict.fromkeys(entry.dataset for entry in suite.entries))
    missing = [name for name in names if name not in there]
    if missing:
        raise FileNotFoundError(
            f"{data_dir} has no folder {', '.join(missing)}: the suite {suite.name} needs a folder for each of "
            f"{', '.join(names)}, or links of these names"
        )
    return {name: there[name] for name in names}


def run_suite(
    model: GeoDiTForMaskedDiffusion,
    processor: GeoDiTProcessor,
    suite: Suite,
    data_dir: str | Path,
    output_dir: str | Path,
    options: SuiteOptions | None = None,
    *,
    model_name: str,
    share: tuple[int, int] = (0, 1),
    wait: Callable[[], None] = lambda: None,
    progress: Progress | None = None,
) -> SuiteResult:
    """Ask a model all questions of a suite, and score the answers.

    `output_dir` keeps every answer as soon as it is given, and at the end `results.json`. Called again, it asks what
    has no answer yet.

    Args:
        model: On the device where it shall run.
        processor: Its processor.
        suite: What is asked.
        data_dir: Holds the data sets, see [`find_folders`].
        output_dir: Folder of answers and results.
        options: How it is run.
        model_name: What the model is called. Answers of models of other names are not mixed.
        share: Number of this process, and of all that share the questions.
        wait: Waits for all processes.
        progress: Called after each answer.

    Raises:
        FileNotFoundError: If a data set is missing.
        ValueError: If a record of one cannot be read, or the folder has answers of something else.
        OSError: If an answer cannot be written.
    """
    options = options or SuiteOptions()
    folder = Path(output_dir)
    folders = find_folders(suite, Path(data_dir))
    cells = []
    for entry in suite.entries:
        rows = _rows(entry, folders[entry.dataset], options)
        digest = questions_digest(rows, entry.tasks)
        for ablation in suite.ablations or (Ablation("", {}),):
            decoding = evaluation_options(evaluation_options(options.decoding).with_changes(**ablation.changes))
            asked = {"model": model_name, "questions": digest, "settings": decoding.to_dict()}
            name = _cell_name(entry, ablation)
            answers = folder / _ANSWERS / name
            with AnswerStore(answers, asked, share[0]) as store:
                generate_answers(
                    model,
                    processor,
                    rows,
                    decoding,
                    tasks=entry.tasks,
                    batch_size=options.batch_size,
                    progress=None if progress is None else functools.partial(progress, name),
                    store=store,
                    share=share,
                )
            wait()
            if share[0] == 0:
                found = list(read_answer_store(answers, asked).values())
                cells.append(_scored(entry, ablation, found, options.bootstrap))
    result = SuiteResult(suite.name, model_name, tuple(cells))
    if share[0] == 0:
        write_atomically(folder / _RESULTS, (json.dumps(result.to_dict(), indent=1) + "\n").encode())
    return result


def _rows(entry: SuiteEntry, folder: Path, options: SuiteOptions) -> datasets.Dataset:
    rows = read_dataset(
        entry.dataset,
        folder,
        entry.split,
        tasks=entry.tasks,
        bad_records=options.bad_records,
        cache_dir=options.cache_dir,
    )
    return rows if options.limit is None else rows.select(range(min(options.limit, len(rows))))


def _cell_name(entry: SuiteEntry, ablation: Ablation) -> str:
    """Return the name of a data set under some settings, which is also that of its folder of answers."""
    parts = [entry.dataset, *entry.tasks, *ablation.name.replace("=", "").split()]
    return "-".join(parts).lower()


def _scored(entry: SuiteEntry, ablation: Ablation, answers: Sequence[AnswerRecord], bootstrap: int) -> SuiteCell:
    published = ablation.published.get(entry.dataset, {}) if ablation.name else entry.published
    figures = score_answers(answers, bootstrap=bootstrap)
    images = len({answer.image_id for answer in answers})
    return SuiteCell(entry, ablation.name, figures, published, len(answers), images)
