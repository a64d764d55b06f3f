# SPDX-License-Identifier: Apache-2.0
"""The card of an imported data set: what is in it, from what it was made, and how to use it."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path

from huggingface_hub import DatasetCard, DatasetCardData

from geodit.annotations.import_report import PROBLEM_KINDS
from geodit.annotations.stored import MANIFEST, SPLITS, read_manifest
from geodit.configuration.text_files import read_text
from geodit.configuration.types_geodit import JsonObject
from geodit.data.schema import TASKS
from geodit.hub_cards.card.markdown import Markdown, Table, as_markdown, code
from geodit.hub_cards.card.templating import TEMPLATES, fill_template
from geodit.hub_cards.card.validation import check_card

__all__ = ["CARD", "IMPORTED_TEMPLATE", "dataset_card", "published_card"]

CARD = "README.md"
"""File of a data set with its card."""

IMPORTED_TEMPLATE = TEMPLATES / "imported_card.md.jinja"

_TITLE = "Overhead images with questions"
_PLACE = "path/to/the/folder"
# As the Hub calls them.
_CATEGORIES = {
    "caption": "image-to-text",
    "ground": "object-detection",
    "detect": "object-detection",
    "vqa": "visual-question-answering",
    "classify": "image-classification",
}
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
_LARGEST = "10M<n<100M"
_KEPT_TOGETHER = {
    "image": "All tiles of an image are in one split.",
    "group": "All tiles of an image, and of images that belong together, are in one split.",
    "area": "Splits are blocks of the map, or of an image: no pixel is in two of them.",
    "source": "Splits are those of the source.",
}
_MOST_CLASSES = 200


def dataset_card(
    folder: str | PathLike[str],
    *,
    repo_id: str | None = None,
    license: str | None = None,
    template_path: str | PathLike[str] | None = None,
) -> DatasetCard:
    """Make the card of a data set from what its folder says of it.

    Args:
        folder: Of the data set.
        repo_id: Hub id of the data set, for its title and the code in the card; by default a path to be filled in.
        license: The Hub's identifier of the license of images and labels; by default the card has none.
        template_path: A Jinja template to use instead of GeoDiT's own.

    Raises:
        FileNotFoundError: If the folder does not say what it was made from.
        ValueError: If what it says is damaged, the template cannot be used, or the Hub would not take the card.
    """
    manifest = read_manifest(folder)
    rows = _counts(manifest, "rows")
    splits = [name for name in SPLITS if rows.get(name)]
    if not splits:
        raise ValueError(f"{Path(folder) / MANIFEST} names no split that has rows: import the data set again")
    questions = {name: _counts(_object(manifest, "questions"), name) for name in splits}
    tasks = [task for task in TASKS if any(questions[name].get(task) for name in splits)]
    title = _TITLE if repo_id is None else repo_id.rpartition("/")[2]
    total = sum(rows[name] for name in splits)
    metadata = DatasetCardData(
        language="en",
        license=license,
        pretty_name=title,
        size_categories=[next((name for limit, name in _SIZES if total < limit), _LARGEST)],
        task_categories=list(dict.fromkeys(_CATEGORIES[task] for task in tasks)),
        tags=["geodit", "remote-sensing", "earth-observation"],
        configs=[
            {
                "config_name": "default",
                "data_files": [{"split": name, "path": f"data/{name}-*.parquet"} for name in splits],
            }
        ],
    )
    how = _object(manifest, "splits")
    content = fill_template(
        IMPORTED_TEMPLATE if template_path is None else Path(template_path),
        {
            "card_data": Markdown(metadata.to_yaml()),
            "title": title,
            "location": Markdown(repo_id or _PLACE),
            "classes": _classes(manifest),
            "splits": _splits_table(splits, rows, questions, tasks),
            "first_split": splits[0],
            "split_by": Markdown(_KEPT_TOGETHER.get(str(how.get("by")), "")),
            "left_out": _count(how, "left_out"),
            "empty": _count(how, "empty"),
            "repeats": _count(how, "repeats"),
            "source": _source(manifest),
            "sources": _sources(manifest),
            "settings_digest": manifest.get("settings_sha256"),
            "problems": _problems_table(_counts(manifest, "problems")),
            "referenced": manifest.get("images") == "referenced",
            "license": license,
            "version": str(manifest.get("geodit", "")),
        },
    )
    card = DatasetCard(content)
    check_card(card, "the card of the data set")
    return card


def published_card(
    folder: str | PathLike[str],
    *,
    repo_id: str,
    license: str | None = None,
    template_path: str | PathLike[str] | None = None,
) -> DatasetCard:
    """Return the card to publish: that of the folder if somebody has changed it, else one that names the repository.

    Args:
        folder: Of the data set.
        repo_id: Its Hub id.
        license: The Hub's identifier of the license; by default a card that was changed keeps its own.
        template_path: A Jinja template to use, whether the card was changed or not.

    Raises:
        FileNotFoundError, ValueError: As [`dataset_card`].
    """
    path = Path(folder) / CARD
    written = read_text(path) if path.is_file() else None
    if template_path is not None or written is None or written == str(dataset_card(folder)):
        return dataset_card(folder, repo_id=repo_id, license=license, template_path=template_path)
    card = DatasetCard(written, ignore_metadata_errors=False)
    if license is not None:
        card.data["license"] = license
    check_card(card, str(path))
    return card


def _object(values: Mapping[str, object], name: str) -> JsonObject:
    found = values.get(name, {})
    if not isinstance(found, dict):
        raise ValueError(f"{name} in {MANIFEST} must be an object, but is {found!r:.80}: import the data set again")
    return found


def _counts(values: Mapping[str, object], name: str) -> dict[str, int]:
    found = _object(values, name)
    for number in found.values():
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            raise ValueError(f"{name} in {MANIFEST} must hold counts, not {number!r:.80}: import the data set again")
    return found


def _count(values: Mapping[str, object], name: str) -> str | None:
    """Return a count as text; `None` if it is none, or zero."""
    found = values.get(name)
    return f"{found:,}" if isinstance(found, int) and found else None


def _classes(manifest: JsonObject) -> list[Markdown]:
    found = manifest.get("classes")
    names = [as_markdown(str(name)) for name in found] if isinstance(found, list) else []
    more = len(names) - _MOST_CLASSES
    return [*names[:_MOST_CLASSES], *([Markdown(f"and {more:,} more")] if more > 0 else [])]


def _source(manifest: JsonObject) -> Markdown | None:
    """Return what the data set was read from, as a list."""
    lines = []
    for name, value in _object(manifest, "source").items():
        if value not in (None, [], ""):
            shown = ", ".join(code(str(one)) for one in (value if isinstance(value, list) else [value]))
            lines.append(f"* {as_markdown(name.replace('_', ' '))}: {shown}")
    return Markdown("\n".join(lines)) if lines else None


def _sources(manifest: JsonObject) -> JsonObject | None:
    found = _object(manifest, "sources")
    if not found:
        return None
    number = found.get("files")
    return {
        "file": Markdown(code(str(found.get("list"))).strip("`")),
        "number": f"{number:,}" if isinstance(number, int) else "",
        "digest": str(found.get("sha256")),
    }


def _splits_table(
    splits: list[str], rows: Mapping[str, int], questions: Mapping[str, Mapping[str, int]], tasks: list[str]
) -> Table:
    lines = [
        (code(name), f"{rows[name]:,}", *(f"{questions[name].get(task, 0):,}" for task in tasks)) for name in splits
    ]
    return Table(("split", "images", *tasks), tuple(lines), num_left=1)


def _problems_table(counts: Mapping[str, int]) -> Table | None:
    lines = [(what, f"{counts[kind]:,}") for kind, what in PROBLEM_KINDS.items() if counts.get(kind)]
    return Table(("what", "number"), tuple(lines), num_left=1) if lines else None
