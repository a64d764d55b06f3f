# SPDX-License-Identifier: Apache-2.0
"""Layers of boxes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from geodit.pipelines.scenes.layers import Layer, Value

Box = tuple[float, float, float, float]
MakeLayer = Callable[..., Layer]


def ring_of(box: Box) -> NDArray[np.float64]:
    """The corners of `(left, bottom, right, top)`: upper left, lower left, lower right, upper right."""
    left, bottom, right, top = box
    return np.array([[left, top], [left, bottom], [right, bottom], [right, top]], dtype=np.float64)


@pytest.fixture
def make_layer() -> MakeLayer:
    def make(
        crs: str | None,
        boxes: Sequence[Box],
        columns: Mapping[str, Sequence[Value]] | None = None,
        name: str = "objects",
    ) -> Layer:
        return Layer(name, crs, tuple(ring_of(box) for box in boxes), columns or {})

    return make


@pytest.fixture
def ships() -> Layer:
    """Three ships in UTM zone 31, with each type of column."""
    boxes = [(590000.0, 5754900.0, 590010.5, 5754950.0), (590100.0, 5754000.0, 590120.0, 5754040.25)]
    boxes.append((591000.0, 5753000.0, 591001.0, 5753001.0))
    columns: dict[str, Sequence[Value]] = {
        "label": ["ship", "Fähre", None],
        "score": [0.5, 1, 0.25],
        "tile": [0, None, 2**40],
        "well_formed": [True, False, None],
        "model_revision": ["main", "main", "main"],
        "model_resolution": [0.5, None, 0.5],
    }
    return Layer("objects", "EPSG:32631", tuple(ring_of(box) for box in boxes), columns)


@pytest.fixture
def tiles() -> Layer:
    boxes = [(590000.0, 5754000.0, 590100.0, 5754100.0)]
    return Layer("tiles", "EPSG:32631", tuple(ring_of(box) for box in boxes), {"state": ["unparsed"]})
