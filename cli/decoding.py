# SPDX-License-Identifier: Apache-2.0
"""Options about decoding that several commands have, by the names of `DecodingOptions`."""

from typing import Annotated, TypeVar

import typer

from geodit.cli.errors import CommandError

Value = TypeVar("Value")

StepsOption = Annotated[
    int | None,
    typer.Option("--max-denoising-steps", min=1, help="Maximum number of denoising steps, N. By default the model's."),
]
OldStepsOption = Annotated[int | None, typer.Option("--steps", min=1, hidden=True)]
RemaskingOption = Annotated[
    str | None,
    typer.Option("--remasking", help="low_confidence, low_margin, high_entropy or random. By default the model's."),
]
TemperatureOption = Annotated[
    float | None,
    typer.Option("--temperature", min=0.0, help="0 takes the most probable tokens. By default the model's."),
]
GuidanceOption = Annotated[
    float | None, typer.Option("--guidance-scale", min=1.0, help="Classifier-free guidance; 1 is off.")
]
ThresholdOption = Annotated[
    float | None,
    typer.Option(
        "--confidence-threshold", min=0.0, max=1.0, help="Commit every token above this confidence in one step."
    ),
]
EntropyBoundOption = Annotated[
    float | None,
    typer.Option("--entropy-bound", min=0.0, help="With high_entropy, commit up to this entropy per step, in nats."),
]
BlockLengthOption = Annotated[
    int | None, typer.Option("--block-length", min=1, help="Denoise in blocks of this many tokens, left to right.")
]
RefreshOption = Annotated[
    int | None,
    typer.Option("--prefix-refresh-steps", min=1, help="Steps between runs on image and prompt; 1 is exact."),
]
FillOption = Annotated[
    bool | None,
    typer.Option(
        "--fill-after-eos/--denoise-after-eos",
        help="Everything after an EOS is EOS; or denoise it, as LLaDA does.",
        show_default=False,
    ),
]
StructuredOption = Annotated[
    bool,
    typer.Option("--structured/--no-structured", help="Answers with boxes are always well formed."),
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
    bool | None,
    typer.Option("--compile-step", help="Compile a layer of the network: for many answers on a GPU."),
]


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
