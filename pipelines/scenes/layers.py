# SPDX-License-Identifier: Apache-2.0
"""Layers of a map: polygons with properties, before a file format is chosen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["RESERVED_COLUMNS", "ColumnType", "Layer", "Value"]

Value: TypeAlias = str | float | int | bool | None
"""A property of a polygon."""

ColumnType: TypeAlias = type[str] | type[float] | type[int] | type[bool]
"""What the values of a column are, apart from None."""

RESERVED_COLUMNS = frozenset({"crs", "fid", "geom", "geometry", "ogc_fid", "reference_system", "wkt"})
"""Names that files and data frames have for something of their own, in lower case."""


@dataclass(frozen=True, eq=False)
class Layer:
    """Polygons with the same properties, in one reference system.

    Args:
        name: Name of the layer, such as `"objects"` or `"tiles"`.
        crs: Reference system, as an authority code or WKT; None if `rings` are in pixels of the image.
        rings: Outer ring (N, 2) of each polygon with N >= 3, as x and y in `crs` (longitude before latitude). Rings
            are open: the first point is not repeated at the end.
        columns: Values by column, one per ring. Names are unique whatever their case, and none is in
            `RESERVED_COLUMNS`. Numbers are finite; None stands for a missing value.
        types: Type of the values of a column. Types that are not given are taken from the values: float if a column
            has both `int` and `float`, `str` if it has only missing values. Give the types of layers that may be
            empty, so that their files have the same fields as those of other layers.

    Raises:
        ValueError: If a ring, a column or a type does not fit this description.
    """

    name: str
    crs: str | None
    rings: tuple[NDArray[np.float64], ...]
    columns: Mapping[str, Sequence[Value]]
    types: Mapping[str, ColumnType] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the layer and fill in the types that were not given."""
        for index, ring in enumerate(self.rings):
            if ring.ndim != 2 or ring.shape[0] < 3 or ring.shape[1] != 2:
                raise ValueError(f"ring {index} of layer {self.name} has shape {ring.shape}: give (N, 2) with N >= 3")
            if not np.isfinite(ring).all():
                raise ValueError(f"ring {index} of layer {self.name} has coordinates that are not finite")
        _check_names(self.name, list(self.columns))
        if unknown := sorted(set(self.types) - set(self.columns)):
            raise ValueError(f"layer {self.name} has types for columns that it does not have: {', '.join(unknown)}")
        types: dict[str, ColumnType] = {}
        for name, values in self.columns.items():
            if len(values) != len(self.rings):
                raise ValueError(
                    f"column {name} of layer {self.name} has {len(values)} values for {len(self.rings)} rings: "
                    "give one per ring"
                )
            types[name] = _column_type(f"column {name} of layer {self.name}", values, self.types.get(name))
        object.__setattr__(self, "types", types)

    def __len__(self) -> int:
        """Return the number of polygons."""
        return len(self.rings)

    def values(self, name: str) -> list[Value]:
        """Return the values of a column; whole numbers of a float column become floats."""
        column = self.columns[name]
        if self.types[name] is float:
            return [None if value is None else float(value) for value in column]
        return list(column)

    def take(self, indices: Sequence[int]) -> Layer:
        """Return a layer with some of the polygons, in the order of `indices`."""
        return Layer(
            self.name,
            self.crs,
            tuple(self.rings[index] for index in indices),
            {name: [values[index] for index in indices] for name, values in self.columns.items()},
            self.types,
        )

    @staticmethod
    def concatenate(layers: Sequence[Layer]) -> Layer:
        """Join layers with the same name, columns and reference system, such as those of several files.

        `geodit.pipelines.scenes.geography.concatenate_in_wgs84` joins layers in different reference systems.

        Raises:
            ValueError: If there are no layers, or they do not agree.
        """
        if not layers:
            raise ValueError("there are no layers to concatenate: give at least one")
        first = layers[0]
        for layer in layers[1:]:
            if layer.name != first.name or list(layer.columns) != list(first.columns):
                raise ValueError(
                    f"layers to concatenate must have the same name and columns, got {first.name} "
                    f"({', '.join(first.columns)}) and {layer.name} ({', '.join(layer.columns)})"
                )
            if layer.crs != first.crs:
                raise ValueError(
                    f"layers to concatenate must have the same reference system, got {first.crs} and {layer.crs}: "
                    "join them in WGS 84"
                )
        return Layer(
            first.name,
            first.crs,
            tuple(ring for layer in layers for ring in layer.rings),
            {name: [value for layer in layers for value in layer.columns[name]] for name in first.columns},
            {name: _common_type(name, layers) for name in first.columns},
        )


def _check_names(layer: str, names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        lowered = name.lower()
        if not name or lowered in RESERVED_COLUMNS:
            allowed = f"any name but {', '.join(sorted(RESERVED_COLUMNS))} or an empty one"
            raise ValueError(f"layer {layer} has a column named {name!r}: give {allowed}")
        if lowered in seen:
            raise ValueError(f"layer {layer} has two columns named {name!r}, apart from case: give unique names")
        seen.add(lowered)


def _column_type(column: str, values: Sequence[Value], given: ColumnType | None) -> ColumnType:
    """Return the type of a column after checking each value of it."""
    found: set[ColumnType] = set()
    for value in values:
        if value is None:
            continue
        kind = next((kind for kind in (bool, int, float, str) if isinstance(value, kind)), None)
        if kind is None:
            raise ValueError(
                f"{column} has a value of type {type(value).__name__}: give str, float, int, bool or None"
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{column} has the value {value}: give finite numbers, or None for a missing value")
        if kind is int and not -(2**63) <= int(value) < 2**63:
            raise ValueError(f"{column} has the value {value}: give integers of 64 bits")
        found.add(kind)
    if found == {int, float} or (given is float and found == {int}):
        found = {float}
    wanted = {given} if given else found
    if len(found) > 1 or not found <= wanted:
        names = " and ".join(sorted(kind.__name__ for kind in found))
        expected = given.__name__ if given else "one type"
        raise ValueError(f"{column} has values of type {names}: give {expected}, and None for missing values")
    return next(iter(wanted), str)


def _common_type(column: str, layers: Sequence[Layer]) -> ColumnType:
    """Return the type of a column of several layers; those without a value in it have no say."""
    kinds = {layer.types[column] for layer in layers if any(value is not None for value in layer.columns[column])} or {
        layer.types[column] for layer in layers
    }
    if kinds == {int, float}:
        return float
    if len(kinds) > 1:
        names = " and ".join(sorted(kind.__name__ for kind in kinds))
        raise ValueError(f"column {column} has type {names} in layers to concatenate: give one type")
    return next(iter(kinds))
