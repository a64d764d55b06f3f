# SPDX-License-Identifier: Apache-2.0
"""What to train and how: decided by the data, the model and the memory at hand, each decision with its reason."""

from __future__ import annotations

import difflib
import importlib.util
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import yaml

from geodit.annotations.hub_data import hub_dataset
from geodit.configuration.types_geodit import JsonObject
from geodit.data.schema import TASKS
from geodit.evaluation.main_figures import MAIN_FIGURES
from geodit.finetuning.device_memory import DeviceMemory
from geodit.finetuning.options import FinetuneOptions
from geodit.processing.processing_geodit import GeoDiTProcessor
from geodit.trainers.answer_scores import SCORE
from geodit.trainers.runs.canvas_lengths import longest_answers
from geodit.trainers.runs.dry_run import (
    DataSize,
    MeasuredRecipe,
    bits_of_4bit,
    model_without_weights,
    plan_updates,
)
from geodit.trainers.runs.recipe_arguments import DataArguments, ModelArguments
from geodit.trainers.runs.recipes import parse_values
from geodit.trainers.runs.training_data import imported_datasets
from geodit.trainers.training_arguments import GeoDiTTrainingArguments

__all__ = ["Decision", "FinetunePlan", "plan_finetuning"]

# Learning rates that were found for two models, by the width of their text core; other widths lie on a line through
# these two points, in logarithms.
_RATES: Mapping[bool, tuple[tuple[int, float], tuple[int, float]]] = {
    False: ((160, 2e-3), (4096, 2e-4)),  # adapters: recipes geodit-tiny/lora-neon and lora
    True: ((160, 6e-4), (4096, 1e-5)),  # all weights: recipes geodit-tiny/stage2-continued and stage2
}
_ROWS_PER_UPDATE = 16
_LARGEST_MICRO_BATCH = 16
_MOST_QUESTIONS_PER_ROW = 4
# So many rows are shown in all, if that is no fewer than one pass and no more than some.
_ROWS_SHOWN = 10_000
_MOST_EPOCHS = 20
_CANVAS_STEP = 8
_GIB = 2**30
_SAMPLES = 6


@dataclass(frozen=True)
class Decision:
    """Something that was decided.

    Args:
        name: What it is about.
        value: What was decided.
        reason: Why.
    """

    name: str
    value: str
    reason: str


@dataclass(frozen=True)
class FinetunePlan:
    """What is trained, and how.

    Args:
        recipe: Fields of the recipe, by name.
        decisions: What was decided, for the user.
        canvas_lengths: Of the tasks whose canvas is not that of the checkpoint.
        dtype: In which the model is loaded to evaluate it.
        updates: How many updates there are at most.
    """

    recipe: JsonObject
    decisions: tuple[Decision, ...]
    canvas_lengths: Mapping[str, int]
    dtype: str
    updates: int

    def to_dict(self) -> JsonObject:
        """Return the plan in types that JSON has."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: JsonObject) -> FinetunePlan:
        """Make a plan from what `to_dict` returns.

        Raises:
            TypeError, KeyError: If it is something else.
        """
        decisions = tuple(Decision(**one) for one in values["decisions"])
        return cls(**{**values, "decisions": decisions})

    def to_yaml(self) -> str:
        """Return the recipe as a file that `geodit train` runs, with the reasons as comments."""
        lines = [f"# {one.name}: {one.value}. {one.reason[:1].upper()}{one.reason[1:]}." for one in self.decisions]
        return "\n".join([*lines, yaml.safe_dump(self.recipe, sort_keys=False)])


def plan_finetuning(
    sources: Sequence[str],
    output_dir: str | Path,
    options: FinetuneOptions,
    memory: DeviceMemory,
    *,
    num_processes: int = 1,
) -> FinetunePlan:
    """Decide what the options leave open.

    Of the model only its configuration and processor are read. The data are opened, and counted.

    Args:
        sources: Data sets as the field `imported` of a recipe names them.
        output_dir: Folder of the run.
        options: What is given.
        memory: Of the device that trains.
        num_processes: Devices that train together.

    Raises:
        FileNotFoundError: If there is no such data set, or it has no split to train on.
        OSError: If there is no such model.
        ValueError: If options contradict each other or the data, or nothing fits in memory.
    """
    return _Planner(sources, Path(output_dir), options, memory, num_processes).plan()


class _Planner:
    def __init__(
        self,
        sources: Sequence[str],
        output_dir: Path,
        options: FinetuneOptions,
        memory: DeviceMemory,
        num_processes: int,
    ) -> None:
        self._sources = [_pinned(*source) for source in DataArguments(imported=list(sources)).weighted_imports()]
        self._output_dir = output_dir
        self._options = options
        self._memory = memory
        self._processes = num_processes
        self._decisions: list[Decision] = []

    def plan(self) -> FinetunePlan:
        options = self._options
        if importlib.util.find_spec("evaluate") is None:
            raise ModuleNotFoundError("a fine-tuning is evaluated: pip install 'geodit[finetune]'")
        self._decide("model", options.model, "all of its weights are trained" if options.full else "by an adapter")
        recipe = self._model()
        model, processor = model_without_weights(ModelArguments(**_model_fields(recipe)))
        held_out = self._held_out()
        canvases = self._canvases(processor)
        recipe |= {"canvas_lengths": [f"{task}={length}" for task, length in canvases.items()] or None}
        recipe |= {"imported": self._sources, "augment": options.augment}
        recipe |= {"questions_per_row": self._questions_per_row(model.config.attention_mode, held_out)}
        recipe |= self._training(int(model.config.text_config.hidden_size))
        recipe |= {"output_dir": str(self._output_dir), "seed": options.seed}
        given = dict(options.overrides)
        _check_fields(given)
        measured = MeasuredRecipe.of(*parse_values(_merged(recipe, given), self._output_dir))
        recipe |= self._memory_fields(measured)
        recipe |= self._length(measured.data.rows)
        updates = self._updates(_merged(recipe, given), measured.data)
        recipe |= self._evaluation(updates, held_out)
        recipe = _merged(recipe, given)
        parse_values(recipe, self._output_dir)
        return FinetunePlan(recipe, tuple(self._decisions), canvases, str(recipe["dtype"]), updates)

    def _decide(self, name: str, value: object, reason: str) -> None:
        self._decisions.append(Decision(name, str(value), reason))

    def _model(self) -> JsonObject:
        options, memory = self._options, self._memory
        recipe: JsonObject = {"model_name_or_path": options.model, "model_revision": options.model_revision or "main"}
        recipe["bf16"] = memory.has_bf16
        # Of an adapter the base needs no more bits than it is published with; trained weights do.
        recipe["dtype"] = "bfloat16" if memory.has_bf16 and not options.full else "float32"
        why = f"{memory.device} {'computes' if memory.has_bf16 else 'does not compute'} fast in bfloat16"
        self._decide("precision", "bfloat16" if memory.has_bf16 else "float32", why)
        if not options.full:
            rank = options.lora_rank
            recipe |= {"use_peft": True, "lora_r": rank, "lora_alpha": 2 * rank, "lora_dropout": 0.0}
            if options.quantize in ("4bit", "8bit"):
                recipe[f"load_in_{options.quantize}"] = True
        return recipe

    def _held_out(self) -> dict[str, bool]:
        """Return which tasks the validation split asks for, and whether each has several questions an image."""
        rows = imported_datasets(DataArguments(imported=self._sources), "validation")
        found: dict[str, bool] = {}
        for part in rows:
            for questions in part["questions"]:
                for question in questions:
                    found[question["task"]] = found.get(question["task"], False) or len(questions) > 1
        if not found:
            raise ValueError(
                f"{', '.join(self._sources)} has no validation split, by which the best checkpoint is chosen: import "
                "with a share for it"
            )
        return found

    def _canvases(self, processor: GeoDiTProcessor) -> dict[str, int]:
        given = dict(self._options.canvas_lengths)
        longest: dict[str, int] = {}
        for split in ("train", "validation"):
            for part in imported_datasets(DataArguments(imported=self._sources), split):
                for task, length in longest_answers(part, processor).items():
                    longest[task] = max(longest.get(task, 0), length)
        canvases = {}
        for task, length in sorted(longest.items()):
            own = processor.canvas_length(task)
            if task in given:
                if given[task] < length:
                    raise ValueError(
                        f"the canvas {task}={given[task]} is too short: its answers have up to {length} tokens"
                    )
                canvases[task] = given[task]
                self._decide(f"canvas of {task}", given[task], f"as asked for; the longest answer has {length} tokens")
            elif length > own:
                canvases[task] = -(-length // _CANVAS_STEP) * _CANVAS_STEP
                self._decide(
                    f"canvas of {task}",
                    canvases[task],
                    f"the longest answer has {length} tokens, and {own} fit so far",
                )
        return canvases | {task: length for task, length in given.items() if task not in canvases}

    def _questions_per_row(self, attention_mode: str, held_out: Mapping[str, bool]) -> int:
        asked = self._options.questions_per_row
        if asked is not None:
            return asked
        if attention_mode != "prefix" or not any(held_out.values()):
            return 1
        self._decide(
            "questions in a row", _MOST_QUESTIONS_PER_ROW, "those of an image share the image, which is cheaper"
        )
        return _MOST_QUESTIONS_PER_ROW

    def _training(self, width: int) -> JsonObject:
        rate = self._options.learning_rate
        if rate is None:
            rate = _rate(width, self._options.full)
            self._decide("learning rate", f"{rate:.2g}", f"of a text core of width {width:,}")
        tracks = importlib.util.find_spec("tensorboard") is not None
        self._decide(
            "curves",
            "TensorBoard" if tracks else "in the log",
            "tensorboard is installed" if tracks else "tensorboard is not installed",
        )
        return {
            "learning_rate": float(f"{rate:.3g}"),
            "lr_scheduler_type": "cosine",
            "warmup_steps": 0.03,
            "weight_decay": 0.01,
            # Less noisy than the paper's weights, which counts where there are few examples.
            "loss_weighting": "uniform",
            "stratified_timesteps": True,
            "use_cpu": self._options.use_cpu or self._memory.device == "the CPU",
            "report_to": "tensorboard" if tracks else "none",
            "disable_tqdm": True,
        }

    def _memory_fields(self, measured: MeasuredRecipe) -> JsonObject:
        """Choose the largest micro-batch that fits, without activation checkpointing if possible."""
        options, budget = self._options, self._memory.budget
        total = options.batch_size or _ROWS_PER_UPDATE
        share = max(1, total // self._processes)
        largest = min(share, options.micro_batch_size or _LARGEST_MICRO_BATCH)
        sizes = [largest] if options.micro_batch_size else [size for size in _halves(largest) if share % size == 0]
        checkpointing = (
            [False, True] if options.activation_checkpointing is None else [options.activation_checkpointing]
        )
        bits: list[float | None] = [None]
        if not options.full and options.quantize is None and importlib.util.find_spec("bitsandbytes") is not None:
            bits.append(bits_of_4bit(False))
        least = math.inf
        for quantized in bits:
            for recompute in checkpointing:
                for size in sizes:
                    estimate = measured.memory(
                        activation_checkpointing=recompute,
                        rows=size,
                        gradient_accumulation=share > size,
                        quantized_bits=quantized,
                    )
                    least = min(least, estimate.peak)
                    if estimate.peak <= budget:
                        return self._fitting(size, share // size, recompute, quantized, estimate.peak)
        raise ValueError(
            f"an update takes {least / _GIB:.1f} GiB at least, and {self._memory.device} has "
            f"{self._memory.free / _GIB:.1f} GiB free: choose a smaller model, quantize=4bit, shorter canvases by "
            "importing with --max-objects, or a larger device"
        )

    def _fitting(
        self, size: int, accumulation: int, recompute: bool, quantized: float | None, peak: int
    ) -> JsonObject:
        fits = f"an update takes {peak / _GIB:.2g} GiB by estimate, of {self._memory.free / _GIB:.2g} GiB free"
        self._decide("micro-batch", f"{size} rows", fits)
        self._decide(
            "rows of an update",
            size * accumulation * self._processes,
            f"{_counted(accumulation, 'micro-batch')} on {_counted(self._processes, 'device')}",
        )
        found: JsonObject = {
            "per_device_train_batch_size": size,
            "per_device_eval_batch_size": max(size, 8),
            "gradient_accumulation_steps": accumulation,
            "activation_checkpointing": recompute,
        }
        if recompute:
            self._decide("activation checkpointing", "on", "without it an update would not fit in memory")
        if quantized is not None:
            self._decide("base", "4 bits", "in 16 bits it would not fit in memory")
            found["load_in_4bit"] = True
        return found

    def _length(self, rows: int | None) -> JsonObject:
        options = self._options
        if options.max_steps is not None:
            return {"max_steps": options.max_steps}
        epochs = options.epochs
        if epochs is None:
            epochs = max(1, min(_MOST_EPOCHS, round(_ROWS_SHOWN / max(rows or 1, 1))))
            self._decide("epochs", epochs, f"there are {rows or 0:,} rows, and training ends when it no longer helps")
        return {"num_train_epochs": epochs}

    def _updates(self, recipe: JsonObject, data: DataSize) -> int:
        _, _, args = parse_values(recipe, self._output_dir)
        assert isinstance(args, GeoDiTTrainingArguments)  # as MeasuredRecipe has checked
        return plan_updates(data, args).steps

    def _evaluation(self, updates: int, held_out: Mapping[str, bool]) -> JsonObject:
        options = self._options
        figures = {SCORE} | {f"{task}_{MAIN_FIGURES[task]}" for task in held_out}
        if options.metric not in figures | {"loss"}:
            raise ValueError(f"metric must be one of loss, {', '.join(sorted(figures))}, got {options.metric!r}")
        steps = math.ceil(updates / options.evaluations)
        tasks = ", ".join(task for task in TASKS if task in held_out)
        self._decide(
            "best checkpoint",
            f"by {options.metric}",
            f"of up to {options.eval_questions} questions of the validation split ({tasks}), every "
            f"{'update' if steps == 1 else f'{steps} updates'}",
        )
        return {
            "eval_strategy": "steps",
            "eval_steps": steps,
            "eval_answers": options.eval_questions,
            "save_strategy": "steps",
            "save_steps": steps,
            "save_total_limit": 2,
            "load_best_model_at_end": True,
            "metric_for_best_model": options.metric,
            "greater_is_better": options.metric != "loss",
            "early_stopping_patience": options.patience,
            "sample_every_steps": steps,
            "num_samples": _SAMPLES,
            "logging_steps": max(1, steps // 4),
        }


def _pinned(source: str, weight: float) -> str:
    """Return a data set as a recipe names it; one of the Hub at the commit that it is at now."""
    on_hub = hub_dataset(source)
    name = source if on_hub is None else f"hub:{on_hub.pinned()}"
    return name if weight == 1.0 else f"{name}={weight:g}"


def _merged(recipe: JsonObject, given: Mapping[str, str]) -> JsonObject:
    """Return the fields of a recipe that say something, with those that were given on top."""
    own = {name: value for name, value in recipe.items() if value is not None}
    return own | {name: yaml.safe_load(value) for name, value in given.items()}


def _check_fields(names: Iterable[str]) -> None:
    """Refuse names that no field of a recipe has.

    Raises:
        ValueError: If there are any.
    """
    known = {one.name for kind in (ModelArguments, DataArguments, GeoDiTTrainingArguments) for one in fields(kind)}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            hint = f": did you mean {' or '.join(near)}?" if near else ""
            raise ValueError(f"a recipe has no field {name!r:.80}, which --set (overrides) names{hint}")


def _rate(width: int, full: bool) -> float:
    (narrow, high), (wide, low) = _RATES[full]
    slope = math.log(low / high) / math.log(wide / narrow)
    return float(high * (width / narrow) ** slope)


def _counted(number: int, noun: str) -> str:
    plural = f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def _halves(number: int) -> list[int]:
    """Return a number, and what halving it again and again gives."""
    found = [number]
    while found[-1] > 1:
        found.append(found[-1] // 2)
    return found


def _model_fields(recipe: JsonObject) -> JsonObject:
    return {name: value for name, value in recipe.items() if name != "bf16"}
