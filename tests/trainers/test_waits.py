# SPDX-License-Identifier: Apache-2.0
"""An update makes the host wait for a device in few places, which are known."""

import copy
from collections import Counter

import pytest
import torch
from accelerate.utils import send_to_device
from torch.utils._python_dispatch import TorchDispatchMode

from geodit.trainers.host_canvases import HostCanvasCollator
from geodit.trainers.item_records import ItemRecordCollator

READ_BACK = {
    "aten::_local_scalar_dense",
    "aten::nonzero",
    "aten::masked_select",
    "aten::masked_scatter_backward",
    "aten::is_nonzero",
    "aten::equal",
    "aten::bincount",
    "aten::_unique2",
    "aten::repeat_interleave",
}
ARGUMENTS = [
    {},
    {"loss_weighting": "masked_mean", "loss_normalization": "token"},
    {"complementary_masks": True, "supervise_padding": False},
]


class Waits(TorchDispatchMode):
    """Counts the operations for whose result the host would wait for a device, had it the tensors."""

    def __init__(self):
        super().__init__()
        self.found = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name
        indices = args[1] if name.startswith(("aten::index", "aten::_index")) and len(args) > 1 else ()
        if any(isinstance(index, torch.Tensor) and index.dtype == torch.bool for index in _listed(indices)):
            self.found[f"{name} by a mask"] += 1
        if name in READ_BACK:
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


def _listed(value):
    return value if isinstance(value, (list, tuple)) else [value]


def as_loaded(trainer, items):
    """A batch as the trainer's loader makes it, on the CPU."""
    return HostCanvasCollator(ItemRecordCollator(trainer.data_collator))(items)


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=str)
def test_noise_and_loss_read_nothing_from_their_device(
    make_trainer, model_and_processor, items, tmp_path, arguments, device
):
    """On the meta device there is nothing to read: whatever asks for a number fails."""
    trainer = make_trainer(*model_and_processor, items, tmp_path, **arguments)
    meta = torch.device("meta")
    batch = send_to_device(as_loaded(trainer, items[:4]), meta)
    model = copy.deepcopy(trainer.model).to(meta).train()
    model.config.attention_mode = "prefix"
    count = trainer._get_num_items_in_batch([batch], meta)
    loss = trainer.compute_loss(model, batch, num_items_in_batch=count)
    assert loss.is_meta
    assert batch["noised"].input_ids.is_meta
    loss.backward()


@pytest.mark.parametrize("attention_mode", ["prefix", "full"])
@pytest.mark.parametrize("arguments", ARGUMENTS, ids=str)
def test_an_update_reads_what_it_has_to_and_no_more(
    make_trainer, model_and_processor, items, tmp_path, arguments, attention_mode
):
    model, processor = model_and_processor
    model.config.attention_mode = attention_mode
    trainer = make_trainer(model, processor, items, tmp_path, **arguments)
    waits = Waits()

    def updated(*args, step=trainer.training_step, **kwargs):
        with waits:
            return step(*args, **kwargs)

    def checked(*args, norm=trainer._get_grad_norm, **kwargs):
        with waits:
            return norm(*args, **kwargs)

    trainer.training_step, trainer._get_grad_norm = updated, checked
    trainer.train()
    reasons = {
        "is the norm of the gradient finite: asked before the weights change": True,
        "do placeholders and images fit: asked at once where nothing waits": trainer.args.device.type == "cpu",
        "is there padding: Transformers asks, as attention without a mask is faster": attention_mode == "full",
    }
    assert waits.found == {"aten::_local_scalar_dense": 2 * sum(reasons.values())}  # in each of two updates


def test_what_is_looked_for_would_be_found(device):
    values = torch.arange(4, device=device, dtype=torch.float)
    with Waits() as waits:
        values[values > 1] = 0
        bool((values > 1).any())
        values[values > 1].sum()
        (values > 1).nonzero()
    assert len(waits.found) >= 3
    with pytest.raises(RuntimeError, match="meta tensors"):
        values.to("meta").sum().item()
