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
from geodit.evaluation.main_figures import MAIN_FIGURES
from geodit.finetuning.comparison import Scores

__all__ = ["FinetuneReport", "report_of_seeds"]

Interval = tuple[float, float]


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
            "best_step": None if self.best is None else self.best.get("step"),
            "steps": self.steps,
            "planned_steps": self.planned_steps,
            "evaluations": [dict(line) for line in self.evaluations],
            "commands": dict(self.commands),
        }

    def to_markdown(self) -> str:
        """Return the report as a page."""
        what = "An adapter of" if self.is_adapter else "A checkpoint made from"
        lines = ["# Fine-tuning report", "", f"{what} `{self.model}`, trained with seed {self.seed}.", ""]
        lines += [
            f"On the {self.split} split ({len(self.after.answers):,} questions), with 95% intervals over images:",
            "",
        ]
        lines += ["| task | figure | before | after | answers that parse |", "|---|---|---:|---:|---:|"]
        for task in self.tasks:
            before, after = self.before.main(task), self.after.main(task)
            parsed = self.after.figures[task]["parse_rate"]
            lines.append(f"| {task} | {MAIN_FIGURES[task]} | {shown(*before)} | {shown(*after)} | {parsed:.1%} |")
        lines += ["", self.course, ""]
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
        names = [name for name in self.evaluations[0] if name.startswith("eval_") and name not in _NOT_SHOWN]
        lines = ["| update | " + " | ".join(name.removeprefix("eval_") for name in names) + " |"]
        lines.append("|---:|" + "---:|" * len(names))
        for line in self.evaluations:
            values = " | ".join(f"{line[name]:.3f}" if name in line else "" for name in names)
            lines.append(f"| {int(line['step']):,} | {values} |")
        return ["## On the validation split", "", *lines]


_NOT_SHOWN = frozenset(
    {"eval_runtime", "eval_samples_per_second", "eval_steps_per_second", "eval_model_preparation_time"}
)


def shown(value: float | None, interval: Interval | None) -> str:
    """Return a figure with its interval as text."""
    if value is None:
        return "undefined"
    return f"{value:.3f}" if interval is None else f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


def report_of_seeds(reports: Sequence[FinetuneReport]) -> str:
    """Return a page about the same fine-tuning under several seeds.

    Args:
        reports: One a seed, at least one.
    """
    first = reports[0]
    seeds = ", ".join(str(report.seed) for report in reports)
    lines = [
        "# Fine-tuning report",
        "",
        f"`{first.model}`, trained {len(reports)} times, with seeds {seeds}.",
        "",
        f"On the {first.split} split ({len(first.after.answers):,} questions), mean ± standard deviation over seeds:",
        "",
        "| task | figure | before | after | after, by seed |",
        "|---|---|---:|---:|---|",
    ]
    for task in first.tasks:
        values = [report.after.main(task)[0] for report in reports]
        numbers = [value for value in values if value is not None]
        spread = f" ± {statistics.stdev(numbers):.3f}" if len(numbers) > 1 else ""
        mean = f"{statistics.fmean(numbers):.3f}{spread}" if numbers else "undefined"
        each = ", ".join("undefined" if value is None else f"{value:.3f}" for value in values)
        before = shown(first.before.main(task)[0], None)
        lines.append(f"| {task} | {MAIN_FIGURES[task]} | {before} | {mean} | {each} |")
    lines += ["", "The models are in " + ", ".join(f"`{report.folder}`" for report in reports) + ".", ""]
    return "\n".join(lines)


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
