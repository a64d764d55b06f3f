# SPDX-License-Identifier: Apache-2.0
"""A Trainer for masked diffusion: noise the canvas, predict it, weigh the masked positions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, Sampler
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import EvalLoopOutput

from geodit.configuration.types_geodit import Arguments, Batch
from geodit.data.epochs import EpochDataset
from geodit.modeling_geodit.diffusion_geodit import (
    NoisedBatch,
    answer_losses,
    forward_process,
    masked_diffusion_loss,
    number_canvases,
    supervised_positions,
    weighted_token_losses,
)
from geodit.modeling_geodit.modeling_geodit import GeoDiTMaskedDiffusionOutput
from geodit.trainers.answering_mode import answering_mode
from geodit.trainers.data_collator import GeoDiTDataCollator
from geodit.trainers.distribution import require_whole_model
from geodit.trainers.early_stopping import StopWhenNoBetter
from geodit.trainers.host_canvases import HostCanvasCollator, HostCanvases
from geodit.trainers.item_records import TASK_IDS, ItemRecordCollator, model_inputs
from geodit.trainers.likelihood import evaluate_nll
from geodit.trainers.loss_logging import LossBreakdown
from geodit.trainers.named_parts import check_processor, find_processor, geodit_model, load_named_model
from geodit.trainers.noise import UpdateNoise
from geodit.trainers.preparation import prepare_model
from geodit.trainers.publishing import PublishingTrainer
from geodit.trainers.sample_callback import SampleCallback
from geodit.trainers.samplers import EpochIndexSampler, EpochLengthGroupedSampler, EpochRandomSampler
from geodit.trainers.streaming import StreamingTrainer
from geodit.trainers.training_arguments import GeoDiTTrainingArguments

if TYPE_CHECKING:
    from peft import PeftConfig

_NOISED = "noised"


class GeoDiTTrainer(PublishingTrainer, StreamingTrainer):
    """[`~transformers.Trainer`] with the masked diffusion loss.

    Everything else (optimizer, schedule, checkpoints, distribution, callbacks) is Trainer's own, with what
    [`GuardedTrainer`] adds for runs that may be killed and [`PublishingTrainer`] for the Hub. The loss of an update is
    a mean over its answers, or over their tokens, whatever the number of micro-batches, padding or processes.

    Batches come from [`GeoDiTDataCollator`]: `labels` holds the true canvas and -100 elsewhere. The noise is drawn
    here: while training it is a function of seed, step and place in the update, see [`UpdateNoise`], and evaluating
    takes the same noise each time, so that evaluation losses can be compared.

    Beside the loss, the log has it by task (`loss_<task>`) and by quartile of t (`loss_t_0_25` to `loss_t_75_100`).

    With an adapter (`peft_config`, or a model that has one) PEFT says what is trained, and that alone is saved.

    Example:
        >>> from geodit import GeoDiTTrainer, GeoDiTTrainingArguments
        >>> from geodit.data.schema import QuestionDataset
        >>> from geodit.tiny.scenes.dataset import synthetic_dataset
        >>> scenes = QuestionDataset(synthetic_dataset(4))
        >>> arguments = GeoDiTTrainingArguments("runs/scenes", max_steps=2, use_cpu=True)
        >>> trainer = GeoDiTTrainer("geodit-tiny", arguments, train_dataset=scenes)
        >>> trainer.train().global_step
        {'train_runtime': ...}
        2
        >>> trainer.save_model()  # weights, processor, and the code that loads them

    Args:
        model: A [`GeoDiTForMaskedDiffusion`], of which the parts that `args.trainable_parts` does not name are frozen,
            or a [`~peft.PeftModel`] of one, which is taken as it is. Or the folder or Hub id of a checkpoint, or
            `"geodit-tiny"`, which is loaded in float32. `None` if `model_init` is given.
        args: [`GeoDiTTrainingArguments`], by default with nothing set.
        score_answers: Called at each evaluation with the model, in evaluation mode; what it returns, such as
            [`~geodit.trainers.answer_scores.AnswerScores`] does, is logged as `eval_<name>` and may be
            `metric_for_best_model`. Needed with `args.eval_answers`.
        peft_config: An adapter to train instead of the model, such as `LoraConfig(r=16)`. What it leaves open is
            filled in: it adapts the linear layers of the text core and trains the projector, see
            [`~geodit.trainers.lora.complete_peft_config`].
        **kwargs: The other arguments of [`PublishingTrainer`] and [`~transformers.Trainer`], which check them.
            `data_collator` is by default the [`GeoDiTDataCollator`] of `processing_class`, which takes questions and
            conversations, these on canvases of the model's `generation_config.max_new_tokens`. `processing_class` is
            by default the processor of the checkpoint that the model was loaded from.

    Raises:
        ValueError: If an argument is of the wrong kind, arguments contradict each other, or there are data to train or
            evaluate on and no processor to read them with.
    """

    args: GeoDiTTrainingArguments

    def __init__(
        self,
        model: nn.Module | str | PathLike[str] | None = None,
        args: GeoDiTTrainingArguments | None = None,
        *,
        peft_config: PeftConfig | None = None,
        score_answers: Callable[[nn.Module], Mapping[str, float]] | None = None,
        **kwargs: Any,
    ) -> None:
        args = GeoDiTTrainingArguments() if args is None else args
        if not isinstance(args, GeoDiTTrainingArguments):
            raise ValueError(f"args must be GeoDiTTrainingArguments, got {type(args).__name__}.")
        if kwargs.get("compute_loss_func") is not None:
            raise ValueError(
                "compute_loss_func has no effect on GeoDiTTrainer, whose loss the fields loss_weighting and "
                "loss_normalization of its arguments choose: leave it out, or override compute_loss."
            )
        callbacks = kwargs.get("callbacks") or ()
        if args.sample_every_steps and not any(isinstance(callback, SampleCallback) for callback in callbacks):
            raise ValueError("sample_every_steps needs a SampleCallback among the callbacks.")
        if args.eval_answers and score_answers is None:
            raise ValueError(
                "eval_answers needs score_answers, such as AnswerScores of geodit.trainers.answer_scores."
            )
        self._peft_config = peft_config
        self._score_answers = score_answers
        if model is not None:
            model = prepare_model(load_named_model(model), args, peft_config)
        if kwargs.get("data_collator") is None:
            has_data = any(kwargs.get(name) is not None for name in ("train_dataset", "eval_dataset"))
            kwargs |= _default_collator(model, kwargs.get("processing_class"), has_data=has_data)
        data = (kwargs.get("train_dataset"), kwargs.get("eval_dataset"))
        if args.has_default_workers and any(isinstance(part, IterableDataset) for part in data):
            # Each worker would read all of it, and of a QuestionStream the place could not be saved.
            args.dataloader_num_workers = 0
        super().__init__(model=model, args=args, **kwargs)
        # Trainer then leaves the scaling over micro-batches to compute_loss.
        self.loss_is_scaled_for_ga = True
        self._loss_breakdown = LossBreakdown()
        self._evaluation_step: int | None = None
        for name in ("sample_every_steps", "eval_answers"):
            if getattr(self.args, name):
                require_whole_model(self, name)
        if self.args.early_stopping_patience:
            self.add_callback(StopWhenNoBetter(self.args.early_stopping_patience))

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, GeoDiTMaskedDiffusionOutput]:
        """Noise the canvas and take the loss at its masked positions.

        Args:
            model: The model, possibly wrapped for distribution.
            inputs: A batch of [`GeoDiTDataCollator`].
            return_outputs: Also return the model's output; its `logits` are `(K, V)` for K masked positions.
            num_items_in_batch: Divisor of the loss of the whole update, see [`NoisedBatch.items`].
        """
        noised = inputs.get(_NOISED)
        if noised is None:  # called by itself, not by Trainer
            canvases = HostCanvases.of_batch(inputs)
            _, num_answers = number_canvases(canvases.canvas_mask, canvases.segment_ids)
            noise = UpdateNoise(self.args.seed, self.state.global_step, torch.tensor([[num_answers]]))
            noised = self._noise(canvases, noise).to(inputs["labels"].device)
        copies = 2 if self.args.complementary_masks else 1
        labels = inputs["labels"].repeat(copies, 1)
        outputs = model(
            **{
                **model_inputs(inputs, copies=copies),
                "input_ids": noised.input_ids,
                "canvas_mask": labels != -100,
                # DataParallel deals out rows, of which places are none.
                "logits_to_keep": noised.places.index if self.args.n_gpu <= 1 else noised.targets,
            }
        )
        token_losses = weighted_token_losses(outputs.logits, labels, noised)
        if model.training:
            tasks = inputs.get(TASK_IDS)
            tasks = None if tasks is None else tasks.repeat(copies)
            self._loss_breakdown.add(answer_losses(token_losses, noised), noised.items, noised.timesteps, tasks)
        loss = masked_diffusion_loss(token_losses, noised, num_items=num_items_in_batch)
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            # Gradients are averaged over the processes, while the divisor already counts the answers of all of them.
            loss = loss * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def _get_num_items_in_batch(self, batch_samples: list[Batch], device: torch.device) -> torch.Tensor:
        """Noise the batches of an update, or of a step of evaluation, and count what their loss is divided by.

        Trainer calls this once for each, on every process and before any loss, to count their tokens.
        """
        step = self.state.global_step
        if self._evaluation_step is not None:
            step = self._evaluation_step
            self._evaluation_step += 1
        canvases = [HostCanvases.of_batch(batch) for batch in batch_samples]
        noise = UpdateNoise.of_batches(
            canvases,
            self.accelerator,
            seed=self.args.seed,
            step=step,
            stratified=self.args.stratified_timesteps,
        )
        count = torch.zeros(())
        for batch, own in zip(batch_samples, canvases, strict=True):
            noised = self._noise(own, noise)
            count = count + noised.items.sum()
            batch[_NOISED] = noised.to(batch["labels"].device)
        count = count.to(device)
        total = self.sum_over_processes(count)
        return total if self.args.average_tokens_across_devices else count

    def _noise(self, canvases: HostCanvases, noise: UpdateNoise) -> NoisedBatch:
        """Noise a batch on the CPU, where its random numbers are drawn."""
        config = geodit_model(self.model).config
        drawn, loss_mask = noise.take(canvases.canvas_mask, canvases.segment_ids), None
        if not self.args.supervise_padding:
            answers, _ = number_canvases(canvases.canvas_mask, canvases.segment_ids)
            loss_mask = supervised_positions(canvases.labels, answers, cast(int, config.eos_token_id))
        return forward_process(
            canvases.input_ids,
            canvases.canvas_mask,
            config.mask_token_id,
            segment_ids=canvases.segment_ids,
            loss_mask=loss_mask,
            timesteps=drawn.timesteps,
            uniform=drawn.uniform,
            eps=self.args.mask_eps,
            weighting=self.args.loss_weighting,
            normalization=self.args.loss_normalization,
            complementary=self.args.complementary_masks,
        )

    def get_train_dataloader(self) -> DataLoader[object]:
        """Return Trainer's own loader; its batches also say what they hold, see [`ItemRecordCollator`]."""
        with self._item_records():
            loader: DataLoader[object] = super().get_train_dataloader()
        return loader

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[object]:
        """Return Trainer's own loader; its batches also say what they hold, see [`ItemRecordCollator`]."""
        with self._item_records():
            loader: DataLoader[object] = super().get_eval_dataloader(eval_dataset)
        return loader

    @contextmanager
    def _item_records(self) -> Iterator[None]:
        collator = self.data_collator
        self.data_collator = HostCanvasCollator(ItemRecordCollator(collator))
        try:
            yield
        finally:
            self.data_collator = collator

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the loss by task and by quartile of t to a line of the training log."""
        if "loss" in logs:
            logs |= self._loss_breakdown.pop(self.accelerator)
        super().log(logs, start_time)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Make Trainer's optimizer, with the vision tower in parameter groups of its own learning rate."""
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        if self.args.vision_learning_rate is None:
            return optimizer
        tower = {id(p) for p in geodit_model(self.model).model.vision_tower.parameters()}
        groups = list(optimizer.param_groups)
        optimizer.param_groups.clear()
        for group in groups:
            inside = [p for p in group["params"] if id(p) in tower]
            outside = [p for p in group["params"] if id(p) not in tower]
            if outside:
                optimizer.add_param_group({**group, "params": outside})
            if inside:
                optimizer.add_param_group({**group, "params": inside, "lr": self.args.vision_learning_rate})
        return optimizer

    def evaluation_loop(
        self,
        dataloader: DataLoader[object],
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Evaluate under the same noise every time, and leave the random numbers of training as they are."""
        with torch.random.fork_rng(devices=()):
            self._evaluation_step = 0
            try:
                output = super().evaluation_loop(
                    dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix
                )
            finally:
                self._evaluation_step = None
            if self.args.eval_nll_draws:
                figures = evaluate_nll(
                    self.model_wrapped,
                    dataloader,
                    geodit_model(self.model).config.mask_token_id,
                    num_draws=self.args.eval_nll_draws,
                    seed=self.args.seed,
                    accelerator=self.accelerator,
                )
                _add_figures(output, figures, metric_key_prefix)
            if self._score_answers is not None:
                with answering_mode(self.model, self.args):
                    scores = self._score_answers(cast(nn.Module, self.model))
                _add_figures(output, scores, metric_key_prefix)
        return output

    def call_model_init(self, trial: object = None) -> nn.Module:
        """Make a model by `model_init` and prepare it as one that was given."""
        return prepare_model(super().call_model_init(trial), self.args, self._peft_config)

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int] | None:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        sampler = self._train_order(dataset, train_dataset)
        if sampler is None or not isinstance(dataset, EpochDataset):
            return sampler
        if isinstance(sampler, RandomSampler):
            sampler = EpochRandomSampler(len(dataset), seed=self._order_seed)
        return EpochIndexSampler(sampler, len(dataset))

    @property
    def _order_seed(self) -> int:
        return self.args.seed if self.args.data_seed is None else self.args.data_seed

    def _train_order(self, dataset: object, train_dataset: Any) -> Sampler[int] | None:
        lengths = self._lengths(dataset)
        if lengths is None:
            return super()._get_train_sampler(train_dataset)
        return EpochLengthGroupedSampler(
            self.args.train_batch_size * self.args.gradient_accumulation_steps,
            lengths,
            seed=self._order_seed,
            lengths_at=dataset.lengths_at if isinstance(dataset, EpochDataset) else None,
        )

    def _get_eval_sampler(self, eval_dataset: Any) -> Sampler[int] | None:
        lengths = self._lengths(eval_dataset)
        if lengths is None:
            return super()._get_eval_sampler(eval_dataset)
        # A generator of its own, so that evaluating twice sees the same batches and the same noise.
        generator = torch.Generator().manual_seed(self.args.seed)
        return LengthGroupedSampler(self.args.eval_batch_size, lengths=lengths, generator=generator)

    def _lengths(self, dataset: object) -> list[int] | None:
        """Return the `lengths` that a data set knows, if it is to be grouped by them; Trainer only reads a column."""
        return getattr(dataset, "lengths", None) if self.args.train_sampling_strategy == "group_by_length" else None


def _add_figures(output: EvalLoopOutput, figures: Mapping[str, float], prefix: str) -> None:
    assert output.metrics is not None  # Trainer always has the loss
    output.metrics.update({f"{prefix}_{name}": value for name, value in figures.items()})


def _default_collator(model: nn.Module | None, processing_class: object, *, has_data: bool) -> Arguments:
    """Return the collator that fits a model, and its processor, as arguments of Trainer; nothing where none is needed.

    Args:
        model: The model, if there is one already.
        processing_class: Its processor, if it was given.
        has_data: Whether there is anything to train or evaluate on.

    Raises:
        ValueError: If there are data and no processor.
    """
    if processing_class is None:
        if not has_data:
            return {}
        if model is None:
            raise ValueError("With model_init give processing_class, a GeoDiTProcessor, or a data_collator.")
        processing_class = find_processor(model)
    processor = check_processor(processing_class)
    lengths = {} if model is None else {"max_new_tokens": geodit_model(model).generation_config.max_new_tokens}
    return {"processing_class": processor, "data_collator": GeoDiTDataCollator(processor, **lengths)}
