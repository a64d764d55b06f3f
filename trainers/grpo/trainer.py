# SPDX-License-Identifier: Apache-2.0
"""GRPO for masked diffusion: sample answers, compare them with each other, make the better ones more probable."""

from __future__ import annotations

import contextlib
import copy
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING, Any, cast

import torch
from accelerate.utils import DistributedType
from torch import nn
from torch.utils.data import DataLoader, Sampler
from transformers.trainer_utils import unwrap_peft_model
from trl.models.utils import unwrap_model_for_generation
from trl.trainer.utils import RepeatSampler, disable_dropout_in_model, identity

from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.configuration.types_geodit import Batch
from geodit.data.schema import QuestionItem
from geodit.modeling_geodit.random_geodit import seeded_generator
from geodit.processing.processing_geodit import GeoDiTProcessor
from geodit.trainers.distribution import require_whole_model
from geodit.trainers.grpo.arguments import DEFAULT_TRAINABLE_PARTS, GeoDiTGRPOConfig
from geodit.trainers.grpo.log_probabilities import HiddenTokens, draw_hidden_tokens, token_log_probabilities
from geodit.trainers.grpo.loss import (
    average_loss,
    clipped_token_loss,
    group_advantages,
    kl_estimate,
    total_rewards,
)
from geodit.trainers.grpo.rewards import RewardFunction, resolve_rewards
from geodit.trainers.grpo.rollouts import Rollouts, sample_rollouts
from geodit.trainers.item_records import ITEM_IDS, item_id
from geodit.trainers.named_parts import geodit_model, load_named_model
from geodit.trainers.preparation import prepare_parts
from geodit.trainers.publishing import PublishingTrainer
from geodit.weights.model_tensors import IMAGE_NEWLINE, part_of

if TYPE_CHECKING:
    from peft import PeftConfig


@dataclass(frozen=True)
class _Experience:
    """Rows to learn from in one forward and backward pass."""

    rollouts: Rollouts
    hidden: HiddenTokens
    advantages: torch.Tensor
    old_log_probabilities: torch.Tensor | None
    reference_log_probabilities: torch.Tensor | None
    num_tokens: float

    def take(self, rows: torch.Tensor) -> _Experience:
        old, reference = self.old_log_probabilities, self.reference_log_probabilities
        return replace(
            self,
            rollouts=self.rollouts.take(rows),
            hidden=self.hidden.take(rows),
            advantages=self.advantages[rows],
            old_log_probabilities=None if old is None else old[rows],
            reference_log_probabilities=None if reference is None else reference[rows],
        )


class _EpochRepeatSampler(RepeatSampler):
    """TRL's sampler, with an order of each epoch that does not depend on the epochs before: a resumed run finds it."""

    def set_epoch(self, epoch: int) -> None:
        if self.shuffle:
            self.generator.manual_seed(int(self.seed or 0) + epoch)


class GeoDiTGRPOTrainer(PublishingTrainer):
    """Group relative policy optimization (Shao et al., 2024) of a masked diffusion model.

    Each prompt is answered several times by the model's own `generate()`, at a temperature. An answer's advantage is
    its reward less the mean of its group. Log-probabilities are estimates, see `log_probabilities`; old, new and
    reference model are asked about the same hidden tokens.

    TRL's own GRPOTrainer is made for causal models and their log-probabilities. Its arguments, sampler and formulas
    are what this one goes by.

    Args:
        model: A [`GeoDiTForMaskedDiffusion`]; parts that `args.trainable_parts` does not name are frozen. Or one with
            adapters (peft), whose trainable parameters stay as they are. Or the folder or Hub id of a checkpoint,
            which is loaded in float32.
        args: [`GeoDiTGRPOConfig`].
        processing_class: The model's processor.
        peft_config: An adapter to train instead of the model, see [`GeoDiTTrainer`].
        reward_functions: By name, in place of those that `args.reward_functions` names.
        **kwargs: The other arguments of [`PublishingTrainer`] and [`~transformers.Trainer`]. `train_dataset` and
            `eval_dataset` have items `dict(image, image_id, question)`, as [`QuestionDataset`] does.

    Raises:
        ValueError: for arguments that do not fit, or a way of distribution that leaves no process a whole model.
    """

    args: GeoDiTGRPOConfig

    def __init__(
        self,
        model: nn.Module | str | PathLike[str],
        args: GeoDiTGRPOConfig,
        processing_class: GeoDiTProcessor,
        *,
        peft_config: PeftConfig | None = None,
        reward_functions: Mapping[str, RewardFunction] | None = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(args, GeoDiTGRPOConfig):
            raise ValueError(f"args must be a GeoDiTGRPOConfig, got {type(args).__name__}.")
        model = prepare_parts(
            load_named_model(model),
            args.trainable_parts,
            peft_config,
            default_parts=DEFAULT_TRAINABLE_PARTS,
            autocast=args.bf16 or args.fp16,
        )
        self._has_adapters = unwrap_peft_model(model) is not model
        if args.disable_dropout:
            disable_dropout_in_model(model)
        self.reward_functions = dict(reward_functions or resolve_rewards(args.reward_functions))
        weights = args.reward_weights or [1.0] * len(self.reward_functions)
        if len(weights) != len(self.reward_functions):
            raise ValueError(f"There are {len(weights)} reward_weights for {len(self.reward_functions)} rewards.")
        super().__init__(model=model, args=args, processing_class=processing_class, data_collator=identity, **kwargs)
        require_whole_model(self, "GRPO")
        self._reward_weights = torch.tensor(weights, device=self.accelerator.device)
        self._reference = None
        if args.beta and not self._has_adapters:
            if self.accelerator.distributed_type == DistributedType.DEEPSPEED:
                raise ValueError("With DeepSpeed a reference model (beta > 0) needs adapters: train by LoRA.")
            self._reference = copy.deepcopy(model).requires_grad_(False).eval()
        self._sees_the_same = not any(
            p.requires_grad and (part_of(name) in ("vision_tower", "projector") or IMAGE_NEWLINE in name)
            for name, p in model.named_parameters()
        )
        needed, dataset = args.prompts_per_generation * self.accelerator.num_processes, cast(Any, self.train_dataset)
        if dataset is not None and len(dataset) < needed:
            raise ValueError(f"{needed} prompts are answered at once, but there are {len(dataset)}.")
        self._processor = processing_class
        self._step = 0
        self._experience: list[_Experience] = []
        self._metrics: dict[str, list[float]] = defaultdict(list)

    def get_train_dataloader(self) -> DataLoader[object]:
        """Return batches of prompts, each once for every forward pass that learns from its answers."""
        loader: DataLoader[object] = self._get_dataloader(
            dataset=cast(Any, self.train_dataset),
            description="Training",
            batch_size=self.args.prompts_per_generation,
            sampler_fn=self._get_train_sampler,
            is_training=True,
        )
        return loader

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        sampler: Sampler[int] = _EpochRepeatSampler(
            cast(Any, self.train_dataset if train_dataset is None else train_dataset),
            mini_repeat_count=1,
            batch_size=self.args.prompts_per_generation * self.accelerator.num_processes,
            repeat_count=self._passes_per_generation,
            shuffle=bool(self.args.shuffle_dataset),
            seed=self.args.seed,
        )
        return sampler

    @property
    def _passes_per_generation(self) -> int:
        return int(self.args.steps_per_generation or 1) * self.args.num_iterations

    def training_step(
        self, model: nn.Module, inputs: Any, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Sample answers if it is time to, and learn from the next part of them.

        Args:
            model: The model, possibly wrapped for distribution.
            inputs: The prompts of this process.
            num_items_in_batch: Not used: `loss_type` says how losses are averaged.
        """
        if not self._experience:
            self._step = self.state.global_step * self.args.gradient_accumulation_steps
        place = self._step % self._passes_per_generation
        if place == 0 or not self._experience:  # the latter where a run is resumed between the two
            self._experience = self._gather_experience(model, inputs)
        self._step += 1
        experience = self._experience[place]
        answers = experience.rollouts.answers
        ids = dict.fromkeys(item_id({"image_id": a.image_id, "question": a.question}) for a in answers)
        return super().training_step(model, {"experience": experience, ITEM_IDS: list(ids)}, None)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Compute the clipped objective, with a penalty for leaving the reference if `beta` is set."""
        args, experience = self.args, inputs["experience"]
        decided = experience.rollouts.decided
        log_probabilities = self._log_probabilities(model, experience)
        old = experience.old_log_probabilities
        token_loss, ratio = clipped_token_loss(
            log_probabilities,
            log_probabilities.detach() if old is None else old,
            experience.advantages,
            decided,
            epsilon_low=args.epsilon,
            epsilon_high=args.epsilon if args.epsilon_high is None else args.epsilon_high,
            level=args.importance_sampling_level,
        )
        if args.beta:
            kl = kl_estimate(log_probabilities, experience.reference_log_probabilities)
            self._log_mean("kl", kl[decided])
            token_loss = token_loss + args.beta * (kl * ratio if args.use_bias_correction_kl else kl)
        outside = (ratio < 1 - args.epsilon) & (experience.advantages[:, None] < 0)
        outside |= (ratio > 1 + (args.epsilon_high or args.epsilon)) & (experience.advantages[:, None] > 0)
        self._log_mean("clip_ratio/region_mean", outside.expand(decided.shape)[decided].float())
        return average_loss(
            token_loss,
            decided,
            args.loss_type,
            canvas_length=decided.shape[1],
            num_tokens=experience.num_tokens,
        )

    def _log_probabilities(self, model: nn.Module, experience: _Experience) -> torch.Tensor:
        return token_log_probabilities(
            model,
            experience.rollouts,
            experience.hidden,
            mask_token_id=self._config.mask_token_id,
            temperature=self.args.temperature,
        )

    @property
    def _config(self) -> GeoDiTConfig:
        return geodit_model(self.model).config

    def _gather_experience(self, model: nn.Module, items: Sequence[QuestionItem]) -> list[_Experience]:
        """Sample answers to prompts and reward them.

        Returns:
            What each of the coming forward passes learns from.
        """
        args = self.args
        num_rows = len(items) * int(args.num_generations or 1)
        # Whatever ran before, the same step of the same run samples the same answers.
        key = (args.seed, self.state.global_step, self._step % args.gradient_accumulation_steps)
        first = args.process_index * num_rows
        rollouts = self._sample(
            model,
            items,
            num_generations=int(args.num_generations or 1),
            temperature=args.temperature,
            generators=[seeded_generator(*key, first + row) for row in range(num_rows)],
            keep_features=self._sees_the_same,
        )
        advantages = self._advantages(rollouts)
        parts = int(args.steps_per_generation or 1)
        num_tokens = self.accelerator.gather(rollouts.decided.sum()[None]).float().mean().item() / parts
        self._metrics["completions/mean_length"].append(rollouts.decided.sum(1).float().mean().item())

        generator = seeded_generator(*key, first, num_rows)
        # Parts that hold answers to all prompts rather than all answers to some.
        order = torch.randperm(num_rows, generator=generator)
        experience = []
        for _ in range(args.num_iterations):
            hidden = draw_hidden_tokens(
                rollouts,
                estimator=args.log_probability_estimator,
                prompt_masking=args.prompt_masking,
                image_token_id=self._config.image_token_id,
                generator=generator,
            )
            whole = _Experience(rollouts, hidden, advantages, None, None, num_tokens)
            experience += [self._with_old_and_reference(model, whole.take(rows)) for rows in order.chunk(parts)]
        return experience

    def _with_old_and_reference(self, model: nn.Module, experience: _Experience) -> _Experience:
        """Add the log-probabilities under the model as it answered and under the reference, where they are needed."""
        old = reference = None
        with torch.no_grad(), self.accelerator.autocast():
            # With an update after every generation the model that learns is the one that answered.
            if self.args.gradient_accumulation_steps % self._passes_per_generation:
                old = self._log_probabilities(model, experience)
            if self.args.beta:
                with self._reference_model(model) as reference_model:
                    reference = self._log_probabilities(reference_model, experience)
        return replace(experience, old_log_probabilities=old, reference_log_probabilities=reference)

    @contextlib.contextmanager
    def _reference_model(self, model: nn.Module) -> Iterator[nn.Module]:
        if self._reference is not None:
            yield self._reference
            return
        with self.accelerator.unwrap_model(model).disable_adapter():
            yield model

    def _sample(self, model: nn.Module, items: Sequence[QuestionItem], **settings: Any) -> Rollouts:
        # In the precision in which its log-probabilities are asked for.
        with unwrap_model_for_generation(model, self.accelerator) as whole, self.accelerator.autocast():
            return sample_rollouts(
                whole, self._processor, items, max_denoising_steps=self.args.max_denoising_steps, **settings
            )

    def _rewards(self, rollouts: Rollouts) -> torch.Tensor:
        """Return the rewards `(N, F)`, nan where a reward says nothing."""
        rewards = [[function(answer) for function in self.reward_functions.values()] for answer in rollouts.answers]
        return torch.tensor(
            [[torch.nan if value is None else float(value) for value in row] for row in rewards],
            device=self.accelerator.device,
        )

    def _advantages(self, rollouts: Rollouts) -> torch.Tensor:
        rewards = self._rewards(rollouts)
        total = total_rewards(rewards, self._reward_weights)
        everywhere = self.accelerator.gather(torch.cat([total[:, None], rewards], dim=1))
        if everywhere.isnan().all():
            raise ValueError(
                f"The rewards {', '.join(self.reward_functions)} say nothing about any of these tasks: "
                f"{', '.join(sorted({answer.question.task for answer in rollouts.answers}))}."
            )
        names = ["reward", *(f"rewards/{name}/mean" for name in self.reward_functions)]
        for name, column in zip(names, everywhere.T, strict=True):
            self._metrics[name].append(column.nanmean().item())
        known = everywhere[:, 0][~everywhere[:, 0].isnan()]
        self._metrics["reward_std"].append(known.std().item())
        spread = total.view(-1, int(self.args.num_generations or 1)).std(dim=1)
        self._metrics["frac_reward_zero_std"].append((spread == 0).float().mean().item())
        return group_advantages(total, int(self.args.num_generations or 1), self.args.scale_rewards, known.std())

    def _log_mean(self, name: str, values: torch.Tensor) -> None:
        if values.numel():
            self._metrics[name].append(values.detach().mean().item())

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the means, since the last time, of rewards, KL and the rest to what Trainer logs."""
        means = {name: sum(values) / len(values) for name, values in self._metrics.items()}
        self._metrics.clear()
        super().log({**logs, **means}, start_time)

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Answer the questions of a data set greedily, and average the rewards.

        Args:
            eval_dataset: In place of the trainer's.
            ignore_keys: Part of Trainer's signature; not used.
            metric_key_prefix: What the names of the results begin with.

        Returns:
            The mean of each reward over the questions that it says something about, as `<prefix>_rewards/<name>`, and
            of their weighted sum, as `<prefix>_reward`.
        """
        del ignore_keys
        found = []
        for items in self.get_eval_dataloader(eval_dataset):
            assert self.model is not None
            rewards = self._rewards(self._sample(self.model, items))
            found.append(self.accelerator.gather_for_metrics(rewards))
        rewards = torch.cat(found)
        means = zip(self.reward_functions, rewards.nanmean(dim=0).tolist(), strict=True)
        results = {f"{metric_key_prefix}_rewards/{name}": mean for name, mean in means}
        results[f"{metric_key_prefix}_reward"] = total_rewards(rewards, self._reward_weights).nanmean().item()
        # Not self.log(): what was gathered while training is not part of it.
        super().log(dict(results))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, results)
        return results
