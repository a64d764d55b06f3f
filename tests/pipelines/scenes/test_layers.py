# SPDX-License-Identifier: Apache-2.0
"""Layers say what is wrong with what they are made of."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from geodit.pipelines.scenes.layers import RESERVED_COLUMNS, Layer

SQUARE = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])


def test_types_come_from_the_values(ships):
    assert dict(ships.types) == {
        "label": str,
        "score": float,
        "tile": int,
        "well_formed": bool,
        "model_revision": str,
        "model_resolution": float,
    }
    assert ships.values("score") == [0.5, 1.0, 0.25]
    assert [type(value) for value in ships.values("score")] == [float] * 3
    assert ships.values("tile") == [0, None, 2**40]
    assert len(ships) == 3


def test_types_that_are_given_hold_without_values():
    layer = Layer("objects", None, (), {"score": [], "label": []}, {"score": float})
    assert dict(layer.types) == {"score": float, "label": str}
    assert len(layer) == 0


@pytest.mark.parametrize(
    ("ring", "message"),
    [
        (SQUARE[:2], r"ring 1 of layer objects has shape \(2, 2\): give \(N, 2\) with N >= 3"),
        (SQUARE.ravel(), r"ring 1 .* has shape \(8,\)"),
        (np.zeros((4, 3)), r"ring 1 .* has shape \(4, 3\)"),
        (SQUARE * np.nan, "ring 1 .* not finite"),
        (np.full((4, 2), np.inf), "ring 1 .* not finite"),
    ],
)
def test_rings_have_three_points_and_are_finite(ring, message):
    with pytest.raises(ValueError, match=message):
        Layer("objects", None, (SQUARE, ring), {})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a"], "column label of layer objects has 1 values for 2 rings"),
        (["a", 1], "values of type int and str: give one type"),
        ([True, 1], "values of type bool and int: give one type"),
        ([0.5, float("nan")], "the value nan: give finite numbers, or None"),
        ([float("-inf"), 0.5], "the value -inf"),
        ([2**63, 0], "integers of 64 bits"),
        ([np.float32(1), 0.5], "type float32: give str, float, int, bool or None"),
        ([[1], [2]], "type list"),
    ],
)
def test_columns_have_one_value_of_one_type_per_ring(values, message):
    with pytest.raises(ValueError, match=message):
        Layer("objects", None, (SQUARE, SQUARE), {"label": values})


@pytest.mark.parametrize("name", [*sorted(RESERVED_COLUMNS), "WKT", "Geometry", ""])
def test_names_of_the_formats_own_columns_are_refused(name):
    with pytest.raises(ValueError, match="has a column named"):
        Layer("objects", None, (SQUARE,), {name: ["a"]})


def test_names_differ_by_more_than_case():
    with pytest.raises(ValueError, match="two columns named 'Label', apart from case"):
        Layer("objects", None, (SQUARE,), {"label": ["a"], "Label": ["a"]})


def test_given_types_are_those_of_the_values():
    with pytest.raises(ValueError, match="values of type str: give float"):
        Layer("objects", None, (SQUARE,), {"score": ["high"]}, {"score": float})
    with pytest.raises(ValueError, match="values of type float: give int"):
        Layer("objects", None, (SQUARE,), {"tile": [0.5]}, {"tile": int})
    with pytest.raises(ValueError, match="types for columns that it does not have: tile"):
        Layer("objects", None, (SQUARE,), {}, {"tile": int})
    assert Layer("objects", None, (SQUARE,), {"score": [1]}, {"score": float}).values("score") == [1.0]


def test_layers_go_to_other_processes(ships):
    copy = pickle.loads(pickle.dumps(ships))  # noqa: S301
    assert (copy.name, copy.crs, copy.columns, copy.types) == (ships.name, ships.crs, ships.columns, ships.types)
    assert np.array_equal(copy.rings, ships.rings)


def test_some_of_the_polygons(ships):
    some = ships.take([2, 0])
    assert some.columns["label"] == [None, "ship"]
    assert np.array_equal(some.rings[1], ships.rings[0])
    assert some.types == ships.types
    assert ships.take([]).types == ships.types


class TestConcatenate:
    def test_keeps_order_and_types(self, ships):
        empty = ships.take([])
        joined = Layer.concatenate([empty, ships, ships.take([1])])
        assert len(joined) == 4
        assert joined.columns["label"] == ["ship", "Fähre", None, "Fähre"]
        assert np.array_equal(joined.rings[3], ships.rings[1])
        assert joined.types == ships.types
        assert Layer.concatenate([empty]).types == ships.types

    def test_integers_and_floats_are_floats(self):
        layers = [Layer("objects", None, (SQUARE,), {"score": [value]}) for value in (1, 0.5)]
        assert Layer.concatenate(layers).values("score") == [1.0, 0.5]

    def test_missing_values_have_any_type(self):
        layers = [Layer("objects", None, (SQUARE,), {"score": [value]}) for value in (None, 0.5)]
        assert Layer.concatenate(layers).values("score") == [None, 0.5]

    @pytest.mark.parametrize(
        ("other", "message"),
        [
            (Layer("tiles", "EPSG:32631", (), {"label": []}), "same name and columns"),
            (Layer("objects", "EPSG:32631", (), {"score": []}), "same name and columns"),
            (Layer("objects", "EPSG:32632", (), {"label": []}), "got EPSG:32631 and EPSG:32632: join them in WGS 84"),
            (Layer("objects", "EPSG:32631", (SQUARE,), {"label": [1]}), "column label has type int and str"),
        ],
    )
    def test_refuses_layers_that_do_not_agree(self, other, message):
        layer = Layer("objects", "EPSG:32631", (SQUARE,), {"label": ["ship"]})
        with pytest.raises(ValueError, match=message):
            Layer.concatenate([layer, other])

    def test_refuses_nothing(self):
        with pytest.raises(ValueError, match="there are no layers to concatenate"):
            Layer.concatenate([])
