# SPDX-License-Identifier: Apache-2.0
"""Import annotations: check them, cut images into tiles, ask about these, and write a data set for training."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

import geodit
from geodit.annotations.cards import CARD, dataset_card
from geodit.annotations.checks import check_records
from geodit.annotations.image_store import ImageStore, check_used_as_it_is
from geodit.annotations.import_report import BadRecordsError, ImportReport
from geodit.annotations.questions import KnownImage, QuestionMaker, QuestionNumbers, class_shares
from geodit.annotations.records import BadRecord, LabeledImage
from geodit.annotations.sources import SourceNames, digest_of, shown_path, write_sources
from geodit.annotations.splits import SplitBy, SplitReport, assign_splits, check_shares
from geodit.annotations.stored import SPLITS, write_manifest, write_split
from geodit.annotations.templates import Templates
from geodit.annotations.thinning import without_empty, without_repeats
from geodit.annotations.tiles import LabeledTile, TileCounts, TileOptions, TileReader, cut_tiles
from geodit.annotations.words import ClassWords
from geodit.configuration.new_folders import new_folder
from geodit.configuration.types_geodit import Item, JsonObject
from geodit.data.schema import TASKS, make_row
from geodit.rasters.rendering import Rendering

__all__ = ["ImportOptions", "ImportResult", "import_annotations"]


@dataclass(frozen=True)
class ImportOptions:
    """How annotations become a data set.

    Args:
        tiles: How images are cut.
        classes: The classes that there are; others are problems. By default all that are found.
        names: Other names for classes, by those of the source. Classes of one name become one.
        shares: Share of each split of the tiles.
        split_by: What stays in one split.
        block_size: By area, the side of a block.
        margin: By area, the distance between splits.
        held_out: Images of a split, by patterns of their names or paths, such as `{"test": ("OSBS_*.tif",)}`; the
            others are shared out among the other splits.
        empty_share: Share of the training tiles that may show no object, 0 to 1; others of them are left out.
        tasks: Which tasks are asked for.
        numbers: How many questions.
        plurals: Plural of a class, where the rules of English are not what is wanted.
        templates: File of other wordings; `None` for those of the package.
        bands: The band to show as gray, or the three to show as red, green and blue.
        rendering: How bands become 8-bit RGB.
        crs: Reference system of images that have a transform and none.
        skip_bad: Whether to go on without what cannot be used.
        find_duplicates: Whether to look for images that look the same.
        reference_images: Whether the data set names the files of images instead of holding them. They have to be PNG
            or JPEG files that are used as they are: not cut, resampled or rendered otherwise.
        seed: Of splits and questions.
    """

    tiles: TileOptions = field(default_factory=TileOptions)
    classes: tuple[str, ...] | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=lambda: {"train": 0.8, "validation": 0.1, "test": 0.1})
    split_by: SplitBy = "group"
    block_size: float | None = None
    margin: float = 0.0
    held_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    empty_share: float = 0.1
    tasks: tuple[str, ...] = TASKS
    numbers: QuestionNumbers = field(default_factory=QuestionNumbers)
    plurals: Mapping[str, str] = field(default_factory=dict)
    templates: str | None = None
    bands: tuple[int, ...] | None = None
    rendering: Rendering | None = None
    crs: str | None = None
    skip_bad: bool = False
    find_duplicates: bool = True
    reference_images: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = sorted((set(self.shares) | set(self.held_out)) - set(SPLITS))
        if unknown:
            raise ValueError(f"unknown splits {', '.join(unknown)}; the splits are {', '.join(SPLITS)}")
        if not 0.0 <= self.empty_share <= 1.0:
            raise ValueError(f"empty_share must be a share from 0 to 1, got {self.empty_share}")
        check_shares(self.shares)
        if unknown := sorted(set(self.tasks) - set(TASKS)):
            raise ValueError(f"unknown tasks {', '.join(unknown)}; the tasks are {', '.join(TASKS)}")


@dataclass(frozen=True)
class ImportResult:
    """What was imported.

    Args:
        report: What was found wrong.
        counts: What became of the images.
        splits: How tiles were shared out.
        empty: Tiles without an object that training does without.
        repeats: Tiles of validation and test left out, as others of them have the same pixels.
        rows: Images, or tiles of them, of each split that have questions.
        questions: Questions of each task, by split.
        longest: The most objects of a class in an image.
    """

    report: ImportReport
    counts: TileCounts
    splits: SplitReport
    empty: int
    repeats: int
    rows: Mapping[str, int]
    questions: Mapping[str, Mapping[str, int]]
    longest: int


def import_annotations(
    records: Iterable[LabeledImage | BadRecord],
    output_dir: str | Path,
    options: ImportOptions,
    *,
    source: JsonObject | None = None,
    reading: JsonObject | None = None,
    label_files: Sequence[Path] = (),
    roots: Sequence[str | Path] = (),
    progress: Callable[[str, int], None] | None = None,
) -> ImportResult:
    """Make a data set of annotated images.

    Args:
        records: What a reader yields.
        output_dir: The folder to make. It appears when it is complete.
        options: How.
        source: What the records were read from, for the manifest; paths are shortened.
        reading: Settings that they were read by, likewise.
        label_files: The files that they were read from, whose hashes are recorded; those of images are, too.
        roots: The folders that labels and images lie in. The data set names files from there, so that it is the same
            wherever they lie.
        progress: Called with what is counted, `"tiles"` that were found or `"written"`, and how many there are so far.

    Raises:
        BadRecordsError: If something cannot be used, and that is not allowed; it has the report.
        FileExistsError: If the folder exists.
        ValueError: If nothing is left, or the tiles cannot be split as asked for.
    """
    report, counts = ImportReport(), TileCounts()
    templates = Templates.read(options.templates)
    tile_reader = TileReader(options.bands, options.rendering, crs=options.crs)
    with new_folder(Path(output_dir)) as folder, tile_reader as reader:
        tiles = _find_tiles(records, options, reader, report, counts, progress)
        if not tiles:
            raise ValueError("there is no image that can be used")
        names = SourceNames(roots)
        named = [_named(tile, names) for tile in tiles]
        held_out = held_out_images({tile.image for tile in tiles}, options.held_out)
        assignment = assign_splits(
            named,
            options.shares,
            by=options.split_by,
            seed=options.seed,
            block_size=options.block_size,
            margin=options.margin,
            held_out={names.name(image): split for image, split in held_out.items()},
        )
        without_repeated = without_repeats(named, assignment.splits)
        splits = without_empty(named, without_repeated, options.empty_share, options.seed)
        known = _known_images(tiles)
        labels = sorted({one.label for image in known for one in image.objects})
        maker = QuestionMaker(
            options.classes or tuple(labels),
            class_shares(known),
            options.tasks,
            options.numbers,
            ClassWords(options.plurals),
            templates,
            options.seed,
        )
        is_plain = options.bands is None and options.rendering in (None, Rendering())
        store = ImageStore(reader, Path(output_dir), is_referenced=options.reference_images, is_plain=is_plain)
        writer = _Writer(folder, store, maker, names, progress)
        for split in [name for name in SPLITS if name in splits]:
            writer.write(split, _of_split(tiles, known, splits, split))
        longest = max(most_of_a_class(image) for image in known)
        repeats = without_repeated.count(None) - assignment.splits.count(None)
        result = ImportResult(
            report,
            counts,
            assignment.report,
            splits.count(None) - without_repeated.count(None),
            repeats,
            writer.rows,
            writer.questions,
            longest,
        )
        sources = write_sources(folder, [*map(str, label_files), *(tile.image for tile in tiles)], names)
        settings = _settings(options, reading or {})
        write_manifest(folder, _manifest(settings, maker.classes, _shown(source or {}), sources, result))
        (folder / CARD).write_text(str(dataset_card(folder)), encoding="utf-8")
    return result


def _named(tile: LabeledTile, names: SourceNames) -> LabeledTile:
    """Return a tile with the names of its image and group that are the same wherever the source lies."""
    image = names.name(tile.image)
    return replace(tile, image=image, group=image if tile.group == tile.image else tile.group)


def held_out_images(images: Iterable[str], patterns: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the split of each image that a pattern matches, in its name or in all of its path.

    Args:
        images: Paths.
        patterns: Of the images of a split, with `*` and `?`.

    Raises:
        ValueError: If a pattern matches no image, or an image is of two splits.
    """
    splits: dict[str, str] = {}
    names = sorted(images)
    for split, some in patterns.items():
        for pattern in some:
            found = [one for one in names if fnmatchcase(Path(one).name, pattern) or fnmatchcase(one, pattern)]
            if not found:
                raise ValueError(f"no image is named {pattern}, which is held out for {split}")
            for image in found:
                if splits.setdefault(image, split) != split:
                    raise ValueError(f"{image} is held out for {splits[image]} and for {split}: choose one")
    return splits


def most_of_a_class(image: KnownImage) -> int:
    """Return the most objects of one class that an image shows."""
    return max(Counter(one.label for one in image.objects).values(), default=0)


def _find_tiles(
    records: Iterable[LabeledImage | BadRecord],
    options: ImportOptions,
    reader: TileReader,
    report: ImportReport,
    counts: TileCounts,
    progress: Callable[[str, int], None] | None,
) -> list[LabeledTile]:
    """Return the tiles of all images that can be used."""
    checked = check_records(
        (_renamed(record, options.names) for record in records),
        report,
        skip_bad=True,
        classes=options.classes,
        find_duplicates=options.find_duplicates,
        crs=options.crs,
    )
    tiles: list[LabeledTile] = []
    for tile in cut_tiles(checked, options.tiles, reader, counts):
        if isinstance(tile, BadRecord):
            report.add(tile.kind, tile.origin, tile.reason)
            continue
        if options.reference_images:
            check_used_as_it_is(tile, reader)
        tiles.append(tile)
        if progress is not None:
            progress("tiles", len(tiles))
    if report.num_bad and not options.skip_bad:
        raise BadRecordsError(report)
    return tiles


def _renamed(record: LabeledImage | BadRecord, names: Mapping[str, str]) -> LabeledImage | BadRecord:
    if isinstance(record, BadRecord) or not names:
        return record
    return replace(
        record,
        objects=tuple(replace(one, label=names.get(one.label, one.label)) for one in record.objects),
        partial_labels=frozenset(names.get(label, label) for label in record.partial_labels),
        category=names.get(record.category, record.category),
    )


def _known_images(tiles: Sequence[LabeledTile]) -> list[KnownImage]:
    """Return what is known of each tile, under a name that no other has."""
    names: Counter[str] = Counter()
    known = []
    for tile in tiles:
        top, left, height, width = tile.window
        name = f"{Path(tile.image).name}@{left},{top},{width}x{height}"
        names[name] += 1
        known.append(
            KnownImage(
                name if names[name] == 1 else f"{name}#{names[name]}",
                tile.shape,
                tile.objects,
                tile.partial_labels,
                tile.cut_labels,
                tile.captions,
                tile.answers,
                tile.category,
                is_searched=not tile.only_text,
            )
        )
    return known


def _of_split(
    tiles: Sequence[LabeledTile], known: Sequence[KnownImage], splits: Sequence[str | None], split: str
) -> Iterator[tuple[LabeledTile, KnownImage]]:
    for tile, image, name in zip(tiles, known, splits, strict=True):
        if name == split:
            yield tile, image


class _Writer:
    """Writes splits and counts what they hold."""

    def __init__(
        self,
        folder: Path,
        store: ImageStore,
        maker: QuestionMaker,
        names: SourceNames,
        progress: Callable[[str, int], None] | None,
    ) -> None:
        self._folder, self._store, self._maker, self._names, self._progress = folder, store, maker, names, progress
        self.rows: dict[str, int] = {}
        self.questions: dict[str, Counter[str]] = {}

    def write(self, split: str, images: Iterable[tuple[LabeledTile, KnownImage]]) -> None:
        self.questions[split] = Counter()
        self.rows[split] = write_split(self._folder, split, self._rows(split, images))

    def _rows(self, split: str, images: Iterable[tuple[LabeledTile, KnownImage]]) -> Iterator[Item]:
        written = sum(self.rows.values())
        for tile, image in images:
            questions = self._maker.questions(image)
            if not questions:
                continue
            self.questions[split].update(question.task for question in questions)
            yield make_row(self._store.stored(tile), image.image_id, questions, json.dumps(_meta(tile, self._names)))
            written += 1
            if self._progress is not None:
                self._progress("written", written)


def _meta(tile: LabeledTile, names: SourceNames) -> JsonObject:
    top, left, height, width = tile.window
    meta: JsonObject = {
        "source": names.name(tile.image),
        "origin": names.origin(tile.origin),
        "window": [left, top, left + width, top + height],
    }
    if tile.place is not None:
        meta["crs"] = tile.place.crs
        transform = getattr(tile.place, "transform", None)
        if transform is not None:
            meta["transform"] = list(transform)
    return meta


def _shown(source: JsonObject) -> JsonObject:
    """Return what a user named, without the folders of this machine."""
    return {
        name: [shown_path(one) for one in value]
        if isinstance(value, list)
        else value
        if value is None
        else shown_path(value)
        for name, value in source.items()
    }


def _settings(options: ImportOptions, reading: JsonObject) -> JsonObject:
    """Return all that the data set depends on besides files; of templates their content."""
    values: JsonObject = json.loads(json.dumps(asdict(options)))
    if options.templates is not None:
        values["templates"] = hashlib.sha256(Path(options.templates).read_bytes()).hexdigest()
    return {"options": values, "reading": dict(reading)}


def _manifest(
    settings: JsonObject, classes: Sequence[str], source: JsonObject, sources: JsonObject, result: ImportResult
) -> JsonObject:
    return {
        "geodit": geodit.__version__,
        "source": source,
        "sources": sources,
        "settings_sha256": digest_of(settings),
        **settings,
        "classes": list(classes),
        "images": "referenced" if settings["options"]["reference_images"] else "embedded",
        "rows": dict(result.rows),
        "questions": {split: dict(counts) for split, counts in result.questions.items()},
        "most_objects_of_a_class": result.longest,
        "problems": dict(result.report.counts),
        "tiles": asdict(result.counts),
        "splits": {
            "by": result.splits.by,
            "left_out": result.splits.left_out,
            "empty": result.empty,
            "repeats": result.repeats,
            "tiles": dict(result.splits.tiles),
        },
    }
