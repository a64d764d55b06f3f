# SPDX-License-Identifier: Apache-2.0
"""What a fine-tuning has brought, in words, and what to do next."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from geodit.configuration.types_geodit import JsonObject
from geodit.data.schema import TASKS
from geodit.evaluation.baseline_tables import BaselineFigures, baseline_rows, baselines_document, times_100_title
from geodit.evaluation.comparison import FigureChange
from geodit.evaluation.main_figures import MAIN_FIGURES
from geodit.evaluation.report.tables import CHANGE_COLUMNS, change_cells, value_cell
from geodit.evaluation.scaled_figures import Value, scaled
from geodit.finetuning.comparison import Scores
from geodit.hub_cards.card.markdown import Table

__all__ = ["BASELINE_IMAGES", "FinetuneReport", "report_of_seeds", "training_runs"]

BASELINE_IMAGES = 4000
"""How many training images baselines answer from, at most."""

_COLUMNS = ("task", "figure", "before", "after", *CHANGE_COLUMNS)


@dataclass(frozen=True)
class FinetuneReport:
    """What a fine-tuning has brought.

    Args:
        folder: Where the model is.
        model: What it started from.
        is_adapter: Whether the folder holds an adapter.
        seed: Of the run.
        split: Which split it was tested on.
        before: Scores of the model that it started from.
        after: Scores of the trained model.
        changes: Both compared question by question, by flat names such as `"detect.f1"`.
        baselines: What [`~geodit.evaluation.baselines.score_baselines`] returns for the same questions.
        evaluations: Lines of the log with the scores of the validation split.
        metric: By which of them the best checkpoint was chosen.
        steps: Updates that were made.
        planned_steps: Updates that were planned at most.
        commands: What to do next, by what it is for.
        mistakes: Picture of the worst answers; `None` if all are right.
    """

    folder: Path
    model: str
    is_adapter: bool
    seed: int
    split: str
    before: Scores
    after: Scores
    changes: Mapping[str, FigureChange]
    baselines: BaselineFigures
    evaluations: tuple[Mapping[str, float], ...]
    metric: str
    steps: int
    planned_steps: int
    commands: Mapping[str, str]
    mistakes: Path | None

    @property
    def tasks(self) -> list[str]:
        """The tasks that were tested, in the order of [`~geodit.data.schema.TASKS`]."""
        return [task for task in TASKS if task in self.after.figures]

    def row(self, task: str) -> tuple[str, ...]:
        """Return the main figure of a task before and after, and how it changed, as text."""
        name = MAIN_FIGURES[task]
        figures = value_cell(self.before.main(task)), value_cell(self.after.main(task))
        return (task, times_100_title(task, name), *figures, *change_cells(self.changes.get(f"{task}.{name}")))

    def described_change(self, task: str) -> str:
        """Return how the main figure of a task changed, in one line."""
        cells = dict(zip(_COLUMNS, self.row(task), strict=True))
        found = [f"{title} {cells[title]}" for title in CHANGE_COLUMNS if cells[title] != "-"]
        return f"{task}, {cells['figure']}: {', '.join(found) or 'undefined before or after'}"

    @property
    def best(self) -> Mapping[str, float] | None:
        """The evaluation of the checkpoint that was kept."""
        name = f"eval_{self.metric}"
        lines = [line for line in self.evaluations if name in line]
        if not lines:
            return None
        return (
            min(lines, key=lambda line: line[name])
            if self.metric == "loss"
            else max(lines, key=lambda line: line[name])
        )

    def to_dict(self) -> JsonObject:
        """Return the figures in types that JSON has."""
        return {
            "model": self.model,
            "folder": str(self.folder),
            "seed": self.seed,
            "split": self.split,
            "num_questions": len(self.after.answers),
            "before": self.before.figures,
            "after": self.after.figures,
            "changes": {name: change.to_dict() for name, change in self.changes.items()},
            "baselines": baselines_document(self.baselines),
            "best_step": None if self.best is None else self.best.get("step"),
            "steps": self.steps,
            "planned_steps": self.planned_steps,
            "evaluations": [dict(sorted(line.items())) for line in self.evaluations],
            "commands": dict(self.commands),
        }

    def to_markdown(self) -> str:
        """Return the report as a page."""
        what = "An adapter of" if self.is_adapter else "A checkpoint made from"
        lines = ["# Fine-tuning report", "", f"{what} `{self.model}`, trained with seed {self.seed}.", ""]
        rows = [(*self.row(task), value_cell(scaled("parse_rate", self.after.figures[task]))) for task in self.tasks]
        lines += [f"{_questions(self)}, with 95% intervals over images:", ""]
        lines += [str(Table((*_COLUMNS, "answers that parse"), tuple(rows), num_left=2)), "", _how_compared(1), ""]
        lines += [self.course, "", *_baseline_lines(self.baselines)]
        if self.evaluations:
            lines += [*self._curve(), ""]
        if self.mistakes is not None:
            lines += ["## Worst mistakes", "", f"![The worst answers]({self.mistakes.name})", ""]
        lines += ["## What to do next", ""]
        for purpose, command in self.commands.items():
            lines += [f"{purpose}:", "", "```bash", command, "```", ""]
        return "\n".join(lines)

    @property
    def course(self) -> str:
        """A sentence about how long training went on, and which checkpoint is kept."""
        text = f"Training made {self.steps:,} of at most {self.planned_steps:,} updates"
        if self.steps < self.planned_steps:
            text += ", as the validation split got no better"
        if self.best is not None:
            text += f"; the checkpoint of update {int(self.best['step']):,} was the best and is kept"
        if self.split != "test":
            text += (
                f". There is no test split: the figures are those of the {self.split} split, on which the checkpoint "
                "was chosen, and so are too good"
            )
        return text + "."

    def _curve(self) -> list[str]:
        # Sorted, as the lines of a run that was stopped are: its state keeps them so.
        names = sorted(name for name in self.evaluations[0] if name.startswith("eval_") and name not in _NOT_SHOWN)
        lines = ["| update | " + " | ".join(name.removeprefix("eval_") for name in names) + " |"]
        lines.append("|---:|" + "---:|" * len(names))
        for line in self.evaluations:
            values = " | ".join(f"{line[name]:.3f}" if name in line else "" for name in names)
            lines.append(f"| {int(line['step']):,} | {values} |")
        return ["## On the validation split", "", "Scores are as the log has them, not times 100.", "", *lines]


_NOT_SHOWN = frozenset(
    {"eval_runtime", "eval_samples_per_second", "eval_steps_per_second", "eval_model_preparation_time"}
)


def training_runs(number: int) -> str:
    """Return a sentence about what a number of training runs can tell, and intervals over images cannot."""
    runs = "is 1 training run" if number == 1 else f"are {number} training runs"
    return (
        f"There {runs}: intervals and p-values are over the images of the test, and say nothing about other training "
        "seeds."
    )


def report_of_seeds(reports: Sequence[FinetuneReport]) -> str:
    """Return a page about the same fine-tuning under several seeds.

    Args:
        reports: One a seed, at least one.
    """
    first = reports[0]
    seeds = ", ".join(str(report.seed) for report in reports)
    rows = []
    for task in first.tasks:
        values = [value.value for value in (report.after.main(task) for report in reports) if value is not None]
        spread = f" ± {Value(statistics.stdev(values))}" if len(values) > 1 else ""
        mean = f"{Value(statistics.fmean(values))}{spread}" if values else "-"
        rows.append((*first.row(task)[:3], mean))
    by_seed = [(str(report.seed), *report.row(task)) for task in first.tasks for report in reports]
    lines = [
        "# Fine-tuning report",
        "",
        f"`{first.model}`, trained {len(reports)} times, with seeds {seeds}.",
        "",
        f"{_questions(first)}; after training mean ± standard deviation over training seeds:",
        "",
        str(Table(_COLUMNS[:4], tuple(rows), num_left=2)),
        "",
        "## By seed",
        "",
        str(Table(("seed", *_COLUMNS), tuple(by_seed), num_left=3)),
        "",
        _how_compared(len(reports)),
        "",
        "The models are in " + ", ".join(f"`{report.folder}`" for report in reports) + ".",
        "",
        *_baseline_lines(first.baselines),
    ]
    return "\n".join(lines)


def _questions(report: FinetuneReport) -> str:
    return f"On the {report.split} split ({len(report.after.answers):,} questions), figures times 100"


def _how_compared(num_runs: int) -> str:
    return (
        "The difference is after minus before, question by question, with a 95% interval and a p-value by a paired "
        "bootstrap over images. Where a figure is a share of the questions, gained and lost are those that only the "
        "trained or only the first model answers right, with the p-value of McNemar's exact test. "
        + training_runs(num_runs)
    )


def _baseline_lines(baselines: BaselineFigures) -> list[str]:
    if not baselines:
        return []
    header = ("name", "kind", "answers", "task", "figure", "value")
    rows = tuple((*words, value_cell(value)) for *words, value in baseline_rows(baselines))
    what = (
        "What the same questions are worth without a model: a baseline answers from "
        f"{BASELINE_IMAGES:,} images of the training split at most, and a question that it has no answer to counts as "
        "wrong."
    )
    return [
        "## Baselines",
        "",
        what,
        "",
        str(Table(header, rows, num_left=5)),
        "",
    ]


def next_commands(folder: Path, is_adapter: bool, task: str, query: str, tile_size: int | None) -> dict[str, str]:
    """Return commands that use a model, by what they are for.

    Args:
        folder: Of the model.
        is_adapter: Whether it is an adapter.
        task: What it was trained for.
        query: What it was asked, if the task takes a query.
        tile_size: Side of the tiles that it was trained on, if images were cut.
    """
    name = shlex.quote(str(folder))
    predict = ["geodit predict", "IMAGE", "--adapter" if is_adapter else "--model", name, "--task", task]
    if query:
        predict += ["--query", shlex.quote(query)]
    if task == "detect" and tile_size is not None:
        predict += ["--tile-size", str(tile_size)]
    push = [
        "geodit push",
        name,
        *(["--adapter"] if is_adapter else []),
        "--repo",
        f"your-name/{shlex.quote(folder.name)}",
    ]
    return {"Predict": " ".join([*predict, "--overlay", "overlay.png"]), "Publish": " ".join(push)}
