# SPDX-License-Identifier: Apache-2.0
"""`geodit assemble`: published weights to a GeoDiT checkpoint, and back to LLaDA."""

from pathlib import Path
from typing import Annotated

import typer

from geodit.cli.errors import CommandError
from geodit.cli.output import bytes_progress_bar, print_json, reporter, results_console
from geodit.configuration.types_geodit import Arguments, JsonObject

EXAMPLES = """Examples:

`geodit assemble --text GSAI-ML/LLaDA-8B-Instruct --vision google/siglip2-so400m-patch14-384 -o geodit-8b`

`geodit assemble --from-llada-v GSAI-ML/LLaDA-V --vision google/siglip2-so400m-patch14-384 -o geodit-llada-v`

`geodit assemble --to-llada runs/stage2 -o llada-stage2`"""


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(epilog=EXAMPLES)(assemble)


def assemble(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to create.")],
    text: Annotated[
        str | None, typer.Option("--text", help="Folder or Hub id of the text core (LLaDA in safetensors).")
    ] = None,
    vision: Annotated[
        str | None, typer.Option("--vision", help="Folder or Hub id of the SigLIP model that has the vision tower.")
    ] = None,
    from_llada_v: Annotated[
        str | None, typer.Option("--from-llada-v", help="Folder or Hub id of LLaDA-V; use it instead of --text.")
    ] = None,
    to_llada: Annotated[
        str | None,
        typer.Option("--to-llada", help="Folder or Hub id of a GeoDiT checkpoint; write its text core as LLaDA."),
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option("--tokenizer", help="Folder or Hub id of the tokenizer, if it is not with the text core."),
    ] = None,
    no_tokenizer: Annotated[
        bool, typer.Option("--no-tokenizer", help="Write only the model and its configuration.")
    ] = False,
    location_bins: Annotated[
        int, typer.Option("--location-bins", min=0, help="Number of location tokens to add for boxes; 0 for none.")
    ] = 0,
    dtype: Annotated[
        str | None, typer.Option("--dtype", help="bfloat16, float16 or float32; by default the type of the text core.")
    ] = None,
    max_shard_size: Annotated[str, typer.Option("--max-shard-size", help="Maximum size of a file.")] = "5GB",
    seed: Annotated[int, typer.Option("--seed", help="Seed of the new projector's weights.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Make a GeoDiT checkpoint from published weights, or a LLaDA checkpoint from a GeoDiT checkpoint.

    Copies tensors one by one, so that it needs little memory. The folder appears when it is complete. Reads weights
    only from safetensors files and never runs code of a checkpoint.
    """
    if tokenizer is not None and no_tokenizer:
        raise CommandError("--tokenizer and --no-tokenizer exclude each other: give one of them")
    options = {
        "--text": text,
        "--from-llada-v": from_llada_v,
        "--to-llada": to_llada,
    }
    given = [name for name, value in options.items() if value is not None]
    if len(given) != 1:
        raise CommandError(f"give one of {', '.join(options)}{' and not ' + ' and '.join(given) if given else ''}")
    if text is not None and vision is None:
        raise CommandError("--text also needs --vision, the SigLIP model that has the vision tower")

    with bytes_progress_bar() as progress:
        report = reporter(progress, "writing")
        shared: Arguments = {"max_shard_size": max_shard_size, "on_progress": report}
        if to_llada is not None:
            unused = {"--vision": vision, "--tokenizer": tokenizer, "--dtype": dtype}
            wrong = [name for name, value in unused.items() if value is not None]
            if wrong:
                raise CommandError(f"--to-llada copies the text core unchanged and takes no {', '.join(wrong)}")
            from geodit.weights.disassembly import disassemble

            num_parameters = disassemble(to_llada, output, **shared)
            document: JsonObject = {"output": str(output), "num_parameters": num_parameters}
        else:
            from dataclasses import asdict

            from geodit.hub_cards.card.model_card import write_model_card
            from geodit.weights.assembly import assemble as assemble_geodit
            from geodit.weights.assembly import assemble_llada_v

            shared |= {
                "tokenizer": not no_tokenizer if tokenizer is None else tokenizer,
                "location_bins": location_bins,
                "dtype": dtype,
                "write_card": lambda folder, name: write_model_card(folder, model_name=name),
            }
            if from_llada_v is not None:
                made = assemble_llada_v(from_llada_v, output, vision=vision, **shared)
            else:
                made = assemble_geodit(str(text), str(vision), output, seed=seed, **shared)
            document = {"output": str(output), **asdict(made)}
    if json:
        print_json(document)
    else:
        _print(document)


def _print(document: JsonObject) -> None:
    console = results_console()
    console.print(f"{document['output']}: {document['num_parameters']:,} parameters", highlight=False)
    for name in document.get("initialized", ()):
        console.print(f"new: {name}", highlight=False, markup=False)
    for note in document.get("notes", ()):
        console.print(f"note: {note}", highlight=False, markup=False)
    if document.get("unused"):
        console.print(f"unused: {len(document['unused'])} tensors of the sources, listed in assembly.json")
