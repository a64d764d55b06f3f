# SPDX-License-Identifier: Apache-2.0
"""The objective of GRPO, against the formulas written out for one number at a time."""

import math
import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geodit.trainers.grpo import loss as grpo_loss
from on_device import OnDevice

average_loss = OnDevice(grpo_loss.average_loss)
clipped_token_loss = OnDevice(grpo_loss.clipped_token_loss)
group_advantages = OnDevice(grpo_loss.group_advantages)
kl_estimate = OnDevice(grpo_loss.kl_estimate)
total_rewards = OnDevice(grpo_loss.total_rewards)

REWARDS = st.lists(st.floats(0, 1, width=32), min_size=6, max_size=6)


@given(REWARDS, st.sampled_from(["group", "none", "batch"]))
def test_advantages_compare_an_answer_with_its_group(rewards, scale):
    advantages = group_advantages(torch.tensor(rewards), 3, scale)
    for group in range(2):
        values = rewards[3 * group : 3 * group + 3]
        deviation = {"group": statistics.stdev(values), "batch": statistics.stdev(rewards), "none": 1.0 - 1e-4}[scale]
        for index, value in enumerate(values):
            expected = (value - statistics.fmean(values)) / (deviation + 1e-4)
            assert advantages[3 * group + index].item() == pytest.approx(expected, abs=2e-3)


def test_an_answer_that_nothing_is_said_about_teaches_nothing():
    advantages = group_advantages(torch.tensor([1.0, math.nan, 0.0, math.nan]), 4, "none")
    assert advantages.tolist() == [0.5, 0.0, -0.5, 0.0]
    assert group_advantages(torch.tensor([1.0, math.nan]), 2).tolist() == [0.0, 0.0]


def test_rewards_are_summed_by_weight_without_those_that_say_nothing():
    rewards = torch.tensor([[1.0, 0.5], [math.nan, 0.5], [math.nan, math.nan]])
    total = total_rewards(rewards, torch.tensor([1.0, 2.0]))
    assert total[:2].tolist() == [2.0, 1.0]
    assert total[2].isnan()


def plain_loss(new, old, advantage, low, high):
    ratio = math.exp(new - old)
    return -min(ratio * advantage, min(max(ratio, 1 - low), 1 + high) * advantage)


@given(st.lists(st.floats(-3, 0), min_size=4, max_size=4), st.lists(st.floats(-3, 0), min_size=4, max_size=4))
def test_tokens_have_the_clipped_surrogate(new, old):
    advantages = [1.5, -0.5]
    loss, _ = clipped_token_loss(
        torch.tensor(new).view(2, 2),
        torch.tensor(old).view(2, 2),
        torch.tensor(advantages),
        torch.ones(2, 2, dtype=torch.bool),
        epsilon_low=0.2,
        epsilon_high=0.3,
    )
    expected = [plain_loss(new[i], old[i], advantages[i // 2], 0.2, 0.3) for i in range(4)]
    assert loss.flatten().tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_a_sequence_has_the_geometric_mean_of_its_ratios():
    new, old = torch.tensor([[-1.0, -2.0, -9.0]]), torch.tensor([[-1.5, -2.2, -1.0]])
    decided = torch.tensor([[True, True, False]])
    loss, ratio = clipped_token_loss(
        new, old, torch.tensor([1.0]), decided, epsilon_low=0.2, epsilon_high=0.5, level="sequence"
    )
    assert ratio.item() == pytest.approx(math.exp((0.5 + 0.2) / 2))
    assert loss[0].tolist() == pytest.approx([-math.exp(0.35)] * 3)


def test_the_gradient_of_an_unclipped_token_is_that_of_the_policy_gradient():
    log_probabilities = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    loss, _ = clipped_token_loss(
        log_probabilities,
        log_probabilities.detach(),
        torch.tensor([0.7]),
        torch.ones(1, 2, dtype=torch.bool),
        epsilon_low=0.2,
        epsilon_high=0.2,
    )
    loss.sum().backward()
    assert log_probabilities.grad[0].tolist() == pytest.approx([-0.7, -0.7])


def test_the_kl_estimate_has_the_kl_as_its_mean():
    """Over samples of the model, here over all outcomes by their probability."""
    model, reference = torch.tensor([0.2, 0.3, 0.5]), torch.tensor([0.4, 0.4, 0.2])
    estimate = kl_estimate(model.log(), reference.log())
    assert (estimate >= 0).all()
    expected = (model * (model / reference).log()).sum().item()
    assert (model * estimate).sum().item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("loss_type", "expected"),
    [
        ("grpo", ((1 + 2) / 2 + 4) / 2),
        ("bnpo", (1 + 2 + 4) / 3),
        ("dr_grpo", (1 + 2 + 4) / (2 * 3)),
        ("dapo", (1 + 2 + 4) / 5),
    ],
)
def test_losses_are_averaged_in_the_ways_of_the_literature(loss_type, expected):
    token_loss = torch.tensor([[1.0, 2.0, 100.0], [4.0, 100.0, 100.0]])
    decided = torch.tensor([[True, True, False], [True, False, False]])
    loss = average_loss(token_loss, decided, loss_type, canvas_length=3, num_tokens=5)
    assert loss.item() == pytest.approx(expected)


def test_another_loss_type_is_refused():
    with pytest.raises(ValueError, match="loss_type must be one of grpo, bnpo, dr_grpo, dapo"):
        average_loss(torch.zeros(1, 1), torch.ones(1, 1).bool(), "ppo", canvas_length=1, num_tokens=1)
