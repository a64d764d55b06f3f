# SPDX-License-Identifier: Apache-2.0
"""What a recipe would train: parameters, tokens, updates and memory, without training and without weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import nn
from transformers.models.llava_onevision.modeling_llava_onevision import image_size_to_num_patches
from transformers.trainer_utils import has_length
from transformers.training_args import OptimizerNames
from trl.trainer.utils import get_peft_config

from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.configuration.types_geodit import Item, JsonObject
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.processing.processing_geodit import GeoDiTProcessor
from geodit.tiny.new_model import new_model, read_geometry
from geodit.trainers.grpo.arguments import GeoDiTGRPOConfig
from geodit.trainers.preparation import prepare_model
from geodit.trainers.runs.memory_estimate import ADAMW_STATES, BatchShape, MemoryEstimate, estimate_memory
from geodit.trainers.runs.recipe_arguments import DataArguments, ModelArguments
from geodit.trainers.runs.recipes import parse_recipe
from geodit.trainers.runs.stages import set_as_asked, training_questions
from geodit.trainers.runs.training_data import vocabulary_texts
from geodit.trainers.trainable import ParameterCount, count_parameters
from geodit.trainers.training_arguments import GeoDiTTrainingArguments
from geodit.weights.bundled import resolve_checkpoint

MAX_COUNTED_ROWS = 10_000
"""Rows whose tokens are counted one by one; of a larger data set a sample of as many stands for all."""

_ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class DataSize:
    """How large the training data are.

    Args:
        rows: Rows of an epoch; `None` for a stream, whose end is not known.
        counted_rows: The rows that were looked at.
        answers: Answers in the rows that were looked at.
        tokens: Tokens in them: image, prompt and canvas, without padding.
        longest_row: Tokens of the longest of them.
        longest_canvas: The most tokens to be predicted in a row.
        pictures_per_row: The most pictures that the vision tower sees for a row.
        padded: Whether rows differ in length.
    """

    rows: int | None
    counted_rows: int
    answers: int
    tokens: int
    longest_row: int
    longest_canvas: int
    pictures_per_row: int
    padded: bool

    @property
    def exact(self) -> bool:
        """Whether every row was looked at."""
        return self.rows == self.counted_rows

    @property
    def tokens_per_row(self) -> float:
        """Mean over the rows that were looked at."""
        return self.tokens / self.counted_rows


@dataclass(frozen=True)
class Updates:
    """How often the weights are updated, and from how much.

    Args:
        steps: Updates in all.
        epochs: Passes over the data, in part or whole; `None` for a stream.
        processes: Processes that share an update.
        rows_per_update: Rows of all processes and micro-batches.
        tokens_per_update: Their tokens, on average.
        tokens: Tokens of all updates. Exact for whole epochs of data that were counted whole.
    """

    steps: int
    epochs: float | None
    processes: int
    rows_per_update: int
    tokens_per_update: float
    tokens: int


@dataclass(frozen=True)
class DryRun:
    """What a recipe would train.

    Args:
        recipe: Its name.
        model: Name of the checkpoint that it starts from, or of the geometry file of a new model.
        parameters: Counts by part of the model, see [`count_parameters`].
        data: Size of the training data.
        updates: Number and size of the updates.
        activation_checkpointing: Whether the recipe has it.
        memory_checkpointed: What an update takes on one device, sharing nothing, with activation checkpointing.
        memory_kept: The same without activation checkpointing.
    """

    recipe: str
    model: str
    parameters: dict[str, ParameterCount]
    data: DataSize
    updates: Updates
    activation_checkpointing: bool
    memory_checkpointed: MemoryEstimate
    memory_kept: MemoryEstimate

    @property
    def memory(self) -> MemoryEstimate:
        """What an update takes as the recipe has it."""
        return self.memory_checkpointed if self.activation_checkpointing else self.memory_kept

    def to_dict(self) -> JsonObject:
        """Return the figures in types that JSON has."""
        return {
            "recipe": self.recipe,
            "model": self.model,
            "parameters": {part: asdict(count) for part, count in self.parameters.items()},
            "data": {**asdict(self.data), "exact": self.data.exact},
            "updates": asdict(self.updates),
            "activation_checkpointing": self.activation_checkpointing,
            "memory": {
                "with_activation_checkpointing": self.memory_checkpointed.to_dict(),
                "without_activation_checkpointing": self.memory_kept.to_dict(),
            },
        }


def dry_run(recipe: str, overrides: Sequence[str] = ()) -> DryRun:
    """Work out what a recipe would train.

    Of a checkpoint only configuration and processor are read, and the model has no storage: 8 billion parameters are
    as quick as a thousand. The data are made or opened as in the run, and kept where it would keep them.

    Args:
        recipe: Path of a YAML file, or the name of a bundled recipe.
        overrides: `--name value` pairs that take precedence over the recipe.

    Raises:
        FileNotFoundError: when there is no such recipe.
        ValueError: when its arguments are wrong or do not fit each other, or it trains no GeoDiT model.
    """
    if not torch.accelerator.is_available():
        # A recipe for GPUs can be looked at on a machine without.
        overrides = [*overrides, "--use_cpu", "true"]
    measured = MeasuredRecipe.of(*parse_recipe(recipe, overrides))
    training_args = measured.training_args
    return DryRun(
        recipe,
        str(measured.model_args.model_name_or_path or measured.model_args.geometry),
        count_parameters(measured.model),
        measured.data,
        plan_updates(measured.data, training_args),
        bool(training_args.activation_checkpointing),
        measured.memory(activation_checkpointing=True),
        measured.memory(activation_checkpointing=False),
    )


@dataclass(frozen=True)
class MeasuredRecipe:
    """A recipe's model and data, ready to estimate what an update takes.

    Args:
        model_args: Of the recipe.
        training_args: Of the recipe.
        model: The model as it is trained, without storage.
        data: Size of the training data.
    """

    model_args: ModelArguments
    training_args: GeoDiTTrainingArguments
    model: nn.Module
    data: DataSize

    @classmethod
    def of(
        cls,
        model_args: ModelArguments,
        data_args: DataArguments,
        training_args: GeoDiTTrainingArguments | GeoDiTGRPOConfig,
    ) -> MeasuredRecipe:
        """Make the model, and open and count the data.

        Raises:
            ValueError: when the recipe trains no GeoDiT model by masked diffusion.
        """
        if data_args.objective != "masked_diffusion" or not isinstance(training_args, GeoDiTTrainingArguments):
            raise ValueError(f"A dry run is for objective masked_diffusion, not for {data_args.objective}.")
        model, processor = model_without_weights(model_args)
        data = measure_data(training_questions(data_args, processor), processor, model.config)
        return cls(model_args, training_args, prepare_model(model, training_args, get_peft_config(model_args)), data)

    def memory(
        self,
        *,
        activation_checkpointing: bool,
        rows: int | None = None,
        gradient_accumulation: bool | None = None,
        quantized_bits: float | None = None,
    ) -> MemoryEstimate:
        """Estimate what an update takes on one device, sharing nothing.

        Args:
            activation_checkpointing: Whether there is.
            rows: Of a micro-batch; by default those of the recipe.
            gradient_accumulation: Whether an update has several micro-batches; by default as in the recipe.
            quantized_bits: Bits a weight of the base's linear layers; by default as in the recipe.
        """
        args, data = self.training_args, self.data
        rows = args.per_device_train_batch_size if rows is None else rows
        # Each row is then shown twice, but each token of a canvas is hidden once.
        views = 2 if args.complementary_masks else 1
        batch = BatchShape(
            views * rows,
            data.longest_row,
            views * rows * data.pictures_per_row,
            rows * data.longest_canvas,
            data.padded,
        )
        accumulates = args.gradient_accumulation_steps > 1 if gradient_accumulation is None else gradient_accumulation
        return estimate_memory(
            self.model,
            batch,
            autocast=torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else None,
            activation_checkpointing=activation_checkpointing,
            gradient_accumulation=accumulates,
            optimizer_states=_optimizer_states(OptimizerNames(args.optim).value),
            quantized_bits=_quantized_bits(self.model_args) if quantized_bits is None else quantized_bits,
        )


def model_without_weights(args: ModelArguments) -> tuple[GeoDiTForMaskedDiffusion, GeoDiTProcessor]:
    """Make the model that a recipe starts from, on the meta device, with its processor.

    Raises:
        OSError: when there is no such checkpoint.
    """
    if args.geometry is None:
        checkpoint = resolve_checkpoint(str(args.model_name_or_path))
        config = GeoDiTConfig.from_pretrained(checkpoint, revision=args.model_revision)
        processor = GeoDiTProcessor.from_pretrained(checkpoint, revision=args.model_revision)
        with torch.device("meta"):
            model = GeoDiTForMaskedDiffusion(config)
        dtype = config.dtype if args.dtype == "auto" else getattr(torch, str(args.dtype))
        cast(Any, model).to(dtype or torch.float32)
    else:
        with torch.device("meta"):
            model, processor = new_model(
                read_geometry(args.geometry),
                vocabulary_texts(),
                location_bins=args.location_bins,
                vocab_size=args.vocab_size,
            )
    set_as_asked(model, processor, args)
    return model, processor


def measure_data(dataset: Any, processor: GeoDiTProcessor, config: GeoDiTConfig) -> DataSize:
    """Count the tokens of a data set whose items [`GeoDiTDataCollator`] takes.

    Args:
        dataset: With a length, or a stream.
        processor: The processor of the model.
        config: The configuration of the model.

    Raises:
        ValueError: when it is empty.
    """
    rows = len(dataset) if has_length(dataset) else None
    if rows is None:
        chosen = (item for item, _ in zip(dataset, range(MAX_COUNTED_ROWS), strict=False))
    else:
        number = min(rows, MAX_COUNTED_ROWS)
        # Evenly spread, as data sets stand one after the other.
        chosen = (dataset[index * rows // number] for index in range(number))
    lengths: list[int] = []
    canvases: list[int] = []
    answers = pictures = 0
    items: list[Item] = []
    for item in chosen:
        items.append(item)
        pictures = max(pictures, _count_pictures(item, config))
        if len(items) == _ROWS_AT_ONCE:
            answers += _count_rows(items, processor, lengths, canvases)
            items.clear()
    answers += _count_rows(items, processor, lengths, canvases)
    if not lengths:
        raise ValueError("There is nothing to train on: the data set is empty.")
    return DataSize(
        rows,
        len(lengths),
        answers,
        sum(lengths),
        max(lengths),
        max(canvases),
        pictures,
        min(lengths) != max(lengths),
    )


def plan_updates(data: DataSize, args: GeoDiTTrainingArguments) -> Updates:
    """Count updates as [`~transformers.Trainer`] does.

    Raises:
        ValueError: when the data are a stream and `max_steps` does not say where to stop.
    """
    processes, accumulation = args.world_size, args.gradient_accumulation_steps
    rows_per_update = args.train_batch_size * accumulation * processes
    if data.rows is None:
        if args.max_steps <= 0:
            raise ValueError("A stream has no end: say with max_steps how many updates to make.")
        tokens = data.tokens_per_row * rows_per_update
        return Updates(args.max_steps, None, processes, rows_per_update, tokens, round(tokens * args.max_steps))
    batches = data.rows / args.train_batch_size
    batches = math.floor(batches) if args.dataloader_drop_last else math.ceil(batches)
    # Processes take turns; where batches do not suffice for a last turn, some are given twice or dropped.
    turns = batches // processes if args.dataloader_drop_last else math.ceil(batches / processes)
    updates_per_epoch = max(math.ceil(turns / accumulation), 1)
    steps = args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * updates_per_epoch)
    epochs = steps / updates_per_epoch
    tokens = data.tokens_per_row * data.rows
    return Updates(steps, epochs, processes, rows_per_update, tokens / updates_per_epoch, round(tokens * epochs))


def _count_rows(items: list[Item], processor: GeoDiTProcessor, lengths: list[int], canvases: list[int]) -> int:
    """Append tokens and canvas tokens of each item, and return how many answers they have."""
    questions = [item["questions"] if "questions" in item else [item["question"]] for item in items]
    asked = [question for group in questions for question in group]
    if not asked:
        return 0
    queries, tasks = [question.query for question in asked], [question.task for question in asked]
    prompts = iter(processor(text=queries, task=tasks, padding=False)["input_ids"])
    for item, group in zip(items, questions, strict=True):
        canvas = sum(processor.canvas_length(question.task) for question in group)
        image, context = item["image"], item.get("context")
        length = canvas + sum(len(next(prompts)) for _ in group)
        if image is not None:
            length += processor.count_image_tokens((image.height, image.width))
        elif context:
            length += len(processor.tokenizer(context, add_special_tokens=False)["input_ids"])
        lengths.append(length)
        canvases.append(canvas)
    return len(asked)


def _count_pictures(item: Item, config: GeoDiTConfig) -> int:
    """Count the pictures that the vision tower sees of an item."""
    image = item["image"]
    if image is None:
        return 0
    if config.image_grid_pinpoints is None:
        return 1
    size = [image.height, image.width]
    return int(image_size_to_num_patches(size, config.image_grid_pinpoints, config.vision_config.image_size))


def _optimizer_states(name: str) -> float:
    """Return how many numbers an optimizer of Transformers keeps per parameter; one of 8 bits counts a quarter."""
    if name in ("sgd", "adafactor", "lomo", "adalomo"):
        return 0
    states = 1 if name.removeprefix("paged_").startswith(("lion", "rmsprop", "adagrad")) else ADAMW_STATES
    return states / 4 if "8bit" in name else states


def _quantized_bits(args: ModelArguments) -> float | None:
    if args.load_in_4bit:
        return bits_of_4bit(args.use_bnb_nested_quant)
    return 8 if args.load_in_8bit else None


def bits_of_4bit(nested: bool) -> float:
    """Return the bits that bitsandbytes takes for a weight of 4 bits, with a scale for each block of 64 weights.

    Args:
        nested: Whether the scales are quantized themselves.
    """
    return 4 + (8 / 64 + 32 / (64 * 256) if nested else 32 / 64)
