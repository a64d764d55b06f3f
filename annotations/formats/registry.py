# SPDX-License-Identifier: Apache-2.0
"""The formats by name, and which of them a source has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from geodit.annotations.formats.annotation_format import AnnotationFormat
from geodit.annotations.formats.class_folders import CLASS_FOLDERS
from geodit.annotations.formats.coco import COCO
from geodit.annotations.formats.cvat import CVAT
from geodit.annotations.formats.deepforest import DEEPFOREST
from geodit.annotations.formats.dota import DOTA
from geodit.annotations.formats.file_heads import table_columns
from geodit.annotations.formats.hub_tables import HUB_TABLES
from geodit.annotations.formats.label_studio import LABEL_STUDIO
from geodit.annotations.formats.labelme import LABELME
from geodit.annotations.formats.text_tables import CAPTIONS, QUESTIONS
from geodit.annotations.formats.voc import VOC
from geodit.annotations.formats.xview import XVIEW
from geodit.annotations.formats.yolo import YOLO

__all__ = ["FORMATS", "find_format"]

FORMATS: Mapping[str, AnnotationFormat] = MappingProxyType(
    {
        form.name: form
        for form in (
            COCO,
            YOLO,
            VOC,
            DOTA,
            XVIEW,
            DEEPFOREST,
            LABELME,
            CVAT,
            LABEL_STUDIO,
            CLASS_FOLDERS,
            CAPTIONS,
            QUESTIONS,
            HUB_TABLES,
        )
    }
)
"""The formats by name."""


_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")


def find_format(source: Path, name: str | None = None) -> AnnotationFormat:
    """Return the format of annotations.

    Args:
        source: A file or folder.
        name: The name of the format; by default it is told by the beginning of the files.

    Raises:
        FileNotFoundError: If there is no such source.
        ValueError: If there is no format of that name, or not exactly one matches; the message lists the formats.
    """
    if name is not None:
        if name not in FORMATS:
            raise ValueError(f"unknown format {name!r}; the formats are {', '.join(FORMATS)}")
        return FORMATS[name]
    if not source.exists():
        raise FileNotFoundError(f"there is no file or folder {source}")
    if source.suffix.lower() in _ARCHIVES and source.is_file():
        raise ValueError(f"{source} is an archive: unpack it, and give the folder or the file of annotations in it")
    found = [form for form in FORMATS.values() if form.matches(source)]
    if not found:
        names = ", ".join(sorted(table_columns(source))) if source.suffix.lower() in (".csv", ".tsv", ".jsonl") else ""
        columns = f", as a table with the columns {names:.200}" if names else ""
        raise ValueError(
            f"{source} is of no known format{columns}; name one of {', '.join(FORMATS)} by --format (form)"
        )
    if len(found) > 1:
        raise ValueError(f"{source} may be of several formats; name one of {', '.join(form.name for form in found)}")
    return found[0]
