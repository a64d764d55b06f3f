# SPDX-License-Identifier: Apache-2.0
"""Objects, answers and tiles as layers, and what results say of the model."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from geodit.data.windows import Window
from geodit.pipelines.scenes.objects import ModelName, SceneObject, found_layer, tiles_layer, window_box
from geodit.pipelines.tile_answers import QueryAnswer, TileAnswers
from geodit.pipelines.tiling import Detection

TILE = Window(10, 20, 30, 40)


def answer_of(text: str, probabilities: dict[str, float] | None) -> SceneObject:
    return SceneObject((0.0, 0.0, 8.0, 8.0), text, 0.5, "Is there water?", text, 0, True, probabilities)


def test_a_window_is_a_box() -> None:
    assert window_box(TILE) == (20.0, 10.0, 60.0, 40.0)


@pytest.mark.parametrize(
    ("choices", "names"),
    [
        (("yes", "no"), ["p_yes", "p_no"]),
        (("dense residential", "Baseball-Field"), ["p_dense_residential", "p_baseball_field"]),
        (("a b", "a-b", "A b"), ["p_a_b", "p_a_b_2", "p_a_b_3"]),
        (("воды", "нет"), ["p_", "p__2"]),
    ],
)
def test_each_choice_is_a_column_with_a_plain_name(choices: tuple[str, ...], names: list[str]) -> None:
    given = {choice: 1.0 / (number + 2) for number, choice in enumerate(choices)}
    layer = found_layer("answers", [answer_of(choices[0], given)], "a.tif", None, ModelName("m"), choices)
    assert [name for name in layer.columns if name.startswith("p_")] == names
    assert [layer.values(name) for name in names] == [[value] for value in given.values()]


def test_an_answer_that_is_no_choice_has_no_probabilities() -> None:
    layer = found_layer("answers", [answer_of("?", None)], "a.tif", None, ModelName("m"), ("yes", "no"))
    assert layer.values("p_yes") == layer.values("p_no") == [None]


def test_a_layer_of_nothing_has_all_columns() -> None:
    layer = found_layer("objects", [], "a.tif", None, ModelName("m"))
    assert len(layer) == 0
    assert layer.types["score"] is float
    assert layer.types["tile"] is int


def test_each_tile_has_a_row_a_query_or_one_that_says_why_not() -> None:
    detection = Detection((1.0, 1.0, 2.0, 2.0), "ship", 0.9)
    answers = (
        QueryAnswer("ship", "<loc_1>", False, 0.5, (detection,), attempts=2),
        QueryAnswer("tank", "none", True, 0.5),
    )
    tiles = [
        TileAnswers(12, TILE, "answered", answers),
        TileAnswers(13, TILE, "no data"),
        TileAnswers(14, TILE, "unreadable", error="block 3 is damaged"),
    ]
    layer = tiles_layer(tiles, ("ship", "tank"), "a.tif", None)
    assert layer.values("tile") == [0, 0, 1, 2]
    assert layer.values("query") == ["ship", "tank", None, None]
    assert layer.values("status") == ["answered", "answered", "no data", "unreadable"]
    assert layer.values("parsed") == [False, True, None, None]
    assert layer.values("attempts") == [2, 1, 0, 0]
    assert layer.values("boxes") == [1, 0, 0, 0]
    assert layer.values("text") == ["<loc_1>", "none", None, None]
    assert layer.values("error") == [None, None, None, "block 3 is damaged"]
    assert layer.rings[0].min(axis=0).tolist() == [20.0, 10.0]
    assert layer.rings[0].max(axis=0).tolist() == [60.0, 40.0]


def test_a_model_is_told_from_itself_after_more_training(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"0123")
    (tmp_path / "notes.txt").write_text("no weights")
    name = ModelName("my-model", "abc", (str(tmp_path),))
    before = name.fingerprint()
    assert before["weights"] == [[str(weights), 4, weights.stat().st_mtime_ns]]
    (tmp_path / "notes.txt").write_text("still none")
    assert name.fingerprint() == before
    os.utime(weights, ns=(0, 0))
    assert name.fingerprint() != before
    assert ModelName("my-model", "def", (str(tmp_path),)).fingerprint() != name.fingerprint()
