# SPDX-License-Identifier: Apache-2.0
"""`geodit merge-adapter`: an adapter and its base to one checkpoint."""

from pathlib import Path
from typing import Annotated

import typer

from geodit.cli.output import print_json, results_console

EXAMPLES = """Examples:

`geodit merge-adapter runs/lora-neon -o geodit-trees`

`geodit merge-adapter your-name/geodit-lora --model geodit-8b --dtype bfloat16 -o geodit-8b-tuned`"""


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(epilog=EXAMPLES)(merge_adapter)


def merge_adapter(
    adapter: Annotated[str, typer.Argument(help="Directory or Hub id of the adapter.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to create.")],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Directory or Hub id of its base. By default the base it was trained on."),
    ] = None,
    dtype: Annotated[
        str, typer.Option("--dtype", help="bfloat16, float16 or float32; by default the type of the base.")
    ] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Merge an adapter into the weights of its base.

    The result is an ordinary checkpoint that does not need PEFT. The folder appears when it is complete.
    """
    from geodit.weights.merging import merge_adapter as merge

    num_parameters = merge(adapter, output, model=model, dtype=dtype)
    if json:
        print_json({"output": str(output), "num_parameters": num_parameters})
    else:
        results_console().print(f"{output}: {num_parameters:,} parameters", highlight=False, soft_wrap=True)
