# SPDX-License-Identifier: Apache-2.0
"""Stages of training, from the recipes and logs that are kept beside a checkpoint."""

from __future__ import annotations

import datetime
import graphlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geodit.hub_cards.documents import parse_json, read_recipe
from geodit.hub_cards.markdown import Table, code, without_folders

__all__ = [
    "TRAINING_FOLDER",
    "TrainingStage",
    "data_sources",
    "losses_table",
    "read_stages",
    "recipes_table",
]

TRAINING_FOLDER = "training"

# What decides the result comes first, in this order, then what else a recipe sets by name.
_FIRST = (
    "objective",
    "model_name_or_path",
    "geometry",
    "vision_tower",
    "trainable_parts",
    "num_scenes",
    "num_text_scenes",
    "num_neon_tiles",
    "num_eval_scenes",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "num_train_epochs",
    "max_steps",
    "learning_rate",
)
# What changes where a run writes, how fast it is or how often it reports, and not what is learnt.
_HOUSEKEEPING = frozenset(
    {
        "cache_dir",
        "dataloader_num_workers",
        "dataloader_persistent_workers",
        "dataloader_pin_memory",
        "disable_tqdm",
        "eval_nll_draws",
        "eval_steps",
        "eval_strategy",
        "log_level",
        "logging_dir",
        "logging_first_step",
        "logging_steps",
        "logging_strategy",
        "neon_dir",
        "num_proc",
        "num_samples",
        "output_dir",
        "per_device_eval_batch_size",
        "report_to",
        "resume_from_checkpoint",
        "run_name",
        "sample_every_steps",
        "save_only_model",
        "save_steps",
        "save_strategy",
        "save_total_limit",
    }
)
_STARTS_FROM = ("model_name_or_path", "vision_tower")
_DATA_ARGUMENTS = {"num_scenes": "synthetic", "num_text_scenes": "text", "num_neon_tiles": "neon"}
# What the card reads of a log; what callbacks add beside that may be anything.
_LOGGED = ("step", "epoch", "loss", "eval_loss", "train_loss", "train_runtime", "train_samples_per_second")
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
    recipe: Mapping[str, Any]
    log: tuple[Mapping[str, Any], ...]

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
    def curve(self) -> Table | None:
        """Losses over the stage, at no more than eight of its evaluations; `None` if it has fewer than two.

        Without evaluations, at as many of the training losses.
        """
        points = [entry for entry in self.log if "eval_loss" in entry and "step" in entry]
        if not points:
            points = [entry for entry in self.log if "loss" in entry and "step" in entry]
        if len(points) < 2:
            return None
        points = _spread_out(points, _CURVE_ROWS)
        names = list(dict.fromkeys(name for point in points for name in point if _is_eval_figure(name)))
        rows = []
        for point in points:
            before = [e["loss"] for e in self.log if "loss" in e and e.get("step", 0) <= point["step"]]
            figures = [_number(point.get(name)) for name in names]
            loss = _number(before[-1]) if before else ""
            rows.append((_number(point["step"]), _number(point.get("epoch")), loss, *figures))
        header = ("update", "epoch", "loss", *(name.replace("_", " ") for name in names))
        return Table(header, tuple(rows), num_left=0)

    def values(self, name: str) -> list[float]:
        """Every value that was logged under a name, in order."""
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
    if not directory.is_dir():
        return []
    names = {path.stem for pattern in ("*.yaml", "*.jsonl") for path in directory.glob(pattern)}
    stages = {name: _read_stage(directory, name) for name in sorted(names)}
    outputs = _outputs(stages.values())
    before = {
        name: [other for other in _predecessors(stage, outputs) if other != name] for name, stage in stages.items()
    }
    try:
        return [stages[name] for name in graphlib.TopologicalSorter(before).static_order()]
    except graphlib.CycleError as error:
        raise ValueError(f"{directory}: the stages start from each other: {', '.join(error.args[1])}") from error


def data_sources(stages: Sequence[TrainingStage]) -> set[str]:
    """What the recipes train on, out of `"synthetic"`, `"text"` (scenes in words) and `"neon"`."""
    return {source for stage in stages for name, source in _DATA_ARGUMENTS.items() if stage.recipe.get(name, 0) != 0}


def recipes_table(stages: Sequence[TrainingStage]) -> Table | None:
    """What the recipes set, a column for each stage; `None` if there are no recipes."""
    stages = [stage for stage in stages if stage.recipe]
    names = {name for stage in stages for name in stage.recipe} - _HOUSEKEEPING
    if not names:
        return None
    outputs = _outputs(stages)
    order = {name: index for index, name in enumerate(_FIRST)}
    rows = [
        (code(name), *(_argument(name, stage.recipe, outputs) for stage in stages))
        for name in sorted(names, key=lambda name: (order.get(name, len(order)), name))
    ]
    return Table(("argument", *(stage.name for stage in stages)), tuple(rows), num_left=len(stages) + 1)


def losses_table(stages: Sequence[TrainingStage]) -> Table | None:
    """How each stage went, from its log; `None` if there are no logs."""
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


def _read_log(path: Path) -> tuple[dict[str, Any], ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    entries = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            # A loss that diverged is logged as NaN, and the card shall say so.
            entry = parse_json(line, path, f"line {number}", allow_nan=True)
            for name in _LOGGED:
                if name in entry.mapping():
                    entry[name].number()
            entries.append({name: value for name, value in entry.mapping().items() if _is_number(value)})
    return tuple(entries)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _outputs(stages: Iterable[TrainingStage]) -> dict[str, str]:
    """The stage that wrote each folder."""
    return {_folder(stage.recipe["output_dir"]): stage.name for stage in stages if stage.recipe.get("output_dir")}


def _predecessors(stage: TrainingStage, outputs: Mapping[str, str]) -> list[str]:
    folders = [_folder(stage.recipe[name]) for name in _STARTS_FROM if stage.recipe.get(name)]
    return [outputs[folder] for folder in folders if folder in outputs]


def _folder(path: object) -> str:
    return str(path).rstrip("/\\")


def _argument(name: str, recipe: Mapping[str, Any], outputs: Mapping[str, str]) -> str:
    value = recipe.get(name)
    if value is None:
        return ""
    if name in _STARTS_FROM and _folder(value) in outputs:
        return f"stage {outputs[_folder(value)]}"
    if isinstance(value, list):
        return ", ".join(without_folders(str(item)) for item in value)
    if isinstance(value, bool):
        return str(value).lower()
    return without_folders(str(value))


def _is_eval_figure(name: str) -> bool:
    return name.startswith("eval_") and not name.endswith(_NOT_A_FIGURE)


def _spread_out(points: list[Mapping[str, Any]], number: int) -> list[Mapping[str, Any]]:
    """So many of the points, evenly spread, with the first and the last."""
    if len(points) <= number:
        return points
    return [points[round(index * (len(points) - 1) / (number - 1))] for index in range(number)]


def _first(values: Sequence[float]) -> str:
    return _number(values[0]) if values else ""


def _last(values: Sequence[float]) -> str:
    return _number(values[-1]) if values else ""


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def _duration(seconds: float | None) -> str:
    return "" if seconds is None else str(datetime.timedelta(seconds=round(seconds)))
