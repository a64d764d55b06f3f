# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geodit.speed.workloads import Workload, make_inputs, workload_grid


@pytest.mark.parametrize(("prefix", "image", "prompt"), [(761, 729, 32), (256, 225, 31), (17, 1, 16)])
def test_a_prefix_is_an_image_and_a_prompt(prefix, image, prompt):
    workload = Workload(prefix, 16, 8)
    assert (workload.num_image_tokens, workload.prompt_length) == (image, prompt)


def test_the_schedule_is_linear_and_its_first_steps_take_the_remainder():
    assert Workload(48, canvas_length=11, steps=4).masked_per_pass == (11, 8, 5, 2)


@given(st.integers(1, 40), st.integers(1, 40))
def test_every_step_commits_something_until_nothing_is_left(canvas_length, steps):
    masked = Workload(48, canvas_length, steps).masked_per_pass
    assert masked[0] == canvas_length
    assert len(masked) == min(canvas_length, steps)
    committed = [before - after for before, after in zip(masked, [*masked[1:], 0], strict=True)]
    assert min(committed) >= 1
    assert max(committed) - min(committed) <= 1
    assert committed == sorted(committed, reverse=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prefix_length": 16}, "leaves none for an image"),
        ({"canvas_length": 0}, "canvas_length must be at least 1"),
        ({"dtype": "float16"}, "dtype must be one of float32, bfloat16, but is 'float16'"),
        ({"batch_size": 4, "questions": 10}, "batch_size must be 1"),
    ],
)
def test_what_cannot_be_asked_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Workload(**{"prefix_length": 48, "canvas_length": 8, "steps": 4, **changes})


class TestGrid:
    def test_points_that_share_weights_follow_each_other(self):
        grid = workload_grid(
            prefix_lengths=[256, 761], canvas_lengths=[8, 16], steps=[4, 8], dtypes=["float32", "bfloat16"]
        )
        assert len(grid) == len(set(grid)) == 16
        weights = [(workload.dtype, workload.prefix_length) for workload in grid]
        assert len([index for index in range(1, 16) if weights[index] != weights[index - 1]]) == 3

    def test_several_questions_are_asked_of_single_images_only(self):
        grid = workload_grid(prefix_lengths=[48], canvas_lengths=[8], steps=[4], batch_sizes=[1, 4], questions=[1, 10])
        assert [(workload.batch_size, workload.questions) for workload in grid] == [(1, 1), (4, 1), (1, 10)]

    def test_a_value_given_twice_is_measured_once(self):
        assert len(workload_grid(prefix_lengths=[48, 48], canvas_lengths=[8], steps=[4])) == 1

    def test_a_grid_without_points_is_refused(self):
        with pytest.raises(ValueError, match="nothing to measure"):
            workload_grid(prefix_lengths=[48], canvas_lengths=[8], steps=[4], batch_sizes=[4], questions=[10])


class TestInputs:
    def test_a_row_is_an_image_and_words(self, model, inputs):
        image = inputs.input_ids == model.config.image_token_id
        assert inputs.input_ids.shape == (2, 21)
        assert image[:, :4].all()
        assert not image[:, 4:].any()
        assert not (inputs.input_ids == model.config.mask_token_id).any()
        assert inputs.pixel_values.shape == (2, 3, 8, 8)
        assert not torch.equal(*inputs.pixel_values)

    def test_questions_of_an_image_share_it_and_differ(self, question_inputs):
        assert question_inputs.pixel_values.shape == (1, 3, 8, 8)
        assert question_inputs.pixel_values_of_rows.shape == (3, 3, 8, 8)
        assert len(question_inputs.input_ids.unique(dim=0)) == 3
        alone = question_inputs.of_row(2)
        assert torch.equal(alone.input_ids, question_inputs.input_ids[2:])
        assert torch.equal(alone.pixel_values, question_inputs.pixel_values)

    def test_they_depend_on_the_seed_alone(self, model, inputs, question_inputs):
        workload = Workload(prefix_length=21, canvas_length=8, steps=3, batch_size=2, dtype="bfloat16")
        again = make_inputs(model.config, workload, torch.device("cpu"))
        assert torch.equal(again.input_ids, inputs.input_ids)
        assert torch.equal(again.pixel_values, inputs.pixel_values)
        other = make_inputs(model.config, workload, torch.device("cpu"), seed=1)
        assert not torch.equal(other.input_ids, inputs.input_ids)
