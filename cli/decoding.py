# SPDX-License-Identifier: Apache-2.0
"""Options about decoding that several commands have."""

from typing import Annotated

import typer

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
