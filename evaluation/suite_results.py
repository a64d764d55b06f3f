# SPDX-License-Identifier: Apache-2.0
"""What a model, or a file of answers, reached on data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import datasets

from geodit.configuration.decoding_options import DecodingOptions
from geodit.configuration.types_geodit import JsonObject
from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.baseline_tables import BaselineFigures, baselines_document
from geodit.evaluation.baselines import score_baselines
from geodit.evaluation.environment import describe_environment
from geodit.evaluation.scored_answers import ProtocolFigures, Scoring, score_protocols
from geodit.evaluation.scoring import ScoringRules
from geodit.evaluation.suites import Ablation, SuiteEntry

__all__ = ["SuiteCell", "SuiteResult", "cell_name", "score_cell", "tokens_per_second"]


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
        decoding: How GeoDiT decoded answers; `None` for other models and for answers from a file.
        answers: Every answer, in the order of the data set.
        seconds: Time that they took, over all processes and sessions; 0 for answers from a file.
        rows: The data set that was asked about, with its images.
        protocols: The figures of other protocols.
        baselines: For each baseline what [`~geodit.evaluation.scoring.score_answers`] returns, if any were scored.
        no_baselines: Why there are none of training, if they were asked for.
        scoring: How answers were scored.
    """

    entry: SuiteEntry
    setting: str
    figures: Mapping[str, JsonObject]
    published: Mapping[str, float]
    num_questions: int
    num_images: int
    decoding: DecodingOptions | None = None
    answers: tuple[AnswerRecord, ...] = ()
    seconds: float = 0.0
    rows: datasets.Dataset | None = field(default=None, repr=False, compare=False)
    protocols: ProtocolFigures = field(default_factory=dict)
    baselines: BaselineFigures = field(default_factory=dict)
    no_baselines: str = ""
    scoring: Scoring = field(default_factory=Scoring)

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens of all answers, with those that end them, per second; `None` if time or tokens are not known."""
        return tokens_per_second(self.answers, self.seconds)

    def to_dict(self) -> JsonObject:
        """Return the cell in types that JSON has, without the answers."""
        return {
            "dataset": self.entry.dataset,
            "split": self.entry.split,
            "tasks": list(self.entry.tasks),
            "setting": self.setting,
            "settings": None if self.decoding is None else self.decoding.to_dict(),
            "num_questions": self.num_questions,
            "num_images": self.num_images,
            "seconds": self.seconds,
            "tokens_per_second": self.tokens_per_second,
            "scoring": self.scoring.to_dict(),
            "figures": self.figures,
            "protocols": self.protocols,
            "baselines": baselines_document(self.baselines),
            **({"no_baselines": self.no_baselines} if self.no_baselines else {}),
            "published": dict(self.published),
        }


@dataclass(frozen=True)
class SuiteResult:
    """What a model reached on a suite.

    Args:
        suite: Its name, or that of the one data set.
        model: What the model is called.
        cells: One for each data set and setting.
        command: The command line that asked for this, if any.
        limit: How many images of each data set were asked about, if not all.
    """

    suite: str
    model: str
    cells: tuple[SuiteCell, ...]
    command: tuple[str, ...] | None = None
    limit: int | None = None

    def to_dict(self) -> JsonObject:
        """Return the result in types that JSON has."""
        return {
            "suite": self.suite,
            "model": self.model,
            "environment": describe_environment(),
            "command": None if self.command is None else list(self.command),
            "limit": self.limit,
            "cells": [cell.to_dict() for cell in self.cells],
        }


def cell_name(entry: SuiteEntry, setting: str = "") -> str:
    """Return the name of a data set under some settings, which is also that of its folder of answers.

    Args:
        entry: The data set.
        setting: Name of the settings.
    """
    parts = [entry.dataset, *entry.tasks, *setting.replace("=", "").split()]
    return "-".join(parts).lower()


def score_cell(
    entry: SuiteEntry,
    answers: Sequence[AnswerRecord],
    scoring: Scoring,
    *,
    ablation: Ablation | None = None,
    decoding: DecodingOptions | None = None,
    seconds: float = 0.0,
    rows: datasets.Dataset | None = None,
    baselines: bool = False,
    training: datasets.Dataset | None = None,
    no_baselines: str = "",
) -> SuiteCell:
    """Compute everything that is told of the answers to a data set.

    Args:
        entry: The data set.
        answers: In its order, at least one.
        scoring: How to score.
        ablation: The settings that were compared, if it is one of several.
        decoding: How GeoDiT decoded the answers.
        seconds: Time that they took.
        rows: The data set with its images.
        baselines: Also score what answers without a model.
        training: Images that baselines answer from; without them those that need none are scored.
        no_baselines: Why there are no such images, if so.

    Raises:
        ValueError: As [`~geodit.evaluation.scoring.score_answers`].
    """
    published = entry.published if ablation is None else ablation.published.get(entry.dataset, {})
    if entry.answer_rules:
        rules = (scoring.rules or ScoringRules()).with_answer_rules(entry.answer_rules)
        scoring = replace(scoring, rules=rules)
    without_model: BaselineFigures = {}
    if baselines and rows is not None:
        without_model = score_baselines(
            training, [rows], tasks=entry.tasks, bootstrap=scoring.bootstrap, rules=scoring.rules
        )
    return SuiteCell(
        entry=entry,
        setting="" if ablation is None else ablation.name,
        figures=scoring.score(answers),
        published=published,
        num_questions=len(answers),
        num_images=len({answer.image_id for answer in answers}),
        decoding=decoding,
        answers=tuple(answers),
        seconds=seconds,
        rows=rows,
        protocols=score_protocols(answers, scoring),
        baselines=without_model,
        no_baselines=no_baselines,
        scoring=scoring,
    )


def tokens_per_second(answers: Sequence[AnswerRecord], seconds: float) -> float | None:
    """Return how many tokens of answers were made in a second.

    Args:
        answers: The answers.
        seconds: Time that they took.

    Returns:
        `None` if the time or the tokens of an answer are not known.
    """
    tokens = [answer.num_tokens for answer in answers]
    return sum(tokens) / seconds if seconds and all(tokens) else None
