# SPDX-License-Identifier: Apache-2.0
"""Random numbers that belong to their row. B batch, L length of the block, K masked positions of all rows."""

import pytest
import torch

from defined_environment import DEVICE
from geodit.modeling_geodit.random_geodit import RowGenerators


def all_masked(rows, length):
    return torch.ones(rows, length, dtype=torch.bool)


def test_a_masked_position_gets_a_number_and_the_others_none():
    masked = torch.tensor([[True, False, True], [False, False, False], [False, True, False]])
    random = RowGenerators.spawn(3, DEVICE, seed=0)
    assert random.uniform_like(masked).shape == (3,)
    assert random.uniform_like(masked, 5, 2).shape == (3, 5, 2)


def test_numbers_are_double_precision():
    assert RowGenerators.spawn(2, DEVICE, seed=0).uniform_like(all_masked(2, 3)).dtype == torch.float64


def test_the_numbers_of_a_row_do_not_depend_on_how_many_rows_follow():
    one = RowGenerators.spawn(1, DEVICE, seed=3).uniform_like(all_masked(1, 5))
    three = RowGenerators.spawn(3, DEVICE, seed=3).uniform_like(all_masked(3, 5)).view(3, 5)
    assert torch.equal(one, three[0])
    assert not torch.equal(three[0], three[1])


def test_the_numbers_of_a_row_do_not_depend_on_what_is_masked_in_the_others():
    def second_row(first_row_masked):
        random = RowGenerators.spawn(2, DEVICE, seed=3)
        numbers = []
        for masked in first_row_masked:
            masked = torch.tensor([masked, [True, False, True]])
            numbers.append(random.uniform_like(masked)[masked[0].sum() :])
        return torch.cat(numbers)

    busy = second_row([[True, True, True], [True, False, True]])
    done = second_row([[False, False, False], [False, False, False]])
    assert torch.equal(busy, done)


def test_rows_taken_from_a_batch_keep_their_streams():
    whole, part = (RowGenerators.spawn(3, DEVICE, seed=1) for _ in range(2))
    whole.uniform_like(all_masked(3, 4))
    part.uniform_like(all_masked(3, 4))
    expected = whole.uniform_like(all_masked(3, 4)).view(3, 4)[[2, 0]]
    assert torch.equal(part.take([2, 0]).uniform_like(all_masked(2, 4)).view(2, 4), expected)


def test_rows_can_be_drawn_one_at_a_time():
    masked = torch.tensor([[True, True, False], [False, False, True]])
    at_once = RowGenerators.spawn(2, DEVICE, seed=5).uniform_like(masked, 7)
    first, second = RowGenerators.spawn(2, DEVICE, seed=5).uniform_rows([2, 1], 7)
    assert torch.equal(torch.cat([first, second]), at_once)


def test_the_global_generator_is_the_source_when_nothing_is_given():
    torch.manual_seed(11)
    first = RowGenerators.spawn(2, DEVICE).uniform_like(all_masked(2, 4))
    torch.manual_seed(11)
    assert torch.equal(RowGenerators.spawn(2, DEVICE).uniform_like(all_masked(2, 4)), first)


def test_a_generator_advances_from_call_to_call():
    generator = torch.Generator().manual_seed(5)
    first = RowGenerators.spawn(1, DEVICE, generator=generator).uniform_like(all_masked(1, 4))
    assert not torch.equal(RowGenerators.spawn(1, DEVICE, generator=generator).uniform_like(all_masked(1, 4)), first)


def test_one_generator_a_row_ties_the_numbers_to_the_row_and_not_to_its_place():
    def numbers(*seeds):
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        return RowGenerators.spawn(2, DEVICE, generator=generators).uniform_like(all_masked(2, 4)).view(2, 4)

    assert torch.equal(numbers(1, 2), numbers(2, 1).flip(0))


def test_bad_sources_are_refused():
    with pytest.raises(ValueError, match="1 generators were given for a batch of 2 rows"):
        RowGenerators.spawn(2, DEVICE, generator=[torch.Generator()])
    with pytest.raises(ValueError, match="not both"):
        RowGenerators.spawn(2, DEVICE, seed=1, generator=torch.Generator())
