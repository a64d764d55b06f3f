# SPDX-License-Identifier: Apache-2.0
"""What the noise needs of a batch stays on the CPU while the batch goes to a device."""

import torch
from accelerate.utils import send_to_device

from geodit.trainers.data_collator import GeoDiTDataCollator
from geodit.trainers.host_canvases import HostCanvasCollator, HostCanvases


def test_it_stays_where_it_is_when_the_batch_is_moved(model_and_processor, items):
    collate = GeoDiTDataCollator(model_and_processor[1])
    plain, batch = collate(items), send_to_device(HostCanvasCollator(collate)(items), torch.device("meta"))
    assert batch["labels"].is_meta
    kept = HostCanvases.of_batch(batch)
    assert torch.equal(kept.input_ids, plain["input_ids"])
    assert torch.equal(kept.labels, plain["labels"])
    assert torch.equal(kept.canvas_mask, plain["labels"] != -100)
    assert kept.segment_ids is None


def test_of_a_batch_without_it_the_tensors_are_read(device):
    batch = {name: torch.arange(6, device=device).view(2, 3) for name in ("input_ids", "labels", "segment_ids")}
    kept = HostCanvases.of_batch(batch)
    for tensor in (kept.input_ids, kept.labels, kept.segment_ids):
        assert tensor.device.type == "cpu"
        assert tensor.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_batch_that_was_cut_since_is_read_again(model_and_processor, items):
    batch = HostCanvasCollator(GeoDiTDataCollator(model_and_processor[1]))(items)
    cut = {name: value[:2] if isinstance(value, torch.Tensor) else value for name, value in batch.items()}
    assert torch.equal(HostCanvases.of_batch(cut).labels, batch["labels"][:2])


def test_batches_without_labels_stay_as_they_are():
    assert HostCanvasCollator(dict)([("pixels", 1)]) == {"pixels": 1}
