# SPDX-License-Identifier: Apache-2.0
"""The same run is the same run twice, also where a GPU adds in any order what is added to one place at a time."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

# What CUDA does by atomic additions, whose order is another each time: exact for integers, not for other numbers.
ATOMIC = {"index_add", "index_add_", "scatter_add", "scatter_add_", "put_", "histc"}


class AtomicAdditions(TorchDispatchMode):
    """Collects the operations that add floating-point numbers in an order that a GPU chooses."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in ATOMIC and args[0].is_floating_point():
            self.found.add(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"loss_weighting": "masked_mean", "loss_normalization": "token"},
        {"complementary_masks": True, "supervise_padding": False},
        {"eval_nll_draws": 2},
    ],
    ids=str,
)
def test_nothing_is_added_in_an_order_that_a_gpu_chooses(
    make_trainer, model_and_processor, items, tmp_path, arguments
):
    trainer = make_trainer(
        *model_and_processor, items, tmp_path, eval_items=items, eval_strategy="steps", eval_steps=1, **arguments
    )
    with AtomicAdditions() as additions:
        trainer.train()
    assert additions.found == set()


def test_what_is_looked_for_would_be_found():
    with AtomicAdditions() as additions:
        torch.zeros(2).index_add_(0, torch.tensor([0, 0]), torch.ones(2))
        torch.zeros(2, dtype=torch.long).index_add_(0, torch.tensor([0]), torch.ones(1, dtype=torch.long))
    assert additions.found == {"index_add_"}
