# SPDX-License-Identifier: Apache-2.0
"""What can be said about a fine-tuning; what is left open is decided by the data and the memory at hand."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal, get_args

from geodit.configuration.types_geodit import JsonObject
from geodit.weights.bundled import BUNDLED

__all__ = ["FinetuneOptions", "Quantization"]

Quantization = Literal["none", "4bit", "8bit"]


@dataclass(frozen=True)
class FinetuneOptions:
    """How to fine-tune. `None` leaves the decision to [`~geodit.finetuning.plan.plan_finetuning`].

    Args:
        model: Folder or Hub id of a checkpoint, or `"geodit-tiny"`.
        model_revision: Branch, tag or commit of it.
        full: Whether to train all weights instead of an adapter.
        lora_rank: Rank of the adapter.
        quantize: Bits of the base under an adapter.
        learning_rate: The peak.
        epochs: Passes over the data.
        max_steps: Updates, in place of epochs.
        batch_size: Rows of an update, of all devices.
        micro_batch_size: Rows of a device at once.
        activation_checkpointing: Whether to keep fewer activations, and compute them twice.
        canvas_lengths: Of tasks, such as `{"detect": 64}`; those of other tasks fit their answers.
        questions_per_row: Questions of an image that are trained on together.
        augment: Whether images are seen otherwise each time.
        eval_questions: Questions of the validation split that are answered at each evaluation.
        evaluations: How often to evaluate.
        patience: Evaluations without progress after which training ends; 0 to go on to the end.
        metric: Which checkpoint is the best: `"score"`, the mean over the tasks, or a figure such as `"detect_f1"`.
        test_questions: Questions of the test split that are answered before and after, at most.
        seed: Of all random numbers.
        use_cpu: Whether to leave a GPU alone.
        overrides: Other fields of the recipe, by name, as text.

    Raises:
        ValueError: If a value is out of its range, or two contradict each other.
    """

    model: str = BUNDLED
    model_revision: str | None = None
    full: bool = False
    lora_rank: int = 16
    quantize: Quantization | None = None
    learning_rate: float | None = None
    epochs: float | None = None
    max_steps: int | None = None
    batch_size: int | None = None
    micro_batch_size: int | None = None
    activation_checkpointing: bool | None = None
    canvas_lengths: tuple[tuple[str, int], ...] = ()
    questions_per_row: int | None = None
    augment: bool = True
    eval_questions: int = 200
    evaluations: int = 10
    patience: int = 4
    metric: str = "score"
    test_questions: int = 1000
    seed: int = 0
    use_cpu: bool = False
    overrides: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for name in (
            "lora_rank",
            "max_steps",
            "batch_size",
            "micro_batch_size",
            "questions_per_row",
            "eval_questions",
            "evaluations",
            "test_questions",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        for name in ("learning_rate", "epochs"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{name} must be a number above 0, got {value}")
        if self.patience < 0:
            raise ValueError(f"patience must be a number from 0 on, got {self.patience}")
        if self.epochs is not None and self.max_steps is not None:
            raise ValueError("epochs and max_steps both say how long to train: give one of them")
        if self.quantize is not None and self.quantize not in get_args(Quantization):
            raise ValueError(f"quantize must be one of {', '.join(get_args(Quantization))}, got {self.quantize!r}")
        if self.full and self.quantize not in (None, "none"):
            raise ValueError("quantized weights cannot be trained themselves: leave out full, or quantize")
        decided = {"output_dir", "resume_from_checkpoint", "overwrite_output_dir", "imported", "seed", "objective"}
        if wrong := sorted(decided & {name for name, _ in self.overrides}):
            raise ValueError(f"{', '.join(wrong)} cannot be overridden here: there are options for it")

    def to_dict(self) -> JsonObject:
        """Return the options in types that JSON has."""
        values: JsonObject = asdict(self)
        return values | {"canvas_lengths": dict(self.canvas_lengths), "overrides": dict(self.overrides)}
