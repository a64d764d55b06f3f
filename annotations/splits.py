# SPDX-License-Identifier: Apache-2.0
"""Share tiles out among splits so that no split sees what another one is tested on.

Tiles of an image, or of a group of images, stay together. Where one image is to be in several splits, they are shared
out by area: by square blocks, of the map if images have a place on Earth, else of each image. A tile belongs to the
block in which its middle lies, and is left out if it shares pixels with a tile of another split, or lies within a
margin of one. Of two such tiles that of the larger split is left out, so that what is scarce is kept. Images that are
to be in a split whatever happens are given as such; the others are shared out among the other splits.
"""

from __future__ import annotations

import hashlib
import math
import posixpath
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from geodit.annotations.tiles import LabeledTile

__all__ = ["SplitAssignment", "SplitBy", "SplitReport", "assign_splits", "check_shares"]

SplitBy = Literal["image", "group", "area", "source"]

_Key = TypeVar("_Key", bound=Hashable)

# A block is so many times as long as the tile in the middle of all, ordered by size.
_TILES_PER_BLOCK = 4
_SUM_TOLERANCE = 1e-6


@dataclass(frozen=True)
class SplitReport:
    """What splits hold, and what was left out for them.

    Args:
        by: What was kept together.
        tiles: How many tiles each split has.
        images: How many images each split has tiles of.
        objects: How many objects of each class each split has.
        left_out: How many tiles are in no split, as they share pixels with another split or lie in its margin.
        shared_images: How many images have tiles in several splits: by area as asked for; else the source says so.
        block_size: Side of a block by area, in meters of the map or pixels; `None` if not by area.
        margin: In the same units.
        on_map: Whether these are meters.
    """

    by: SplitBy
    tiles: Mapping[str, int]
    images: Mapping[str, int]
    objects: Mapping[str, Mapping[str, int]]
    left_out: int = 0
    shared_images: int = 0
    block_size: float | None = None
    margin: float = 0.0
    on_map: bool = False

    def lines(self) -> list[str]:
        """Return the report as text."""
        how = f"Split by {self.by}"
        if self.block_size is not None:
            unit = "m" if self.on_map else "pixels"
            how += f" in blocks of {self.block_size:,.6g} {unit} with a margin of {self.margin:,.6g} {unit}"
        lines = [how + "."]
        for name, count in self.tiles.items():
            objects = "".join(f", {label}: {number:,}" for label, number in self.objects[name].items())
            lines.append(f"{name}: tiles: {count:,}, images: {self.images[name]:,}{objects}")
        if self.left_out:
            lines.append(f"tiles left out, as they share pixels with another split or are too near: {self.left_out:,}")
        if self.shared_images:
            why = "in parts that share no pixel" if self.by == "area" else "as the source says, so that they leak"
            lines.append(f"images in several splits, {why}: {self.shared_images:,}")
        return lines


@dataclass(frozen=True)
class SplitAssignment:
    """The splits of tiles.

    Args:
        splits: The split of each tile; `None` if it is left out.
        report: What they hold.
    """

    splits: tuple[str | None, ...]
    report: SplitReport


def assign_splits(
    tiles: Sequence[LabeledTile],
    shares: Mapping[str, float],
    *,
    by: SplitBy = "image",
    seed: int = 0,
    block_size: float | None = None,
    margin: float = 0.0,
    held_out: Mapping[str, str] | None = None,
) -> SplitAssignment:
    """Share tiles out among splits.

    The result depends on the seed and on what tiles there are, not on their order. Shares are met as nearly as what
    has to stay together allows, and no split is empty.

    Args:
        tiles: The tiles of all images.
        shares: Share of the tiles that each split gets; they add up to 1. Not used by `"source"`.
        by: What stays together: `"image"`, all tiles of an image; `"group"`, all of a group, and of an image;
            `"area"`, all of a block. `"source"` keeps the splits that the source of the labels states.
        seed: Which of the splits that are as good is taken.
        block_size: Side of a block by area: in meters if images have a place on Earth, else in pixels of the image. By
            default four times that of the median tile.
        margin: By area, how far tiles of different splits are from each other at least, in the same units.
        held_out: The split of some images. Their splits get no other tiles, and shares are those of the rest. By
            group, all of the group goes with an image.

    Raises:
        ModuleNotFoundError: By area, if the extra `geodit[geo]` is not installed.
        ValueError: If a value is out of its range, there are fewer images, groups or blocks than splits, a margin
            leaves a split empty, tiles cannot be put on one map, by source a tile has no split, or what has to stay
            together is held out for two splits.
    """
    if by not in get_args(SplitBy):
        raise ValueError(f"by must be one of {', '.join(get_args(SplitBy))}, got {by!r}")
    if not tiles:
        raise ValueError("there are no tiles to split")
    if by == "source":
        if held_out:
            raise ValueError('held_out images are for splits that are made, not for by="source"')
        return _by_source(tiles)
    check_shares(shares)
    fixed = [(held_out or {}).get(tile.image) for tile in tiles]
    if any(fixed):
        shares = _without(shares, {name for name in fixed if name})
    if by == "area":
        return _by_area(tiles, shares, seed, block_size, margin, fixed)
    if block_size is not None or margin:
        raise ValueError(f'block_size and margin are for by="area", not by="{by}"')
    keys = _group_keys(tiles) if by == "group" else [posixpath.normpath(tile.image) for tile in tiles]
    fixed_of = _fixed_keys(keys, fixed, by)
    split_of = fixed_of | _share_out(Counter(key for key in keys if key not in fixed_of), shares, seed, by)
    splits = tuple(split_of[key] for key in keys)
    names = [name for name in shares if shares[name] or name in fixed_of.values()]
    return SplitAssignment(splits, _report(tiles, splits, names, by))


def _without(shares: Mapping[str, float], fixed: set[str]) -> dict[str, float]:
    """Return the shares of the splits that are not given by their images, which then add up to 1."""
    rest = sum(share for name, share in shares.items() if name not in fixed)
    others = {name: share / rest if rest else 0.0 for name, share in shares.items() if name not in fixed}
    return others | dict.fromkeys(sorted(fixed), 0.0)


def _fixed_keys(keys: Sequence[str], fixed: Sequence[str | None], by: SplitBy) -> dict[str, str]:
    """Return the split of each key that has a tile whose split is given.

    Raises:
        ValueError: If one has tiles of two.
    """
    fixed_of: dict[str, str] = {}
    for key, name in zip(keys, fixed, strict=True):
        if name is not None and fixed_of.setdefault(key, name) != name:
            raise ValueError(f"images of one {by} are held out for {fixed_of[key]} and for {name}: choose one")
    return fixed_of


def check_shares(shares: Mapping[str, float]) -> None:
    """Refuse shares that do not add up to 1.

    Raises:
        ValueError: If they do not, or one is out of its range.
    """
    total = sum(shares.values())
    if not all(0.0 <= share <= 1.0 for share in shares.values()) or not abs(total - 1.0) <= _SUM_TOLERANCE:
        raise ValueError(f"shares must be from 0 to 1 and add up to 1, got {dict(shares)}, which add up to {total:g}")


def _by_source(tiles: Sequence[LabeledTile]) -> SplitAssignment:
    without = [tile for tile in tiles if not tile.split]
    if without:
        raise ValueError(
            f"of {len(tiles):,} tiles {len(without):,}, such as of {without[0].image}, have no split by their source: "
            "split all by image, group or area"
        )
    splits = tuple(tile.split for tile in tiles)
    return SplitAssignment(splits, _report(tiles, splits, sorted(set(splits)), "source"))


def _by_area(
    tiles: Sequence[LabeledTile],
    shares: Mapping[str, float],
    seed: int,
    block_size: float | None,
    margin: float,
    fixed: Sequence[str | None],
) -> SplitAssignment:
    import shapely

    from geodit.annotations.footprints import locate_tiles

    if not 0.0 <= margin < math.inf:
        raise ValueError(f"margin must be a number from 0 on, got {margin}")
    footprints = locate_tiles(tiles)
    bounds = shapely.bounds(footprints.shapes)
    sides = np.maximum(bounds[:, 2] - bounds[:, 0], bounds[:, 3] - bounds[:, 1])
    block_size = _TILES_PER_BLOCK * float(np.median(sides)) if block_size is None else block_size
    if not 0.0 < block_size < math.inf:
        raise ValueError(f"block_size must be a number above 0, got {block_size}")
    # Blocks begin where tiles do: at the upper left corner, which on a map has the largest y.
    if footprints.on_map:
        bounds = bounds[:, [0, 3, 2, 1]] * [1, -1, 1, -1]
    keys: list[tuple[str, int, int]] = [("", 0, 0)] * len(tiles)
    for members in footprints.members():
        frame = "" if footprints.on_map else posixpath.normpath(tiles[int(members[0])].image)
        middles = (bounds[members, :2] + bounds[members, 2:]) / 2
        blocks = np.floor((middles - bounds[members, :2].min(axis=0)) / block_size)
        for index, (column, row) in zip(members.tolist(), blocks.tolist(), strict=True):
            keys[index] = (frame, int(column), int(row))
    split_of = _share_out(
        Counter(key for key, name in zip(keys, fixed, strict=True) if name is None), shares, seed, "area"
    )
    # What is larger than a block, such as a whole image with its caption, gives way to all others.
    large = sides > block_size * (1.0 + _SUM_TOLERANCE)
    planned = [split_of[key] if name is None else name for key, name in zip(keys, fixed, strict=True)]
    splits = _leave_out_near(footprints.shapes, footprints.members(), planned, shares, large, margin)
    names = [name for name in shares if shares[name] or name in fixed]
    if empty := set(names) - set(splits):
        raise ValueError(
            f"no tile is left for {', '.join(sorted(empty))}: all share pixels with another split or lie within "
            f"{margin:g} of it; choose a larger block_size than {block_size:g}, or a smaller margin"
        )
    report = replace(
        _report(tiles, splits, names, "area"), block_size=block_size, margin=margin, on_map=footprints.on_map
    )
    return SplitAssignment(splits, report)


def _leave_out_near(
    shapes: NDArray[np.object_],
    frames: Sequence[NDArray[np.intp]],
    splits: Sequence[str],
    shares: Mapping[str, float],
    large: NDArray[np.bool_],
    margin: float,
) -> tuple[str | None, ...]:
    """Return the splits, without those of tiles that are too near to one of another split that is kept."""
    from geodit.annotations.footprints import are_near

    # The smallest split first, of equal ones the last.
    places = {name: place for place, name in enumerate(shares)}
    order = sorted(shares, key=lambda name: (shares[name], -places[name]))
    result: list[str | None] = [None] * len(splits)
    for members in frames:
        names = np.array([splits[index] for index in members.tolist()])
        kept = np.zeros(len(members), dtype=bool)
        for is_large in (False, True):
            for name in order:
                (now,) = np.nonzero((names == name) & (large[members] == is_large))
                others = shapes[members[kept & (names != name)]]
                kept[now] = ~are_near(shapes[members[now]], others, margin)
        for index in members[kept].tolist():
            result[index] = splits[index]
    return tuple(result)


def _group_keys(tiles: Sequence[LabeledTile]) -> list[str]:
    """Return what each tile stays together with: tiles that share an image or a group have the same key."""
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def root(node: tuple[str, str]) -> tuple[str, str]:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    nodes = [(("image", posixpath.normpath(tile.image)), ("group", tile.group or tile.image)) for tile in tiles]
    for image, group in nodes:
        first, second = sorted((root(image), root(group)))
        parent[second] = first  # the least name, whatever the order of tiles
    return ["\0".join(root(image)) for image, _ in nodes]


def _share_out(weights: Mapping[_Key, int], shares: Mapping[str, float], seed: int, by: SplitBy) -> dict[_Key, str]:
    """Give each key to the split that lacks most, the heaviest first."""
    names = [name for name in shares if shares[name]]
    if weights and not names:
        raise ValueError("images are held out for every split that has a share: none is left for the other images")
    if len(weights) < len(names):
        kind = "block" if by == "area" else by
        count = f"is 1 {kind}" if len(weights) == 1 else f"are {len(weights)} {kind}s"
        hint = (
            "choose a smaller --block-size (block_size)"
            if by == "area"
            else "split images into blocks by --split-by area (by), or give a split no share by --shares (shares)"
        )
        raise ValueError(f"there {count} for {len(names)} splits: {hint}")
    total = sum(weights.values())
    lacking = {name: shares[name] * total for name in names}
    empty = dict.fromkeys(names)
    split_of: dict[_Key, str] = {}
    ordered = sorted(weights, key=lambda key: (-weights[key], _rank(seed, key)))
    for place, key in enumerate(ordered):
        # So that none stays empty.
        open_to = list(empty) if len(ordered) - place <= len(empty) else names
        name = max(open_to, key=lambda one: lacking[one])
        split_of[key] = name
        lacking[name] -= weights[key]
        empty.pop(name, None)
    return split_of


def _rank(seed: int, key: Hashable) -> bytes:
    return hashlib.sha256(f"{seed} {key!r}".encode()).digest()


def _report(
    tiles: Sequence[LabeledTile], splits: Sequence[str | None], names: Sequence[str], by: SplitBy
) -> SplitReport:
    counts = Counter(splits)
    images: dict[str, set[str]] = {name: set() for name in names}
    objects: dict[str, Counter[str]] = {name: Counter() for name in names}
    for tile, name in zip(tiles, splits, strict=True):
        if name is not None:
            images[name].add(posixpath.normpath(tile.image))
            objects[name].update(one.label for one in tile.objects)
    places = Counter(image for some in images.values() for image in some)
    return SplitReport(
        by=by,
        tiles={name: counts[name] for name in names},
        images={name: len(images[name]) for name in names},
        objects={name: dict(sorted(objects[name].items())) for name in names},
        left_out=counts[None],
        shared_images=sum(number > 1 for number in places.values()),
    )
