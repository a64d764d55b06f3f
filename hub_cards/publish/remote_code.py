# SPDX-License-Identifier: Apache-2.0
"""Find the code to publish with a checkpoint, and remove it from one.

`save_pretrained` writes the code by itself. An earlier version may have written a folder without it, and the
checkpoint that is bundled with this package needs no second copy of its sources.
"""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path

from geodit.configuration.files_geodit import write_atomically
from geodit.configuration.remote_code_geodit import (
    CODE_FILES,
    CONFIG_AUTO_MAP,
    PROCESSOR_AUTO_MAP,
    read_remote_code,
)
from geodit.hub_cards.card.architecture import read_architecture
from geodit.hub_cards.card.checkpoint_files import has_remote_code, read_fields

__all__ = ["code_files", "remove_remote_code"]

_AUTO_MAPS = {"config.json": CONFIG_AUTO_MAP, "processor_config.json": PROCESSOR_AUTO_MAP}


def code_files(checkpoint_dir: str | PathLike[str]) -> dict[str, Path | bytes]:
    """Return the code that loads a checkpoint, and the configurations that name it; nothing is written.

    Args:
        checkpoint_dir: Folder of a checkpoint, or of an adapter with a processor.

    Returns:
        By name, the files of the folder, or the content that `save_pretrained` would write where it lacks them.
        Without a configuration that could name the code there is none.

    Raises:
        ValueError: If a configuration cannot be read.
    """
    folder = Path(checkpoint_dir)
    configurations: dict[str, Path | bytes] = {
        name: folder / name if read_fields(folder / name).mapping().get("auto_map") == _AUTO_MAPS[name] else content
        for name, content in _with_auto_maps(folder, present=True).items()
    }
    if not configurations:
        return {}
    if has_remote_code(folder):
        return {**{name: folder / name for name in CODE_FILES}, **configurations}
    return {**read_remote_code(), **configurations}


def remove_remote_code(checkpoint_dir: str | PathLike[str]) -> None:
    """Take the code out of a checkpoint, which then loads where this package is installed and nowhere else.

    Args:
        checkpoint_dir: Folder of the checkpoint.

    Raises:
        ValueError: If the folder is not that of a GeoDiT checkpoint, or a file of it is damaged. Nothing is removed
            then.
    """
    folder = Path(checkpoint_dir)
    read_architecture(folder)  # refuses what is not a GeoDiT checkpoint
    for name, content in _with_auto_maps(folder, present=False).items():
        write_atomically(folder / name, content)
    for name in CODE_FILES:
        (folder / name).unlink(missing_ok=True)


def _with_auto_maps(folder: Path, present: bool) -> dict[str, bytes]:
    """Return the configurations that are there, with or without the names of the classes to load."""
    documents = {name: read_fields(folder / name).mapping() for name in _AUTO_MAPS if (folder / name).is_file()}
    for name, document in documents.items():
        document.pop("auto_map", None)
        if present:
            document["auto_map"] = _AUTO_MAPS[name]
    # As Transformers writes it.
    return {
        name: (json.dumps(document, indent=2, sort_keys=True) + "\n").encode() for name, document in documents.items()
    }
