# SPDX-License-Identifier: Apache-2.0
"""Training arguments that every run of ours has, and the numbers that none can go by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

_POSITIVE = ("learning_rate", "vision_learning_rate", "num_train_epochs", "adam_epsilon")
_NOT_NEGATIVE = (
    "weight_decay",
    "max_grad_norm",
    "warmup_steps",
    "logging_steps",
    "eval_steps",
    "save_steps",
    "dataloader_num_workers",
    "save_total_limit",
    "seed",
    "data_seed",
    "beta",
)
_COUNTS = (
    "per_device_train_batch_size",
    "per_device_eval_batch_size",
    "gradient_accumulation_steps",
    "num_generations",
    "steps_per_generation",
    "num_iterations",
)
_SHARES = ("adam_beta1", "adam_beta2")
_MAX_SEED = 2**32 - 1


@dataclass
class RunArguments:
    """What Transformers' arguments do not have, or do not look at."""

    overwrite_output_dir: bool = field(
        default=False,
        metadata={
            "help": "Replace the run that output_dir holds, which is deleted once the new one has saved a checkpoint. "
            "Never done where the folder holds the model that training starts from, or files of anybody else."
        },
    )

    def check_numbers(self) -> None:
        """Refuse numbers that no run can go by; what is not a number, or not a field here, is passed over.

        Raises:
            ValueError: For the first one; the message says what is allowed.
        """
        for names, allowed, fits in (
            (_POSITIVE, "a number above 0", lambda value: value > 0),
            (_NOT_NEGATIVE, "a number from 0 on", lambda value: value >= 0),
            (_COUNTS, "a whole number from 1 on", lambda value: value >= 1 and value == int(value)),
            (_SHARES, "at least 0 and below 1", lambda value: 0 <= value < 1),
            (("max_steps",), "a whole number from 1 on, or -1 to train for num_train_epochs", _is_number_of_steps),
            (("seed", "data_seed"), f"at most {_MAX_SEED}", lambda value: value <= _MAX_SEED),
        ):
            for name in names:
                value = getattr(self, name, None)
                if isinstance(value, int | float) and not (math.isfinite(value) and fits(value)):
                    raise ValueError(f"{name} must be {allowed}, got {value}.")


def check_counts(arguments: object, names: Sequence[str], *, least: int) -> None:
    """Refuse fields that are not whole numbers from `least` on.

    Raises:
        ValueError: For the first one.
    """
    for name in names:
        value = getattr(arguments, name)
        if not isinstance(value, int) or value < least:
            raise ValueError(f"{name} must be a whole number from {least} on, got {value}.")


def _is_number_of_steps(value: float) -> bool:
    return value == -1 or (value >= 1 and value == int(value))
