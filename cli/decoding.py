# SPDX-License-Identifier: Apache-2.0
"""Options about decoding that several commands have."""

from typing import Annotated, Any, TypeVar

import typer

from geodit.cli.errors import CommandError

Value = TypeVar("Value")

ThresholdOption = Annotated[
    float | None,
    typer.Option("--confidence-threshold", min=0.0, max=1.0, help="Commit all above it: fewer steps."),
]
StructuredOption = Annotated[
    bool,
    typer.Option("--structured/--no-structured", help="Answers of boxes are well formed, whatever the network says."),
]
EntropyBoundOption = Annotated[
    float | None, typer.Option("--entropy-bound", min=0.0, help="Commit up to it, in nats, with high_entropy.")
]
CaptureOption = Annotated[
    bool | None,
    typer.Option(
        "--capture-step/--no-capture-step",
        help="Steps of fixed shapes, of which the GPU launches each at once; by default where there is a GPU.",
        show_default=False,
    ),
]
CompileOption = Annotated[
    bool, typer.Option("--compile-step", help="Compile a layer of the network: for many answers on a GPU.")
]


def set_step_options(model: Any, capture_step: bool | None, compile_step: bool) -> None:
    """Have a model make its denoising steps as the options say; the answers are the same."""
    if capture_step is not None:
        model.generation_config.update(capture_step=capture_step)
    if compile_step:
        model.generation_config.update(compile_step=True)


def renamed(old: str, old_value: Value | None, new: str, new_value: Value | None) -> Value | None:
    """Take the value of an option that has a new name, with a warning where the old name was used.

    Args:
        old: The old name.
        old_value: Its value; `None` where it was not given.
        new: The new name.
        new_value: Its value, likewise.

    Raises:
        CommandError: If both are given.
    """
    if old_value is None:
        return new_value
    if new_value is not None:
        raise CommandError(f"{old} is the old name of {new}: give {new} only")
    typer.echo(f"geodit: warning: {old} is now {new}; the old name will be removed in the next release", err=True)
    return old_value
