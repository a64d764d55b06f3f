# SPDX-License-Identifier: Apache-2.0
"""The file that answers go to: JSON, or layers of a map."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from geodit.cli.errors import CommandError
from geodit.cli.output import check_can_write, to_json, write_output

if TYPE_CHECKING:
    from geodit.pipelines.scenes.collecting import JobResult
    from geodit.pipelines.scenes.plan import JobPlan

FormatName = Literal["geodit", "coco"]

OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="Write the answers to a file. Its suffix decides: .json, .geojson, .gpkg, .parquet, .fgb, .shp or .csv.",
    ),
]
FormatOption = Annotated[
    FormatName | None, typer.Option("--format", help="What a .json file holds: answers, or COCO.")
]


def check_out(out: Path | None, form: FormatName | None) -> None:
    """Check before long work whether the file can be written.

    Raises:
        CommandError: If its suffix is unknown, a package that writes it is missing, or it cannot be written.
    """
    if out is None:
        if form is not None:
            raise CommandError("--format says what a file of answers holds: give --out")
        return
    check_can_write(out)
    if out.suffix.lower() == ".json":
        return
    if form is not None:
        raise CommandError(f"--format is for .json, but --out is {out}")
    from geodit.pipelines.scenes.formats import find_format

    find_format(out, [".json"]).check_available()


def check_keeps_images(out: Path | None, images: Sequence[str]) -> None:
    """Check whether the file of answers is none of the images.

    Raises:
        CommandError: If it is one.
    """
    if out is not None and out.exists() and out.resolve() in {Path(image).resolve() for image in images}:
        raise CommandError(f"--out would overwrite the image {out}: give another file")


def holds_layers(out: Path | None) -> bool:
    """Return whether the file holds a layer of a map, for which it must be known where images are."""
    return out is not None and out.suffix.lower() != ".json"


def check_places(out: Path, plan: "JobPlan") -> None:
    """Check whether the images of a job have their place in the file.

    Raises:
        CommandError: If one has none, in a table only some have one, or they have none in common.
    """
    from geodit.pipelines.scenes.formats import find_format
    from geodit.pipelines.scenes.geography import check_has_wgs84

    form = find_format(out)
    places = [facts.georeference for facts in plan.images.values() if facts.georeference is not None]
    has_one_crs = len({place.crs for place in places}) < 2
    without = [plan.job.images[number] for number, facts in sorted(plan.images.items()) if facts.georeference is None]
    if 0 < len(without) < len(plan.images) and form.suffix == ".csv":
        raise CommandError(
            f"some images have a place on Earth, and {without[0]} has none that can be read: write .json, or ask "
            "about them one by one"
        )
    for number, facts in sorted(plan.images.items()):
        image = plan.job.images[number]
        if facts.georeference is None:
            if form.suffix == ".csv":
                continue
            raise CommandError(
                f"{image} has no place on Earth that can be read, and {out.suffix} is a layer of a map: write "
                ".json or .csv, or give its reference system by --crs if it has a transform"
            )
        try:
            form.check_crs(facts.georeference.crs)
            if not has_one_crs:
                check_has_wgs84(facts.georeference.crs)  # in which layers of several reference systems are joined
        except ValueError as error:
            raise CommandError(f"{image}: {error}") from error


def write_result(out: Path, form: FormatName | None, result: "JobResult") -> int:
    """Write the answers.

    Returns:
        How many objects were left out because they have no longitude and latitude.

    Raises:
        CommandError: If they cannot be written.
    """
    if out.suffix.lower() == ".json":
        document = result.to_coco() if form == "coco" else result.to_document()
        write_output(out, to_json(document).encode())
        return 0
    return result.write(out)
