# SPDX-License-Identifier: Apache-2.0
"""The noise of an update: the same for each answer, however the update is cut up."""

import pytest
import torch
from accelerate import Accelerator
from hypothesis import given, settings
from hypothesis import strategies as st

from defined_environment import DEVICE
from geodit.modeling_geodit.diffusion_geodit import forward_process, number_canvases
from geodit.trainers.host_canvases import HostCanvases
from geodit.trainers.noise import UpdateNoise

# A row is a list of answers, by their lengths.
ROWS = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=3), min_size=1, max_size=3)


def as_batch(rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Canvas mask and segments of rows `[prompt of 2][answer][prompt of 2][answer]...[padding]`, both `(B, L)`."""
    width = max(sum(length + 2 for length in row) for row in rows) + 1
    canvas_mask, segment_ids = torch.zeros(len(rows), width, dtype=torch.bool), torch.zeros(len(rows), width).long()
    for canvas, segments, row in zip(canvas_mask, segment_ids, rows, strict=True):
        start = 0
        for number, length in enumerate(row, start=1):
            canvas[start + 2 : start + 2 + length] = True
            segments[start : start + 2 + length] = number
            start += 2 + length
    return canvas_mask, segment_ids


def whole_noise(rows, stratified=False):
    """Timestep and numbers of each answer, of an update that is one batch."""
    canvas_mask, segment_ids = as_batch(rows)
    numbering, count = number_canvases(canvas_mask, segment_ids)
    noise = UpdateNoise(3, 5, torch.tensor([[count]]), stratified=stratified).take(canvas_mask, segment_ids)
    numbers = numbering[canvas_mask]
    return [(t.item(), noise.uniform[numbers == index].tolist()) for index, t in enumerate(noise.timesteps)]


@settings(max_examples=40)
@given(st.lists(ROWS, min_size=4, max_size=4), st.booleans())
def test_it_does_not_depend_on_how_the_update_is_cut(batches, stratified):
    """Two micro-batches on each of two processes, dealt out as accelerate does, against one batch."""
    expected = whole_noise([row for rows in batches for row in rows], stratified)
    counts = torch.tensor([[sum(len(row) for row in rows) for rows in batches]]).view(2, 2).T
    shares = [UpdateNoise(3, 5, counts, process_index=rank, stratified=stratified) for rank in range(2)]
    found = []
    for index, rows in enumerate(batches):
        canvas_mask, segment_ids = as_batch(rows)
        noise = shares[index % 2].take(canvas_mask, segment_ids)
        numbering = number_canvases(canvas_mask, segment_ids)[0][canvas_mask]
        found += [(t.item(), noise.uniform[numbering == n].tolist()) for n, t in enumerate(noise.timesteps)]
    assert found == expected


def test_seed_and_step_decide_it():
    rows = [[4, 4], [8]]
    draws = {
        tuple(UpdateNoise(seed, step, torch.tensor([[3]])).take(*as_batch(rows)).uniform.tolist())
        for seed, step in [(0, 0), (0, 1), (1, 0), (1, 1), (0, 0)]
    }
    assert len(draws) == 4


def test_timesteps_of_an_update_can_be_stratified():
    """Over the update, not over each micro-batch."""
    noise = UpdateNoise(0, 0, torch.tensor([[4, 4]]), stratified=True)
    timesteps = torch.cat([noise.take(*as_batch([[3]] * 4)).timesteps for _ in range(2)])
    torch.testing.assert_close(timesteps.sort().values.diff(), torch.full((7,), 0.125))


def test_tokens_are_masked_with_their_probability():
    canvas_mask = torch.ones(400, 50, dtype=torch.bool)
    noise = UpdateNoise(0, 0, torch.tensor([[400]])).take(canvas_mask)
    noised = forward_process(
        torch.full((400, 50), 5), canvas_mask, 2, timesteps=torch.full((400,), 0.3), uniform=noise.uniform
    )
    # 20,000 draws: five standard deviations are 0.016.
    assert abs(noised.masked.float().mean().item() - 0.3007) < 0.016


def test_numbers_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="uniform must be 6 numbers"):
        forward_process(torch.ones(2, 3).long(), torch.ones(2, 3).bool(), 2, uniform=torch.zeros(5))


def test_only_the_batches_that_were_counted_get_noise():
    canvas_mask, segment_ids = as_batch([[3], [2]])
    labels = torch.where(canvas_mask, 7, -100)
    noise = UpdateNoise.of_batches(
        [HostCanvases(labels, labels, segment_ids)], Accelerator(cpu=DEVICE == "cpu"), seed=0, step=0
    )
    with pytest.raises(ValueError, match="has 1 answers, but noise was prepared for 2"):
        noise.take(canvas_mask[:1], segment_ids[:1])
    assert noise.num_left == 0
    with pytest.raises(ValueError, match="prepared for 0"):
        noise.take(canvas_mask, segment_ids)
