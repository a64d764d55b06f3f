# SPDX-License-Identifier: Apache-2.0
"""YOLO: a text file per image, with a line per object in parts of the image's sides.

Read are the layouts of Ultralytics and of the tools that export to it: `data.yaml` with the folders of the splits and
the names of the classes, or `classes.txt` (Darknet: `obj.names`), with `images` and `labels` next to each other, or
labels next to their images. supervision reads one layout of these, and all of it or nothing, so it is not used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from geodit.annotations.formats.annotation_format import AnnotationFormat, Record, bad_record
from geodit.annotations.formats.file_heads import read_head
from geodit.annotations.formats.image_paths import ImageFinder, files_below, split_of
from geodit.annotations.formats.image_sizes import oriented_size
from geodit.annotations.formats.shapes import box_object, label_set, object_in_points, oriented_object, pair_points
from geodit.annotations.records import LabeledImage, LabeledObject
from geodit.configuration.text_files import parse_yaml, read_text
from geodit.data.readers.fields import brief, numbers
from geodit.data.readers.files import is_file

__all__ = ["YOLO"]

_YAML_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_LISTS_OF_NAMES = ("classes.txt", "obj.names", "_darknet.labels")
_SPLITS = {"train": "train", "val": "validation", "valid": "validation", "test": "test"}
_FILES_TO_TELL = 20


@dataclass(frozen=True)
class _Settings:
    """What is known of a data set besides its images.

    Args:
        names: Class names by number.
        folders: Folders of images, or lists of images, with the name of their split.
        missing: What is said of folders that are not there.
        has_keypoints: Whether lines go on with key points after the box.
    """

    names: Mapping[int, str]
    folders: tuple[tuple[Path, str], ...] = ()
    missing: tuple[str, ...] = ()
    has_keypoints: bool = False


def _matches(source: Path) -> bool:
    settings = _settings_file(source)
    if settings is None or settings.name in _LISTS_OF_NAMES:
        return settings is not None
    lines = read_head(settings).splitlines()
    return any(line.startswith("names:") for line in lines) and any(
        line.startswith(("train:", "val:", "nc:", "path:")) for line in lines
    )


def _settings_file(source: Path) -> Path | None:
    if not source.is_dir():
        return source if source.suffix.lower() in (".yaml", ".yml") else None
    candidates = [source / name for name in (*_YAML_NAMES, *_LISTS_OF_NAMES)]
    candidates += [source / "labels" / name for name in _LISTS_OF_NAMES]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        # Ultralytics calls the file what the data set is called.
        others = sorted(path for path in source.glob("*.y*ml") if path.is_file())
        found = others[0] if len(others) == 1 else None
    return found


def read_yolo(source: Path, *, images: Path | None = None) -> Iterator[Record]:
    """Read a data set of YOLO's layout.

    A line is a class and a box (center, width, height), or a class and the points of an outline. If all lines of
    the first files have four points, the data set is one of oriented boxes. An image without a file of labels has no
    objects, as Ultralytics has it.

    Args:
        source: The folder, or its YAML file.
        images: The folder of the images, if they are not where the YAML says or next to the labels. Labels are
            then found in `source`, or its folder `labels`, by the paths of the images.

    Raises:
        ValueError: If there are no names of classes, no images, or no labels for any image.
    """
    settings_file = _settings_file(source)
    root = source if source.is_dir() else source.parent
    if settings_file is None:
        raise ValueError(f"{source} has no names of classes: add data.yaml, or classes.txt with one name per line")
    settings = _read_settings(settings_file, images)
    yield from (bad_record(str(settings_file), reason) for reason in settings.missing)
    pairs = [(path, split, _label_file(path, root, images)) for path, split in _images(settings, root, images)]
    if not pairs:
        raise ValueError(f"{source} has no images where YOLO has them: name their folder")
    labeled = [labels for _, _, labels in pairs if labels is not None]
    if not labeled:
        raise ValueError(f"{source} has no file of labels for any of its {len(pairs):,} images")
    is_oriented = _has_oriented_boxes(labeled)
    for path, split, labels in pairs:
        yield from _read_image(path, split, labels, settings, is_oriented)
    used = set(labeled)
    for folder in sorted({path.parent for path in labeled}):
        for path in sorted(folder.glob("*.txt")):
            if path not in used and path.name not in _LISTS_OF_NAMES and "labels" in path.parts:
                yield bad_record(str(path), "there is no image of this name")


def _read_settings(path: Path, images: Path | None) -> _Settings:
    text = read_text(path, encoding="utf-8-sig")
    if path.name in _LISTS_OF_NAMES:
        return _Settings(dict(enumerate(line.strip() for line in text.strip().splitlines())))
    content = parse_yaml(text, path)
    if not isinstance(content, dict) or not isinstance(content.get("names"), list | dict):
        raise ValueError(f"{path} is not the data.yaml of YOLO: it should have the names of the classes")
    names = content["names"]
    by_number = names.items() if isinstance(names, dict) else enumerate(names)
    folders: list[tuple[Path, str]] = []
    missing: list[str] = []
    for key, split in _SPLITS.items() if images is None else ():
        entries = content.get(key)
        for entry in entries if isinstance(entries, list) else [entries]:
            if not isinstance(entry, str) or not entry.strip():
                continue
            folder = _inside(path.parent, content.get("path"), entry)
            if folder is None:
                missing.append(f"its {key} is {brief(entry)}, which is not in {path.parent}")
            else:
                folders.append((folder, split))
    numbered = {int(number): str(name) for number, name in by_number if str(number).isdecimal()}
    return _Settings(numbered, tuple(folders), tuple(missing), "kpt_shape" in content)


def _inside(root: Path, base: object, entry: str) -> Path | None:
    """Return the folder that a YAML file names, as far as it is in the folder of that file.

    Its path may be one of the machine of its author, of which two parts are enough, or begin with ".." where this
    folder is meant.
    """
    parts = [part for part in entry.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    bases = [part for part in (base if isinstance(base, str) else "").replace("\\", "/").split("/") if part]
    is_absolute = entry.startswith("/") or ":" in entry
    for start in range(len(bases) + 1):
        for first in range(max(1, len(parts) - 1) if is_absolute else 1):
            path = root.joinpath(*(part for part in bases[start:] if part != ".."), *parts[first:])
            if is_file(path) or os.path.isdir(path):  # noqa: PTH112  # which raise no error for odd names
                return path
    return None


def _images(settings: _Settings, root: Path, images: Path | None) -> Iterator[tuple[Path, str]]:
    """Yield the images with their splits."""
    if not settings.folders:
        folder = images or (root / "images" if (root / "images").is_dir() else root)
        yield from ((path, split_of(path, folder)) for path in files_below(folder))
    seen: set[Path] = set()
    for folder, split in settings.folders:
        for path in files_below(folder) if folder.is_dir() else _listed_images(folder, root):
            if path not in seen:
                seen.add(path)
                yield path, split


def _listed_images(path: Path, root: Path) -> Iterator[Path]:
    """Yield the images that a text file lists. One that is missing comes with the name it has."""
    finder = ImageFinder(path.parent, root, images=None)
    for line in read_text(path, encoding="utf-8-sig").splitlines():
        if line.strip():
            try:
                yield Path(finder.find(line))
            except ValueError:
                yield root / Path(line.strip()).name


def _label_file(image: Path, root: Path, images: Path | None) -> Path | None:
    """Return the file with the objects of an image, `None` if there is none."""
    name = image.stem + ".txt"
    candidates = []
    if images is not None and image.is_relative_to(images):
        inner = image.relative_to(images).parent
        candidates += [root / inner / name, root / "labels" / inner / name, root / name, root / "labels" / name]
    parts = image.parent.parts
    if "images" in parts:
        last = len(parts) - 1 - parts[::-1].index("images")
        candidates.append(Path(*parts[:last], "labels", *parts[last + 1 :], name))
    candidates += [image.parent / name, image.parent / "labels" / name]
    return next((path for path in candidates if path.is_file()), None)


def _has_oriented_boxes(files: list[Path]) -> bool:
    lengths = {
        len(line.split())
        for path in islice(files, _FILES_TO_TELL)
        for line in read_head(path).splitlines()
        if line.strip()
    }
    return lengths == {9}


def _read_image(
    path: Path, split: str, labels: Path | None, settings: _Settings, is_oriented: bool
) -> Iterator[Record]:
    origin = str(labels or path)
    try:
        image_size = oriented_size(path)
        lines = [] if labels is None else read_text(labels, encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        yield bad_record(origin, error)
        return
    objects: list[LabeledObject] = []
    partial: set[str] = set()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            objects.append(_object(line.split(), image_size, settings, is_oriented, number))
        except ValueError as error:
            partial |= _possible_labels(line.split()[0], settings.names)
            yield bad_record(f"{labels}, line {number}", error)
    yield LabeledImage(
        os.path.abspath(path),  # noqa: PTH100
        origin,
        image_size,
        tuple(objects),
        split=split,
        partial_labels=frozenset(partial),
    )


def _possible_labels(word: str, names: Mapping[int, str]) -> set[str]:
    """Return the class that a line begins with: none if it has no name, and all if there is no number."""
    if word.isdecimal():
        return label_set(names.get(int(word))) if len(word) < 10 else set()
    return {name for label in names.values() for name in label_set(label)}


def _object(
    words: list[str], image_size: tuple[int, int], settings: _Settings, is_oriented: bool, line: int
) -> LabeledObject:
    height, width = image_size
    (number,) = numbers(words[:1], 1)
    if number not in settings.names:
        raise ValueError(f"there is no class {brief(words[0])} in the {len(settings.names)} names")
    label = settings.names[int(number)]
    values = numbers(words[1:5] if settings.has_keypoints else words[1:], 4, *range(6, len(words), 2))
    if len(values) == 4:
        x, y, across, down = values
        if across < 0 or down < 0:
            raise ValueError(f"its width and height, {across:g} and {down:g}, must not be negative")
        box = (x - across / 2) * width, (y - down / 2) * height, (x + across / 2) * width, (y + down / 2) * height
        return box_object(label, box, line=line)
    points = [(x * width, y * height) for x, y in pair_points(values)]
    return oriented_object(label, points, line=line) if is_oriented else object_in_points(label, points, line=line)


YOLO = AnnotationFormat("yolo", "YOLO: data.yaml or classes.txt, with a text file per image", _matches, read_yolo)
