# SPDX-License-Identifier: Apache-2.0
"""`geodit benchmark`: the speed of generation."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from geodit.cli.checkpoint import DeviceOption
from geodit.cli.decoding import renamed
from geodit.cli.lists import positive_integers, split_list
from geodit.cli.output import (
    check_can_write,
    png_bytes,
    print_json,
    progress_bar,
    results_console,
    to_json,
    write_output,
)

EXAMPLES = """Examples:

`geodit benchmark`

`geodit benchmark --canvas 8,16,32 --max-denoising-steps 1,2,4,8 --dtype float32,bfloat16 --out a.json --plot a.png`

`geodit benchmark --batch 16 --contestants prefix-cached,autoregressive,floor --profile where.txt`

`geodit benchmark --shape tiny`"""


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(epilog=EXAMPLES)(benchmark)


def benchmark(
    shape: Annotated[
        Literal["tiny", "0.3b", "8b"],
        typer.Option("--shape", "-s", help="Geometry of the model, named by the size of its text core."),
    ] = "0.3b",
    hidden_size: Annotated[
        int | None, typer.Option("--hidden-size", min=1, help="Width of the text core; overrides the shape.")
    ] = None,
    intermediate_size: Annotated[
        int | None, typer.Option("--intermediate-size", min=1, help="Width of the feed-forward layers.")
    ] = None,
    layers: Annotated[int | None, typer.Option("--layers", min=1, help="Number of layers.")] = None,
    heads: Annotated[int | None, typer.Option("--heads", min=1, help="Number of attention heads.")] = None,
    vocab_size: Annotated[int | None, typer.Option("--vocab-size", min=8, help="Size of the vocabulary.")] = None,
    prefix: Annotated[
        str | None,
        typer.Option(
            "--prefix", help="Tokens of image and prompt, one or more values: 256,761. By default 761; 48 for tiny."
        ),
    ] = None,
    canvas: Annotated[
        str | None,
        typer.Option(
            "--canvas", help="Tokens L to generate, one or more values: 8,16,32. By default 16,32; 8 for tiny."
        ),
    ] = None,
    max_denoising_steps: Annotated[
        str | None,
        typer.Option(
            "--max-denoising-steps",
            help="Denoising steps N, one or more values: 1,2,4,8,16. By default 8; 4 for tiny.",
        ),
    ] = None,
    steps: Annotated[str | None, typer.Option("--steps", hidden=True)] = None,
    batch: Annotated[str, typer.Option("--batch", help="Images per batch, one or more values: 1,4,16.")] = "1",
    questions: Annotated[
        str,
        typer.Option(
            "--questions", help="Questions per image, one or more values: 1,10. More than 1 requires --batch 1."
        ),
    ] = "1,10",
    dtype: Annotated[
        str, typer.Option("--dtype", help="Type of weights and activations, one or more values: float32,bfloat16.")
    ] = "bfloat16",
    contestants: Annotated[
        str | None,
        typer.Option(
            "--contestants",
            help="Measure only these, by key or the start of a key: prefix-cached,autoregressive,floor. By default "
            "all except compiled, which compiles for minutes.",
        ),
    ] = None,
    repeats: Annotated[int, typer.Option("--repeats", "-r", min=1, help="Number of timed runs per contestant.")] = 5,
    warmup: Annotated[
        int, typer.Option("--warmup", min=0, help="Number of untimed runs per contestant before them.")
    ] = 1,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Number of threads. By default PyTorch decides.")
    ] = None,
    device: DeviceOption = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write all times to this JSON file.")] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw the times to this PNG file.")] = None,
    profile: Annotated[
        Path | None,
        typer.Option("--profile", help="Write the time of each operator in the fastest mode to this file."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all times as JSON.")] = False,
) -> None:
    """Measure the speed of generation.

    Measures these contestants in turn, in one process, with random weights of one shape: GeoDiT's modes; a loop that
    computes everything again in every step, like LLaDA's published loop; an autoregressive model with the same layers
    and a key-value cache; and the floor, which is the time of only the matrix products and attention that are needed.
    Full attention has a floor of its own. On a GPU, the floors are also captured in CUDA graphs, and Transformers
    compiles the static cache.
    """
    tiny = shape == "tiny"
    steps = renamed("--steps", steps, "--max-denoising-steps", max_denoising_steps)
    lists = {
        "prefix_lengths": positive_integers("--prefix", prefix or ("48" if tiny else "761")),
        "canvas_lengths": positive_integers("--canvas", canvas or ("8" if tiny else "16,32")),
        "steps": positive_integers("--max-denoising-steps", steps or ("4" if tiny else "8")),
        "batch_sizes": positive_integers("--batch", batch),
        "questions": positive_integers("--questions", questions),
    }
    dtypes = split_list("--dtype", dtype)
    keys = None if contestants is None else split_list("--contestants", contestants)
    for path in (out, plot, profile):
        if path is not None:
            check_can_write(path)

    from transformers.utils import logging

    from geodit.speed.machine import choose_device, num_threads
    from geodit.speed.plots import draw_chart
    from geodit.speed.runner import run_speed_benchmark
    from geodit.speed.shapes import get_shape, resize
    from geodit.speed.tables import machine_line, point_tables
    from geodit.speed.workloads import workload_grid

    logging.disable_progress_bar()
    geometry = resize(
        get_shape(shape),
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        vocab_size=vocab_size,
    )
    workloads = workload_grid(**lists, dtypes=dtypes)
    with num_threads(threads), progress_bar() as progress:
        bar = progress.add_task("making the model", total=None)

        def report(description: str, done: int, total: int) -> None:
            progress.update(bar, description=description, completed=done, total=total)

        result = run_speed_benchmark(
            geometry,
            workloads,
            contestants=keys,
            repeats=repeats,
            warmup=warmup,
            device=choose_device(device),
            with_profile=profile is not None,
            progress=report,
            command=["geodit", *sys.argv[1:]],
        )
    written = [path for path in (out, plot, profile) if path is not None]
    if out is not None:
        write_output(out, to_json(result.to_dict()).encode())
    if plot is not None:
        write_output(plot, png_bytes(draw_chart(result)))
    if profile is not None:
        write_output(profile, (result.profile or "no mode of GeoDiT was measured\n").encode())
    if as_json:
        print_json(result.to_dict())
        return
    console = results_console()
    console.print(machine_line(result), highlight=False, markup=False)
    for point in result.points:
        console.print(*point_tables(result, point))
    for path in written:
        console.print(f"wrote {path}", soft_wrap=True, highlight=False, markup=False)
