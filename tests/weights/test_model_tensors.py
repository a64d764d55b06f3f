# SPDX-License-Identifier: Apache-2.0
"""The names of the parts are those of the model, and every tensor belongs to one."""

import pytest

from geodit.weights import model_tensors
from geodit.weights.model_tensors import MODEL_PARTS, part_of, tensor_shapes
from tiny_models import build_config


@pytest.fixture(scope="module")
def names():
    return list(tensor_shapes(build_config(vision_aspect_ratio="anyres_max_4")))


def test_every_tensor_belongs_to_a_part_and_every_part_has_tensors(names):
    assert {part_of(name) for name in names} == set(MODEL_PARTS)


@pytest.mark.parametrize(
    "constant", [name for name in model_tensors.__all__ if name.isupper() and name != "MODEL_PARTS"]
)
def test_each_name_occurs_in_the_model(names, constant):
    value = getattr(model_tensors, constant)
    if constant.endswith("_PREFIX"):
        assert any(name.startswith(value) for name in names)
    elif "." in value:
        assert value in names
    else:
        assert any(value in name.split(".") for name in names)


def test_a_tensor_of_an_adapter_belongs_to_the_part_that_it_changes():
    assert (
        part_of("base_model.model.model.vision_tower.encoder.layers.0.mlp.fc1.lora_A.default.weight") == "vision_tower"
    )
    assert part_of("base_model.model.prompt.weight") is None


def test_a_tied_output_projection_is_not_in_the_checkpoint(names):
    tied = build_config(vision_aspect_ratio="anyres_max_4", tie_word_embeddings=True)
    assert set(names) - set(tensor_shapes(tied)) == {model_tensors.OUTPUT_PROJECTION_WEIGHT}
