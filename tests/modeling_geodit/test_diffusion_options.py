# SPDX-License-Identifier: Apache-2.0
"""Every form of the loss is the formula written out, and does not depend on how a batch is cut or padded."""

import itertools

import pytest
import torch
from torch.nn.functional import pad

from geodit.modeling_geodit import diffusion_geodit
from geodit.modeling_geodit.diffusion_geodit import LOSS_NORMALIZATIONS, LOSS_WEIGHTINGS
from on_device import OnDevice

answer_losses = OnDevice(diffusion_geodit.answer_losses)
fixed_count_process = OnDevice(diffusion_geodit.fixed_count_process)
forward_process = OnDevice(diffusion_geodit.forward_process)
masked_diffusion_loss = OnDevice(diffusion_geodit.masked_diffusion_loss)
number_canvases = OnDevice(diffusion_geodit.number_canvases)
supervised_positions = OnDevice(diffusion_geodit.supervised_positions)
weighted_token_losses = OnDevice(diffusion_geodit.weighted_token_losses)

MASK, EOS, EPS = 2, 1, 0.05
# Answers of 5, 3, 0 and 4 tokens on canvases of 6, 6, 2 and 4: one is empty and one has no EOS behind it.
ANSWERS = [(5, 6), (3, 6), (0, 2), (4, 4)]
PROMPT = 3
OPTIONS = list(itertools.product(LOSS_WEIGHTINGS, LOSS_NORMALIZATIONS, (False, True), (True, False)))


def make_batch():
    """`input_ids` and `canvas_mask` `(4, 9)`, padded at the end of a row."""
    generator = torch.Generator().manual_seed(0)
    input_ids = torch.zeros(4, 9, dtype=torch.long)
    canvas_mask = torch.zeros(4, 9, dtype=torch.bool)
    for row, (length, canvas) in enumerate(ANSWERS):
        input_ids[row, : PROMPT + length] = torch.randint(3, 40, (PROMPT + length,), generator=generator)
        input_ids[row, PROMPT + length : PROMPT + canvas] = EOS
        canvas_mask[row, PROMPT : PROMPT + canvas] = True
    return input_ids, canvas_mask


def make_noise():
    """Hides nothing of the third answer, and some EOS that do not count without padding."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(4, generator=generator), torch.rand(18, generator=generator)


def noise_batch(weighting, normalization, complementary, padding, rows=slice(None), pads=(0, 0)):
    """The batch, or some rows of it, with as much more padding around it as asked for."""
    input_ids, canvas_mask = make_batch()
    timesteps, uniform = make_noise()
    of_row = torch.tensor([row for row, (_, canvas) in enumerate(ANSWERS) for _ in range(canvas)])
    kept = torch.arange(4)[rows]
    input_ids, canvas_mask = pad(input_ids[rows], pads), pad(canvas_mask[rows], pads)
    loss_mask = None if padding else supervised_positions(input_ids, number_canvases(canvas_mask)[0], EOS)
    return input_ids, forward_process(
        input_ids,
        canvas_mask,
        MASK,
        loss_mask=loss_mask,
        timesteps=timesteps[rows],
        uniform=uniform[torch.isin(of_row, kept)],
        eps=EPS,
        weighting=weighting,
        normalization=normalization,
        complementary=complementary,
    )


def make_logits(rows: int):
    return torch.randn(rows, 9, 40, generator=torch.Generator().manual_seed(2))


def written_out(logits, weighting, normalization, complementary, padding):
    """The loss, one token at a time."""
    input_ids, _ = make_batch()
    timesteps, uniform = make_noise()
    above, below, row_of_view = 0.0, 0.0, 0
    for view in range(2 if complementary else 1):
        numbers = iter(uniform.tolist())
        for row, (length, canvas) in enumerate(ANSWERS):
            t = timesteps[row].item()
            p = (1 - (2 if complementary else 1) * EPS) * t + EPS
            mean_p = 0.5 if complementary else (1 + EPS) / 2
            trained = canvas if padding else min(length + 1, canvas)
            losses = []
            for place in range(canvas):
                masked = next(numbers) < p
                if view == 1:
                    masked = not masked
                if masked and place < trained:
                    token = logits[row_of_view, PROMPT + place].log_softmax(-1)[input_ids[row, PROMPT + place]]
                    losses.append(-token.item())
            if view == 1:
                p = 1 - p
            if weighting == "masked_mean":
                answer, items = sum(losses), len(losses)
            else:
                answer, items = sum(losses) / (p if weighting == "inverse" else mean_p), trained
            if normalization == "sequence":
                answer, items = answer / max(items, 1), min(items, 1)
            above, below, row_of_view = above + answer, below + items, row_of_view + 1
    return above / below


@pytest.mark.parametrize("option", OPTIONS)
def test_the_loss_is_the_formula_written_out(option):
    input_ids, noised = noise_batch(*option)
    logits = make_logits(len(noised.input_ids))
    labels = input_ids.repeat(len(logits) // 4, 1)
    losses = weighted_token_losses(logits[noised.targets], labels, noised)
    loss = masked_diffusion_loss(losses, noised).item()
    assert loss == pytest.approx(written_out(logits, *option), rel=1e-5)
    # What is logged by answer adds up to the same.
    by_answer = answer_losses(losses, noised)
    assert (by_answer.sum() / noised.items.sum()).item() == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("option", OPTIONS)
def test_micro_batches_add_up_to_the_loss_of_the_batch_however_they_are_padded(option):
    whole_ids, whole = noise_batch(*option)
    logits = make_logits(len(whole.input_ids)).unflatten(0, (-1, 4))
    copies = len(logits)
    total = whole.items.sum()
    expected = masked_diffusion_loss(
        weighted_token_losses(logits.flatten(0, 1)[whole.targets], whole_ids.repeat(copies, 1), whole), whole
    )
    found = 0.0
    for rows, pads in ((slice(0, 1), (0, 0)), (slice(1, 4), (2, 5))):
        ids, part = noise_batch(*option, rows=rows, pads=pads)
        part_logits = pad(logits[:, rows].flatten(0, 1), (0, 0, *pads))
        losses = weighted_token_losses(part_logits[part.targets], ids.repeat(copies, 1), part)
        found += masked_diffusion_loss(losses, part, num_items=total)
    torch.testing.assert_close(found, expected)


def test_complementary_masks_hide_every_token_once():
    _, canvas_mask = make_batch()
    _, noised = noise_batch("inverse", "sequence", True, True)
    first, second = noised.masked.chunk(2)
    assert torch.equal(first ^ second, canvas_mask)
    torch.testing.assert_close(noised.timesteps[:4] + noised.timesteps[4:], torch.ones(4))
    assert noised.answers[4:].max() == 7


def test_without_padding_the_first_eos_is_still_trained():
    input_ids, canvas_mask = make_batch()
    answers, _ = number_canvases(canvas_mask)
    trained = supervised_positions(input_ids, answers, EOS)
    assert trained.sum(-1).tolist() == [6, 4, 1, 4]
    assert not (trained & ~canvas_mask).any()
    # Two answers that share a row end one by one.
    shared, canvas = input_ids.view(2, 18), canvas_mask.view(2, 18)
    segments = torch.tensor([1] * 9 + [2] * 9).expand(2, 18)
    answers, _ = number_canvases(canvas, segments)
    assert torch.equal(supervised_positions(shared, answers, EOS).view(4, 9), trained)


def test_what_is_not_trained_is_masked_all_the_same():
    trained, masked = (noise_batch("inverse", "sequence", False, padding)[1].masked for padding in (True, False))
    assert torch.equal(trained, masked)


def test_only_targets_need_logits():
    _, noised = noise_batch("inverse", "sequence", False, False)
    assert not (noised.targets & ~noised.masked).any()
    assert noised.targets.sum() < noised.masked.sum()


def test_the_weights_of_both_views_are_those_of_the_bound():
    """On average over the noise each token counts 1/L in either view, so that both estimate the same sum."""
    input_ids, canvas_mask = torch.full((4000, 4), 7), torch.ones(4000, 4, dtype=torch.bool)
    noised = forward_process(
        input_ids, canvas_mask, MASK, complementary=True, eps=EPS, generator=torch.Generator().manual_seed(0)
    )
    for view in (noised.weights * noised.masked).chunk(2):
        # 4,000 answers leave a standard error of about 0.02.
        assert view.sum(-1).mean().item() == pytest.approx(1, abs=0.08)


def test_a_fixed_number_of_tokens_is_hidden_and_any_of_them():
    input_ids, canvas_mask = torch.full((3000, 4), 7), torch.ones(3000, 4, dtype=torch.bool)
    generator = torch.Generator().manual_seed(0)
    timesteps = torch.rand(3000, generator=generator)
    noised = fixed_count_process(
        input_ids, canvas_mask, MASK, timesteps=timesteps, uniform=torch.rand(12_000, generator=generator)
    )
    count = noised.masked.sum(-1)
    assert torch.equal(count, (timesteps * 4).floor().long() + 1)
    assert torch.equal(noised.weights, (1 / count)[:, None].expand(3000, 4))
    # Every number of tokens and every place alike; the standard errors are below 0.009.
    assert (count.bincount(minlength=5)[1:] / 3000).tolist() == pytest.approx([0.25] * 4, abs=0.04)
    assert noised.masked.float().mean(0).tolist() == pytest.approx([0.625] * 4, abs=0.04)


def test_both_processes_estimate_the_same_bound():
    """For a model whose loss of a token depends on how much of the answer is hidden."""
    length, draws = 4, 40_000
    input_ids, canvas_mask = torch.full((draws, length), 7), torch.ones(draws, length, dtype=torch.bool)
    generator = torch.Generator().manual_seed(0)
    by_probability = forward_process(input_ids, canvas_mask, MASK, eps=1e-6, stratified=True, generator=generator)
    by_count = fixed_count_process(
        input_ids,
        canvas_mask,
        MASK,
        timesteps=(torch.arange(draws) + 0.5) / draws,
        uniform=torch.rand(draws * length, generator=generator),
    )
    estimates = []
    for noised in (by_probability, by_count):
        token_loss = noised.masked.sum(-1, keepdim=True).float() ** 0.5
        estimates.append((noised.weights * noised.masked * token_loss).sum(-1).mean().item())
    exact = sum(count**0.5 for count in range(1, length + 1)) / length
    assert estimates[1] == pytest.approx(exact, rel=1e-3)
    assert estimates[0] == pytest.approx(exact, rel=0.03)
