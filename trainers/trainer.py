# SPDX-License-Identifier: Apache-2.0
"""A Trainer for masked diffusion: noise the canvas, predict it, weigh the masked positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torch.utils.data import Sampler
from transformers import Trainer
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import unwrap_peft_model

from geodit.modeling_geodit.adapters import complete_adapter_folder
from geodit.modeling_geodit.diffusion_geodit import (
    forward_process,
    masked_diffusion_loss,
    number_canvases,
)
from geodit.processing.processing_geodit import GeoDiTProcessor
from geodit.trainers.data_collator import GeoDiTDataCollator
from geodit.trainers.preparation import prepare_model
from geodit.trainers.training_arguments import GeoDiTTrainingArguments

if TYPE_CHECKING:
    from peft import PeftConfig


class GeoDiTTrainer(Trainer):
    """[`~transformers.Trainer`] with the masked diffusion loss.

    Everything else (optimizer, schedule, checkpoints, resuming, distribution, callbacks) is Trainer's own. The loss
    of an update is the mean over its answers, whatever the number of micro-batches, padding or processes.

    Batches come from [`GeoDiTDataCollator`]: `labels` holds the true canvas and -100 elsewhere. The noise is drawn
    here, from the global CPU generator while training (which Trainer seeds, saves and restores) and from a generator
    of its own while evaluating, so that evaluation losses can be compared.

    With an adapter (`peft_config`, or a model that has one) PEFT says what is trained, and that alone is saved.

    Args:
        model: A [`GeoDiTForMaskedDiffusion`], of which the parts that `args.trainable_parts` does not name are frozen,
            or a [`~peft.PeftModel`] of one, which is taken as it is. `None` if `model_init` is given.
        args: [`GeoDiTTrainingArguments`], by default with nothing set.
        peft_config: An adapter to train instead of the model, such as `LoraConfig(r=16)`. What it leaves open is
            filled in: it adapts the linear layers of the text core and trains the projector, see
            [`~geodit.trainers.lora.complete_peft_config`].
        **kwargs: The other arguments of [`~transformers.Trainer`], which checks them. `data_collator` is by default
            the [`GeoDiTDataCollator`] of `processing_class`.
    """

    args: GeoDiTTrainingArguments

    def __init__(
        self,
        model: nn.Module | None = None,
        args: GeoDiTTrainingArguments | None = None,
        *,
        peft_config: PeftConfig | None = None,
        **kwargs: Any,
    ) -> None:
        args = GeoDiTTrainingArguments() if args is None else args
        if not isinstance(args, GeoDiTTrainingArguments):
            raise ValueError(f"args must be GeoDiTTrainingArguments, got {type(args).__name__}.")
        self._peft_config = peft_config
        if model is not None:
            model = prepare_model(model, args, peft_config)
        if kwargs.get("data_collator") is None and isinstance(kwargs.get("processing_class"), GeoDiTProcessor):
            kwargs["data_collator"] = GeoDiTDataCollator(kwargs["processing_class"])
        super().__init__(model=model, args=args, **kwargs)
        # Trainer then leaves the scaling over micro-batches to compute_loss.
        self.loss_is_scaled_for_ga = True
        self._evaluation_noise: torch.Generator | None = None

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
        noised = forward_process(
            inputs["input_ids"],
            canvas_mask,
            cast(int, cast(Any, self.model).config.mask_token_id),
            segment_ids=inputs.get("segment_ids"),
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
        tower = {id(p) for p in unwrap_peft_model(self.model).model.vision_tower.parameters()}
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

    def call_model_init(self, trial: Any = None) -> nn.Module:
        """Make a model by `model_init` and prepare it as one that was given."""
        return prepare_model(super().call_model_init(trial), self.args, self._peft_config)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self.args.should_save and unwrap_peft_model(self.model) is not self.model:
            complete_adapter_folder(cast(Any, self.model), output_dir or str(self.args.output_dir))

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
