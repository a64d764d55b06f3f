# SPDX-License-Identifier: Apache-2.0
"""Items of like length together, in an order that a resumed run finds again."""

import torch

from geodit.trainers.samplers import EpochLengthGroupedSampler

LENGTHS = [index % 10 for index in range(400)]


def order(seed=0, epoch=0):
    sampler = EpochLengthGroupedSampler(4, LENGTHS, seed=seed)
    sampler.set_epoch(epoch)
    return list(sampler)


def test_the_order_follows_from_seed_and_epoch():
    torch.manual_seed(5)
    first = order()
    torch.manual_seed(6)
    assert order() == first
    assert sorted(first) == list(range(400))
    assert len({tuple(order(seed, epoch)) for seed in (0, 7) for epoch in (0, 1)}) == 4


def test_lengths_that_change_with_the_epoch_are_those_of_the_epoch():
    def lengths_at(epoch):
        return LENGTHS if epoch == 0 else LENGTHS[::-1]

    sampler = EpochLengthGroupedSampler(4, LENGTHS, seed=0, lengths_at=lengths_at)
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        batches = torch.tensor([lengths_at(epoch)[index] for index in sampler]).view(-1, 4)
        assert (batches.amax(1) - batches.amin(1)).float().mean() < 1


def test_batches_hold_items_of_like_length():
    batches = torch.tensor([LENGTHS[index] for index in order()]).view(-1, 4)
    spread = (batches.amax(1) - batches.amin(1)).float().mean()
    assert spread < 1
