# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import pytest

from geodit.speed.models import count_parameters
from geodit.speed.shapes import SHAPES, get_shape, resize


@pytest.mark.parametrize(("name", "text_parameters"), [("0.3b", 293_102_592), ("8b", 8_015_581_184)])
def test_shapes_are_named_after_their_text_core(name, text_parameters):
    count = count_parameters(get_shape(name).config(729))
    assert count["text"] == text_parameters
    assert count["total"] == count["text"] + count["vision"] + count["projector"]


def test_the_number_of_image_tokens_is_that_of_the_tower():
    assert get_shape("0.3b").config(729).num_image_tokens == 729
    assert get_shape("0.3b").config(225).vision_config.image_size == 15 * 16


def test_no_answer_ends_before_its_canvas():
    config = get_shape("tiny").config(25)
    assert config.eos_token_id is None
    assert config.text_config.eos_token_id is None


def test_sizes_can_be_changed():
    shape = resize(get_shape("tiny"), num_hidden_layers=5, vocab_size=None)
    assert shape == replace(SHAPES["tiny"], name="tiny with num_hidden_layers 5", num_hidden_layers=5)
    assert resize(shape) is shape


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"hidden_size": 66, "num_attention_heads": 4}, "hidden_size=66 cannot be cut"),
        # Heads of odd width cannot be rotated.
        ({"hidden_size": 60, "num_attention_heads": 4}, "even width"),
        ({"vision_hidden_size": 33}, "vision_hidden_size=33"),
        ({"num_hidden_layers": 0}, "num_hidden_layers must be at least 1, but is 0"),
        ({"vocab_size": 3}, "vocab_size"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        resize(get_shape("tiny"), **sizes)


def test_an_unknown_name_is_answered_with_those_there_are():
    with pytest.raises(ValueError, match=r"no shape '70b'; there are tiny, 0\.3b, 8b"):
        get_shape("70b")


def test_patches_fill_a_square():
    with pytest.raises(ValueError, match="fill a square, but there are 24"):
        get_shape("tiny").config(24)
