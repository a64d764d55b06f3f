# SPDX-License-Identifier: Apache-2.0
"""A Trainer for masked diffusion: noise the canvas, predict it, weigh the masked positions."""

from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import nn
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import LengthGroupedSampler

from geodit.modeling_geodit.diffusion_geodit import (
    forward_process,
    masked_diffusion_loss,
    number_canvases,
)
from geodit.trainers.distribution import refuse_ignored_sharding
from geodit.trainers.noise import UpdateNoise
from geodit.trainers.streaming import StreamingTrainer
from geodit.trainers.trainable import set_trainable_parts
from geodit.trainers.training_arguments import GeoDiTTrainingArguments


class GeoDiTTrainer(StreamingTrainer):
    """[`~transformers.Trainer`] with the masked diffusion loss.

    Everything else (optimizer, schedule, checkpoints, resuming, distribution, callbacks) is Trainer's own. The loss
    of an update is the mean over its answers, whatever the number of micro-batches, padding or processes.

    Batches come from [`GeoDiTDataCollator`]: `labels` holds the true canvas and -100 elsewhere. The noise is drawn
    here: while training it is a function of seed, step and place in the update, see [`UpdateNoise`], and while
    evaluating it comes from a generator of its own, so that evaluation losses can be compared.

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
        super().__init__(model=model, args=args, **kwargs)
        # Trainer then leaves the scaling over micro-batches to compute_loss.
        self.loss_is_scaled_for_ga = True
        self._evaluation_noise: torch.Generator | None = None
        self._update_noise: UpdateNoise | None = None
        refuse_ignored_sharding(self.accelerator, self.args)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, Any]:
        """Noise the canvas and take the loss at its masked positions.

        Args:
            model: The model, possibly wrapped for distribution.
            inputs: A batch of [`GeoDiTDataCollator`].
            return_outputs: Also return the model's output; its `logits` are `(K, V)` for K masked positions.
            num_items_in_batch: Number of answers in the whole update.
        """
        generator = None if model.training else self._evaluation_noise
        labels = inputs["labels"]
        canvas_mask = labels != -100
        noise = None
        if model.training and self._update_noise is not None and self._update_noise.num_left:
            noise = self._update_noise.take(canvas_mask, inputs.get("segment_ids"))
        noised = forward_process(
            inputs["input_ids"],
            canvas_mask,
            cast(int, cast(Any, self.model).config.mask_token_id),
            segment_ids=inputs.get("segment_ids"),
            timesteps=None if noise is None else noise.timesteps,
            uniform=None if noise is None else noise.uniform,
            eps=self.args.mask_eps,
            weighting=self.args.loss_weighting,
            stratified=self.args.stratified_timesteps,
            generator=generator,
        )
        model_inputs = {name: value for name, value in inputs.items() if name != "labels"}
        outputs = model(
            **{
                **model_inputs,
                "input_ids": noised.input_ids,
                "canvas_mask": canvas_mask,
                "logits_to_keep": noised.masked,
            }
        )
        loss = masked_diffusion_loss(outputs.logits, labels, noised, num_sequences=num_items_in_batch)
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            # Gradients are averaged over the processes, while the divisor already counts the rows of all of them.
            loss = loss * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

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

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], torch.Tensor | int | None]:
        """Collect the micro-batches of an update, and prepare the noise of all of them."""
        batches, num_items = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._update_noise = UpdateNoise.of_batches(
            batches,
            self.accelerator,
            seed=self.args.seed,
            step=self.state.global_step,
            stratified=self.args.stratified_timesteps,
        )
        return batches, num_items

    def _get_num_items_in_batch(
        self, batch_samples: list[Mapping[str, torch.Tensor]], device: torch.device
    ) -> torch.Tensor:
        """Count answers, where Trainer counts tokens: the loss is a mean over answers."""
        answers = (number_canvases(b["labels"] != -100, b.get("segment_ids"))[1] for b in batch_samples)
        count = torch.tensor(sum(answers), device=device)
        if self.args.average_tokens_across_devices and self.args.world_size > 1:
            count = self.accelerator.gather(count).sum()
        return count

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate under the same noise every time."""
        self._evaluation_noise = torch.Generator().manual_seed(self.args.seed)
        return super().evaluation_loop(*args, **kwargs)

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int] | None:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        sampler = self._length_grouped_sampler(
            dataset, self.args.train_batch_size * self.args.gradient_accumulation_steps
        )
        return sampler or super()._get_train_sampler(train_dataset)

    def _get_eval_sampler(self, eval_dataset: Any) -> Sampler[int] | None:
        # A generator of its own, so that evaluating twice sees the same batches and the same noise.
        generator = torch.Generator().manual_seed(self.args.seed)
        sampler = self._length_grouped_sampler(eval_dataset, self.args.eval_batch_size, generator)
        return sampler or super()._get_eval_sampler(eval_dataset)

    def _length_grouped_sampler(
        self, dataset: Any, batch_size: int, generator: torch.Generator | None = None
    ) -> Sampler[int] | None:
        """Group by the `lengths` that a data set knows; Trainer itself reads them from a column only."""
        lengths = getattr(dataset, "lengths", None)
        if self.args.train_sampling_strategy != "group_by_length" or lengths is None:
            return None
        return LengthGroupedSampler(batch_size, dataset=dataset, lengths=lengths, generator=generator)
