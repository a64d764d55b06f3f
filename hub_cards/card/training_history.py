# SPDX-License-Identifier: Apache-2.0
"""Stages of training, from the recipes and logs that are kept beside a checkpoint."""

from __future__ import annotations

import datetime
import graphlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from geodit.configuration.text_files import read_text
from geodit.configuration.types_geodit import JsonObject
from geodit.hub_cards.card.checkpoint_files import Field, parse_fields, read_recipe
from geodit.hub_cards.card.markdown import Table

__all__ = [
    "STARTS_FROM",
    "TRAINING_FOLDER",
    "TrainingStage",
    "folder_name",
    "losses_table",
    "outputs_of",
    "read_stages",
    "total_runtime",
]

TRAINING_FOLDER = "training"

STARTS_FROM = ("model_name_or_path", "vision_tower")
"""The arguments of a recipe that name what a stage starts from."""

# What the card reads of a log; what callbacks add beside that may be anything.
_LOGGED = (
    "step",
    "epoch",
    "loss",
    "reward",
    "eval_loss",
    "eval_nll",
    "eval_nll_stderr",
    "eval_reward",
    "train_loss",
    "train_runtime",
    "train_samples_per_second",
)
_NOT_A_FIGURE = ("_runtime", "_per_second", "_stderr", "_answers")
_CURVE_ROWS = 8


@dataclass(frozen=True)
class TrainingStage:
    """One run of training.

    Args:
        name: Name of its files without the suffix.
        recipe: The arguments that its recipe sets; empty if there is no recipe.
        log: Entries of `Trainer.state.log_history`; empty if there is no log.
    """

    name: str
    recipe: JsonObject
    log: tuple[Mapping[str, float], ...]

    @property
    def losses(self) -> list[float]:
        """The training losses that were logged on the way."""
        return self.values("loss")

    @property
    def runtime(self) -> float | None:
        """Wall-clock time in seconds, of all runs if the stage was run in parts that each logged theirs."""
        seconds = self.values("train_runtime")
        return sum(seconds) if seconds else None

    @property
    def evaluations(self) -> list[Mapping[str, float]]:
        """The entries of the log that tell what an evaluation on the way gave."""
        return [entry for entry in self.log if "step" in entry and any(map(_is_eval_figure, entry))]

    @property
    def curve(self) -> Table | None:
        """Losses, and rewards if there are any, at no more than eight evaluations; `None` if there are fewer than two.

        Without evaluations, at as many of the training losses.
        """
        points = self.evaluations or [entry for entry in self.log if "loss" in entry and "step" in entry]
        if len(points) < 2:
            return None
        points = _spread_out(points, _CURVE_ROWS)
        trained = [name for name in ("loss", "reward") if name == "loss" or self.values(name)]
        evaluated = list(dict.fromkeys(name for point in points for name in point if _is_eval_figure(name)))
        rows = []
        for point in points:
            figures = [self._last_before(name, point["step"]) for name in trained]
            figures += [point.get(name) for name in evaluated]
            rows.append(tuple(_number(value) for value in (point["step"], point.get("epoch"), *figures)))
        header = ("update", "epoch", *trained, *(name.replace("_", " ") for name in evaluated))
        return Table(header, tuple(rows), num_left=0)

    def _last_before(self, name: str, step: float) -> float | None:
        values = [entry[name] for entry in self.log if name in entry and entry.get("step", 0) <= step]
        return values[-1] if values else None

    def values(self, name: str) -> list[float]:
        """Return every value that was logged under a name, in order."""
        return [entry[name] for entry in self.log if name in entry]


def read_stages(folder: Path) -> list[TrainingStage]:
    """Read the stages in `training/`: for each `<stage>.yaml`, its recipe, `<stage>.jsonl`, its log, or both.

    A stage that starts from what another one has written (`output_dir`) comes after it; otherwise they are in
    the order of their names.

    Args:
        folder: Folder of a checkpoint.

    Raises:
        ValueError: If a recipe or a log cannot be read, or stages start from each other in a circle.
    """
    directory = folder / TRAINING_FOLDER
    names = {path.stem for pattern in ("*.yaml", "*.jsonl") for path in directory.glob(pattern)}
    stages = {name: _read_stage(directory, name) for name in sorted(names)}
    outputs = outputs_of(stages.values())
    before = {
        name: [other for other in _predecessors(stage, outputs) if other != name] for name, stage in stages.items()
    }
    try:
        return [stages[name] for name in graphlib.TopologicalSorter(before).static_order()]
    except graphlib.CycleError as error:
        raise ValueError(f"{directory}: the stages start from each other: {', '.join(error.args[1])}") from error


def outputs_of(stages: Iterable[TrainingStage]) -> dict[str, str]:
    """Map each folder's name, as `folder_name` gives it, to the stage that wrote it."""
    return {folder_name(stage.recipe["output_dir"]): stage.name for stage in stages if stage.recipe.get("output_dir")}


def folder_name(path: object) -> str:
    """Return the name by which a path is compared with others."""
    return str(path).rstrip("/\\")


def total_runtime(stages: Sequence[TrainingStage]) -> str | None:
    """Wall-clock time of all stages as h:mm:ss; `None` if one has not logged its time, or there are none."""
    times = [stage.runtime for stage in stages]
    if not times or None in times:
        return None
    return _duration(sum(time for time in times if time is not None))


def losses_table(stages: Sequence[TrainingStage]) -> Table | None:
    """Build a table of how each stage went, from its log; return `None` if there are no logs."""
    stages = [stage for stage in stages if stage.log]
    if not stages:
        return None
    columns: dict[str, Callable[[TrainingStage], str]] = {
        "stage": lambda stage: stage.name,
        "updates": lambda stage: _last(stage.values("step")),
        "epochs": lambda stage: _last(stage.values("epoch")),
        "first loss": lambda stage: _first(stage.losses),
        "last loss": lambda stage: _last(stage.losses),
        "mean loss": lambda stage: _last(stage.values("train_loss")),
        "last eval loss": lambda stage: _last(stage.values("eval_loss")),
        "lowest eval loss": lambda stage: _first(sorted(stage.values("eval_loss"))),
        "last eval nll": lambda stage: _with_error(stage.values("eval_nll"), stage.values("eval_nll_stderr")),
        "first reward": lambda stage: _first(stage.values("reward")),
        "last reward": lambda stage: _last(stage.values("reward")),
        "last eval reward": lambda stage: _last(stage.values("eval_reward")),
        "time, h:mm:ss": lambda stage: _duration(stage.runtime),
        "samples a second": lambda stage: _last(stage.values("train_samples_per_second")),
    }
    cells = {title: [read(stage) for stage in stages] for title, read in columns.items()}
    cells = {title: column for title, column in cells.items() if any(column)}
    return Table(tuple(cells), tuple(zip(*cells.values(), strict=True)), num_left=1)


def _read_stage(directory: Path, name: str) -> TrainingStage:
    recipe, log = directory / f"{name}.yaml", directory / f"{name}.jsonl"
    return TrainingStage(
        name,
        read_recipe(recipe) if recipe.is_file() else {},
        _read_log(log) if log.is_file() else (),
    )


def _read_log(path: Path) -> tuple[dict[str, float], ...]:
    lines = read_text(path).splitlines()
    # A loss that diverged is logged as NaN, and the card shall say so.
    return tuple(
        _numbers(parse_fields(line, path, f"line {number}", allow_nan=True))
        for number, line in enumerate(lines, start=1)
        if line.strip()
    )


def _numbers(entry: Field) -> dict[str, float]:
    """Return the numbers of an entry of a log."""
    for name in _LOGGED:
        if name in entry.mapping():
            entry[name].number()
    return {name: value for name, value in entry.mapping().items() if _is_number(value)}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _predecessors(stage: TrainingStage, outputs: Mapping[str, str]) -> list[str]:
    folders = [folder_name(stage.recipe[name]) for name in STARTS_FROM if stage.recipe.get(name)]
    return [outputs[folder] for folder in folders if folder in outputs]


def _is_eval_figure(name: str) -> bool:
    return name.startswith("eval_") and not name.endswith(_NOT_A_FIGURE)


def _spread_out(points: list[Mapping[str, float]], number: int) -> list[Mapping[str, float]]:
    """Choose this many of the points, evenly spread, with the first and the last."""
    if len(points) <= number:
        return points
    return [points[round(index * (len(points) - 1) / (number - 1))] for index in range(number)]


def _first(values: Sequence[float]) -> str:
    return _number(values[0]) if values else ""


def _last(values: Sequence[float]) -> str:
    return _number(values[-1]) if values else ""


def _with_error(values: Sequence[float], errors: Sequence[float]) -> str:
    return f"{_last(values)} ± {_last(errors)}" if values and errors else _last(values)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def _duration(seconds: float | None) -> str:
    return "" if seconds is None else str(datetime.timedelta(seconds=round(seconds)))
