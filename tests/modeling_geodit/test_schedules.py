# SPDX-License-Identifier: Apache-2.0
"""How a canvas is cut into blocks, and how many tokens a step must commit. B batch, N denoising steps."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from unrolled_schedule import tokens_per_step

from defined_environment import DEVICE
from geodit.configuration.generation_configuration_geodit import GeoDiTGenerationConfig
from geodit.modeling_geodit.decoding_geodit import Block, num_to_commit, plan_blocks


class TestNumberToCommit:
    def test_a_step_commits_an_even_share_of_what_is_left_rounded_up(self):
        count = num_to_commit(torch.tensor([16, 13, 3, 0], device=DEVICE), steps_left=5)
        assert count.dtype == torch.int64
        assert count.tolist() == [4, 3, 1, 0]

    def test_the_last_step_commits_all_that_is_left(self):
        assert num_to_commit(torch.tensor([7, 0], device=DEVICE), steps_left=1).tolist() == [7, 0]

    def test_the_remainder_goes_to_the_earliest_steps_of_each_row(self):
        schedule = tokens_per_step(torch.tensor([16, 13], device=DEVICE), steps=5)
        assert schedule.tolist() == [[4, 3, 3, 3, 3], [3, 3, 3, 2, 2]]

    def test_with_more_steps_than_tokens_the_last_steps_commit_nothing(self):
        assert tokens_per_step(torch.tensor([2], device=DEVICE), steps=4).tolist() == [[1, 1, 0, 0]]

    @given(st.lists(st.integers(0, 200), min_size=1, max_size=4), st.integers(1, 64))
    def test_steps_that_commit_their_share_follow_lladas_schedule(self, num_masked, steps):
        schedule = tokens_per_step(torch.tensor(num_masked, device=DEVICE), steps)
        assert schedule.dtype == torch.int64
        for row, count in zip(schedule.tolist(), num_masked, strict=True):
            share, remainder = divmod(count, steps)
            assert row == [share + 1] * remainder + [share] * (steps - remainder)

    @given(st.integers(0, 200), st.integers(1, 64), st.randoms(use_true_random=False))
    def test_the_steps_suffice_however_much_more_each_of_them_commits(self, num_masked, steps, random):
        left = num_masked
        for steps_left in range(steps, 0, -1):
            least = int(num_to_commit(torch.tensor([left], device=DEVICE), steps_left))
            assert (least > 0) == (left > 0)
            left -= random.randint(least, left)
        assert left == 0


class TestBlocks:
    def test_without_block_length_the_canvas_is_one_block(self):
        assert plan_blocks(32, None, 8) == (Block(0, 32, 8),)

    def test_steps_that_do_not_divide_go_to_the_earliest_blocks(self):
        assert plan_blocks(20, 8, 7) == (Block(0, 8, 3), Block(8, 16, 2), Block(16, 20, 2))

    def test_a_block_longer_than_the_canvas_is_the_canvas(self):
        assert plan_blocks(8, 16, 4) == (Block(0, 8, 4),)

    def test_a_block_without_a_step_is_refused(self):
        with pytest.raises(ValueError, match="3 denoising steps cannot serve 4 blocks"):
            plan_blocks(32, 8, 3)

    def test_a_growing_canvas_is_extended_by_its_initial_length(self):
        assert plan_blocks(20, None, 6, initial_length=8) == (Block(0, 8, 2), Block(8, 16, 2), Block(16, 20, 2))

    def test_a_growing_canvas_is_extended_by_blocks_and_cut_where_it_begins_to_grow(self):
        blocks = plan_blocks(20, 4, 12, initial_length=6)
        assert [(block.start, block.stop) for block in blocks] == [
            (0, 4),
            (4, 6),
            (6, 10),
            (10, 14),
            (14, 18),
            (18, 20),
        ]

    def test_blocks_longer_than_the_initial_canvas_are_its_extensions(self):
        assert plan_blocks(20, 16, 2, initial_length=4) == (Block(0, 4, 1), Block(4, 20, 1))

    @given(st.integers(1, 100), st.integers(1, 120) | st.none(), st.integers(1, 120) | st.none(), st.integers(0, 50))
    def test_blocks_tile_the_canvas_and_share_all_steps(
        self, canvas_length, block_length, initial_length, extra_steps
    ):
        initial_length = initial_length and min(initial_length, canvas_length)
        config = GeoDiTGenerationConfig(
            max_new_tokens=canvas_length,
            block_length=block_length,
            initial_canvas_length=initial_length,
            max_denoising_steps=100 + extra_steps,
        )
        blocks = plan_blocks(canvas_length, block_length, 100 + extra_steps, initial_length)
        assert len(blocks) == config.num_blocks
        positions = [position for block in blocks for position in range(block.start, block.stop)]
        assert positions == list(range(canvas_length))
        assert initial_length is None or initial_length in {block.stop for block in blocks}
        steps = [block.steps for block in blocks]
        assert sum(steps) == 100 + extra_steps
        assert min(steps) >= 1
        assert steps == sorted(steps, reverse=True)
        assert max(steps) - min(steps) <= 1

    @given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 8))
    def test_where_llada_is_defined_the_plan_is_lladas(self, num_blocks, block_length, steps_per_block):
        blocks = plan_blocks(num_blocks * block_length, block_length, num_blocks * steps_per_block)
        assert [block.stop - block.start for block in blocks] == [block_length] * num_blocks
        assert [block.steps for block in blocks] == [steps_per_block] * num_blocks
