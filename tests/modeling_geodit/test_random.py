# SPDX-License-Identifier: Apache-2.0
"""Random numbers that are functions of row, step, purpose, place and index. B batch, L canvas length."""

import math

import pytest
import scipy.stats
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from defined_environment import DEVICE
from geodit.modeling_geodit.random_geodit import ORDER, TOKENS, RowStreams, seeded_generator


def numbers_of(random, length=5, count=3, step=0):
    return random.at(step).at(TOKENS).along(length).uniform(count)


def splitmix64(key, count):
    """The generator as it is published, in Python's integers."""
    numbers = []
    for _ in range(count):
        key = (key + 0x9E3779B97F4A7C15) % 2**64
        mixed = key
        mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB % 2**64
        numbers.append(mixed ^ (mixed >> 31))
    return numbers


class TestNumbers:
    def test_are_those_of_splitmix64_with_53_bits(self):
        assert splitmix64(0, 2) == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]
        for key in (0, 1, -1, 2**63 - 1, -(2**63), 123456789):
            expected = [(number >> 11) * 2.0**-53 for number in splitmix64(key % 2**64, 50)]
            assert RowStreams(torch.tensor(key)).uniform(50).tolist() == expected

    def test_have_24_bits_where_there_is_no_double_precision(self, monkeypatch):
        monkeypatch.setattr("geodit.modeling_geodit.random_geodit.widest_float", lambda device: torch.float32)
        numbers = RowStreams(torch.tensor(7)).uniform(10_000)
        assert numbers.dtype == torch.float32
        assert numbers.max() < 1
        assert numbers.double().mul(2**24).frac().eq(0).all()
        assert abs(numbers.mean() - 0.5) < 0.01

    def test_have_a_place_in_a_shape(self):
        random = RowStreams.spawn(3, DEVICE, seed=0)
        assert random.uniform().shape == (3,)
        assert random.along(4).uniform(5, 2).shape == (3, 4, 5, 2)
        assert random.along(4).uniform(0).shape == (3, 4, 0)
        assert random.uniform(5, 2).dtype == torch.float64
        assert torch.equal(random.uniform(5, 2).flatten(1), random.uniform(10))

    @pytest.mark.parametrize("step", [0, 1, 7, 2**40])
    def test_of_a_step_are_those_of_the_same_step_as_a_tensor(self, step):
        random = RowStreams.spawn(2, DEVICE, seed=0)
        assert torch.equal(random.at(step).keys, random.at(torch.tensor(step, device=DEVICE)).keys)

    def test_places_are_parts_by_their_number(self):
        random = RowStreams.spawn(2, DEVICE, seed=0)
        assert torch.equal(random.along(4).keys, torch.stack([random.at(place).keys for place in range(4)], dim=-1))


@pytest.fixture(scope="module")
def grid():
    """Numbers of neighbouring rows, steps, purposes, places and indices, keys counted from 0."""
    random = RowStreams(torch.arange(20))
    steps = [
        torch.stack([random.at(step).at(purpose).along(20).uniform(20) for purpose in (TOKENS, ORDER)], dim=1)
        for step in range(20)
    ]
    return torch.stack(steps, dim=1)


class TestDistribution:
    SIZES = {"row": 20, "step": 20, "purpose": 2, "place": 20, "index": 20}

    def test_is_uniform(self, grid):
        counts = torch.histc(grid, bins=200, min=0, max=1)
        assert scipy.stats.chisquare(counts.numpy()).pvalue > 1e-3
        assert scipy.stats.kstest(grid.flatten().numpy(), "uniform").pvalue > 1e-3
        assert grid.unique().numel() == grid.numel()

    @pytest.mark.parametrize("dim", range(5), ids=SIZES)
    def test_is_uniform_in_two_dimensions_for_neighbours(self, grid, dim):
        first, second = grid.narrow(dim, 0, grid.shape[dim] - 1), grid.narrow(dim, 1, grid.shape[dim] - 1)
        correlation = torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1]
        assert abs(correlation) < 4 / math.sqrt(first.numel())
        cells = (first.mul(16).long() * 16 + second.mul(16).long()).flatten().bincount(minlength=256)
        assert scipy.stats.chisquare(cells.numpy()).pvalue > 1e-3

    @pytest.mark.parametrize("bit", [0, 1, 20, 30, 51, 52])
    def test_each_bit_is_a_fair_coin(self, grid, bit):
        ones = grid.mul(2.0**53).long().bitwise_right_shift(bit).bitwise_and(1).double().mean()
        assert abs(ones - 0.5) < 4 * 0.5 / math.sqrt(grid.numel())


class TestRows:
    def test_do_not_depend_on_how_many_rows_follow(self):
        one, three = (numbers_of(RowStreams.spawn(rows, DEVICE, seed=3)) for rows in (1, 3))
        assert torch.equal(one[0], three[0])
        assert not torch.equal(three[0], three[1])

    def test_taken_from_a_batch_keep_their_streams_whatever_was_drawn(self):
        whole, part = (RowStreams.spawn(3, DEVICE, seed=1) for _ in range(2))
        numbers_of(whole)
        assert torch.equal(numbers_of(part.take([2, 0]), step=4), numbers_of(whole, step=4)[[2, 0]])

    def test_a_longer_canvas_or_vocabulary_begins_with_the_same_numbers(self):
        random = RowStreams.spawn(2, DEVICE, seed=5)
        assert torch.equal(numbers_of(random, length=9, count=7)[:, :5, :3], numbers_of(random))


class TestSources:
    def test_the_global_generator_is_the_source_when_nothing_is_given(self):
        torch.manual_seed(11)
        first = numbers_of(RowStreams.spawn(2, DEVICE))
        torch.manual_seed(11)
        assert torch.equal(numbers_of(RowStreams.spawn(2, DEVICE)), first)

    def test_a_generator_advances_from_call_to_call(self):
        generator = torch.Generator().manual_seed(5)
        first, second = (numbers_of(RowStreams.spawn(1, DEVICE, generator=generator)) for _ in range(2))
        assert not torch.equal(first, second)

    def test_one_generator_a_row_ties_the_numbers_to_the_row_and_not_to_its_place(self):
        def numbers(*seeds):
            generators = [torch.Generator().manual_seed(seed) for seed in seeds]
            return numbers_of(RowStreams.spawn(2, DEVICE, generator=generators))

        assert torch.equal(numbers(1, 2), numbers(2, 1).flip(0))

    def test_bad_sources_are_refused(self):
        with pytest.raises(ValueError, match="1 generators were given for a batch of 2 rows"):
            RowStreams.spawn(2, DEVICE, generator=[torch.Generator()])
        with pytest.raises(ValueError, match="not both"):
            RowStreams.spawn(2, DEVICE, seed=1, generator=torch.Generator())


class TestGraphs:
    @pytest.mark.parametrize("backend", ["eager", "aot_eager"])
    def test_one_graph_gives_the_numbers_of_every_step(self, backend):
        def draw(keys, step):
            return RowStreams(keys).at(step).at(TOKENS).along(4).uniform(3)

        compiled = torch.compile(draw, fullgraph=True, backend=backend)
        keys = RowStreams.spawn(2, DEVICE, seed=0).keys
        for step in range(3):
            expected = numbers_of(RowStreams(keys), length=4, step=step)
            assert torch.equal(compiled(keys, torch.tensor(step, device=DEVICE)), expected)

    def test_nothing_is_read_by_the_host(self):
        with FakeTensorMode():
            random = RowStreams(torch.zeros(3, dtype=torch.long, device=DEVICE))
            assert numbers_of(random, step=torch.tensor(2, device=DEVICE)).shape == (3, 5, 3)


class TestSeededGenerators:
    def test_a_key_fixes_a_stream(self):
        first, second, other = (
            torch.rand(3, generator=seeded_generator(*key)).tolist() for key in [(1, 2), (1, 2), (2, 1)]
        )
        assert first == second != other

    def test_seeds_are_those_that_figures_were_published_with(self):
        keys = [(0, 0), (5, 17)]
        assert [seeded_generator(*key).initial_seed() for key in keys] == [7896617691693857887, 8749419124216858409]
        assert [seeded_generator(*key, bits=32).initial_seed() for key in keys] == [2968811710, 2481524307]

    def test_negative_keys_are_refused(self):
        with pytest.raises(ValueError, match="non-negative"):
            seeded_generator(0, -1)
