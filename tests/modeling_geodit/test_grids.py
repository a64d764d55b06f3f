# SPDX-License-Identifier: Apache-2.0
"""From rows to a grid and back. B rows, L canvas length, K rows of what is known."""

import pytest
import torch

from defined_environment import DEVICE
from geodit.modeling_geodit.grids_geodit import DeviceTensors, Positions, is_any_of

WANTED = torch.tensor([[True, False, True], [False, False, True]])


def grids(*shape):
    return torch.arange(6 * torch.Size(shape).numel(), device=DEVICE).view(2, 3, *shape)


@pytest.mark.parametrize("shape", [(), (4,), (2, 3)])
def test_rows_of_wanted_positions_are_those_of_an_index_by_mask(shape):
    wanted, grid = WANTED.to(DEVICE), grids(*shape)
    assert torch.equal(Positions(wanted, 3).rows_of(grid), grid[wanted])
    assert torch.equal(Positions(wanted, 6).rows_of(grid), grid.flatten(0, 1))


@pytest.mark.parametrize("shape", [(), (4,), (2, 3)])
@pytest.mark.parametrize("dense", [True, False])
def test_rows_are_placed_where_they_are_wanted_and_nowhere_else(dense, shape):
    wanted, grid = WANTED.to(DEVICE), grids(*shape)
    before, rows = grid.double(), -1.0 - grid.flatten(0, 1)
    expected = torch.where(wanted.view(2, 3, *[1] * len(shape)), -1.0 - grid, before)
    placed = Positions(wanted, 6 if dense else 3).placed(rows if dense else rows[wanted.flatten()], before)
    assert placed.dtype == torch.float64
    assert torch.equal(placed, expected)


def test_nothing_wanted_is_nothing_placed():
    nothing, grid = torch.zeros(2, 3, dtype=torch.bool, device=DEVICE), grids()
    assert Positions(nothing, 0).rows_of(grid).shape == (0,)
    assert torch.equal(Positions(nothing, 0).placed(grid.flatten()[:0], grid.clone()), grid)


def test_tokens_are_found_among_some():
    assert is_any_of(grids(), [1, 4]).tolist() == [[False, True, False], [False, True, False]]
    assert not is_any_of(grids(), []).any()


def test_what_does_not_change_is_moved_to_a_device_once():
    tensors = DeviceTensors(torch.arange(3))
    (first,), (second,) = tensors.on(torch.device("meta")), tensors.on(torch.device("meta"))
    assert first is second
    assert first.device.type == "meta"
    assert tensors.on(torch.device("cpu"))[0].tolist() == [0, 1, 2]
