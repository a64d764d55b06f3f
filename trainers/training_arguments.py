# SPDX-License-Identifier: Apache-2.0
"""Training arguments of GeoDiT: those of Transformers, with the paper's optimizer settings as defaults."""

from dataclasses import dataclass, field

from transformers import TrainingArguments

from geodit.configuration.older_transformers_geodit import CheckpointingArguments
from geodit.modeling_geodit.diffusion_geodit import LOSS_NORMALIZATIONS, LOSS_WEIGHTINGS
from geodit.trainers.data_loading import set_loading_defaults
from geodit.trainers.distribution import read_data_in_every_process
from geodit.trainers.hub_token import TokenKeptOut
from geodit.trainers.run_arguments import RunArguments
from geodit.trainers.trainable import check_trainable_parts
from geodit.weights.model_tensors import MODEL_PARTS


@dataclass
class GeoDiTTrainingArguments(TokenKeptOut, RunArguments, CheckpointingArguments, TrainingArguments):
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
            "help": "inverse weighs masked tokens by 1/p (the paper); uniform weighs them alike, which is less noisy; "
            "masked_mean is the plain mean over the masked tokens.",
            "choices": LOSS_WEIGHTINGS,
        },
    )
    loss_normalization: str = field(
        default="sequence",
        metadata={
            "help": "sequence takes the mean over the tokens of each answer, then over answers (the paper); token "
            "takes the mean over the tokens of all answers.",
            "choices": LOSS_NORMALIZATIONS,
        },
    )
    complementary_masks: bool = field(
        default=False,
        metadata={
            "help": "Show each answer twice, with a mask and with its complement, so that every token is trained "
            "(LaViDa). A batch then takes the memory of one twice as large."
        },
    )
    supervise_padding: bool = field(
        default=True,
        metadata={
            "help": "Train all EOS behind an answer (LLaDA), not only the first, which ends it. Without, the others "
            "are masked all the same, as in generation."
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
    eval_nll_draws: int = field(
        default=0,
        metadata={
            "help": "Draws of t for each held-out answer, to report a bound on its negative log-likelihood "
            "(eval_nll, in nats a token) with a standard error, also by task. 0 for none; LLaDA takes 128."
        },
    )
    sample_every_steps: int = field(
        default=0, metadata={"help": "Updates between pictures of what the model answers. 0 for none."}
    )
    num_samples: int = field(default=4, metadata={"help": "Held-out questions that are answered for the pictures."})
    eval_answers: int = field(
        default=0,
        metadata={
            "help": "Held-out questions that are answered at each evaluation, for eval_score and the figure of each "
            "task, such as eval_detect_f1. 0 for none."
        },
    )
    early_stopping_patience: int = field(
        default=0,
        metadata={
            "help": "Evaluations that metric_for_best_model may pass without getting better before training ends. "
            "0 for no such end; needs load_best_model_at_end."
        },
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
    dataloader_num_workers: int | None = field(  # type: ignore[assignment]
        default=None,
        metadata={
            "help": "Processes that make batches beside each training process; 0 makes them in it. By default 0 on a "
            "CPU and for streams, and on a CUDA device under Linux up to 4, as many as there are cores to spare."
        },
    )
    prediction_loss_only: bool = field(
        default=True, metadata={"help": "Return only the loss when evaluating, not the logits."}
    )

    # A loss that is not finite ends the run; hiding it from the log would only wait for the device at each step.
    logging_nan_inf_filter: bool = field(default=False, metadata={"help": "Leave nan and inf out of logged losses."})

    def __post_init__(self) -> None:
        self.has_default_workers = set_loading_defaults(self)
        self.check_numbers()
        super().__post_init__()
        read_data_in_every_process(self)
        check_trainable_parts(self.trainable_parts)
        for name, allowed in (("loss_weighting", LOSS_WEIGHTINGS), ("loss_normalization", LOSS_NORMALIZATIONS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}.")
        for name in ("eval_nll_draws", "sample_every_steps", "num_samples", "eval_answers", "early_stopping_patience"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}.")
        if self.early_stopping_patience and not self.load_best_model_at_end:
            raise ValueError("early_stopping_patience needs load_best_model_at_end and evaluations.")
        if not 0.0 < self.mask_eps < 1.0:
            raise ValueError(f"mask_eps must be between 0 and 1, got {self.mask_eps}.")
        if self.complementary_masks and self.mask_eps >= 0.5:
            raise ValueError(f"With complementary_masks mask_eps must be below 0.5, got {self.mask_eps}.")
        if self.label_smoothing_factor:
            raise ValueError(
                f"label_smoothing_factor={self.label_smoothing_factor} has no effect on the masked diffusion loss: "
                "leave it out."
            )
        if self.enable_jit_checkpoint:
            raise ValueError(
                "enable_jit_checkpoint may save in the middle of an update, from where a run cannot go on exactly. "
                "Leave it out: at SIGTERM the update is finished and saved anyway."
            )
