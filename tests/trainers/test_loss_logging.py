# SPDX-License-Identifier: Apache-2.0
"""The log says how each task and each part of the noise schedule does."""

import pytest
import torch
from accelerate import Accelerator

from defined_environment import DEVICE
from geodit.data.schema import TASKS
from geodit.trainers.loss_logging import NAMES, LossBreakdown
from on_device import OnDevice


def test_groups_have_the_means_of_their_answers():
    breakdown, accelerator = LossBreakdown(), Accelerator(cpu=DEVICE == "cpu")
    tasks = torch.tensor([TASKS.index(task) for task in ("vqa", "vqa", "detect", "caption")])
    losses, items = torch.tensor([1.0, 2.0, 4.0, 0.0]), torch.tensor([1.0, 3.0, 1.0, 0.0])
    add = OnDevice(breakdown.add)
    add(losses, items, torch.tensor([0.0, 0.1, 0.6, 1.0]), tasks)
    add(losses[:1], items[:1], torch.tensor([0.6]), None)
    # An answer that counts nothing, for nothing of it was masked, has no mean.
    expected = {"loss_vqa": 3 / 4, "loss_detect": 4.0, "loss_t_0_25": 3 / 4, "loss_t_50_75": 5 / 2}
    assert breakdown.pop(accelerator) == pytest.approx(expected)
    assert breakdown.pop(accelerator) == {}


def test_names_say_what_they_are():
    assert len(NAMES) == len(set(NAMES)) == len(TASKS) + 4


@pytest.mark.parametrize("complementary", [False, True])
def test_every_line_of_the_log_covers_the_updates_since_the_last(
    make_trainer, model_and_processor, items, tmp_path, complementary
):
    """Of plain mean losses the groups, weighted by their tokens, come to the loss of the update."""
    trainer = make_trainer(
        *model_and_processor,
        items,
        tmp_path,
        logging_steps=1,
        per_device_train_batch_size=8,
        complementary_masks=complementary,
        loss_normalization="token",
    )
    trainer.train()
    lines = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(lines) == 2
    canvas = {"loss_detect": 3 * 32, "loss_caption": 3 * 16, "loss_vqa": 2 * 8}
    for line in lines:
        assert canvas.keys() <= line.keys()
        mean = sum(line[name] * tokens for name, tokens in canvas.items()) / sum(canvas.values())
        assert mean == pytest.approx(line["loss"], rel=1e-5)
        quartiles = [value for name, value in line.items() if name.startswith("loss_t_")]
        assert min(quartiles) <= line["loss"] <= max(quartiles)
