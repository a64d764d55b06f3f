# SPDX-License-Identifier: Apache-2.0
"""The progress of a training on a terminal: updates, time left, and how well the model does."""

from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from geodit.cli.output import results_console

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_LOSS = "loss_"


class TrainingProgress(TrainerCallback):
    """Shows a bar while a model is trained, and prints a line for each evaluation.

    Args:
        progress: The bar, which somebody else starts and stops.
        metric: The figure by which checkpoints are compared.
    """

    def __init__(self, progress: "Progress", metric: str) -> None:
        self._progress = progress
        self._metric = metric
        self._bar: TaskID | None = None
        self._losses: dict[str, float] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Show the bar."""
        if state.is_world_process_zero:
            self._bar = self._progress.add_task("training", total=state.max_steps, completed=state.global_step)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._progress.update(self._bar, completed=state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Show the losses, and print the scores of an evaluation."""
        if self._bar is None or not logs:
            return
        if "loss" in logs:
            tasks = {name: value for name, value in logs.items() if name.startswith(_LOSS) and "_t_" not in name}
            self._losses = {"loss": logs["loss"], **tasks}
            self._progress.update(self._bar, description=f"training, loss {logs['loss']:.3f}")
        if f"eval_{self._metric}" in logs:
            self._print(state, logs)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._progress.remove_task(self._bar)
            self._bar = None

    def _print(self, state: TrainerState, logs: dict[str, float]) -> None:
        scores = {
            name.removeprefix("eval_"): value
            for name, value in logs.items()
            if name.startswith("eval_") and not name.endswith(("runtime", "per_second"))
        }
        parts = [f"{name} {value:.3f}" for name, value in self._losses.items()]
        held_out = [f"{name} {value:.3f}" for name, value in scores.items()]
        line = (
            f"update {state.global_step:,} of {state.max_steps:,}: {', '.join(parts)}; held out: {', '.join(held_out)}"
        )
        results_console().print(line, soft_wrap=True, highlight=False, markup=False)
