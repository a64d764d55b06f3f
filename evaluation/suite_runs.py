# SPDX-License-Identifier: Apache-2.0
"""Evaluate a model on the data sets of a suite, one after the other. What was answered before is not asked again."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import datasets

from geodit.configuration.decoding_options import DecodingOptions
from geodit.data.readers.reading import BadRecords, read_dataset
from geodit.data.readers.registry import get_reader
from geodit.evaluation.answer_store import KeptAnswers
from geodit.evaluation.answerers import Answerer, CollectedAnswers, collect_answers, first_rows
from geodit.evaluation.generating import GeoDiTAnswerer
from geodit.evaluation.scored_answers import Scoring
from geodit.evaluation.suite_results import SuiteCell, SuiteResult, cell_name, score_cell
from geodit.evaluation.suites import Ablation, Suite, SuiteEntry

__all__ = ["SuiteOptions", "find_folders", "run_suite"]

SuiteProgress = Callable[[str, int, int], None]
"""Called with what is asked, how many questions have an answer, and how many there are."""

_ANSWERS = "answers"


@dataclass(frozen=True)
class SuiteOptions:
    """How a suite is run.

    Args:
        limit: Images of each data set, the first ones; by default all.
        batch_size: Questions that are answered at once.
        scoring: How answers are scored.
        baselines: Also score what answers without a model, from the training split, where a data set has one.
        bad_records: What becomes of records that cannot be read.
        cache_dir: Folder that keeps tables of data sets.
    """

    limit: int | None = None
    batch_size: int = 32
    scoring: Scoring = field(default_factory=lambda: Scoring(bootstrap=1000))
    baselines: bool = False
    bad_records: BadRecords = "raise"
    cache_dir: str | None = None


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
    answerer: Answerer,
    suite: Suite,
    data_dir: str | Path,
    keep: KeptAnswers,
    options: SuiteOptions | None = None,
    *,
    progress: SuiteProgress | None = None,
    command: Sequence[str] | None = None,
) -> SuiteResult:
    """Ask a model all questions of a suite, and score the answers.

    The folder of `keep` has every answer as soon as it is given, in `answers/`. Called again, this asks what has no
    answer yet.

    Args:
        answerer: GeoDiT, or another model.
        suite: What is asked.
        data_dir: Holds the data sets, see [`find_folders`].
        keep: Folder of answers, what the model is called, and the processes that share the questions.
        options: How it is run.
        progress: Called after each answer.
        command: The command line, for the report.

    Returns:
        The result, on the first process; the others have no cells.

    Raises:
        FileNotFoundError: If a data set is missing.
        ValueError: If a record of one cannot be read, the folder has answers of something else, or the suite compares
            settings of decoding and the model is not GeoDiT.
        OSError: If an answer cannot be written.
    """
    options = options or SuiteOptions()
    if suite.ablations and not isinstance(answerer, GeoDiTAnswerer):
        raise ValueError(f"the suite {suite.name} compares how GeoDiT decodes, and {keep.model} is another model")
    folders = find_folders(suite, Path(data_dir))
    # What is wrong with any data set is told before hours are spent on the first.
    data = [_rows(entry, entry.split, folders[entry.dataset], options) for entry in suite.entries]
    asked: list[_Asked] = []
    for entry, rows in zip(suite.entries, data, strict=True):
        for ablation in suite.ablations or (None,):
            changed = _with_ablation(answerer, ablation)
            name = cell_name(entry, "" if ablation is None else ablation.name)
            collected = collect_answers(
                changed,
                rows,
                tasks=entry.tasks,
                batch_size=options.batch_size,
                limit=options.limit,
                progress=None if progress is None else functools.partial(progress, name),
                keep=keep.within(_ANSWERS).within(name),
            )
            asked.append(_Asked(entry, ablation, changed.decoding, collected, first_rows(rows, options.limit)))
    # Scoring is for one process, and the others are not to wait for it.
    cells = _score(asked, folders, options) if keep.share[0] == 0 else []
    return SuiteResult(
        suite.name, keep.model, tuple(cells), None if command is None else tuple(command), options.limit
    )


class _Asked(NamedTuple):
    entry: SuiteEntry
    ablation: Ablation | None
    decoding: DecodingOptions | None
    collected: CollectedAnswers
    rows: datasets.Dataset


def _score(asked: Sequence[_Asked], folders: Mapping[str, Path], options: SuiteOptions) -> list[SuiteCell]:
    cells = []
    previous = None
    for one in asked:
        training, problem = None, ""
        baselines = options.baselines and one.entry != previous  # they do not depend on the settings
        if baselines:
            training, problem = _training(one.entry, folders[one.entry.dataset], options)
        previous = one.entry
        cells.append(
            score_cell(
                one.entry,
                one.collected.answers,
                options.scoring,
                ablation=one.ablation,
                decoding=one.decoding,
                seconds=one.collected.seconds,
                rows=one.rows,
                baselines=baselines,
                training=training,
                no_baselines=problem,
            )
        )
    return cells


def _with_ablation(answerer: Answerer, ablation: Ablation | None) -> Answerer:
    if ablation is None:
        return answerer
    assert isinstance(answerer, GeoDiTAnswerer)  # checked before
    return replace(answerer, options=answerer.decoding.with_changes(**ablation.changes))


def _training(entry: SuiteEntry, folder: Path, options: SuiteOptions) -> tuple[datasets.Dataset | None, str]:
    """Return the training split, or why there is none: whoever evaluates may not have downloaded it."""
    if "train" not in get_reader(entry.dataset).splits:
        return None, "it has no training split"
    try:
        return _rows(entry, "train", folder, options), ""
    except (ValueError, OSError) as error:
        return None, str(error)


def _rows(entry: SuiteEntry, split: str, folder: Path, options: SuiteOptions) -> datasets.Dataset:
    return read_dataset(
        entry.dataset,
        folder,
        split,
        tasks=entry.tasks,
        bad_records=options.bad_records,
        cache_dir=options.cache_dir,
    )
