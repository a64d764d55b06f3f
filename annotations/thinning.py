# SPDX-License-Identifier: Apache-2.0
"""Leave tiles out of splits that would weigh too much there.

Most tiles of a raster show nothing of interest. A model that is trained on all of them learns to answer "none", and so
training keeps a share of them. Validation and test keep all, as the world has them, but no pixel twice: of tiles that
overlap only those count that share nothing with one before, so that intervals over tiles are not too narrow.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from geodit.annotations.tiles import LabeledTile
from geodit.data.windows import Window

__all__ = ["without_empty", "without_repeats"]

_TRAINING = "train"


def without_empty(
    tiles: Sequence[LabeledTile], splits: Sequence[str | None], share: float, seed: int
) -> tuple[str | None, ...]:
    """Return the splits of tiles, with fewer tiles in training that show no object.

    Tiles with a text, and those of which not all objects are known, are not empty.

    Args:
        tiles: The tiles.
        splits: The split of each, `None` if it is in none.
        share: Of the training tiles that may be empty, from 0 to 1. If all tiles are, all are kept.
        seed: Which of them are kept.
    """
    training = [index for index, split in enumerate(splits) if split == _TRAINING]
    empty = [index for index in training if _is_empty(tiles[index])]
    others = len(training) - len(empty)
    if share >= 1.0 or not others:
        return tuple(splits)
    kept = int(share / (1.0 - share) * others + 1e-9)
    if len(empty) <= kept:
        return tuple(splits)
    dropped = set(random.Random(f"empty tiles {seed}").sample(empty, len(empty) - kept))
    return tuple(None if index in dropped else split for index, split in enumerate(splits))


def without_repeats(tiles: Sequence[LabeledTile], splits: Sequence[str | None]) -> tuple[str | None, ...]:
    """Return the splits of tiles, without those of validation and test that share pixels with one before.

    A whole image whose text is asked for beside its tiles stays.

    Args:
        tiles: The tiles, those of an image in row order.
        splits: The split of each, `None` if it is in none.
    """
    kept: defaultdict[tuple[str, str], list[Window]] = defaultdict(list)
    result = list(splits)
    for index, (tile, split) in enumerate(zip(tiles, splits, strict=True)):
        if split is None or split == _TRAINING or tile.only_text:
            continue
        before = kept[split, tile.image]
        if any(_share_pixels(tile.window, window) for window in before):
            result[index] = None
        else:
            before.append(tile.window)
    return tuple(result)


def _is_empty(tile: LabeledTile) -> bool:
    has_text = bool(tile.captions or tile.answers or tile.category)
    return not (tile.objects or tile.partial_labels or tile.cut_labels or has_text)


def _share_pixels(one: Window, other: Window) -> bool:
    return (
        one.left < other.left + other.width
        and other.left < one.left + one.width
        and one.top < other.top + other.height
        and other.top < one.top + one.height
    )
