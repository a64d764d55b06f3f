# SPDX-License-Identifier: Apache-2.0
"""Records as they are published: without the folders of who trained."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import yaml

from geodit.hub_cards.card.checkpoint_files import read_fields, read_recipe
from geodit.hub_cards.card.markdown import cut_paths
from geodit.hub_cards.card.recipe_table import public_recipe

__all__ = ["public_json", "public_recipe_file"]


def public_json(path: Path, fields: Iterable[str]) -> Path | bytes:
    """Write a JSON document with absolute paths cut to their last part.

    Args:
        path: The file.
        fields: Names of the fields, at the top, whose strings may be paths. All others stay as they are.

    Returns:
        `path` itself if there is nothing to change.

    Raises:
        ValueError: If the file is no JSON document.
    """
    document = read_fields(path).mapping()
    changed = document | {name: cut_paths(document[name]) for name in fields if name in document}
    if changed == document:
        return path
    return (json.dumps(changed, indent=2, ensure_ascii=False) + "\n").encode()


def public_recipe_file(path: Path) -> Path | bytes:
    """Return a recipe as [`public_recipe`] makes it; `path` itself if there is nothing to change.

    Raises:
        ValueError: If the file is no recipe.
    """
    recipe = read_recipe(path)
    changed = public_recipe(recipe)
    if changed == recipe:
        return path
    return yaml.safe_dump(changed, sort_keys=False, allow_unicode=True).encode()
