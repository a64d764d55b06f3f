# SPDX-License-Identifier: Apache-2.0
"""Training arguments of GeoDiT: those of Transformers, with the paper's optimizer settings as defaults."""

from dataclasses import dataclass, field

from transformers import TrainingArguments

from geodit.modeling_geodit.diffusion_geodit import LOSS_WEIGHTINGS
from geodit.trainers.distribution import read_data_in_every_process
from geodit.trainers.trainable import MODEL_PARTS


@dataclass
class GeoDiTTrainingArguments(TrainingArguments):
    """[`~transformers.TrainingArguments`] with GeoDiT's defaults.

    The paper trains both stages with AdamW (betas 0.9 and 0.95, no weight decay) under a cosine schedule with 3%
    warmup for one epoch. Stage I (the projector alone, batch 96, learning rate 1e-3) and Stage II (everything, batch
    24, learning rate 1e-5) differ in `trainable_parts`, batch size and learning rate: see `recipes/`.
    """

    trainable_parts: list[str] = field(
        default_factory=lambda: list(MODEL_PARTS),
        metadata={"help": f"Parts of the model to train, of {', '.join(MODEL_PARTS)}. Stage I: projector."},
    )
    mask_eps: float = field(default=1e-3, metadata={"help": "Floor of the masking probability p = (1 - eps) t + eps."})
    loss_weighting: str = field(
        default="inverse",
        metadata={
            "help": "inverse weighs masked tokens by 1/p (the paper); uniform weighs them alike, which is less noisy.",
            "choices": LOSS_WEIGHTINGS,
        },
    )
    vision_learning_rate: float | None = field(
        default=None,
        metadata={"help": "Peak learning rate of the vision tower, if other than learning_rate (LLaDA-V: lower)."},
    )
    stratified_timesteps: bool = field(
        default=False,
        metadata={"help": "Spread the timesteps of a batch evenly over [0, 1) instead of drawing each on its own."},
    )
    learning_rate: float = field(default=1e-5, metadata={"help": "Peak learning rate (the paper's Stage II)."})
    num_train_epochs: float = field(default=1.0, metadata={"help": "Passes over the training data."})
    adam_beta2: float = field(default=0.95, metadata={"help": "Beta2 of AdamW."})
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "Learning rate schedule."})
    warmup_steps: float = field(
        default=0.03, metadata={"help": "Warmup steps, or their share of all steps if below 1."}
    )
    # The collator needs the questions themselves, and the model's signature does not name their columns.
    remove_unused_columns: bool = field(default=False, metadata={"help": "Drop columns the model does not take."})
    prediction_loss_only: bool = field(
        default=True, metadata={"help": "Return only the loss when evaluating, not the logits."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()  # type: ignore[no-untyped-call]
        read_data_in_every_process(self)
        unknown = [part for part in self.trainable_parts if part not in MODEL_PARTS]
        if unknown or not self.trainable_parts:
            raise ValueError(
                f"trainable_parts must name at least one of {', '.join(MODEL_PARTS)}, got {self.trainable_parts}."
            )
        if self.loss_weighting not in LOSS_WEIGHTINGS:
            raise ValueError(
                f"loss_weighting must be one of {', '.join(LOSS_WEIGHTINGS)}, got {self.loss_weighting!r}."
            )
        if not 0.0 < self.mask_eps < 1.0:
            raise ValueError(f"mask_eps must be between 0 and 1, got {self.mask_eps}.")
