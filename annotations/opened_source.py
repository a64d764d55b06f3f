# SPDX-License-Identifier: Apache-2.0
"""Open what a user names as the source of annotations: files and folders, ZIP files, data sets of the Hub."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from geodit.annotations.archives import unpack_zip
from geodit.annotations.formats.annotation_format import AnnotationFormat, Record
from geodit.annotations.formats.hub_tables import HUB_TABLES, BoxFormat, read_hub_tables
from geodit.annotations.formats.image_paths import files_below, split_of
from geodit.annotations.formats.registry import FORMATS, find_format
from geodit.annotations.hub_data import HubDataset, hub_dataset
from geodit.annotations.sources import label_files

__all__ = ["OpenedSource", "open_source"]

# Where the Hub keeps the tables that it makes of data sets of other kinds.
_CONVERTED = "refs/convert/parquet"
_LABELS = (".json", ".jsonl", ".csv", ".xml", ".geojson")
_MAX_LOOKED_AT = 100


@dataclass(frozen=True)
class OpenedSource:
    """A source of annotations.

    Args:
        name: How it is named in the manifest: of a data set of the Hub with its commit.
        records: What it says. What has to be unpacked is unpacked when they are read.
        label_files: The files that they are read from.
        roots: The folders that labels and images lie in.
        is_unpacked: Whether images are unpacked, and there only until the import is done.
    """

    name: str
    records: Iterable[Record]
    label_files: tuple[Path, ...]
    roots: tuple[Path, ...]
    is_unpacked: bool = False


def open_source(
    source: str,
    unpack_dir: Path,
    *,
    form: str | None = None,
    images: Path | None = None,
    box_format: BoxFormat | None = None,
    subset: str | None = None,
) -> OpenedSource:
    """Open a source of annotations.

    Args:
        source: A file or folder, a ZIP file, or `"hub:owner/name"`, also with `@revision`; with the format `"hub"`
            also without `hub:`.
        unpack_dir: A folder, which is made if it is needed, for what has to be unpacked. The caller removes it.
        form: Name of the format; by default it is told by the files.
        images: The folder of the images, if they are not where the source says.
        box_format: What the four numbers of a box are, in tables of the Hub; by default COCO's.
        subset: The folder of the tables, where a data set of the Hub has several.

    Raises:
        FileNotFoundError: If there is no such source.
        ConnectionError: If the Hub cannot be reached.
        ValueError: If there is no such format, or not exactly one matches, or arguments do not go together.
    """
    on_hub = hub_dataset(source) if source.startswith("hub:") or form == HUB_TABLES.name else None
    path = Path(source)
    is_zip = on_hub is None and path.suffix.lower() == ".zip" and path.is_file()
    found = HUB_TABLES if on_hub is not None else None if is_zip else find_format(path, form)
    if found is HUB_TABLES:
        if images is not None:
            raise ValueError("images of tables are in the tables: leave out the folder of the images")
        return _open_tables(source, on_hub, unpack_dir, box_format or "xywh", subset)
    if box_format is not None or subset is not None:
        raise ValueError("a box format and a subset are for tables of a data set of the Hub")
    if found is None:
        _check_name(form)
        records = _unzipped(path, unpack_dir, form, images)
        return OpenedSource(source, records, (path,), (unpack_dir, path.parent), is_unpacked=True)
    folder = path if path.is_dir() else path.parent
    roots = (folder,) if images is None else (images, folder)
    return OpenedSource(source, found.read(path, images=images), tuple(label_files(path)), roots)


def _open_tables(
    source: str, on_hub: HubDataset | None, unpack_dir: Path, box_format: BoxFormat, subset: str | None
) -> OpenedSource:
    """Open the tables of a data set, which are downloaded if it is one of the Hub."""
    if on_hub is None:
        path = Path(source)
        root, paths = (path, list(files_below(path, ".parquet"))) if path.is_dir() else (path.parent, [path])
        names = _of_subset(source, [one.relative_to(root).as_posix() for one in paths], subset)
    else:
        pinned, names = _tables_on_hub(on_hub)
        source = f"hub:{pinned}"
        names = _of_subset(source, names, subset)
        root = pinned.download([glob.escape(name) for name in names])
    tables = tuple(root / name for name in names)
    records = read_hub_tables(root, images=unpack_dir, box_format=box_format, tables=tables)
    return OpenedSource(source, records, tables, (unpack_dir, root), is_unpacked=True)


def _check_name(form: str | None) -> None:
    if form is not None and form not in FORMATS:
        raise ValueError(f"unknown format {form!r}; the formats are {', '.join(FORMATS)}")


def _tables_on_hub(dataset: HubDataset) -> tuple[HubDataset, list[str]]:
    """Return a data set at its commit, and the paths of its tables; of one without those that the Hub has made of it.

    Raises:
        ValueError: If there are none.
    """
    pinned = dataset.pinned()
    names = _tables_in(pinned)
    if not names and dataset.revision is None:
        try:
            pinned = HubDataset(dataset.repo_id, _CONVERTED).pinned()
            names = _tables_in(pinned)
        except FileNotFoundError:
            names = []
    if not names:
        raise ValueError(f"the data set {dataset} of the Hub has no Parquet files, and no others are read")
    return pinned, names


def _tables_in(dataset: HubDataset) -> list[str]:
    return [file.path for file in dataset.files() if file.path.endswith(".parquet")]


def _of_subset(source: str, names: Sequence[str], subset: str | None) -> list[str]:
    """Return the tables of one subset.

    Raises:
        ValueError: If there is none of that name, or none is named and there are several.
    """
    by_folder: dict[str, list[str]] = {}
    for name in names:
        folder = PurePosixPath(name).parent
        # A folder may be that of a split.
        folder = folder.parent if split_of(Path(folder.name)) else folder
        by_folder.setdefault(folder.as_posix(), []).append(name)
    if subset is None and len(by_folder) > 1:
        raise ValueError(f"{source} has tables of several subsets: name one of {', '.join(sorted(by_folder))}")
    chosen = subset if subset is not None else next(iter(by_folder), "")
    if subset is not None and chosen not in by_folder:
        raise ValueError(f"{source} has no subset {subset}; it has {', '.join(sorted(by_folder))}")
    return by_folder.get(chosen, [])


def _unzipped(path: Path, unpack_dir: Path, form: str | None, images: Path | None) -> Iterator[Record]:
    """Unpack a ZIP file, and yield what the annotations in it say."""
    folder = unpack_zip(path, unpack_dir)
    found, source = _find_in(path, folder, form)
    yield from found.read(source, images=images)


def _find_in(path: Path, folder: Path, form: str | None) -> tuple[AnnotationFormat, Path]:
    """Return the format of what was unpacked, and the folder or file to read.

    Raises:
        ValueError: If it is not exactly one.
    """
    forms = [one for name, one in FORMATS.items() if one is not HUB_TABLES and form in (None, name)]
    files = list(islice(files_below(folder, *_LABELS), _MAX_LOOKED_AT))
    for sources in ([folder], files):
        found = [(one, source) for source in sources for one in forms if one.matches(source)]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(sorted({one.name for one, _ in found}))
            raise ValueError(
                f"{path} may be of several formats, or has several files of annotations ({names}): unpack it, and "
                "name one"
            )
    if form is not None:
        return FORMATS[form], folder
    raise ValueError(f"{path} holds no annotations of a known format: {', '.join(FORMATS)}")
