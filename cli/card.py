# SPDX-License-Identifier: Apache-2.0
"""`geodit card`: the model card of a checkpoint, and example predictions for it."""

from pathlib import Path
from typing import Annotated

import typer

from geodit.cli.card_options import DEFAULT_LICENSE, LicenseOption, TemplateOption
from geodit.cli.checkpoint import DeviceOption, load_pipeline
from geodit.cli.errors import CommandError
from geodit.cli.output import results_console

EXAMPLES = """Examples:

`geodit card geodit-trees`

`geodit card geodit-trees --repo your-name/geodit-trees --template my_card.md.jinja --no-examples`"""


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(epilog=EXAMPLES)(card)


def card(
    checkpoint: Annotated[Path, typer.Argument(help="Directory of a checkpoint or an adapter.")],
    repo: Annotated[str | None, typer.Option("--repo", help="Hub id that the code in the card loads.")] = None,
    examples: Annotated[
        bool,
        typer.Option("--examples/--no-examples", help="Ask the model about the bundled scenes and store the answers."),
    ] = True,
    template: TemplateOption = None,
    license: LicenseOption = DEFAULT_LICENSE,
    device: DeviceOption = None,
) -> None:
    """Write the model card of a checkpoint to its README.md, with pictures in assets/.

    Reads every figure from files in the directory: recipes and logs in training/, and the files that geodit evaluate
    --out wrote in results/. geodit push writes the card again and publishes the existing examples.
    """
    from geodit.hub_cards.card.adapter_facts import is_adapter
    from geodit.hub_cards.card.examples import write_examples
    from geodit.hub_cards.card.model_card import build_model_card, write_model_card
    from geodit.pipelines.visualization import draw_answer

    if not checkpoint.is_dir():
        raise CommandError(f"there is no directory {checkpoint}")
    # Before the model is asked: what is wrong with the folder is then known.
    build_model_card(checkpoint, repo_id=repo, license=license, template_path=template)
    if examples:
        names = {"model": None, "adapter": str(checkpoint)} if is_adapter(checkpoint) else {"model": str(checkpoint)}
        pipeline = load_pipeline(device=device, **names)
        write_examples(checkpoint, pipeline.model, pipeline.processor, draw_answer)
    path = write_model_card(checkpoint, repo_id=repo, license=license, template_path=template)
    results_console().print(f"the card is in {path}", soft_wrap=True, highlight=False, markup=False)
