# SPDX-License-Identifier: Apache-2.0
"""The forward process and the loss, as functions of tensors."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geodit.modeling_geodit import diffusion_geodit
from geodit.modeling_geodit.diffusion_geodit import LOSS_WEIGHTINGS, sample_timesteps
from on_device import OnDevice

forward_process = OnDevice(diffusion_geodit.forward_process)
masked_diffusion_loss = OnDevice(diffusion_geodit.masked_diffusion_loss)
weighted_token_losses = OnDevice(diffusion_geodit.weighted_token_losses)

MASK = 2


def make_batch(B: int = 4, L: int = 12, canvas: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    input_ids = torch.randint(3, 40, (B, L), generator=torch.Generator().manual_seed(0))
    canvas_mask = torch.zeros(B, L, dtype=torch.bool)
    canvas_mask[:, -canvas:] = True
    return input_ids, canvas_mask


def test_prompt_and_image_are_never_masked():
    input_ids, canvas_mask = make_batch()
    noised = forward_process(input_ids, canvas_mask, MASK, timesteps=torch.ones(4))
    assert torch.equal(noised.masked, canvas_mask)
    assert torch.equal(noised.input_ids[~canvas_mask], input_ids[~canvas_mask])
    assert (noised.input_ids[canvas_mask] == MASK).all()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.floats(0, 1), st.floats(1e-4, 0.5))
def test_tokens_are_replaced_exactly_where_they_are_masked(seed, t, eps):
    input_ids, canvas_mask = make_batch()
    generator = torch.Generator().manual_seed(seed)
    noised = forward_process(input_ids, canvas_mask, MASK, timesteps=torch.full((4,), t), eps=eps, generator=generator)
    assert torch.equal(noised.input_ids == MASK, noised.masked)
    assert not (noised.masked & ~canvas_mask).any()
    torch.testing.assert_close(noised.weights[canvas_mask], torch.full((20,), 1 / (((1 - eps) * t + eps) * 5)))
    assert (noised.weights[~canvas_mask] == 0).all()


def test_the_share_of_masked_tokens_is_p():
    input_ids, canvas_mask = torch.full((200, 100), 5), torch.ones(200, 100, dtype=torch.bool)
    noised = forward_process(
        input_ids,
        canvas_mask,
        MASK,
        timesteps=torch.full((200,), 0.3),
        generator=torch.Generator().manual_seed(0),
    )
    # 20,000 draws: five standard deviations are 0.016.
    assert abs(noised.masked.float().mean().item() - 0.3007) < 0.016


def test_a_seed_fixes_the_noise_and_padding_does_not_change_it():
    input_ids, canvas_mask = make_batch()
    first, second = (
        forward_process(input_ids, canvas_mask, MASK, generator=torch.Generator().manual_seed(7)) for _ in range(2)
    )
    assert torch.equal(first.masked, second.masked)
    padded = forward_process(
        torch.nn.functional.pad(input_ids, (3, 2), value=1),
        torch.nn.functional.pad(canvas_mask, (3, 2)),
        MASK,
        generator=torch.Generator().manual_seed(7),
    )
    assert torch.equal(padded.masked[:, 3:-2], first.masked)


def test_stratified_timesteps_fall_one_into_each_stratum():
    timesteps = sample_timesteps(8, generator=torch.Generator().manual_seed(3), stratified=True)
    assert sorted((timesteps * 8).long().tolist()) == list(range(8))


def test_the_loss_is_the_formula_written_out():
    input_ids, canvas_mask = make_batch()
    canvas_mask[1, :8] = False  # a row with a shorter canvas
    canvas_mask[1, 8] = False
    timesteps = torch.tensor([0.2, 0.9, 0.5, 0.7])
    noised = forward_process(
        input_ids, canvas_mask, MASK, timesteps=timesteps, generator=torch.Generator().manual_seed(1)
    )
    full = torch.randn(4, 12, 40, generator=torch.Generator().manual_seed(2))

    expected = 0.0
    for b in range(4):
        p, row = (1 - 1e-3) * timesteps[b].item() + 1e-3, 0.0
        for i in range(12):
            if noised.masked[b, i]:
                row -= full[b, i].log_softmax(-1)[input_ids[b, i]].item() / p
        expected += row / canvas_mask[b].sum().item()
    loss = masked_diffusion_loss(weighted_token_losses(full[noised.targets], input_ids, noised), noised)
    assert loss.item() == pytest.approx(expected / 4, rel=1e-5)


@pytest.mark.parametrize("complementary", [False, True])
def test_a_batch_that_was_moved_knows_its_places(complementary, device):
    input_ids, canvas_mask = make_batch()
    canvas_mask[1, :9] = False
    noised = diffusion_geodit.forward_process(
        input_ids, canvas_mask, MASK, complementary=complementary, generator=torch.Generator().manual_seed(1)
    )
    assert noised.found_places is None
    there = noised.to(device)
    assert there.places is there.found_places
    for name in ("input_ids", "masked", "weights", "answers", "timesteps", "items"):
        assert torch.equal(getattr(there, name).cpu(), getattr(noised, name))
    targets, places = noised.targets, there.places
    marked = torch.zeros_like(targets).to(device)
    marked[places.index] = True
    assert torch.equal(marked.cpu(), targets)
    assert torch.equal(
        input_ids.repeat(1 + complementary, 1).to(device)[places.index].cpu(),
        input_ids.repeat(1 + complementary, 1)[targets],
    )
    losses = torch.arange(1.0, 1 + int(targets.sum()), device=device)
    grid = torch.zeros(targets.shape)
    grid[targets] = losses.cpu()
    found = diffusion_geodit.answer_losses(losses, there).cpu()
    assert torch.equal(found, diffusion_geodit.answer_losses(losses.cpu(), noised))
    assert found.tolist() == grid.sum(1).tolist()  # one answer a row


def test_a_batch_with_nothing_masked_has_no_places(device):
    input_ids, canvas_mask = make_batch()
    noised = diffusion_geodit.forward_process(
        input_ids, canvas_mask, MASK, timesteps=torch.ones(4), uniform=torch.ones(20)
    ).to(device)
    assert noised.places.most == len(noised.places.rows) == 0
    assert diffusion_geodit.answer_losses(torch.zeros(0, device=device), noised).tolist() == [0.0] * 4


def test_questions_that_share_a_row_are_noised_and_weighted_one_by_one():
    """Two rows with two answers each are four sequences, as if each had a row of its own."""
    apart_ids, apart_canvas = make_batch(B=4, L=6, canvas=3)
    shared_ids, shared_canvas = apart_ids.view(2, 12), apart_canvas.view(2, 12)
    segment_ids = torch.tensor([1] * 6 + [2] * 6).expand(2, 12)
    timesteps = torch.tensor([0.2, 0.9, 0.5, 0.7])
    results = []
    for ids, canvas, segments in ((apart_ids, apart_canvas, None), (shared_ids, shared_canvas, segment_ids)):
        generator = torch.Generator().manual_seed(4)
        results.append(
            forward_process(ids, canvas, MASK, segment_ids=segments, timesteps=timesteps, generator=generator)
        )
    apart, shared = results
    assert len(apart.items) == len(shared.items) == 4
    assert torch.equal(shared.masked.view(4, 6), apart.masked)
    assert torch.equal(shared.weights.view(4, 6), apart.weights)


def test_uniform_weights_are_the_same_for_every_masked_token_and_on_average_those_of_the_bound():
    input_ids, canvas_mask = make_batch(B=2000)
    weights = {}
    for weighting in ("inverse", "uniform"):
        generator = torch.Generator().manual_seed(0)
        noised = forward_process(input_ids, canvas_mask, MASK, weighting=weighting, generator=generator)
        weights[weighting] = noised.weights * noised.masked
        if weighting == "uniform":
            torch.testing.assert_close(noised.weights[canvas_mask], torch.full((10_000,), 2 / 1.001 / 5))
    sums = {name: value.sum(-1) for name, value in weights.items()}
    # Each answer's weights sum to 1 on average; 2,000 answers leave a standard error of about 0.02.
    assert sums["uniform"].mean().item() == pytest.approx(1, abs=0.1)
    assert sums["inverse"].mean().item() == pytest.approx(1, abs=0.25)
    assert sums["uniform"].var() < sums["inverse"].var()


def test_with_everything_masked_a_uniform_guess_costs_log_v():
    input_ids, canvas_mask = make_batch()
    noised = forward_process(input_ids, canvas_mask, MASK, timesteps=torch.ones(4))
    loss = masked_diffusion_loss(weighted_token_losses(torch.zeros(20, 40), input_ids, noised), noised)
    torch.testing.assert_close(loss, torch.tensor(40.0).log())


@pytest.mark.parametrize("weighting", LOSS_WEIGHTINGS)
def test_nothing_masked_is_a_zero_that_can_be_differentiated(weighting):
    input_ids, canvas_mask = make_batch()
    noised = forward_process(input_ids, canvas_mask, MASK, timesteps=torch.zeros(4), eps=1e-9, weighting=weighting)
    assert not noised.masked.any()
    logits = torch.zeros(0, 40, requires_grad=True)
    loss = masked_diffusion_loss(weighted_token_losses(logits, input_ids, noised), noised)
    loss.backward()
    assert loss.item() == 0.0


def test_wrong_shapes_and_timesteps_are_refused():
    input_ids, canvas_mask = make_batch()
    with pytest.raises(ValueError, match="they must agree"):
        forward_process(input_ids, canvas_mask[:, :3], MASK)
    with pytest.raises(ValueError, match="loss_mask has shape"):
        forward_process(input_ids, canvas_mask, MASK, loss_mask=canvas_mask[:2])
    with pytest.raises(ValueError, match="weighting must be one of inverse, uniform, masked_mean, got 'p'"):
        forward_process(input_ids, canvas_mask, MASK, weighting="p")
    with pytest.raises(ValueError, match="normalization must be one of sequence, token, got 'batch'"):
        forward_process(input_ids, canvas_mask, MASK, normalization="batch")
    with pytest.raises(ValueError, match=r"uniform must be 20 numbers, one a canvas token, got \(19,\)"):
        forward_process(input_ids, canvas_mask, MASK, uniform=torch.rand(19))
    with pytest.raises(ValueError, match=r"4 numbers in \[0, 1\]"):
        forward_process(input_ids, canvas_mask, MASK, timesteps=torch.tensor([0.1, 0.2, 0.3, 1.5]))
