# SPDX-License-Identifier: Apache-2.0
"""The runs after a recipe: dense pretraining of a vision tower, masked diffusion on text or images, and GRPO."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import datasets
import yaml
from torch.utils.data import ConcatDataset, Dataset
from transformers import PrinterCallback, SiglipVisionModel, TrainerCallback, TrainingArguments
from trl.trainer.utils import get_peft_config

from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.configuration.files_geodit import write_atomically
from geodit.configuration.types_geodit import Item
from geodit.data.augmentation import Augmentation, AugmentedDataset
from geodit.data.epochs import WeightedMix
from geodit.data.streaming import QuestionStream
from geodit.hub_cards.publish.run_folders import RUN_LOG, RUN_RECIPE
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.processing.processing_geodit import GeoDiTProcessor
from geodit.tiny.dense_images import DenseBoxDataset, DensePatchDataset
from geodit.tiny.dense_scenes import DenseSceneDataset
from geodit.tiny.new_model import load_vision_tower, new_model, read_geometry
from geodit.tiny.scenes.text import SceneTextDataset
from geodit.tiny.scenes.vocabulary import label_names
from geodit.tiny.vision_pretraining import DenseVisionCollator, DenseVisionModel
from geodit.trainers.argument_fields import changed_fields
from geodit.trainers.data_collator import GeoDiTDataCollator
from geodit.trainers.grpo.arguments import GeoDiTGRPOConfig
from geodit.trainers.grpo.trainer import GeoDiTGRPOTrainer
from geodit.trainers.publishing import log_lines
from geodit.trainers.resilience.guarded_trainer import GuardedTrainer
from geodit.trainers.resilience.run_folder import RunFolder
from geodit.trainers.runs.canvas_lengths import check_canvas_lengths, set_canvas_lengths
from geodit.trainers.runs.quantization import quantization_config
from geodit.trainers.runs.recipe_arguments import DataArguments, ModelArguments
from geodit.trainers.runs.training_data import (
    ImageQuestions,
    imported_datasets,
    neon_tiles,
    published_datasets,
    rendered_scenes,
    streamed_questions,
    vocabulary_texts,
)
from geodit.trainers.sample_callback import DrawAnswer, SampleCallback, choose_samples
from geodit.trainers.trainer import GeoDiTTrainer
from geodit.trainers.training_arguments import GeoDiTTrainingArguments
from geodit.weights import vision_towers
from geodit.weights.bundled import resolve_checkpoint

if TYPE_CHECKING:
    from peft import PeftConfig

    from geodit.trainers.answer_scores import AnswerScores


def run_dense_vision(
    model_args: ModelArguments,
    data_args: DataArguments,
    training_args: GeoDiTTrainingArguments,
    folder: RunFolder,
    recipe: Mapping[str, object],
) -> None:
    """Pretrain a vision tower, new or that of a checkpoint; save it as a [`~transformers.SiglipVisionModel`].

    The output folder is open while this runs, as for the other runs.
    """
    if model_args.use_peft:
        raise ValueError("objective dense_vision trains a whole vision tower: leave use_peft out.")
    if training_args.push_to_hub:
        raise ValueError("objective dense_vision trains a part of a model, and publishes none: leave push_to_hub out.")
    changed = changed_fields(training_args, GeoDiTTrainingArguments)
    if without_effect := [name for name in changed if name != "overwrite_output_dir"]:
        raise ValueError(f"{', '.join(without_effect)}: no effect on objective dense_vision, leave out.")
    tower = _load_vision_tower(model_args)
    vision_config: Any = tower.config
    grid = vision_config.image_size // vision_config.patch_size
    train_parts: list[DensePatchDataset] = []
    eval_dataset = None
    with _rendering_once(data_args, training_args):
        if data_args.num_scenes:
            train_parts.append(DenseSceneDataset(rendered_scenes(data_args, "train", data_args.num_scenes), grid))
        if data_args.num_neon_tiles:
            train_parts.append(DenseBoxDataset(neon_tiles(data_args, "train"), grid, label_names))
        if data_args.num_eval_scenes:
            scenes = rendered_scenes(data_args, "validation", data_args.num_eval_scenes)
            eval_dataset = DenseSceneDataset(scenes, grid)
    trainer = GuardedTrainer(
        model=DenseVisionModel(tower, model_args.location_bins),
        args=training_args,
        train_dataset=ConcatDataset(train_parts),
        eval_dataset=eval_dataset,
        data_collator=DenseVisionCollator(),
    )

    def save_tower() -> None:
        # Trainer saves a plain module's weights only; the tower itself is what the next stage loads.
        tower.save_pretrained(folder.folder, is_main_process=trainer.is_world_process_zero())

    _train_and_save(trainer, folder, recipe, save_tower)


def _load_vision_tower(args: ModelArguments) -> SiglipVisionModel:
    tower: SiglipVisionModel
    if args.vision_tower is not None:
        tower = vision_towers.load_vision_tower(args.vision_tower)
    elif args.geometry is not None:
        tower = SiglipVisionModel._from_config(GeoDiTConfig(**read_geometry(args.geometry)).vision_config)
    else:
        checkpoint = resolve_checkpoint(str(args.model_name_or_path))
        tower = GeoDiTForMaskedDiffusion.from_pretrained(
            checkpoint, revision=args.model_revision, dtype=args.dtype
        ).model.vision_tower
    if args.attn_implementation is not None:
        tower.set_attn_implementation(args.attn_implementation)
    return tower


def run_masked_diffusion(
    model_args: ModelArguments,
    data_args: DataArguments,
    training_args: GeoDiTTrainingArguments,
    folder: RunFolder,
    recipe: Mapping[str, object],
    draw_answer: DrawAnswer | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> None:
    """Train a model by masked diffusion; save model, processor and training log, and push them if asked to.

    Other callbacks than the recipe's show what goes on in place of the lines that Transformers prints.
    """
    model, processor = _load_model(model_args)
    with _rendering_once(data_args, training_args):
        check_imported(data_args, processor)
        train_dataset = training_questions(data_args, processor)
        eval_dataset = evaluation_questions(data_args, processor)
    if data_args.augment:
        train_dataset = (
            train_dataset.augmented(Augmentation(), training_args.seed)
            if isinstance(train_dataset, QuestionStream)
            else AugmentedDataset(train_dataset, Augmentation(), training_args.seed)
        )
    trainer = GeoDiTTrainer(
        model=model,
        args=training_args,
        peft_config=_peft_config(model_args),
        data_collator=GeoDiTDataCollator(processor),
        processing_class=processor,
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        callbacks=[*_sample_callbacks(training_args, processor, eval_dataset, draw_answer), *callbacks],
        score_answers=_answer_scores(data_args, training_args, processor),
        recipe=recipe,
    )
    if callbacks:
        trainer.remove_callback(PrinterCallback)
    _train_and_save(trainer, folder, recipe, trainer.save_model)


def _sample_callbacks(
    args: GeoDiTTrainingArguments,
    processor: GeoDiTProcessor,
    eval_dataset: Dataset[Item] | None,
    draw_answer: DrawAnswer | None,
) -> list[SampleCallback]:
    if not (args.sample_every_steps and args.num_samples):
        return []
    samples = choose_samples(() if eval_dataset is None else eval_dataset, args.num_samples)
    return [SampleCallback(processor, samples, draw_answer)]


def _answer_scores(
    data_args: DataArguments, training_args: GeoDiTTrainingArguments, processor: GeoDiTProcessor
) -> AnswerScores | None:
    if not training_args.eval_answers:
        return None
    # Here, as training as such needs no library of evaluation.
    from geodit.trainers.answer_scores import AnswerScores

    rows = held_out_rows(data_args)
    if rows is None:
        raise ValueError("eval_answers needs held-out questions about images, and there are none.")
    return AnswerScores(
        processor,
        rows,
        training_args.eval_answers,
        seed=training_args.seed,
        batch_size=training_args.per_device_eval_batch_size,
    )


def run_grpo(
    model_args: ModelArguments,
    data_args: DataArguments,
    training_args: GeoDiTGRPOConfig,
    folder: RunFolder,
    recipe: Mapping[str, object],
) -> None:
    """Tune a model, or an adapter of it, by rewards; save and, if asked to, push model, processor and log."""
    model, processor = _load_model(model_args)
    with _rendering_once(data_args, training_args):
        train_dataset = training_questions(data_args, processor)
        eval_dataset = evaluation_questions(data_args, processor)
    trainer = GeoDiTGRPOTrainer(
        model,
        training_args,
        processor,
        peft_config=_peft_config(model_args),
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        recipe=recipe,
    )
    _train_and_save(trainer, folder, recipe, trainer.save_model)


def _peft_config(args: ModelArguments) -> PeftConfig | None:
    config: PeftConfig | None = get_peft_config(args)
    if config is not None:
        config.revision = args.model_revision  # the adapter is for this one of its base
    return config


def _rendering_once(
    data_args: DataArguments, training_args: TrainingArguments
) -> contextlib.AbstractContextManager[None]:
    """Let the first process of a machine render and the others read, if there is a cache; else let each render."""
    if data_args.cache_dir is None:
        return contextlib.nullcontext()
    return training_args.main_process_first(desc="rendering scenes")


def _load_model(args: ModelArguments) -> tuple[GeoDiTForMaskedDiffusion, GeoDiTProcessor]:
    if args.geometry is None:
        checkpoint = resolve_checkpoint(str(args.model_name_or_path))
        model = GeoDiTForMaskedDiffusion.from_pretrained(
            checkpoint, revision=args.model_revision, dtype=args.dtype, quantization_config=quantization_config(args)
        )
        processor = GeoDiTProcessor.from_pretrained(checkpoint, revision=args.model_revision)
        if args.vision_tower is not None:
            load_vision_tower(model, args.vision_tower)
    else:
        model, processor = new_model(
            read_geometry(args.geometry),
            vocabulary_texts(),
            location_bins=args.location_bins,
            vocab_size=args.vocab_size,
            vision_tower=args.vision_tower,
        )
    set_as_asked(model, processor, args)
    return model, processor


def set_as_asked(model: GeoDiTForMaskedDiffusion, processor: GeoDiTProcessor, args: ModelArguments) -> None:
    """Give a model the attention, and its processor the canvases, that a recipe has instead of the checkpoint's."""
    if args.attention_mode is not None:
        # Which refuses any other.
        model.config.attention_mode = cast(Literal["full", "prefix"], args.attention_mode)
    if args.attn_implementation is not None:
        model.set_attn_implementation(args.attn_implementation)
    set_canvas_lengths(processor, args.task_canvases())


def check_imported(args: DataArguments, processor: GeoDiTProcessor) -> None:
    """Refuse imported data with answers that do not fit their canvases; those of streams are not looked at.

    Raises:
        ValueError: If there are any.
    """
    if not args.streaming:
        check_canvas_lengths(imported_datasets(args, "train"), processor)


def training_questions(args: DataArguments, processor: GeoDiTProcessor) -> Dataset[Item]:
    """Return the questions that a recipe trains on, as [`GeoDiTDataCollator`] takes them."""
    images: list[datasets.Dataset] = []
    if args.num_scenes:
        images.append(rendered_scenes(args, "train", args.num_scenes))
    if args.num_neon_tiles:
        images.append(neon_tiles(args, "train"))
    imported = imported_datasets(args, "train")
    published = [*published_datasets(args), *imported]
    if args.streaming:
        return streamed_questions([*images, *published], args)
    parts: list[ImageQuestions | SceneTextDataset] = [
        ImageQuestions(part, processor, args.questions_per_row) for part in images
    ]
    parts.extend(ImageQuestions(part, processor, args.questions_per_row, in_memory=False) for part in published)
    weights = [1.0] * (len(parts) - len(imported)) + [weight for _, weight in args.weighted_imports()]
    if args.num_text_scenes:
        parts.append(_scene_texts(args, processor))
        weights.append(1.0)
    if any(weight != 1.0 for weight in weights):
        return WeightedMix(parts, weights, args.scene_seed)
    return parts[0] if len(parts) == 1 else _Concatenation(parts)


def evaluation_questions(args: DataArguments, processor: GeoDiTProcessor) -> Dataset[Item] | None:
    """Return the held-out questions of a recipe: of imported data their validation splits, else of synthetic scenes.

    Scenes are images if the recipe trains on any. `None` if there is neither a split nor `num_eval_scenes`.
    """
    held_out = imported_datasets(args, "validation")
    if held_out:
        parts = [ImageQuestions(part, processor, args.questions_per_row, in_memory=False) for part in held_out]
        return parts[0] if len(parts) == 1 else _Concatenation(parts)
    if not args.num_eval_scenes:
        return None
    if (scenes := held_out_rows(args)) is not None:
        return ImageQuestions(scenes, processor, args.questions_per_row)
    # Text alone: the scenes after those trained on.
    return _scene_texts(args, processor, first_scene=args.first_scene + args.num_text_scenes)


def held_out_rows(args: DataArguments) -> datasets.Dataset | None:
    """Return the held-out images of a recipe with their questions, or `None` if there are none."""
    imported = imported_datasets(args, "validation")
    if imported:
        return datasets.concatenate_datasets(imported)
    if args.num_eval_scenes and (args.num_scenes or args.num_neon_tiles or args.datasets or args.imported):
        return rendered_scenes(args, "validation", args.num_eval_scenes)
    return None


def _scene_texts(args: DataArguments, processor: GeoDiTProcessor, first_scene: int | None = None) -> SceneTextDataset:
    return SceneTextDataset(
        args.num_text_scenes if first_scene is None else args.num_eval_scenes,
        first_scene=args.first_scene if first_scene is None else first_scene,
        seed=args.scene_seed,
        encode_boxes=processor.box_codec.encode,
        questions_per_task=args.task_limits(),
        questions_per_row=args.questions_per_row,
    )


class _Concatenation(ConcatDataset[Item]):
    """Data sets one after the other, with the lengths of their items."""

    @property
    def lengths(self) -> list[int]:
        return [length for dataset in self.datasets for length in dataset.lengths]  # type: ignore[attr-defined]


def _train_and_save(
    trainer: GuardedTrainer, folder: RunFolder, recipe: Mapping[str, object], save_model: Callable[[], None]
) -> None:
    """Train, then save model, recipe and log, in this order: a run whose log has its end has all."""
    trainer.run_folder = folder
    resume = trainer.args.resume_from_checkpoint
    if trainer.is_finished(resume):
        return
    trainer.train(resume_from_checkpoint=resume)
    save_model()
    if not trainer.is_world_process_zero():
        return
    folder.discard_replaced()
    write_atomically(folder.folder / RUN_RECIPE, yaml.safe_dump(dict(recipe), sort_keys=False).encode())
    write_atomically(folder.folder / RUN_LOG, log_lines(trainer.state.log_history).encode())
