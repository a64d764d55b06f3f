# SPDX-License-Identifier: Apache-2.0
"""Arguments of GRPO: those of TRL, as far as they apply to masked diffusion, and what masked diffusion adds."""

from dataclasses import dataclass, field

from trl.trainer.grpo_config import GRPOConfig

from geodit.configuration.older_transformers_geodit import CheckpointingArguments
from geodit.trainers.argument_fields import changed_fields
from geodit.trainers.distribution import read_data_in_every_process
from geodit.trainers.grpo.log_probabilities import LOG_PROBABILITY_ESTIMATORS
from geodit.trainers.grpo.loss import LOSS_TYPES, REWARD_SCALINGS
from geodit.trainers.grpo.rewards import REWARDS, resolve_rewards
from geodit.trainers.hub_token import TokenKeptOut
from geodit.trainers.run_arguments import RunArguments
from geodit.trainers.trainable import check_trainable_parts
from geodit.weights.model_tensors import MODEL_PARTS

APPLICABLE = frozenset(
    {
        "num_generations",
        "generation_batch_size",
        "steps_per_generation",
        "shuffle_dataset",
        "temperature",
        "beta",
        "use_bias_correction_kl",
        "num_iterations",
        "epsilon",
        "epsilon_high",
        "importance_sampling_level",
        "reward_weights",
        "scale_rewards",
        "loss_type",
        "disable_dropout",
    }
)
"""The fields of [`~trl.GRPOConfig`], beyond those of TrainingArguments, that [`GeoDiTGRPOTrainer`] reads."""

DEFAULT_TRAINABLE_PARTS = ["language_model"]
"""With the parts that see left as they are, each image is encoded once."""


@dataclass
class GeoDiTGRPOConfig(TokenKeptOut, RunArguments, CheckpointingArguments, GRPOConfig):
    """[`~trl.GRPOConfig`] for masked diffusion.

    The fields mean what they mean in TRL: `per_device_train_batch_size` counts answers, `num_generations` of them
    belong to a prompt, answers are sampled for `steps_per_generation` batches at once and used `num_iterations` times.
    The length of an answer is that of the task's canvas. A field of TRL that has nothing to act on here (`use_vllm`,
    `top_p`, `max_completion_length`, ...) is refused when it is changed.

    A process answers its prompts itself, so `per_device_train_batch_size * steps_per_generation` must be a multiple of
    `num_generations`.

    Raises:
        ValueError: for a field that does not apply, or a value that is not allowed.
    """

    # TRL's default is True, under a name that Transformers has given up.
    gradient_checkpointing: bool | None = field(  # type: ignore[assignment]
        default=None, metadata={"help": "Use activation_checkpointing."}
    )
    trainable_parts: list[str] = field(
        default_factory=lambda: list(DEFAULT_TRAINABLE_PARTS),
        metadata={"help": f"Parts of the model to train, of {', '.join(MODEL_PARTS)}."},
    )
    reward_functions: list[str] = field(
        default_factory=lambda: ["iou", "exact"], metadata={"help": f"What is rewarded, of {', '.join(REWARDS)}."}
    )
    max_denoising_steps: int | None = field(
        default=None, metadata={"help": "Denoising steps of a sampled answer at most; the model's own by default."}
    )
    log_probability_estimator: str = field(
        default="one_step",
        metadata={
            "help": "one_step (d1): all tokens hidden at once; coupled (DiffuCoder): part of them, then the rest; "
            "trajectory (TraceRL): as they were when each was sampled.",
            "choices": LOG_PROBABILITY_ESTIMATORS,
        },
    )
    prompt_masking: float = field(
        default=0.15, metadata={"help": "Probability that a token of the prompt is hidden from an estimate (d1)."}
    )

    def __post_init__(self) -> None:
        self._refuse_fields_without_effect()  # before TRL fills some of them in
        self.check_numbers()
        super().__post_init__()
        # Prompts come from a data set of questions, whose items no signature names.
        self.remove_unused_columns = False
        read_data_in_every_process(self)
        check_trainable_parts(self.trainable_parts)
        resolve_rewards(self.reward_functions)
        if self.reward_weights is not None and len(self.reward_weights) != len(self.reward_functions):
            raise ValueError(
                f"reward_weights has {len(self.reward_weights)} numbers for the {len(self.reward_functions)} rewards "
                f"{', '.join(self.reward_functions)}: give one for each."
            )
        for name, allowed in (
            ("log_probability_estimator", LOG_PROBABILITY_ESTIMATORS),
            ("loss_type", LOSS_TYPES),
            ("scale_rewards", REWARD_SCALINGS),
            ("importance_sampling_level", ("token", "sequence")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}.")
        if not 0.0 <= self.prompt_masking < 1.0:
            raise ValueError(f"prompt_masking must be at least 0 and below 1, got {self.prompt_masking}.")
        if self.temperature <= 0.0:
            raise ValueError(f"temperature must be above 0, or all answers are the same; got {self.temperature}.")
        if self.prompts_per_generation * int(self.num_generations or 0) != self._answers_per_generation:
            raise ValueError(
                f"per_device_train_batch_size * steps_per_generation is {self._answers_per_generation}, which is no "
                f"multiple of num_generations={self.num_generations}: a process samples all answers to a prompt."
            )

    @property
    def _answers_per_generation(self) -> int:
        return self.train_batch_size * int(self.steps_per_generation or 1)

    @property
    def prompts_per_generation(self) -> int:
        """How many prompts a process samples answers to at once."""
        return self._answers_per_generation // int(self.num_generations or 1)

    def _refuse_fields_without_effect(self) -> None:
        for name in changed_fields(self, GRPOConfig):
            if name not in APPLICABLE:
                raise ValueError(
                    f"{name} has no effect on masked diffusion: leave it out. The fields of trl.GRPOConfig that "
                    f"apply are those of TrainingArguments and {', '.join(sorted(APPLICABLE))}."
                )
