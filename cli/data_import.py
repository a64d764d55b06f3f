# SPDX-License-Identifier: Apache-2.0
"""`geodit data import` and `preview`: a data set of one's own, from annotations."""

import os
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from geodit.cli.errors import FAILURE, CommandError
from geodit.cli.imagery import (
    BandsOption,
    CrsOption,
    DecibelsOption,
    GammaOption,
    NodataOption,
    StretchOption,
    chosen_bands,
    rendering_of,
)
from geodit.cli.images import expand_images
from geodit.cli.lists import split_list
from geodit.cli.output import (
    check_can_write,
    hide_library_bars,
    plain,
    png_bytes,
    progress_bar,
    results_console,
    write_output,
)

if TYPE_CHECKING:
    from geodit.annotations.import_report import ImportReport
    from geodit.annotations.importing import ImportResult
    from geodit.annotations.opened_source import OpenedSource

IMPORT_EXAMPLES = """Examples:

`geodit data import instances.json -o ships`

`geodit data import --images "rasters/*.tif" --labels crowns.gpkg --label-field species --split-by area -o crowns`

`geodit data import hub:owner/name --split-by source -o planes`

`geodit data import yolo-export --tile-size 512 --class "small-vehicle=car" --skip-bad -o cars`"""

# Of each kind of problem so many are named.
_NAMED = 3

SplitName = Literal["image", "group", "area", "source"]
BoxFormatName = Literal["xywh", "xyxy", "yolo"]


def register(app: typer.Typer) -> None:
    """Add the commands to `geodit data`."""
    app.command("import", epilog=IMPORT_EXAMPLES)(import_)
    app.command(epilog="Example: `geodit data preview ships -o sheet.png`")(preview)


def import_(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the data set to make.")],
    source: Annotated[
        str | None,
        typer.Argument(
            help="File, folder or ZIP file of a labeling tool: COCO, YOLO, VOC, DOTA and others, see --format; or a "
            "data set of the Hub, hub:owner/name."
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Format of the source: coco, yolo, voc, dota, xview, deepforest, labelme, cvat, label-studio, "
            "class-folders, captions, questions, hub. By default it is told by its files.",
        ),
    ] = None,
    images: Annotated[
        list[str] | None,
        typer.Option("--images", help="Images that are not where the source says: a folder, or with --labels files."),
    ] = None,
    labels: Annotated[
        str | None, typer.Option("--labels", help="Polygons or points on a map, such as GeoPackage, over the images.")
    ] = None,
    layer: Annotated[str | None, typer.Option("--layer", help="Layer of --labels.")] = None,
    label_field: Annotated[str | None, typer.Option("--label-field", help="Field of --labels with the class.")] = None,
    default_label: Annotated[
        str | None, typer.Option("--default-label", help="Class of features that name none.")
    ] = None,
    point_size: Annotated[
        float | None, typer.Option("--point-size", help="Side of the box around a point, in meters.")
    ] = None,
    names: Annotated[
        list[str] | None, typer.Option("--class", help="Another name for a class: old=new. May be given repeatedly.")
    ] = None,
    only: Annotated[str | None, typer.Option("--classes", help="The classes that there are: a,b,c.")] = None,
    plurals: Annotated[
        list[str] | None, typer.Option("--plural", help="Plural of a class: octopus=octopodes. May be repeated.")
    ] = None,
    box_format: Annotated[
        BoxFormatName | None,
        typer.Option(
            "--bbox-format", help="What the four numbers of a box are in tables of the Hub. By default xywh."
        ),
    ] = None,
    subset: Annotated[
        str | None, typer.Option("--subset", help="Folder of the tables, where a data set of the Hub has several.")
    ] = None,
    tile_size: Annotated[
        int, typer.Option("--tile-size", min=1, help="Cut larger images into tiles of this side.")
    ] = 512,
    overlap: Annotated[float, typer.Option("--overlap", help="Overlap of tiles, as a share of their side.")] = 0.0,
    gsd: Annotated[float | None, typer.Option("--gsd", help="Resample rasters to pixels of so many meters.")] = None,
    max_objects: Annotated[
        int | None,
        typer.Option("--max-objects", min=1, help="Cut tiles with more objects of a class into four, and again."),
    ] = None,
    empty_share: Annotated[
        float,
        typer.Option("--empty-share", help="Share of training tiles without an object; others of them are left out."),
    ] = 0.1,
    tasks: Annotated[str | None, typer.Option("--tasks", help="Only these tasks: detect,vqa.")] = None,
    templates: Annotated[
        Path | None, typer.Option("--templates", help="YAML file of other wordings of questions and captions.")
    ] = None,
    split_by: Annotated[
        SplitName, typer.Option("--split-by", help="What stays in one split: tiles of an image, a group, an area.")
    ] = "group",
    shares: Annotated[
        str, typer.Option("--shares", help="Shares of train, validation and test, in this order.")
    ] = "0.8,0.1,0.1",
    validation: Annotated[
        list[str] | None,
        typer.Option("--validation", help="Images for validation, by name or pattern. May be given repeatedly."),
    ] = None,
    test: Annotated[
        list[str] | None,
        typer.Option("--test", help="Images for the test split, by name or pattern. May be given repeatedly."),
    ] = None,
    block_size: Annotated[
        float | None, typer.Option("--block-size", help="Side of a block of --split-by area, in meters or pixels.")
    ] = None,
    margin: Annotated[float, typer.Option("--margin", help="Distance of splits by area, in meters or pixels.")] = 0.0,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out what cannot be used, and count it.")] = False,
    duplicates: Annotated[
        bool, typer.Option("--find-duplicates/--keep-duplicates", help="Leave out images that look like another one.")
    ] = True,
    reference_images: Annotated[
        bool,
        typer.Option(
            "--reference-images", help="Name PNG and JPEG files that are used as they are; do not copy them."
        ),
    ] = False,
    bands: BandsOption = None,
    stretch: StretchOption = "auto",
    nodata: NodataOption = None,
    gamma: GammaOption = 1.0,
    db: DecibelsOption = False,
    crs: CrsOption = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of splits and questions.")] = 0,
) -> None:
    """Make a data set for training from annotations: boxes, polygons, captions, classes or answers.

    Questions of every task are made of what is known: detection of each class and of absent ones, phrases that refer
    to one object, counts, presence, captions. The folder holds Parquet files that `datasets` reads, too.
    """
    from geodit.annotations.import_report import BadRecordsError
    from geodit.annotations.importing import ImportOptions, import_annotations
    from geodit.annotations.tiles import TileOptions
    from geodit.configuration.new_folders import partial_folder
    from geodit.data.schema import TASKS

    options = ImportOptions(
        TileOptions(tile_size, overlap, gsd=gsd, max_objects=max_objects),
        None if only is None else tuple(split_list("--classes", only)),
        _pairs("--class", names),
        dict(zip(("train", "validation", "test"), _shares(shares), strict=True)),
        split_by,
        block_size,
        margin,
        {name: tuple(some) for name, some in (("validation", validation), ("test", test)) if some},
        empty_share,
        TASKS if tasks is None else tuple(split_list("--tasks", tasks)),
        plurals=_pairs("--plural", plurals),
        templates=None if templates is None else str(templates),
        bands=None if bands is None else tuple(chosen_bands(bands, None) or ()),
        rendering=rendering_of(stretch, nodata, gamma, db),
        crs=crs,
        skip_bad=skip_bad,
        find_duplicates=duplicates,
        reference_images=reference_images,
        seed=seed,
    )
    unpack_dir = partial_folder(out)
    opened = _open(
        source,
        unpack_dir,
        form,
        images,
        labels,
        layer,
        label_field,
        default_label,
        point_size,
        box_format,
        subset,
        crs,
    )
    if opened.is_unpacked and reference_images:
        raise CommandError("--reference-images is for images in files of their own, which these are not")
    facts = {"source": None if labels else opened.name, "labels": labels, "images": images}
    reading = {
        "format": form,
        "bbox_format": box_format,
        "subset": subset,
        "label_field": label_field,
        "default_label": default_label,
        "point_size": point_size,
        "layer": layer,
    }
    with progress_bar() as progress:
        bar = progress.add_task("tiles", total=None)

        def report_progress(what: str, done: int) -> None:
            progress.update(bar, description=what, completed=done)

        try:
            result = import_annotations(
                opened.records,
                out,
                options,
                source=facts,
                reading=reading,
                label_files=opened.label_files,
                roots=opened.roots,
                progress=report_progress,
            )
        except BadRecordsError as error:
            _print_report(error.report)
            raise CommandError(str(error), FAILURE) from error
        finally:
            shutil.rmtree(unpack_dir, ignore_errors=True)
    _print_result(out, result)
    command = f"geodit data preview {shlex.quote(str(out))} -o sheet.png"
    results_console().print(f"Look at it: {command}", soft_wrap=True, highlight=False, markup=False)


def preview(
    dataset: Annotated[
        str, typer.Argument(help="Folder that geodit data import has made, or the same on the Hub: owner/name.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="PNG file to write.")] = Path("preview.png"),
    split: Annotated[str, typer.Option("--split", help="Which split.")] = "train",
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="Number of images.")] = 12,
    columns: Annotated[int, typer.Option("--columns", min=1, help="Images side by side.")] = 4,
    augment: Annotated[bool, typer.Option("--augment", help="Show images as training augments them.")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the choice.")] = 0,
) -> None:
    """Draw images of a data set with their questions and answers, to look at before training."""
    check_can_write(out)

    from geodit.annotations.preview import preview_sheet
    from geodit.annotations.stored import read_split
    from geodit.data.augmentation import Augmentation

    hide_library_bars()
    sheet = preview_sheet(
        read_split(dataset, split),
        number,
        columns=columns,
        seed=seed,
        augmentation=Augmentation() if augment else None,
    )
    write_output(out, png_bytes(sheet))
    results_console().print(f"wrote {out}", soft_wrap=True, highlight=False, markup=False)


def _open(
    source: str | None,
    unpack_dir: Path,
    form: str | None,
    images: list[str] | None,
    labels: str | None,
    layer: str | None,
    label_field: str | None,
    default_label: str | None,
    point_size: float | None,
    box_format: BoxFormatName | None,
    subset: str | None,
    crs: str | None,
) -> "OpenedSource":
    """Open what the annotations are read from.

    Raises:
        CommandError: If it is not said what to read, or options do not go together.
    """
    from geodit.annotations.opened_source import OpenedSource, open_source

    if (source is None) == (labels is None):
        raise CommandError("give either a source, or --labels with --images")
    if labels is not None:
        if not images:
            raise CommandError("--labels lie over images: give --images")
        if form is not None:
            raise CommandError("--format is for a source, not for --labels")
        if box_format is not None or subset is not None:
            raise CommandError("--bbox-format and --subset are for tables of the Hub, not for --labels")
        from geodit.annotations.sources import label_files
        from geodit.annotations.vector_labels import read_vector_labels

        files = expand_images(images)
        records = read_vector_labels(
            files,
            labels,
            label_field=label_field,
            default_label=default_label,
            point_size=point_size,
            layer=layer,
            crs=crs,
        )
        folders = [str(Path(one).absolute().parent) for one in files if Path(one).is_file()]
        common = [Path(os.path.commonpath(folders))] if folders else []
        return OpenedSource(labels, records, tuple(label_files(labels)), (*common, Path(labels).parent))
    if any(value is not None for value in (layer, label_field, default_label, point_size)):
        raise CommandError("--layer, --label-field, --default-label and --point-size are for --labels")
    if images is not None and len(images) > 1:
        raise CommandError(f"--images of a source is one folder, got {len(images)}")
    assert source is not None
    return open_source(
        source,
        unpack_dir,
        form=form,
        images=None if images is None else Path(images[0]),
        box_format=box_format,
        subset=subset,
    )


def _pairs(option: str, texts: list[str] | None) -> dict[str, str]:
    pairs = {}
    for text in texts or ():
        old, separator, new = (part.strip() for part in text.partition("="))
        if not (old and separator and new):
            raise CommandError(f"{option} takes old=new, got {text!r}")
        pairs[old] = new
    return pairs


def _shares(text: str) -> list[float]:
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = []
    if len(shares) != 3:
        raise CommandError(f"--shares takes three numbers that add up to 1, such as 0.8,0.1,0.1, got {text!r}")
    return shares


def _print_report(report: "ImportReport") -> None:
    for line in report.lines(_NAMED):
        typer.echo(plain(line).plain, err=True)


def _print_result(out: Path, result: "ImportResult") -> None:
    if result.report.counts:
        _print_report(result.report)
    console = results_console()
    for line in result.splits.lines():
        console.print(line, highlight=False, markup=False)
    if result.empty:
        line = f"tiles without an object that training does without: {result.empty:,} (--empty-share)"
        console.print(line, highlight=False, markup=False)
    if result.repeats:
        line = f"tiles of validation and test left out, as others of them show the same: {result.repeats:,}"
        console.print(line, highlight=False, markup=False)
    for split, rows in result.rows.items():
        counts = ", ".join(f"{task} {number:,}" for task, number in sorted(result.questions[split].items()))
        console.print(f"{split}: {rows:,} images with {counts or 'no questions'}", highlight=False, markup=False)
    console.print(f"the data set is in {out}", soft_wrap=True, highlight=False, markup=False)
