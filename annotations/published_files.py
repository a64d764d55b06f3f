# SPDX-License-Identifier: Apache-2.0
"""What of an imported data set belongs in a repository of the Hub. Nothing is written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from geodit.annotations.cards import CARD, published_card
from geodit.annotations.sources import SOURCES
from geodit.annotations.stored import MANIFEST, SPLITS, read_manifest, split_files
from geodit.configuration.hub_ids import hub_id_problem
from geodit.configuration.secrets import refuse_secrets
from geodit.data.schema import check_columns
from geodit.hub_cards.publish.file_checks import refuse_foreign_files, refuse_secrets_in_files
from geodit.hub_cards.publish.file_selection import PublishedFile

__all__ = ["dataset_files"]

_DATA = "data"


def dataset_files(
    folder: str | PathLike[str],
    *,
    repo_id: str,
    license: str | None = None,
    template_path: str | PathLike[str] | None = None,
) -> list[PublishedFile]:
    """Collect the files that a repository of an imported data set is to hold: its tables, card and manifest.

    Args:
        folder: Of the data set.
        repo_id: Hub id of the repository.
        license: The Hub's identifier of the license of images and labels.
        template_path: A Jinja template of the card to use instead of GeoDiT's own.

    Returns:
        The files in the order of their paths.

    Raises:
        FileNotFoundError: If there is no data set, or it does not say what it was made from.
        ValueError: If `repo_id` is no Hub id, images are referenced rather than in the tables, a table is damaged, a
            file lies elsewhere or holds a token, key or password, or the Hub would not take the card.
    """
    refuse_secrets(repo_id, "repo_id")
    if (problem := hub_id_problem(repo_id)) is not None:
        raise ValueError(f"repo_id {repo_id!r} is no Hub id: {problem}")
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    refuse_foreign_files(folder, looked_into=(_DATA,))
    manifest = read_manifest(folder)
    if manifest.get("images") == "referenced":
        raise ValueError(
            f"the images of {folder} are not in it, only their paths: import it again without --reference-images"
        )
    contents: dict[str, Path | bytes] = {}
    for split in SPLITS:
        for path in split_files(folder, split) if any((folder / _DATA).glob(f"{split}-*.parquet")) else ():
            for text in _texts(path):
                refuse_secrets(text, f"a row of {path}")
            contents[f"{_DATA}/{path.name}"] = path
    if not contents:
        raise FileNotFoundError(f"{folder} is no data set: geodit data import makes one")
    contents |= {name: folder / name for name in (MANIFEST, SOURCES) if (folder / name).is_file()}
    card = published_card(folder, repo_id=repo_id, license=license, template_path=template_path)
    contents[CARD] = str(card).encode()
    refuse_secrets_in_files(contents)
    return [PublishedFile(path, contents[path]) for path in sorted(contents)]


def _texts(path: Path) -> Iterator[str]:
    """Yield what a table says besides images, a group of rows at a time.

    Raises:
        ValueError: If it is damaged, or no table of such a data set.
    """
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            check_columns(names)
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=[name for name in names if name != "image"])
                yield json.dumps(table.to_pylist(), ensure_ascii=False)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is no Parquet file that can be read: {error}") from error
