# SPDX-License-Identifier: Apache-2.0
"""A Trainer for masked diffusion: noise the canvas, predict it, weigh the masked positions."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import nn
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import LengthGroupedSampler

from geodit.modeling_geodit.diffusion_geodit import (
    NoisedBatch,
    answer_losses,
    forward_process,
    masked_diffusion_loss,
    number_canvases,
    supervised_positions,
    weighted_token_losses,
)
from geodit.trainers.guarded_trainer import GuardedTrainer
from geodit.trainers.item_records import TASK_IDS, RecordingCollator, model_inputs
from geodit.trainers.likelihood import evaluate_nll
from geodit.trainers.loss_logging import LossBreakdown
from geodit.trainers.noise import BatchNoise, BatchSize, draw_noise, step_generator
from geodit.trainers.sample_callback import SampleCallback
from geodit.trainers.samplers import EpochLengthGroupedSampler
from geodit.trainers.trainable import set_trainable_parts
from geodit.trainers.training_arguments import GeoDiTTrainingArguments

_NOISED = "noised"


class GeoDiTTrainer(GuardedTrainer):
    """[`~transformers.Trainer`] with the masked diffusion loss.

    Everything else (optimizer, schedule, checkpoints, distribution, callbacks) is Trainer's own, with what
    [`GuardedTrainer`] adds for runs that may be killed. The loss of an update is a mean over its answers, or over
    their tokens, whatever the number of micro-batches, padding or processes.

    Batches come from [`GeoDiTDataCollator`]: `labels` holds the true canvas and -100 elsewhere. The noise is drawn
    here. That of an update follows from `args.seed` and the number of the update, see [`draw_noise`]; evaluation
    starts from `args.seed` each time, so that its losses can be compared.

    Beside the loss, the log has it by task (`loss_<task>`) and by quartile of t (`loss_t_0_25` to `loss_t_75_100`).

    Args:
        model: A [`GeoDiTForMaskedDiffusion`]. Parts that `args.trainable_parts` does not name are frozen.
        args: [`GeoDiTTrainingArguments`].
        **kwargs: The other arguments of [`~transformers.Trainer`], which checks them.
    """

    args: GeoDiTTrainingArguments

    def __init__(self, model: nn.Module, args: GeoDiTTrainingArguments, **kwargs: Any) -> None:
        if not isinstance(args, GeoDiTTrainingArguments):
            raise ValueError(f"args must be GeoDiTTrainingArguments, got {type(args).__name__}.")
        self.num_trainable_parameters = set_trainable_parts(model, args.trainable_parts)
        callbacks = kwargs.get("callbacks") or ()
        if args.sample_every_steps and not any(isinstance(callback, SampleCallback) for callback in callbacks):
            raise ValueError("sample_every_steps needs a SampleCallback among the callbacks.")
        if kwargs.get("data_collator") is not None:
            kwargs["data_collator"] = RecordingCollator(kwargs["data_collator"])
        super().__init__(model=model, args=args, **kwargs)
        # Trainer then leaves the scaling over micro-batches to compute_loss.
        self.loss_is_scaled_for_ga = True
        self._loss_breakdown = LossBreakdown()
        self._evaluation_noise: torch.Generator | None = None

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, Any]:
        """Noise the canvas and take the loss at its masked positions.

        Args:
            model: The model, possibly wrapped for distribution.
            inputs: A batch of [`GeoDiTDataCollator`].
            return_outputs: Also return the model's output; its `logits` are `(K, V)` for K masked positions.
            num_items_in_batch: Divisor of the loss of the whole update, see [`NoisedBatch.items`].
        """
        noised = inputs.get(_NOISED)
        if noised is None:  # called by itself, not by Trainer
            noised = self._noise([inputs], [[BatchSize.of(inputs)]], process=0)[0]
        copies = 2 if self.args.complementary_masks else 1
        labels = inputs["labels"].repeat(copies, 1)
        outputs = model(
            **{
                **model_inputs(inputs, copies=copies),
                "input_ids": noised.input_ids,
                "canvas_mask": labels != -100,
                "logits_to_keep": noised.targets,
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

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Any]], device: torch.device) -> torch.Tensor:
        """Draw the noise of an update, or of a batch of evaluation, and count what its loss is divided by.

        Trainer calls this once for each of them, on every process, before any loss. It counts tokens.
        """
        # As many on every process, whatever is left of the epoch.
        padding = [BatchSize()] * (self.args.gradient_accumulation_steps - len(batch_samples))
        sizes = [BatchSize.of(batch) for batch in batch_samples] + padding
        rows = self.exchange([n for size in sizes for n in (size.num_answers, size.num_positions)])
        all_sizes = [[BatchSize(*pair) for pair in zip(row[::2], row[1::2], strict=True)] for row in rows]
        all_noised = self._noise(batch_samples, all_sizes, self.accelerator.process_index)
        count = torch.zeros((), device=device)
        for batch, noised in zip(batch_samples, all_noised, strict=True):
            batch[_NOISED] = noised
            count = count + noised.items.sum()
        if self.args.average_tokens_across_devices:
            count = self.accelerator.reduce(count)
        return count

    def _noise(
        self, batches: Sequence[Mapping[str, Any]], sizes: Sequence[Sequence[BatchSize]], process: int
    ) -> list[NoisedBatch]:
        """Noise the micro-batches of this process, given the sizes of those of all processes."""
        generator = self._evaluation_noise or step_generator(self.args.seed, self.state.global_step)
        noise = draw_noise(sizes, process, generator=generator, stratified=self.args.stratified_timesteps)
        return [self._noise_batch(*pair) for pair in zip(batches, noise, strict=False)]

    def _noise_batch(self, batch: Mapping[str, Any], noise: BatchNoise) -> NoisedBatch:
        config: Any = cast(Any, self.model).config
        labels, segment_ids = batch["labels"], batch.get("segment_ids")
        canvas_mask, loss_mask = labels != -100, None
        if not self.args.supervise_padding:
            answers, _ = number_canvases(canvas_mask, segment_ids)
            loss_mask = supervised_positions(labels, answers, config.eos_token_id)
        return forward_process(
            batch["input_ids"],
            canvas_mask,
            config.mask_token_id,
            segment_ids=segment_ids,
            loss_mask=loss_mask,
            timesteps=noise.timesteps,
            uniform=noise.uniform,
            eps=self.args.mask_eps,
            weighting=self.args.loss_weighting,
            normalization=self.args.loss_normalization,
            complementary=self.args.complementary_masks,
        )

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
        tower = {id(p) for p in cast(Any, self.model).model.vision_tower.parameters()}
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
        dataloader: Any,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> Any:
        """Evaluate under the same noise every time, and leave the random numbers of training as they are."""
        with torch.random.fork_rng(devices=()):
            self._evaluation_noise = torch.Generator().manual_seed(self.args.seed)
            try:
                output = super().evaluation_loop(
                    dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix
                )
            finally:
                self._evaluation_noise = None
            if self.args.eval_nll_draws:
                figures = evaluate_nll(
                    self.model_wrapped,
                    dataloader,
                    cast(Any, self.model).config.mask_token_id,
                    num_draws=self.args.eval_nll_draws,
                    seed=self.args.seed,
                    accelerator=self.accelerator,
                )
                assert output.metrics is not None  # Trainer always has the loss
                output.metrics.update({f"{metric_key_prefix}_{name}": value for name, value in figures.items()})
        return output

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int] | None:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        lengths = self._lengths(dataset)
        if lengths is None:
            return super()._get_train_sampler(train_dataset)
        return EpochLengthGroupedSampler(
            self.args.train_batch_size * self.args.gradient_accumulation_steps,
            lengths,
            seed=self.args.seed if self.args.data_seed is None else self.args.data_seed,
        )

    def _get_eval_sampler(self, eval_dataset: Any) -> Sampler[int] | None:
        lengths = self._lengths(eval_dataset)
        if lengths is None:
            return super()._get_eval_sampler(eval_dataset)
        # A generator of its own, so that evaluating twice sees the same batches and the same noise.
        generator = torch.Generator().manual_seed(self.args.seed)
        return LengthGroupedSampler(self.args.eval_batch_size, lengths=lengths, generator=generator)

    def _lengths(self, dataset: Any) -> list[int] | None:
        """The `lengths` that a data set knows, if it is to be grouped by them; Trainer reads a column only."""
        return getattr(dataset, "lengths", None) if self.args.train_sampling_strategy == "group_by_length" else None
