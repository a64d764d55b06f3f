# SPDX-License-Identifier: Apache-2.0
"""The end of a run whose model no longer gets better."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

__all__ = ["StopWhenNoBetter", "evaluations_without_progress"]


class StopWhenNoBetter(TrainerCallback):
    """Ends training when `metric_for_best_model` was not better for some evaluations in a row.

    Unlike [`~transformers.EarlyStoppingCallback`] it counts nothing itself: all follows from the log, which a
    checkpoint holds. A run that was killed at its end therefore ends there, too, when it is resumed.

    Args:
        patience: Evaluations that may pass.

    Raises:
        ValueError: If that is below 1.
    """

    def __init__(self, patience: int) -> None:
        if patience < 1:
            raise ValueError(f"patience must be at least 1 evaluation, got {patience}.")
        self._patience = patience

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Look at the log of the checkpoint, if the run is resumed."""
        self._stop_if_due(args, state, control)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Look at the log. Not when evaluating: what decides is to be in the checkpoint."""
        self._stop_if_due(args, state, control)

    def _stop_if_due(self, args: TrainingArguments, state: TrainerState, control: TrainerControl) -> None:
        if args.metric_for_best_model is None:
            return
        passed = evaluations_without_progress(state, args.metric_for_best_model, bool(args.greater_is_better))
        if passed >= self._patience:
            control.should_training_stop = True


def evaluations_without_progress(state: TrainerState, metric: str, greater_is_better: bool) -> int:
    """Count the evaluations since the best one.

    Args:
        state: Of the run.
        metric: Name of the figure, with or without `eval_`.
        greater_is_better: Which of two is better.
    """
    name = metric if metric.startswith("eval_") else f"eval_{metric}"
    values = [line[name] if greater_is_better else -line[name] for line in state.log_history if name in line]
    return len(values) - 1 - values.index(max(values)) if values else 0
