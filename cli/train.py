# SPDX-License-Identifier: Apache-2.0
"""`geodit train`: run a training recipe."""

from collections.abc import Sequence
from typing import Annotated

import typer

from geodit.cli.dry_run import print_dry_run
from geodit.cli.errors import CommandError
from geodit.cli.output import print_json

EXAMPLES = """Examples:

`geodit train geodit-tiny/stage1`

`geodit train my-recipe.yaml learning_rate=3e-4 output_dir=runs/trial`

`geodit train my-recipe.yaml --learning_rate 3e-4 --bf16 false`

`geodit train my-recipe.yaml --resume_from_checkpoint auto`

`geodit train stage2 --dry-run --model_name_or_path geodit-8b --num_scenes 10000`"""


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(
        epilog=EXAMPLES,
        # Arguments that are not the command's own are overrides of the recipe.
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(train)


def train(
    context: typer.Context,
    recipe: Annotated[str, typer.Argument(help="YAML file, or name of a bundled recipe.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Report parameters, tokens, updates and memory without training.")
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace the run in output_dir. It is deleted when the new run has saved a checkpoint.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --dry-run, print the figures as JSON.")] = False,
) -> None:
    """Train a model from a recipe.

    Arguments `name=value`, or `--name value`, override fields of the recipe. To train on several devices, run
    `accelerate launch -m geodit.cli train RECIPE`.
    """
    overrides = parse_overrides(context.args)
    if overwrite:
        overrides += ["--overwrite_output_dir", "true"]
    if as_json and not dry_run:
        raise CommandError("--json requires --dry-run; a run writes training_log.jsonl to its output_dir")
    if not dry_run:
        from geodit.pipelines.visualization import draw_answer
        from geodit.trainers.runs.recipes import run_recipe

        run_recipe(recipe, overrides, draw_answer=draw_answer)
        return

    from geodit.trainers.runs.dry_run import dry_run as work_out

    planned = work_out(recipe, overrides)
    if as_json:
        print_json(planned.to_dict())
    else:
        print_dry_run(planned)


def parse_overrides(arguments: Sequence[str]) -> list[str]:
    """Return overrides in the form that recipes take, `--name value ...`.

    Args:
        arguments: All in that form already, or all as `name=value`. The two are not mixed: a value such as
            `detect=4` of an option that takes several would be ambiguous.

    Raises:
        CommandError: If an argument has neither form.
    """
    if arguments and arguments[0].startswith("--"):
        return list(arguments)
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        if not (equals and name.isidentifier()):
            raise CommandError(
                f"{argument!r} is not an override: write all overrides as name=value, or all as --name value"
            )
    return [f"--{argument}" for argument in arguments]
