# SPDX-License-Identifier: Apache-2.0
"""An update that is not finite is stopped, and told by the items it came from."""

import pytest
import torch
from accelerate import Accelerator

from defined_environment import DEVICE
from geodit.trainers.resilience.finite_guard import FiniteGuard


@pytest.fixture
def guard():
    return FiniteGuard()


@pytest.fixture
def accelerator():
    return Accelerator(cpu=DEVICE == "cpu")


def test_finite_updates_pass(guard, accelerator):
    for norm in (torch.tensor(3.0), 3.0, None):
        guard.record(torch.tensor(1.0), ["a#0"])
        guard.check(norm, step=1, accelerator=accelerator)


def test_the_micro_batch_with_the_bad_loss_is_named_and_no_other(guard, accelerator):
    guard.record(torch.tensor(1.0), ["a#0", "b#0"])
    guard.record(torch.tensor(float("inf")), ["c#0"])
    with pytest.raises(FloatingPointError, match=r"update 7: the loss is inf for a batch of the items c#0\."):
        guard.check(torch.tensor(float("nan")), step=7, accelerator=accelerator)


def test_with_finite_losses_every_item_may_have_done_it(guard, accelerator):
    guard.record(torch.tensor(1.0), ["a#0"])
    guard.record(torch.tensor(2.0), ["b#1"])
    with pytest.raises(FloatingPointError, match=r"its gradients are not, for a batch of the items a#0, b#1\."):
        guard.check(torch.tensor(float("inf")), step=1, accelerator=accelerator)


def test_an_update_does_not_answer_for_the_one_before(guard, accelerator):
    guard.record(torch.tensor(1.0), ["a#0"])
    guard.check(1.0, step=1, accelerator=accelerator)
    guard.record(torch.tensor(float("nan")), [])
    with pytest.raises(FloatingPointError, match="the items unknown: the data set gives no image_id"):
        guard.check(float("nan"), step=2, accelerator=accelerator)


def test_a_loss_scaler_may_overflow(guard, accelerator, monkeypatch):
    """Then it skips the update; a loss that is not finite is none of its doing."""
    monkeypatch.setattr(accelerator, "scaler", object())
    guard.record(torch.tensor(1.0), ["a#0"])
    guard.check(torch.tensor(float("inf")), step=1, accelerator=accelerator)
    guard.record(torch.tensor(float("nan")), ["b#0"])
    with pytest.raises(FloatingPointError, match="b#0"):
        guard.check(torch.tensor(float("inf")), step=2, accelerator=accelerator)
